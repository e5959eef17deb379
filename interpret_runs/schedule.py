"""How long an image is optimised, and what is kept on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Schedule:
    """How long to optimise, and what to keep on the way.

    Args:
        steps: optimisation steps, at least 1.
        snapshots: steps after which the images are kept as well, each from 1 to `steps`.
        frames: how many images of each run are kept for an animation, evenly spread over the steps.
        history_every: the score is noted at step 1 and then every so many steps; 0 never.
        rescue: redirect gradients of dead ReLUs.
        stop: a run ends early once its mean score gained less than this share of itself twice in a
            row, from one stretch of 16 steps to the next, so after 48 steps at the earliest; None never.
        importance: keep how strongly each pixel was pulled at: the mean over the steps of the length
            of the score's gradient, summed over colours.
        tile: side in pixels of the windows in which the network sees images larger than that, one after
            the other; None shows it the whole image.
        precision: ``float32``, or ``bfloat16`` for the network alone.
        compile: compile what of the network is needed, once no gradient has to be rescued.
        cuda_graphs: on a GPU, replay the whole step as one graph where every step is alike.
    """

    steps: int = 128
    snapshots: tuple[int, ...] = ()
    frames: int = 0
    history_every: int = 16
    rescue: bool = True
    stop: float | None = None
    importance: bool = False
    tile: int | None = None
    precision: str = "float32"
    compile: bool = False
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "snapshots", tuple(self.snapshots))
        _whole("task.steps", self.steps, 1, "")
        wrong = [step for step in self.snapshots if not isinstance(step, int) or not 1 <= step <= self.steps]
        if wrong:
            raise ValueError(f"snapshot at step {wrong[0]!r}; steps are 1 to {self.steps}")
        _whole("task.frames", self.frames, 0, ", 0 for none")
        _whole("task.history_every", self.history_every, 0, ", 0 for never")
        if self.tile is not None:
            _whole("task.tile", self.tile, 8, ", or null for the whole image")
        for name in ("task.rescue", "task.importance", "compute.compile", "compute.cuda_graphs"):
            if not isinstance(value := getattr(self, name.partition(".")[2]), (bool, int)):
                raise ValueError(f"{name} is {value!r}; it is true or false")
        stop: Any = self.stop
        if stop is not None and (isinstance(stop, bool) or not isinstance(stop, (int, float)) or not 0 <= stop < 1):
            raise ValueError(f"task.stop is {stop!r}; it is a share from 0 to below 1, as 0.01, or null for never")
        if self.precision not in PRECISIONS:
            raise ValueError(f"compute.precision is {self.precision!r}; it is {' or '.join(PRECISIONS)}")

    @property
    def frame_steps(self) -> frozenset[int]:
        """The steps after which a frame is kept; the last step always is one."""
        return frozenset(max(1, round(self.steps * (place + 1) / self.frames)) for place in range(self.frames))


def _whole(name: str, value: Any, least: int, else_: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {least} on{else_}")
