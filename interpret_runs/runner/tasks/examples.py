"""Images of a set that excite a unit most, and least."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interpret_runs import memory
from interpret_runs.dataset_examples import Extremes, Survey, survey
from interpret_runs.images import ImageSet
from interpret_runs.models import VisionModel
from interpret_runs.patches import mosaic, patches
from interpret_runs.png import png_bytes
from interpret_runs.runner.objects import model_of, objective_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import require_one_image, require_readable, require_whole, try_score
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, Text
from interpret_runs.summary import PIXELS


@dataclass(frozen=True)
class Examples(Task):
    """The images of a set with the `k` largest and the `k` smallest scores; one pass for all units of a batch.

    Args:
        data: the set of images.
        k: how many at either end.
        images_at_once: how many images the network sees together.
    """

    data: ImageSet
    k: int = 9
    images_at_once: int = 32

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        for name in ("k", "images_at_once"):
            require_whole(f"task.{name}", getattr(self, name))
        model = model_of(runs[0], device)
        objective = objective_of(runs[0], model)
        if objective.needs_output:
            raise ValueError("objective.target=top1 or label differs from image to image: name a class, or all")
        require_one_image(objective, "task=examples looks at one; take another objective")
        memory.check(model, objective.layers - {PIXELS}, model.preprocessing.size, 1, device)
        try_score(model, objective, torch.zeros(1, 3, *model.preprocessing.size, device=device))
        require_readable(self.data)
        return len(runs)

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        model = model_of(runs[0], device)
        items = self.data.items()
        objectives = [objective_of(run, model) for run in runs]
        seen = survey(model, objectives, items, self.k, self.images_at_once, progress)
        return [self._outcome(place, model, items, seen, filing.text(run)) for place, run in enumerate(runs)]

    def _outcome(self, unit: int, model: VisionModel, items: Sequence[ImageSet], seen: Survey, text: Text) -> Outcome:
        strongest, weakest = patches(seen, unit, items, model)
        if not strongest:
            return Outcome(None, error="no image of the set has a score that is a number")
        listed = {"strongest": _listed(seen.strongest, unit, items), "weakest": _listed(seen.weakest, unit, items)}
        files = {
            "image": ("image.png", png_bytes(mosaic(strongest), text)),
            "weakest": ("weakest.png", png_bytes(mosaic(weakest), text)),
            "examples": ("examples.json", json.dumps({**listed, "skipped": seen.skipped}, indent=1).encode()),
        }
        numbers = {
            "lowest": float(seen.weakest.scores[0, unit]),
            "pictures": len(items) - len(seen.skipped),
            "pictures_skipped": len(seen.skipped),
        }
        return Outcome(float(seen.strongest.scores[0, unit]), numbers, files)


def _listed(end: Extremes, unit: int, items: Sequence[ImageSet]) -> list[dict[str, Any]]:
    """The images at one end: which, how strong, and where on the layer's grid."""
    found = zip(end.images[:, unit].tolist(), end.scores[:, unit].tolist(), end.places[:, unit].tolist(), strict=True)
    return [
        {"image": vars(items[image]), "score": value, "place": place if place[0] >= 0 else None}
        for image, value, place in found
        if image >= 0
    ]
