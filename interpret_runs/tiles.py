"""Windows that cover an image too large for a network to see at once."""

from __future__ import annotations

from math import ceil

import torch

from interpret_runs.randomness import generator

Window = tuple[slice, slice]


def windows(size: tuple[int, int], tile: int, step: int) -> list[Window]:
    """Windows of `tile` pixels a side, or of the image's side where that is less, that cover an image together.

    They start elsewhere at every step, so that no seam stays in one place; at the image's edges they
    overlap. They depend on the step alone, so that all images of a batch share them.
    """
    shifts = torch.rand(2, generator=generator(step, "tiles")).tolist()
    rows, columns = (_spans(side, min(tile, side), shift) for side, shift in zip(size, shifts, strict=True))
    return [(row, column) for row in rows for column in columns]


def _spans(side: int, tile: int, shift: float) -> list[slice]:
    first = -int(shift * tile)
    starts = [first + tile * place for place in range(ceil((side - first) / tile))]
    inside = sorted({min(max(start, 0), side - tile) for start in starts})
    return [slice(start, start + tile) for start in inside]
