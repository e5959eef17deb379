"""Networks and objectives that runs describe; networks stay loaded."""

from __future__ import annotations

from typing import Any

import torch

from interpret_runs.models import VisionModel, load
from interpret_runs.objective import Objective
from interpret_runs.runner.build import build
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.files import FACTORY, WEIGHTS
from interpret_runs.runner.runs import Run

MODELS_KEPT = 2

_loaded: dict[str, VisionModel] = {}


def model_of(run: Run, device: torch.device) -> VisionModel:
    """The run's network on `device`; the last few stay loaded."""
    key = canonical([*network_of(run), str(device)])
    if key not in _loaded:
        while len(_loaded) >= MODELS_KEPT:
            _loaded.pop(next(iter(_loaded)))
        settings = {name: value for name, value in run.config["model"].items() if name != "_target_"}
        _loaded[key] = load(**settings, device=str(device))
    return _loaded[key]


def network_of(run: Run) -> list[Any]:
    """What tells the run's network from others: its settings, and what the files hold that these name."""
    return [run.config["model"], *map(run.digests.get, (WEIGHTS, FACTORY))]


def architecture_of(run: Run) -> list[Any]:
    """What tells the layers of the run's network from those of others, whatever their weights."""
    made = {key: value for key, value in run.config["model"].items() if key not in ("weights", "seed")}
    return [made, run.digests.get(FACTORY)]


def objective_of(run: Run, model: VisionModel) -> Objective:
    made = build(run.config["objective"])
    if not isinstance(made, Objective):
        raise TypeError(f"objective._target_ makes a {type(made).__name__}, not an Objective")
    return made.resolve(model.summary)
