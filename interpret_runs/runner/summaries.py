"""What planning must know of a model, without loading its weights and, once known, without torch."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from interpret_runs import __version__
from interpret_runs.factory import source_of
from interpret_runs.runner.cache import canonical, file_digest, remember
from interpret_runs.summary import ModelSummary

_known: dict[str, ModelSummary] = {}


def summarise(model: Mapping[str, Any]) -> ModelSummary:
    """The summary of the model that a `model` config names.

    Weights that are a file count as such: their content does not change layers or classes. A network
    from a factory of one's own is looked at anew in every process, and where its file has changed: what it imports
    may have changed as well.
    """
    settings = {key: value for key, value in model.items() if key != "seed"}
    if settings.get("labels"):
        settings["labels digest"] = file_digest(settings["labels"], "model.labels")
    factory = model.get("factory")
    if source := source_of(factory):
        settings["factory digest"] = file_digest(str(source), "model.factory")
    libraries = ["torch", "torchvision", *(["timm"] if factory == "timm" else [])]
    key = canonical([settings, __version__, *map(_version, libraries)])
    if key not in _known:
        if factory not in (None, "timm"):
            _known[key] = _look(model)
        else:
            _known[key] = ModelSummary.from_json(remember("summaries", key, lambda: _look(model).to_json()))
    return _known[key]


@cache  # to read a package's metadata takes longer than to plan a run
def _version(library: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(library)
    return None  # which building the network will say in its own words


def _look(model: Mapping[str, Any]) -> ModelSummary:
    from interpret_runs.models import load

    settings = {key: value for key, value in model.items() if key != "_target_"}
    return load(**settings, device="meta").summary
