"""Tasks that tell of a store instead of making runs: ``task=status`` and ``task=verify``. They need no model."""

from collections.abc import Mapping
from typing import Any

from interpret_runs.runner import status, verification

REPORTS = {f"{module.__name__}.show": module.show for module in (status, verification)}


def is_report(config: Mapping[str, Any]) -> bool:
    """Whether a composed config asks for a report on a store rather than for a run."""
    return str(config["task"]["_target_"]) in REPORTS


def show_report(config: Mapping[str, Any]) -> None:
    REPORTS[str(config["task"]["_target_"])](config["outputs"], config["name"])
