"""Shifts, scales, rotations and crops of an image, so that what emerges is robust to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, radians
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.resampling import separable, triangles, windows
from interpret_runs.size import Size, height_and_width
from interpret_runs.transform import Transform, check_counts, check_numbers, numbers, one_of, uniform

# Part of an image's side that a crop shows at least.
SMALLEST = 0.05


class Warp(Transform):
    """Shift, scale, rotate, shift, as one bilinear warp per image.

    What lies outside of the image is `fill`, as far as the warp looks: padding needs no width. Drawn are
    down, right, magnification, clockwise angle in radians, down, right.
    """

    fill: float

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        images = self.clean(images)
        matrices = _matrices(parameters.to(images.dtype), *images.shape[2:])
        grid = _grid(matrices, *images.shape[2:])
        # Sampling x - fill with zeros outside, then adding fill, pads with fill.
        return functional.grid_sample(images - self.fill, grid, align_corners=False).add_(self.fill)


@dataclass(frozen=True)
class Standard(Warp):
    """Pad, jitter, scale, rotate, jitter, as one bilinear warp per image (after Olah et al., 2017).

    What lies outside of the image is `fill`, as far as the warp looks: the padding needs no width.

    Args:
        jitter: width in pixels of the uniform shift before scaling and rotation.
        scale: lowest and highest magnification, drawn uniformly.
        rotate: largest angle in degrees, drawn uniformly to either side.
        late_jitter: width in pixels of the uniform shift after them.
        fill: value outside of the image, in [0, 1].
        size: height and width that the network sees; None is the image's own.
    """

    jitter: float = 8
    scale: tuple[float, float] = (0.9, 1.1)
    rotate: float = 10
    late_jitter: float = 4
    fill: float = 0.5
    size: Size | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "jitter", "rotate", "late_jitter", "fill")
        object.__setattr__(self, "scale", _scale(self.scale))

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        drawn = uniform(steps, seeds, images, 6)
        low, high = self.scale
        first = (drawn[..., 0:2] - 0.5) * self.jitter
        magnification = low + (high - low) * drawn[..., 2:3]
        angle = (2 * drawn[..., 3:4] - 1) * radians(self.rotate)
        second = (drawn[..., 4:6] - 0.5) * self.late_jitter
        return torch.cat([first, magnification, angle, second], -1)


# The values of captum.optim's TransformationRobustness.
CAPTUM_SCALES = (*(0.995**n for n in range(-5, 80)), *(0.998**n for n in (*range(20, 40), *range(20, 40))))
CAPTUM_ANGLES = (*range(-20, 20), *range(-10, 10), *range(-5, 5), *(0,) * 5)


@dataclass(frozen=True)
class CaptumLong(Warp):
    """Ten jitters, scale, rotate, jitter, as one bilinear warp per image (after captum.optim's long set).

    A jitter of n pixels is a whole number from 1 - n to n; their sum is nearly Gaussian. Unlike captum
    the frame keeps its size when the image shrinks, and `fill` surrounds it, as far as the warp looks.

    Args:
        jitter: largest shift in pixels of each jitter before scaling and rotation.
        times: how many of them.
        scales: magnifications to draw from; None is captum's own list, from 0.67 to 1.03, most below 1.
        angles: degrees to draw from; None is captum's own list, from -20 to 19, most near 0.
        late_jitter: largest shift in pixels after them.
        fill: value outside of the image, in [0, 1].
        size: height and width that the network sees; None is the image's own.
    """

    jitter: int = 4
    times: int = 10
    scales: tuple[float, ...] | None = None
    angles: tuple[float, ...] | None = None
    late_jitter: int = 2
    fill: float = 0.5
    size: Size | None = None

    def __post_init__(self) -> None:
        check_counts(self, "jitter", "times", "late_jitter")
        check_numbers(self, "fill")
        for name, low in (("scales", 0.0), ("angles", -inf)):
            value, rule = getattr(self, name), "a list of numbers" + " above 0" * (low == 0)
            if value is not None:
                object.__setattr__(self, name, numbers(name, value, rule))
                if min(value) <= low:
                    raise ValueError(f"transform.{name} is {value!r}; it must be {rule}")

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        drawn = uniform(steps, seeds, images, 4 + 2 * self.times)
        early = drawn[..., 4:].reshape(*drawn.shape[:2], self.times, 2)
        first = (self.jitter - torch.floor(early * 2 * self.jitter)).sum(-2)
        magnification = one_of(self.scales or CAPTUM_SCALES, drawn[..., 0:1])
        angle = one_of(self.angles or CAPTUM_ANGLES, drawn[..., 1:2]) * radians(1)
        second = self.late_jitter - torch.floor(drawn[..., 2:4] * 2 * self.late_jitter)
        return torch.cat([first, magnification, angle, second], -1)


@dataclass(frozen=True)
class Deterministic(Transform):
    """Jitter and scale, without an operation whose backward pass on CUDA differs from time to time.

    As `Standard` without rotation and late jitter, but as products with two matrices of bilinear weights.
    Under ``torch.use_deterministic_algorithms`` they need CUBLAS_WORKSPACE_CONFIG=:4096:8, like any product.

    Args:
        jitter: width in pixels of the uniform shift before scaling.
        scale: lowest and highest magnification, drawn uniformly.
        fill: value outside of the image, in [0, 1].
        size: height and width that the network sees; None is the image's own.
    """

    jitter: float = 8
    scale: tuple[float, float] = (0.9, 1.1)
    fill: float = 0.5
    size: Size | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "jitter", "fill")
        object.__setattr__(self, "scale", _scale(self.scale))

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        drawn = uniform(steps, seeds, images, 3)
        low, high = self.scale
        return torch.cat([(drawn[..., 0:2] - 0.5) * self.jitter, low + (high - low) * drawn[..., 2:3]], -1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        images = self.clean(images)
        down, right, magnification = parameters.to(images.dtype)[..., None].unbind(1)
        rows = _moved(images.shape[2], down, magnification)
        columns = _moved(images.shape[3], right, magnification)
        return separable(images - self.fill, rows, columns) + self.fill


@dataclass(frozen=True)
class Crops(Transform):
    """Several random crops of each image in every step, of its own proportions (Fel et al., 2023, MaCo).

    A crop's side, as a part of the image's, is N(b, `spread`) within [0.05, 1], with b going evenly from
    the first number of `side` to the second over the steps; its centre is N(0.5, `centre`), moved so far
    that the crop lies within the image. Crops are taken from the image at its own size and antialiased
    where they shrink, as products with two matrices: no operation differs from time to time on CUDA.
    The defaults suit images two to four times as large as what the network sees: parameterisation.size=512
    with transform.size=224.

    Args:
        views: crops of each image a step; each costs as much as an image in the network.
        centre: standard deviation of the centre, as a part of the image's height and width.
        side: mean side in the first step and in the last, above 0 and at most 1.
        spread: standard deviation of the side.
        size: height and width that the network sees; None is the image's own.
    """

    views: int = 8
    centre: float = 0.15
    side: tuple[float, float] = (0.5, 0.25)
    spread: float = 0.1
    size: Size | None = None

    def __post_init__(self) -> None:
        check_counts(self, "views", low=1)
        check_numbers(self, "centre", "spread", low=0)
        rule = "[first, last], both above 0 and at most 1"
        first, last = side = numbers("side", self.side, rule, 2)
        if not (0 < first <= 1 and 0 < last <= 1):
            raise ValueError(f"transform.side is {list(side)}; it must be {rule}")
        object.__setattr__(self, "side", side)

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        drawn = uniform(steps, seeds, images, 3 * self.views).clamp(min=2.0**-25)
        normal = torch.special.ndtri(drawn).reshape(*drawn.shape[:2], self.views, 3)
        mean = torch.linspace(*self.side, steps)[:, None, None, None]
        side = (mean + self.spread * normal[..., 2:]).clamp(SMALLEST, 1)
        start = (0.5 + self.centre * normal[..., :2] - side / 2).clamp(min=0).minimum(1 - side)
        return torch.cat([start, side], -1).flatten(2)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        top, left, side = parameters.to(images.dtype).reshape(-1, self.views, 3).transpose(0, 1).unbind(-1)
        height, width = images.shape[2:]
        seen = (height, width) if self.size is None else height_and_width(self.size)
        return separable(images, windows(top, side, height, seen[0]), windows(left, side, width, seen[1]))


@dataclass(frozen=True)
class Unchanged(Transform):
    """No change but the size."""

    size: Size | None = None

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        return torch.zeros(steps, len(seeds) * images, 0)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        return self.clean(images)


def _scale(value: Any) -> tuple[float, ...]:
    rule = "[lowest, highest]"
    low, high = scale = numbers("scale", value, rule, 2)
    if not 0 < low <= high:
        raise ValueError(f"transform.scale is {list(scale)}; it must be {rule}, both above 0")
    return scale


def _moved(count: int, shift: Tensor, magnification: Tensor) -> Tensor:
    """Weights, (B, count, count), that shift a signal and then magnify it about its middle; both (B, 1)."""
    middle = (count - 1) / 2
    places = (torch.arange(count, device=shift.device) - middle) / magnification - shift + middle
    return triangles(places, count)


def _grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """Where to sample for affine maps (B, 2, 3), as torch's `affine_grid`, (B, H, W, 2), in a seventh of its time."""
    down, across = (
        (2 * torch.arange(side, device=matrices.device, dtype=matrices.dtype) + 1) / side - 1
        for side in (height, width)
    )
    ends = (
        matrices[:, axis, 0, None, None] * across
        + (matrices[:, axis, 1, None] * down + matrices[:, axis, 2, None])[..., None]
        for axis in (0, 1)
    )
    return torch.stack(list(ends), -1)


def _matrices(parameters: Tensor, height: int, width: int) -> Tensor:
    """From where each output pixel is read, (B, 2, 3), in `affine_grid`'s coordinates, -1 to 1.

    Reading inverts the transforms: a position p, in pixels from the centre, comes from
    ``rotate(-angle)(p - second) / scale - first``.
    """
    first_y, first_x, magnification, angle, second_y, second_x = parameters.unbind(-1)
    cosine, sine = torch.cos(angle) / magnification, torch.sin(angle) / magnification
    offset_x = -cosine * second_x - sine * second_y - first_x
    offset_y = sine * second_x - cosine * second_y - first_y
    x_row = torch.stack([cosine, sine * height / width, 2 * offset_x / width], -1)
    y_row = torch.stack([-sine * width / height, cosine, 2 * offset_y / height], -1)
    return torch.stack([x_row, y_row], -2)
