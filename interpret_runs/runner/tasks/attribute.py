"""Which pixels of given images drive an objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpret_runs import memory
from interpret_runs.activations import capture, class_scores
from interpret_runs.attributions import Attribution
from interpret_runs.heat_maps import enlarged, heat_map, overlay, robust_limit
from interpret_runs.images import Picture, png_bytes
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.objects import build, model_of, objective_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import require_one_image, try_score
from interpret_runs.runner.tasks.task import Outcome, Progress, Task, Text, npy
from interpret_runs.scoring import frozen, score
from interpret_runs.summary import OUTPUT


@dataclass(frozen=True)
class Attribute(Task):
    """Explain one image a run."""

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        model = model_of(runs[0], device)
        objective = objective_of(runs[0], model)
        require_one_image(objective, "task=attribute explains one; take another objective")
        method: Attribution = build(runs[0].config["attribution"]).resolve(model.summary)
        size = model.preprocessing.size
        fits = memory.check(model, objective.layers, size, 1, device)
        image = torch.zeros(1, 3, *size, device=device)
        (first,), _ = _with_classes([objective], model, image)
        try_score(model, first, image)
        method.check(model, first, image)
        if len({canonical(run.config["images"]) for run in runs}) == 1:
            self._picture(runs[0], model)
        return fits

    def execute(
        self, runs: Sequence[Run], device: torch.device, text: Callable[[Run], Text], progress: Progress
    ) -> list[Outcome]:
        model = model_of(runs[0], device)
        pictures = [self._picture(run, model) for run in runs]
        images = torch.stack([picture.pixels for picture in pictures]).to(device)
        objectives, output = _with_classes([objective_of(run, model) for run in runs], model, images)
        objective = Objective.stack(objectives)
        method: Attribution = build(runs[0].config["attribution"]).resolve(model.summary)
        half = runs[0].config["compute"]["precision"] == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            maps = method(model, objective, images).float()
            with frozen(model), torch.no_grad():
                scores = score(model, objective, images, torch.arange(len(images), device=device)).float()
            measured = method.measure(model, objective, images, maps)
        progress(1.0)
        top = class_scores(output).softmax(1).max(1)
        outcomes = []
        for place, run in enumerate(runs):
            metrics: dict[str, Any] = {"picture": pictures[place].name, "picture_label": pictures[place].label}
            metrics |= {name: values[place].item() for name, values in measured.items()}
            metrics |= {
                "predicted": model.summary.label(int(top.indices[place])),
                "predicted_class": int(top.indices[place]),
                "predicted_probability": float(top.values[place]),
            }
            unit = _label_of_top(run, objectives[place], model)
            outcomes.append(
                _map_outcome(float(scores[place]), maps[place].cpu(), pictures[place], metrics, unit, text(run))
            )
        return outcomes

    def _picture(self, run: Run, model: VisionModel) -> Picture:
        found: Picture = build(run.config["images"])(model.preprocessing)
        return found


def _with_classes(objectives: list[Objective], model: VisionModel, images: Tensor) -> tuple[list[Objective], Tensor]:
    """Objectives with `top1` made a class, and what the network says of the images."""
    with frozen(model), torch.no_grad(), capture(model, [OUTPUT]) as forward:
        output = forward(images)[OUTPUT]
    return [objective.for_images(output[i : i + 1]) for i, objective in enumerate(objectives)], output


def _label_of_top(run: Run, objective: Objective, model: VisionModel) -> str | None:
    if not objective_of(run, model).needs_output:
        return None
    target = getattr(objective, "target", None)
    return model.summary.label(target) if isinstance(target, int) else None


def _map_outcome(
    value: float, values: Tensor, shown: Picture, metrics: dict[str, Any], unit: str | None, text: Text
) -> Outcome:
    if not values.isfinite().all() or not np.isfinite(value):
        return Outcome(None, metrics, error="the map or the score is not finite", unit=unit)
    limit = robust_limit(values)
    files = {
        "map": ("map.npy", npy(values)),
        "heat_map": ("heat_map.png", png_bytes(heat_map(values, limit), text)),
        "overlay": ("overlay.png", png_bytes(enlarged(overlay(shown.pixels, values, limit)), text)),
    }
    return Outcome(value, {**metrics, "limit": limit}, files, unit=unit)
