"""Lucid's own transforms, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.resampling import separable, triangles
from interpret_runs.size import Size
from interpret_runs.transform import Transform, one_of, uniform

PADDING, JITTER, LATE_JITTER = 12, 8, 4
SCALES = tuple(1 + (n - 5) / 50 for n in range(11))
ANGLES = (*range(-10, 11), *(0,) * 5)


@dataclass(frozen=True)
class Lucid(Transform):
    """The standard set of Lucid as Lucid computes it, for comparisons (Olah et al., 2017).

    Pad by 12 with grey, crop 8 pixels less, scale by 0.90 to 1.10, rotate by -10 to 10 degrees, crop 4
    pixels less. So, unlike with other transforms, the size changes from step to step where `size` is None.
    Scaling reads from the top left corner and rotation takes the nearest pixel, black outside, as in
    TensorFlow 1. A step has one draw for all images, from `seed` and not from the runs', so that a batch
    changes nothing. Each step waits for the device once, to learn the shapes.

    Args:
        seed: what the draws depend on.
        size: height and width to which the outcome is brought, for networks that take no other.
    """

    seed: int = 0
    size: Size | None = None

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"transform.seed is {self.seed!r}; it must be a whole number")

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        """Top, left, scale, degrees, top, left, (steps, runs * images, 6), equal for all images."""
        drawn = uniform(steps, [self.seed], 1, 6)
        crop, scale = one_of(range(JITTER + 1), drawn[..., :2]), one_of(SCALES, drawn[..., 2:3])
        angle, late = one_of(ANGLES, drawn[..., 3:4]), one_of(range(LATE_JITTER + 1), drawn[..., 4:])
        table = torch.cat([crop, scale, angle, late], -1)
        return table.repeat(1, len(seeds) * images, 1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        shared = parameters[0].cpu()
        top, left, _, degrees, late_top, late_left = shared.tolist()
        images = _cropped(functional.pad(images, [PADDING] * 4, value=0.5), top, left, JITTER)
        images = _rotated(_scaled(images, shared[2]), degrees)
        return self.clean(_cropped(images, late_top, late_left, LATE_JITTER))


def _cropped(images: Tensor, top: float, left: float, width: int) -> Tensor:
    """`width` pixels less in height and width."""
    height, breadth = (side - width for side in images.shape[2:])
    return images[:, :, int(top) : int(top) + height, int(left) : int(left) + breadth]


def _scaled(images: Tensor, scale: Tensor) -> Tensor:
    """Output row i is read at ``i * height / new height``; the new sides are rounded down, in `scale`'s precision."""
    weights = []
    for side in images.shape[2:]:
        new = int(scale * side)
        places = torch.arange(new, device=images.device, dtype=images.dtype) * (side / new)
        weights.append(triangles(places.clamp(max=side - 1), side))
    return separable(images, *weights)


def _rotated(images: Tensor, degrees: float) -> Tensor:
    """Anticlockwise about the centre."""
    if degrees == 0:
        return images
    height, width = images.shape[2:]
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    matrix = images.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
    grid = functional.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="nearest", align_corners=False)
