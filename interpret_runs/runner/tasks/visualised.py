"""What a visualised batch came to, run by run: numbers for the index and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from interpret_runs import metrics
from interpret_runs.animation import gif_bytes, mp4_bytes
from interpret_runs.heat_maps import importance_opacity
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective, Sum, Weight
from interpret_runs.runner.tasks.task import Files, Outcome, Text, npy, picture
from interpret_runs.visualisation import Visualisation

# Standard deviation of an image's values below which it shows nothing.
FLATTEST = 0.02


class Settings(Protocol):
    """What of a task says which files are written."""

    @property
    def attempts(self) -> int: ...
    @property
    def animation(self) -> str | None: ...
    @property
    def raw(self) -> bool: ...


@dataclass(frozen=True)
class Result:
    """What a batch came to, and how to tell the runs apart in it."""

    model: VisionModel
    found: Visualisation
    fresh: metrics.Fresh
    probabilities: Tensor | None
    settings: Settings
    frame_steps: Sequence[int]

    def outcome(self, place: int, images: int, objective: Objective, among: Tensor | None, text: Text) -> Outcome:
        tried = [
            slice(first * images, (first + 1) * images)
            for first in range(place * self.settings.attempts, (place + 1) * self.settings.attempts)
        ]
        robust = [float(self.fresh.scores[:, one].mean()) for one in tried]
        sound = [number for number, one in enumerate(tried) if not self.found.failed[one].any()]
        if not sound:
            step = int(self.found.failed[tried[0]].max())
            return Outcome(None, steps=step, error=f"score is not finite from step {step} on; lower optimizer.lr")
        best = max(sound, key=lambda number: robust[number])
        mine = tried[best]
        value = float(self.found.scores[mine].mean())
        numbers = self._numbers(mine, objective, value)
        if self.settings.attempts > 1:
            numbers |= {"best_attempt": best, "attempt_scores": str([round(score, 4) for score in robust])}
        if among is not None:
            numbers["percentile"] = float(metrics.percentile(torch.tensor([value]), among[:, None])[0])
        steps, history = self.found.history
        taken = int(self.found.steps[mine].max())
        noted = [at for at, step in enumerate(steps) if step <= taken]
        scores = [round(float(history[at, mine].mean()), 6) for at in noted]
        kept = {"step": [float(steps[at]) for at in noted], "score": scores}
        return Outcome(value, numbers, self._files(mine, taken, text), taken, history=kept)

    def _numbers(self, mine: slice, objective: Objective, value: float) -> dict[str, Any]:
        found, pictures = self.found, self.found.images[mine]
        spread = float(pictures.std(dim=(1, 2, 3)).min())
        scores = self.fresh.scores[:, mine]
        numbers: dict[str, Any] = {
            "image_std": spread,
            "alive": spread >= FLATTEST and (value > 0 or not objective.dies),
            "robust_score": float(scores.mean()),
            "robust_std": float(scores.mean(1).std()),
            "total_variation": float(metrics.total_variation(pictures).mean()),
            "spectrum_distance": float(metrics.spectrum_distance(pictures).mean()),
            "jpeg_bytes_per_pixel": float(metrics.jpeg_bytes(pictures).mean()),
            "steps_taken": int(found.steps[mine].max()),
        }
        if self.probabilities is None:
            return numbers
        output = self.probabilities[mine]
        best = output[:1].max(1)
        index = int(best.indices)
        numbers |= {"predicted": self.model.summary.label(index), "predicted_class": index}
        numbers["predicted_probability"] = float(best.values)
        target = _target(objective)
        if target is not None:
            ranks, probabilities = metrics.rank_and_probability(output, torch.full((len(output),), target))
            numbers |= {"target_rank": float(ranks.double().mean()), "target_probability": float(probabilities.mean())}
            if self.fresh.predictions is not None:
                numbers["robust_top1"] = float((self.fresh.predictions[:, mine] == target).double().mean())
        return numbers

    def _files(self, mine: slice, taken: int, text: Text) -> Files:
        """The files of a run that took so many steps; what others of its batch did after them is not its own."""
        found, settings = self.found, self.settings
        shown = found.images if found.transparent is None else found.transparent
        files = {"image": ("image.png", picture(shown[mine], text))}
        for step in sorted(step for step in found.snapshots if step <= taken):
            name = f"snapshot-{step:04d}"
            files[name] = (f"{name}.png", picture(found.snapshots[step][mine], text))
        if found.rendered is not None:
            files["rendered"] = ("rendered.png", picture(found.rendered[mine], text))
        if found.importance is not None:
            opacity = importance_opacity(found.importance[mine])
            files["alpha"] = ("alpha.png", picture(torch.cat([found.images[mine], opacity], 1), text))
        if settings.raw:
            files["raw"] = ("image.npy", npy(shown[mine]))
            if found.importance is not None:
                files["importance"] = ("importance.npy", npy(found.importance[mine]))
        if settings.animation is not None:
            write = gif_bytes if settings.animation == "gif" else mp4_bytes
            files["animation"] = (f"animation.{settings.animation}", write(self._frames(mine, taken)))
        return files

    def _frames(self, mine: slice, taken: int) -> list[Tensor]:
        """The frames of a run that took so many steps, the last of them its images."""
        found = self.found
        frames = () if found.frames is None else found.frames[:, mine].unbind()
        before = [frame for step, frame in zip(self.frame_steps, frames, strict=False) if step < taken]
        last = (found.images[mine] * 255).round().to(torch.uint8)
        return [torch.cat(list(frame), 2) for frame in [*before, last]]


def _target(objective: Objective) -> int | None:
    """The class that an objective is after, if it is after one only."""
    own = getattr(objective, "target", None)
    if isinstance(own, int):
        return own
    parts = objective.parts
    if isinstance(objective, Sum):
        parts = tuple(part for part, weight in zip(objective.terms, objective.weights, strict=True) if _wanted(weight))
    found = {target for part in parts if (target := _target(part)) is not None}
    return found.pop() if len(found) == 1 else None


def _wanted(weight: Weight) -> bool:
    return (weight[1] if isinstance(weight, tuple) else weight) > 0
