"""Transforms one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from interpret_runs.randomness import generator
from interpret_runs.size import Size, height_and_width
from interpret_runs.transform import Transform


@dataclass(frozen=True)
class Chain(Transform):
    """Transforms one after another: each changes every view that those before it made, and views multiply.

    Each part draws from a stream of its own; the first draws what it draws alone. Parts whose size is None
    have the chain's, so that the first of them brings the image to it. A chain among the parts is replaced
    by its own parts.

    Args:
        parts: the transforms, first to last.
        size: height and width that the network sees; None is that of the last part that has one.

    Raises:
        ValueError: no parts, or a size other than the last part's.
        TypeError: a part that is no transform.
    """

    parts: tuple[Transform, ...]
    size: Size | None = None
    views: int = field(default=1, init=False, repr=False)
    _widths: tuple[int, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a chain needs parts; add one with +transform@transform.parts.a=standard")
        wrong = [part for part in self.parts if not isinstance(part, Transform)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} is not a transform; add one with +transform@transform.parts.a=standard")
        parts = [_sized(each, self.size) for part in self.parts for each in _parts(part)]
        sizes = [height_and_width(part.size) for part in parts if part.size is not None]
        if self.size is not None and sizes[-1] != height_and_width(self.size):
            rule = f"but the last part makes {list(sizes[-1])}; leave the part's size null"
            raise ValueError(f"transform.size is {self.size!r}, {rule}")
        object.__setattr__(self, "parts", tuple(parts))
        object.__setattr__(self, "size", sizes[-1] if sizes else None)
        object.__setattr__(self, "views", prod(part.views for part in parts))
        object.__setattr__(self, "_widths", tuple(part.draw(1, (0,)).shape[2] for part in parts))

    @classmethod
    def of(cls, parts: Mapping[str, Transform], size: Size | None = None) -> Chain:
        """A chain with named parts, as in YAML; they act in the order of their names."""
        return cls(tuple(parts[name] for name in sorted(parts)), size)

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        tables, views = [], 1
        for place, part in enumerate(self.parts):
            drawn = part.draw(steps, [_own(seed, place) for seed in seeds], images * views)
            tables.append(drawn.reshape(steps, len(seeds) * images, views * drawn.shape[2]))
            views *= part.views
        return torch.cat(tables, 2)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        views, start = 1, 0
        for part, width in zip(self.parts, self._widths, strict=True):
            mine = parameters[:, start : start + views * width]
            images = part(images, mine.reshape(len(mine), views, width).transpose(0, 1).flatten(0, 1))
            start += views * width
            views *= part.views
        return images


def _own(seed: int, place: int) -> int:
    """The seed of the part at `place`; the same numbers in two parts would make their changes go together."""
    return generator(seed, f"transform {place}").initial_seed() if place else seed


def _parts(transform: Any) -> tuple[Transform, ...]:
    return transform.parts if isinstance(transform, Chain) else (transform,)


def _sized(part: Any, size: Size | None) -> Transform:
    sized: Transform = part if part.size is not None else replace(part, size=size)
    return sized
