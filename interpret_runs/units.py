"""Which channel, place or direction each image is scored with: one for all images, or one a run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

NOUNS = {2: "row", 3: "column"}


def pick_channel(
    activation: Tensor, channel: int | tuple[int, ...], rows: Tensor | None, noun: str = "channel"
) -> Tensor:
    """One channel of each image, (B, H, W) of (B, C, H, W): a single gather, whatever the number of units.

    Raises:
        LookupError: no such channel.
        ValueError: several channels, neither as many as images nor with `rows`.
    """
    for wanted in channel if isinstance(channel, tuple) else (channel,):
        if not 0 <= wanted < activation.shape[1]:
            raise LookupError(f"{noun} {wanted} is out of range: there are {activation.shape[1]}, counted from 0")
    picked = _pick(activation, channel, rows)
    if isinstance(picked, int):
        return activation[:, picked]
    return activation[torch.arange(len(activation), device=activation.device), picked]


def pick_place(activation: Tensor, place: Any, axis: int, rows: Tensor | None) -> Tensor | int:
    """The row (axis 2) or column (axis 3) of each image, (B,), or one for all; None is the middle.

    Raises:
        LookupError: outside of the grid.
    """
    return _pick(activation, _places(activation, place, axis), rows)


def pick_window(activation: Tensor, place: Any, extent: int, axis: int, rows: Tensor | None) -> Tensor:
    """The `extent` rows or columns around each image's place, (B, extent), or (extent,) for one place.

    Raises:
        LookupError: some of them are outside of the grid.
    """
    size, noun, before = activation.shape[axis], NOUNS[axis], extent // 2
    if extent > size:
        raise LookupError(f"a window of {extent} {noun}s is larger than the layer, which has {size}")
    places = _places(activation, place, axis)
    for middle in places if isinstance(places, tuple) else (places,):
        if not 0 <= middle - before <= size - extent:
            raise LookupError(
                f"a window of {extent} {noun}s around {noun} {middle} leaves the layer, which has {size}; "
                f"its {noun} can be {before} to {size - extent + before}"
            )
    middles = _pick(activation, places, rows)
    window = torch.arange(-before, extent - before, device=activation.device)
    return window + (middles if isinstance(middles, int) else middles[:, None])


def pick_direction(activation: Tensor, direction: tuple[Any, ...], rows: Tensor | None) -> Tensor:
    """Each image's direction, (B, C), or one for all, (C,).

    Raises:
        ValueError: it has not one number per channel.
    """
    table = _table(direction, activation.device, activation.dtype)
    if table.shape[-1] != activation.shape[1]:
        raise ValueError(f"direction has {table.shape[-1]} numbers; the layer has {activation.shape[1]} channels")
    return table if table.ndim == 1 else table[_rows(activation, len(table), rows)]


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve later passes that need gradients
def _table(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def _rows(activation: Tensor, count: int, rows: Tensor | None) -> Tensor:
    if rows is not None:
        return rows.to(activation.device)
    if count != len(activation):
        raise ValueError(f"{count} units for {len(activation)} images; say with rows= which image takes which unit")
    return torch.arange(count, device=activation.device)


def _pick(activation: Tensor, value: int | tuple[int, ...], rows: Tensor | None) -> Tensor | int:
    """`value` itself, or for each image the entry that its row names."""
    if isinstance(value, int):
        return value
    return _table(value, activation.device, torch.long)[_rows(activation, len(value), rows)]


def _places(activation: Tensor, place: Any, axis: int) -> int | tuple[int, ...]:
    """Rows or columns with None as the middle; LookupError outside of the grid."""
    size = activation.shape[axis]
    places = tuple(size // 2 if one is None else one for one in (place if isinstance(place, tuple) else (place,)))
    for one in places:
        if not 0 <= one < size:
            raise LookupError(f"{NOUNS[axis]} {one} is out of range: the layer has {size}, counted from 0")
    return places if isinstance(place, tuple) else places[0]
