"""Small images of directions of a layer, as activation grids and atlases are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpret_runs import memory
from interpret_runs.models import VisionModel
from interpret_runs.objectives import Direction
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.runner.build import build
from interpret_runs.runner.plan import auto_batch
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import refused, require_whole, try_look, try_optimizer
from interpret_runs.runner.tasks.task import Progress, schedule_of
from interpret_runs.schedule import Schedule
from interpret_runs.size import height_and_width
from interpret_runs.summary import PIXELS
from interpret_runs.transform import Transform
from interpret_runs.variants import in_pieces
from interpret_runs.visualisation import visualise


@dataclass(frozen=True)
class Icons:
    """An image of ``parameterisation.size`` for each of many directions of `layer`; see `objectives.Direction`.

    All start alike and see the same transforms, those of the run's seed, so that they differ by their direction alone.
    """

    layer: str
    steps: int
    cosine_power: float
    rescue: bool

    def check(self, run: Run, model: VisionModel, device: torch.device) -> None:
        """Build what icons need and look at one.

        Raises:
            LookupError, ValueError, TypeError: a setting is wrong, or not even one icon fits into memory.
        """
        self._schedule(run)
        settings = run.config["parameterisation"]
        require_whole("parameterisation.images", images := settings.get("images", 1))
        if images != 1:
            raise ValueError(f"parameterisation.images is {images}; here each direction has one image")
        objective = self._objective(torch.ones(1, model.summary.channels(self.layer)))
        memory.check(model, {PIXELS}, height_and_width(settings["size"]), 1, device)
        made, transform = self._start(run, 1), self._transform(run)
        seen = self._seen(made, transform)
        with refused(model, seen):
            self._most(model, made, transform, device)
        with torch.no_grad():
            image = made.to(device)()
        try_look(model, objective, transform, image, run.config["seed"], seen)
        try_optimizer(run, made.parameters(), self.steps)

    def make(
        self, run: Run, model: VisionModel, directions: Tensor, device: torch.device, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) and scores (N,) of directions (N, C), on the CPU; as many at once as fit.

        Raises:
            ValueError: a score is not finite.
        """
        images: list[Tensor] = []
        scores: list[Tensor] = []
        transform, total = self._transform(run), len(directions)
        most = min(self._most(model, self._start(run, 1), transform, device), auto_batch(device.type))

        def work(start: int, stop: int) -> None:
            found = visualise(
                model,
                self._objective(directions[start:stop]),
                self._start(run, stop - start),
                transform,
                build(run.config["optimizer"]),
                self._schedule(run),
                lambda step: progress((start + (stop - start) * step / self.steps) / total),
                build(run.config["lr_scheduler"]),
            )
            if found.failed.any():
                raise ValueError(f"score is not finite from step {int(found.failed.max())} on; lower optimizer.lr")
            images.append(found.images)
            scores.append(found.scores)

        in_pieces(total, work, most)
        return torch.cat(images), torch.cat(scores)

    def _most(self, model: VisionModel, made: Parameterisation, transform: Transform, device: torch.device) -> int:
        """How many icons fit into memory at once."""
        views, seen = transform.views, self._seen(made, transform)
        return max(1, memory.check(model, {self.layer}, seen, views, device, made.copies) // views)

    def _seen(self, made: Parameterisation, transform: Transform) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        return made.size if transform.size is None else height_and_width(transform.size)

    def _objective(self, directions: Tensor) -> Direction:
        return Direction(self.layer, tuple(map(tuple, directions.tolist())), self.cosine_power)

    def _start(self, run: Run, count: int) -> Parameterisation:
        settings = dict(run.config["parameterisation"])
        if "source" in settings:
            settings["source"] = [settings["source"]] * count
        made: Parameterisation = build(settings, seeds=[run.config["seed"]] * count)
        return made

    def _transform(self, run: Run) -> Transform:
        made: Transform = build(run.config["transform"])
        return made

    def _schedule(self, run: Run) -> Schedule:
        return schedule_of(run, steps=self.steps, history_every=0, rescue=self.rescue)
