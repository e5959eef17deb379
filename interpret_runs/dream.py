"""Deep dream: what a layer sees in a picture, drawn into it at several sizes (Mordvintsev et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Basis
from interpret_runs.parameterisations import Fourier, Pixel
from interpret_runs.schedule import Schedule
from interpret_runs.transform import Transform
from interpret_runs.visualisation import ADAM, Visualisation, visualise

SPACES: dict[str, type[Basis]] = {"fourier": Fourier, "pixel": Pixel}
# A network sees little in a picture smaller than this.
SMALLEST = 32


@dataclass(frozen=True)
class Octaves:
    """The sizes at which a picture is dreamt, one after the other, the last its own.

    Args:
        count: how many.
        scale: how much larger each is than the one before.
        space: ``fourier`` or ``pixel``: in which of them the picture is changed.
    """

    count: int = 4
    scale: float = 1.4
    space: str = "pixel"

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"task.octaves is {self.count!r}; it must be a whole number from 1 on")
        if not isinstance(self.scale, (int, float)) or not 1 < self.scale <= 8:
            raise ValueError(f"task.scale is {self.scale!r}; it must be above 1, and 8 at most")
        if self.space not in SPACES:
            raise ValueError(f"task.space is {self.space!r}; it is {' or '.join(SPACES)}")

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(height, width) of each octave; those in which a side would be below 32 pixels are left out."""
        shrunk = [self.scale**-place for place in reversed(range(self.count))]
        sizes = [(round(size[0] * by), round(size[1] * by)) for by in shrunk]
        return [one for one in sizes[:-1] if min(one) >= SMALLEST] + [size]


def dream(
    model: VisionModel,
    objective: Objective,
    pictures: Tensor,
    octaves: Octaves | None = None,
    transform: Transform | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = ADAM,
    schedule: Schedule | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Visualisation:
    """Change `pictures`, (runs, 3, H, W), so that they score higher, first in the large and then in detail.

    Each octave starts from the picture at its size plus what the octaves before changed, enlarged.

    Args:
        schedule: of each octave; `tile` bounds the memory that large pictures take.
        progress: called with the number of steps done in all octaves.
    """
    octaves, schedule, pictures = octaves or Octaves(), schedule or Schedule(steps=32), pictures.cpu()
    sizes = octaves.sizes((pictures.shape[2], pictures.shape[3]))
    seeds = range(len(pictures)) if seeds is None else seeds
    found: Visualisation | None = None
    for place, size in enumerate(sizes):
        base = _resized(pictures, size)
        if found is not None:
            base = base + _resized(found.images - _resized(pictures, sizes[place - 1]), size)
        canvas = SPACES[octaves.space](size=size, seeds=tuple(seeds))
        canvas.hold(base.clamp(0, 1))
        done = place * schedule.steps
        told = (lambda step, done=done: progress(done + step)) if progress else None
        found = visualise(model, objective, canvas, transform, optimizer, schedule, told)
    assert found is not None, "there is at least one octave"
    return found


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return functional.interpolate(pictures, size=list(size), mode="bilinear", antialias=True)
