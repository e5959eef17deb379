"""Colour shifts, noise and blur, so that what emerges does not hang on exact pixel values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from interpret_runs.randomness import noise
from interpret_runs.resampling import normalised, separable
from interpret_runs.size import Size
from interpret_runs.transform import Transform, check_numbers, keys, uniform


@dataclass(frozen=True)
class ColourJitter(Transform):
    """Random contrast and offset of each colour channel (after Ghiasi et al., 2022).

    ``0.5 + exp(c) * (x - 0.5) + s`` with c in +-`scale` and s in +-`shift`, drawn uniformly for each
    channel of each image. The result may leave [0, 1]: a clamped pixel would pass no gradient.

    Args:
        shift: largest offset, from 0 on.
        scale: largest logarithm of the contrast, from 0 on.
        size: height and width that the network sees; None is the image's own.
    """

    shift: float = 0.2
    scale: float = 0.2
    size: Size | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "shift", "scale", low=0)

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        drawn = 2 * uniform(steps, seeds, images, 6) - 1
        return torch.cat([drawn[..., :3] * self.shift, torch.exp(drawn[..., 3:] * self.scale)], -1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        own = parameters.to(images.dtype)[..., None, None]
        return 0.5 + own[:, 3:] * (self.clean(images) - 0.5) + own[:, :3]


@dataclass(frozen=True)
class Noise(Transform):
    """Noise added to every number of the image, new in every step (Fel et al., 2023, MaCo).

    The result may leave [0, 1]: a clamped pixel would pass no gradient.

    Args:
        normal: standard deviation of Gaussian noise, from 0 on.
        uniform: largest size of uniform noise, from 0 on, beside it.
        size: height and width that the network sees; None is the image's own.
    """

    normal: float = 0.08
    uniform: float = 0.04
    size: Size | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "normal", "uniform", low=0)

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        return keys(steps, seeds, images, 2)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        images = self.clean(images)
        shape, dtype = images.shape[1:], images.dtype
        if self.normal:
            images = images + self.normal * noise(parameters[:, 0], shape).to(dtype)
        if self.uniform:
            # The error function spreads normal numbers evenly from -1 to 1.
            images = images + self.uniform * torch.erf(noise(parameters[:, 1], shape).to(dtype) / sqrt(2))
        return images


@dataclass(frozen=True)
class Blur(Transform):
    """Gaussian blur that goes evenly from the first step to the last (after Xplique's blur).

    At the border the weights of pixels that there are sum to 1, so nothing from outside comes in.

    Args:
        first: standard deviation in pixels in the first step, from 0 on; 0 is no blur.
        last: standard deviation in the last step.
        size: height and width that the network sees; None is the image's own.
    """

    first: float = 2
    last: float = 0
    size: Size | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "first", "last", low=0)

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        return torch.linspace(self.first, self.last, steps)[:, None, None].repeat(1, len(seeds) * images, 1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        images = self.clean(images)
        sigma = parameters.to(images.dtype)[..., None]
        rows, columns = (gaussians(side, sigma) for side in images.shape[2:])
        return separable(images, rows, columns)


def gaussians(count: int, sigma: Tensor) -> Tensor:
    """Weights, (B, count, count), that blur a signal; standard deviations `sigma` in pixels, (B, 1, 1)."""
    places = torch.arange(count, device=sigma.device)
    # A thousandth of a pixel blurs nothing, and needs no division by 0.
    deviations = (places[:, None] - places) / sigma.clamp(min=1e-3)
    return normalised(torch.exp(-0.5 * deviations.square()))
