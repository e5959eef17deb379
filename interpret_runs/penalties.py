"""What an image should have little of: functions of its pixels alone, for sums with a negative weight."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.activations import Activations
from interpret_runs.objective import Objective
from interpret_runs.summary import OPACITY, PIXELS

GREY = 0.5


class PixelObjective(Objective):
    """An objective on the pixels alone, before any transform reaches the network."""

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({PIXELS})

    def __call__(self, activations: Activations) -> Tensor:
        return self.score(activations[PIXELS])

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """One score per image, (B,), from RGB in [0, 1], (B, 3, H, W)."""


@dataclass(frozen=True)
class TotalVariation(PixelObjective):
    """Mean over pixels and channels of the absolute differences to the right and lower neighbours.

    0 to 2; 0 for one colour (Mahendran and Vedaldi, 2015).
    """

    def score(self, images: Tensor) -> Tensor:
        across = images.diff(dim=3).abs().flatten(1).sum(1)
        down = images.diff(dim=2).abs().flatten(1).sum(1)
        return (across + down) / images[0].numel()


@dataclass(frozen=True)
class L1(PixelObjective):
    """Mean absolute difference from mid-grey, 0 to 0.5; pulls most pixels all the way to grey."""

    def score(self, images: Tensor) -> Tensor:
        return (images - GREY).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class L2(PixelObjective):
    """Root of the mean squared difference from mid-grey, 0 to 0.5."""

    def score(self, images: Tensor) -> Tensor:
        # The tiny constant keeps the gradient finite on an image that is exactly grey.
        return ((images - GREY).square().flatten(1).mean(1) + 1e-12).sqrt()


@dataclass(frozen=True)
class Blur(PixelObjective):
    """How far an image is from its own blur, ``mean((x - blur(x)) ** 2) / 2``: 0 for one colour, at most 0.5.

    The blur is a fixed target of each step (no gradient reaches it): a box of 3 x 3 pixels twice, the edges
    continued. Less of it takes fine grain away and leaves broad shapes (Olah et al., 2017).
    """

    def score(self, images: Tensor) -> Tensor:
        blurred = functional.pad(images.detach(), (2, 2, 2, 2), mode="replicate")
        for _ in range(2):
            blurred = functional.avg_pool2d(blurred, 3, stride=1)
        return (images - blurred).square().flatten(1).mean(1) / 2


@dataclass(frozen=True)
class Border(PixelObjective):
    """Mean squared difference from mid-grey in a border of `width` pixels, 0 to 0.25: keeps an image in its middle.

    As in the icons of an activation atlas (Carter et al., 2019).
    """

    width: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"objective.width is {self.width!r}; it must be a whole number of pixels from 1 on")

    def score(self, images: Tensor) -> Tensor:
        width, (tall, wide) = self.width, images.shape[2:]
        if 2 * width >= min(tall, wide):
            most = (min(tall, wide) - 1) // 2
            raise ValueError(f"objective.width is {width}; a border of {tall}x{wide} pixels has a width of 1 to {most}")
        middle = images[:, :, width:-width]
        sides = (images[:, :, :width], images[:, :, -width:], middle[..., :width], middle[..., -width:])
        return (torch.cat([side.flatten(1) for side in sides], 1) - GREY).square().mean(1)


@dataclass(frozen=True)
class Transparency(Objective):
    """How transparent an image is, one minus its mean opacity, 0 to 1.

    A channel times this shows what the channel needs and leaves the rest out (Mordvintsev et al., 2018).
    """

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({OPACITY})

    def __call__(self, activations: Activations) -> Tensor:
        if OPACITY not in activations:
            raise ValueError("transparency needs parameterisation=rgba")
        return 1 - activations[OPACITY].flatten(1).mean(1)
