"""The files that a run reads: which there are, and what they hold. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from interpret_runs.factory import source_of
from interpret_runs.runner import image_sets
from interpret_runs.runner.cache import file_digest
from interpret_runs.runner.nodes import Config
from interpret_runs.summary import EMBEDDED, EMBEDDED_WEIGHTS, is_weights_file

WEIGHTS, FACTORY = "model.weights", "model.factory"
# Settings of parameterisations that name a file.
FILE_KEYS = ("statistics", "mask")


def digests_of(config: Config) -> dict[str, str]:
    """The content of what a closed config names, by the key that names it; its image sets are checked.

    Raises:
        LookupError, OSError, ValueError: something is not there.
    """
    files = {**_embedded(config.get("model", {})), **named_files(config)}
    digests = {key: file_digest(path, key) for key, path in files.items()}
    image_sets.close(config, digests)
    return digests


def named_files(config: Mapping[str, Any]) -> dict[str, str]:
    """The files that a config names one by one, by key: weights, the source of a network, statistics, a mask."""
    found: dict[str, str] = {}
    model, parameterisation = config.get("model", {}), config.get("parameterisation", {})
    if (weights := model.get("weights")) is not None and is_weights_file(weights):
        found[WEIGHTS] = weights
    if source := source_of(model.get("factory")):
        found[FACTORY] = str(source)
    return found | {f"parameterisation.{key}": path for key in FILE_KEYS if (path := parameterisation.get(key))}


def _embedded(model: Mapping[str, Any]) -> dict[str, str]:
    """The embedded weights, where they are used: a later version may train them anew."""
    used = model.get("name") == EMBEDDED and model.get("weights") is not None
    return {WEIGHTS: str(EMBEDDED_WEIGHTS)} if used else {}
