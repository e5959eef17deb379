"""Random changes to an image before the network sees it, so that what emerges is robust to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, radians

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.randomness import generator
from interpret_runs.size import Size, height_and_width


class Transform(ABC):
    """Maps images (B, 3, H, W) to what the network sees, (views * B, 3, *size); `size` None keeps H and W.

    Views of an image are B apart: first every image once, then every image again, seen otherwise.
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
        if self.size is None or height_and_width(self.size) == tuple(images.shape[2:]):
            return images
        size = list(height_and_width(self.size))
        return functional.interpolate(images, size=size, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Standard(Transform):
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
        for name in ("jitter", "rotate", "late_jitter", "fill"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not isfinite(value):
                raise ValueError(f"transform.{name} is {value!r}; it must be a finite number")
        if not isinstance(self.scale, (list, tuple)) or len(self.scale) != 2:
            raise ValueError(f"transform.scale is {self.scale!r}; it must be [lowest, highest]")
        object.__setattr__(self, "scale", tuple(self.scale))
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"transform.scale is {list(self.scale)}; it must be [lowest, highest], both above 0")

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        draws = [torch.rand(steps, images, 6, generator=generator(seed, "transform")) for seed in seeds]
        uniform = torch.cat(draws, 1)
        low, high = self.scale
        first = (uniform[..., 0:2] - 0.5) * self.jitter
        magnification = low + (high - low) * uniform[..., 2:3]
        angle = (2 * uniform[..., 3:4] - 1) * radians(self.rotate)
        second = (uniform[..., 4:6] - 0.5) * self.late_jitter
        return torch.cat([first, magnification, angle, second], -1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        images = self.clean(images)
        matrices = _matrices(parameters.to(images.dtype), *images.shape[2:])
        grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
        # Sampling x - fill with zeros outside, then adding fill, pads with fill.
        return functional.grid_sample(images - self.fill, grid, align_corners=False).add_(self.fill)


@dataclass(frozen=True)
class Unchanged(Transform):
    """No change but the size."""

    size: Size | None = None

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        return torch.zeros(steps, len(seeds) * images, 0)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        return self.clean(images)


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
