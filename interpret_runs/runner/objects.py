"""The objects that configs describe. The only place that builds them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from interpret_runs.models import VisionModel, load
from interpret_runs.objective import Objective
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.runs import Run
from interpret_runs.summary import nearest

MODELS_KEPT = 2

_loaded: dict[str, VisionModel] = {}


def build(config: Config, **extra: Any) -> Any:
    """The object that a config describes; errors are those of its constructor.

    Raises:
        whatever the constructor raises, and LookupError where `_target_` names nothing.
    """
    try:
        return instantiate(config, **extra, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, LookupError, TypeError, OSError)):
            raise cause from None
        if missing := re.search(r"Error locating target '([^']+)'", str(error)):
            raise LookupError(_not_found(missing[1])) from None
        reason = f": {str(cause).splitlines()[0]}" if str(cause or "").strip() else ""
        raise LookupError(str(error).splitlines()[0].partition(", set env var")[0] + reason) from None


def _not_found(target: str) -> str:
    """What a `_target_` that names nothing may have meant."""
    module, _, name = target.rpartition(".")
    try:
        names = [name for name, value in vars(import_module(module)).items() if callable(value)]
    except Exception as error:  # a module may raise anything
        return f"cannot find _target_ {target!r}: {error}; give a class as package.module.Class"
    return f"cannot find _target_ {target!r}; closest in {module}: {nearest(name, names)}"


def model_of(run: Run, device: torch.device) -> VisionModel:
    """The run's network on `device`; the last few stay loaded."""
    key = canonical([run.config["model"], run.digests.get("model.weights"), str(device)])
    if key not in _loaded:
        while len(_loaded) >= MODELS_KEPT:
            _loaded.pop(next(iter(_loaded)))
        settings = {name: value for name, value in run.config["model"].items() if name != "_target_"}
        _loaded[key] = load(**settings, device=str(device))
    return _loaded[key]


def objective_of(run: Run, model: VisionModel) -> Objective:
    made = build(run.config["objective"])
    if not isinstance(made, Objective):
        raise TypeError(f"objective._target_ makes a {type(made).__name__}, not an Objective")
    return made.resolve(model.summary)
