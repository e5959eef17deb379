"""Images resampled along rows and columns apart, as products with two matrices.

Unlike grid sampling and interpolation this has a backward pass on CUDA that gives the same result each time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ image @ columns.T`` for every channel.

    Args:
        images: (B, C, H, W).
        rows: which rows make an output row, (h, H), or for each image, (B, h, H), or view, (V, B, h, H).
        columns: the same for columns, (w, W), (B, w, W) or (V, B, w, W).

    Returns:
        (B, C, h, w), or (V * B, C, h, w) with the views of an image B apart.
    """
    batch = "vb"[4 - rows.dim() :]
    made = torch.einsum(f"{batch}hi,bcij,{batch}wj->{batch.rstrip('b')}bchw", rows, images, columns)
    return made.flatten(0, -4)


def triangles(places: Tensor, count: int, reach: Tensor | float = 1.0) -> Tensor:
    """How much each of `count` values counts when a signal is read at `places`, (..., n) to (..., n, count).

    ``1 - distance / reach``, not below 0; a `reach` of 1 interpolates linearly, with zeros outside.
    """
    distances = places[..., None] - torch.arange(count, device=places.device)
    return (1 - distances.abs() / reach).clamp_(min=0)


def normalised(weights: Tensor) -> Tensor:
    """Weights (..., n, count) that sum to 1: what would lie outside of the signal counts for what is inside."""
    return weights / weights.sum(-1, keepdim=True)


def windows(start: Tensor, side: Tensor, count: int, size: int) -> Tensor:
    """Weights, (..., size, count), that show the part of a signal from `start` to `start + side` as `size` values.

    Both (...), in fractions of the signal. Linear; what shrinks is averaged over as many values as it loses.
    """
    step = side[..., None] * count / size
    places = start[..., None] * count + (torch.arange(size, device=side.device) + 0.5) * step - 0.5
    return normalised(triangles(places, count, step.clamp(min=1)[..., None]))


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) at another size, antialiased; at their own size they are returned as they are."""
    if size == tuple(images.shape[2:]):
        return images
    whole = images.new_zeros(()), images.new_ones(())
    rows, columns = (windows(*whole, count, side) for count, side in zip(images.shape[2:], size, strict=True))
    return separable(images, rows, columns)
