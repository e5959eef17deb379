"""Pictures that a network dreams into."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interpret_runs import memory
from interpret_runs.dream import Octaves, dream
from interpret_runs.images import ImageSet
from interpret_runs.models import Preprocessing
from interpret_runs.objective import Objective
from interpret_runs.runner.build import build
from interpret_runs.runner.layout import fast_model_of
from interpret_runs.runner.objects import model_of, objective_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import refused, require_one_image, require_whole, try_look, try_optimizer
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, npy, picture, schedule_of
from interpret_runs.schedule import Schedule
from interpret_runs.size import height_and_width
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform


@dataclass(frozen=True)
class Dream(Task):
    """Change the picture of `images` so that it scores higher; see `interpret_runs.dream`.

    Args:
        steps: of each octave.
        longest: the picture's longer side in pixels; smaller pictures keep theirs, null keeps any.
        raw: also write the picture as ``.npy``, float32 (3, H, W).
    """

    steps: int = 32
    octaves: int = 4
    scale: float = 1.4
    space: str = "pixel"
    longest: int | None = 512
    tile: int | None = 256
    rescue: bool = True
    raw: bool = False

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        first, model = runs[0], model_of(runs[0], device)
        octaves = self._octaves()
        self._schedule(first)
        if self.longest is not None:
            require_whole("task.longest", self.longest)
        objective = objective_of(first, model)
        _require_suitable(objective)
        transform: Transform = build(first.config["transform"])
        whole = {self._size(build(first.config["images"]))}
        for run in runs[1:]:
            with suppress(OSError, LookupError, ValueError):  # it will fail by itself
                whole.add(self._size(build(run.config["images"])))
        fits = min(memory.check(model, {PIXELS}, size, 1, device) for size in whole)
        for height, width in sorted({*whole, *(octaves.sizes(size)[0] for size in whole)}):
            part = (min(height, self.tile or height), min(width, self.tile or width))
            seen = part if transform.size is None else height_and_width(transform.size)
            with refused(model, seen):
                looks = memory.check(model, objective.layers, seen, transform.views, device)
            fits = min(fits, looks // transform.views)
            grey = torch.full((1, 3, *part), 0.5, device=device)
            try_look(model, objective, transform, grey, first.config["seed"], seen)
        try_optimizer(first, [torch.nn.Parameter(torch.zeros(1, device=device))], self.steps)
        return max(1, fits)

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        pictures = [self._picture(run) for run in runs]
        outcomes: dict[str, Outcome] = {}
        for size in dict.fromkeys(tuple(one.shape) for one in pictures):
            mine = [(run, one) for run, one in zip(runs, pictures, strict=True) if tuple(one.shape) == size]
            share, done = len(mine) / len(runs), len(outcomes) / len(runs)
            made = self._dream(mine, device, filing, partial(_tell, progress, done, share))
            outcomes |= dict(zip((run.id for run, _ in mine), made, strict=True))
        return [outcomes[run.id] for run in runs]

    def _dream(
        self,
        mine: Sequence[tuple[Run, Tensor]],
        device: torch.device,
        filing: Filing,
        progress: Progress,
    ) -> list[Outcome]:
        """Dream in pictures of one size."""
        runs, (first, _) = [run for run, _ in mine], mine[0]
        pictures = torch.stack([one for _, one in mine])
        height, width = (min(side, self.tile or side) for side in pictures.shape[2:])
        model = fast_model_of(first, device, objective_of(first, model_of(first, device)).layers, (height, width))
        octaves = self._octaves()
        total = self.steps * len(octaves.sizes((pictures.shape[2], pictures.shape[3])))
        found = dream(
            model,
            Objective.stack([objective_of(run, model) for run in runs]),
            pictures,
            octaves,
            build(first.config["transform"]),
            build(first.config["optimizer"]),
            self._schedule(first),
            [run.config["seed"] for run in runs],
            lambda step: progress(step / total),
        )
        outcomes = []
        for place, run in enumerate(runs):
            if found.failed[place]:
                outcomes.append(Outcome(None, error="score is not finite; lower optimizer.lr"))
                continue
            image = found.images[place : place + 1]
            change = float((image - pictures[place]).square().mean().sqrt())
            files = {"image": ("image.png", picture(image, filing.text(run)))}
            if self.raw:
                files["raw"] = ("image.npy", npy(image[0]))
            outcomes.append(Outcome(float(found.scores[place]), {"change": change}, files, total))
        return outcomes

    def _octaves(self) -> Octaves:
        return Octaves(self.octaves, self.scale, self.space)

    def _schedule(self, run: Run) -> Schedule:
        return schedule_of(run, steps=self.steps, history_every=0, rescue=self.rescue, tile=self.tile)

    def _picture(self, run: Run) -> Tensor:
        source: ImageSet = build(run.config["images"])
        size = self._size(source)
        return source(Preprocessing(size, min(size))).pixels

    def _size(self, source: ImageSet) -> tuple[int, int]:
        height, width = source.size()
        shrink: Any = 1 if self.longest is None else min(1, self.longest / max(height, width))
        return max(1, round(height * shrink)), max(1, round(width * shrink))


def _require_suitable(objective: Objective) -> None:
    if objective.needs_output:
        raise ValueError("objective.target=top1 or label is not known before the dream: name a class")
    if objective.sources or OPACITY in objective.layers:
        rule = "task=dream suits objectives that look at parts of an image; not transparency or pictures"
        raise ValueError(f"{rule}: take task=visualise parameterisation=image")
    require_one_image(objective, "task=dream changes one; take another objective")


def _tell(progress: Progress, done: float, share: float, part: float) -> None:
    progress(done + share * part)
