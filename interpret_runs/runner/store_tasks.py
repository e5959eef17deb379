"""Tasks over what a store holds, which make no runs: ``task=status``, ``task=verify``, ..."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

# The modules of these tasks; each has a function `show` that takes the composed config, and is imported for it alone.
MODULES = ("gallery", "status", "verification", "reproduction", "export", "figure_task", "sprite_sheet")
TASKS = {f"{__package__}.{module}.show": module for module in MODULES}


def is_store_task(config: Mapping[str, Any]) -> bool:
    """Whether a composed config asks for something about a store rather than for a run."""
    return str(config["task"]["_target_"]) in TASKS


def do_store_task(config: Mapping[str, Any]) -> None:
    """Do it.

    Raises:
        whatever the task raises; FileNotFoundError where there is no such store; ValueError where a setting is missing.
    """
    for key, value in config["task"].items():
        if value == "???":
            raise ValueError(f"task.{key} is not set; give it a value: task.{key}=...")
    module = TASKS[str(config["task"]["_target_"])]
    import_module(f"{__package__}.{module}").show(config)
