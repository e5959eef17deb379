"""What a transform is: a random change to an image before the network sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from interpret_runs.randomness import generator
from interpret_runs.resampling import resized
from interpret_runs.size import Size, height_and_width


class Transform(ABC):
    """Maps images (B, 3, H, W) to what the network sees, (views * B, 3, *size); `size` None keeps H and W.

    Views of an image are B apart: first every image once, then every image again, seen otherwise.
    Pixels are those that the network sees, unless a transform says otherwise.
    """

    size: Size | None
    views: int = 1

    @abstractmethod
    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        """The random parameters of all steps, (steps, runs * images, k), one stream a run, on the CPU."""

    @abstractmethod
    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The images of one step, changed by that step's `parameters`, (B, k)."""

    def clean(self, images: Tensor) -> Tensor:
        """The images at the size that the network sees, otherwise unchanged."""
        return images if self.size is None else resized(images, height_and_width(self.size))


def uniform(steps: int, seeds: Sequence[int], images: int, count: int) -> Tensor:
    """Numbers in [0, 1), (steps, runs * images, count), one stream a run; more steps begin as fewer do."""
    draws = [
        torch.rand(steps, images, count, generator=generator(seed, "transform"), dtype=torch.float32) for seed in seeds
    ]
    return torch.cat(draws, 1)


def one_of(values: Sequence[float], drawn: Tensor) -> Tensor:
    """The values that numbers in [0, 1) choose, each as likely as another."""
    return torch.tensor(values, dtype=drawn.dtype)[(drawn * len(values)).long()]


def keys(steps: int, seeds: Sequence[int], images: int, count: int) -> Tensor:
    """Whole numbers from 0 to 2**24 - 1, exact in float32, from which other numbers are made at the call."""
    return torch.floor(uniform(steps, seeds, images, count) * 2**24)


def check_numbers(settings: Transform, *names: str, low: float = -inf) -> None:
    """Refuse fields that are not finite numbers from `low` on.

    Raises:
        ValueError: names the first of them.
    """
    rule = "a finite number" if low == -inf else f"a finite number from {low:g} on"
    for name in names:
        value = getattr(settings, name)
        if not _is_finite(value) or value < low:
            raise ValueError(f"transform.{name} is {value!r}; it must be {rule}")


def check_counts(settings: Transform, *names: str, low: int = 0) -> None:
    """Refuse fields that are not whole numbers from `low` on.

    Raises:
        ValueError: names the first of them.
    """
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"transform.{name} is {value!r}; it must be a whole number from {low} on")


def numbers(name: str, value: Any, rule: str, count: int | None = None) -> tuple[float, ...]:
    """A setting of `count` finite numbers, or of one or more, as a tuple.

    Raises:
        ValueError: something else; it must be `rule`.
    """
    given = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not given or len(given) != (count or len(given)) or not all(map(_is_finite, given)):
        raise ValueError(f"transform.{name} is {value!r}; it must be {rule}")
    return given


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and isfinite(value)
