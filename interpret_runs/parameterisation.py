"""What a parameterisation is: images as parameters, a module called with nothing that returns RGB in [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interpret_runs.image_statistics import ImageStatistics, unbounded
from interpret_runs.randomness import generator
from interpret_runs.size import Size, height_and_width


class Parameterisation(nn.Module, ABC):
    """Images held as parameters; calling it returns RGB in [0, 1], (runs * images, 3, H, W), run by run.

    Args (of every subclass, beside its own):
        size: height and width in pixels, one number or [height, width].
        images: images of each run.
        statistics: a file made by ``task=statistics``, for colours and spectra other than ImageNet's.
        seeds: one seed per run. A run's start depends on its own seed alone.

    Attributes:
        step: the optimisation step that an image is made for, from 0; None outside of the loop.
        opacity: of the images made last, (runs * images, 1, H, W) in [0, 1]; None where they are opaque.
        straight: RGB in [0, 1] of the images made last, not mixed with what shines through, (runs * images, 3, H, W),
            without gradient; None where they are opaque.
        copies: numbers held for each number of an image, with gradients and the optimiser's state.
    """

    copies: int = 16

    colour: Tensor

    def __init__(self, size: Size, images: int = 1, statistics: str | None = None, seeds: Sequence[int] = (0,)) -> None:
        super().__init__()
        if isinstance(images, bool) or not isinstance(images, int) or images < 1:
            raise ValueError(f"parameterisation.images is {images!r}; it must be a whole number from 1 on")
        self.size = height_and_width(size)
        self.images = images
        self.seeds = tuple(seeds)
        self.statistics = ImageStatistics.of(statistics)
        self.step: int | Tensor | None = None
        self.opacity: Tensor | None = None
        self.straight: Tensor | None = None
        self.register_buffer("colour", self.statistics.colour.clone())

    @abstractmethod
    def forward(self) -> Tensor:
        """RGB in [0, 1], (runs * images, 3, H, W)."""

    def start(self, *shape: int, purpose: str = "start") -> Tensor:
        """Standard normal numbers, (runs * images, *shape), drawn on the CPU, a stream for each run and purpose."""
        draws = [torch.randn(self.images, *shape, generator=generator(seed, purpose)) for seed in self.seeds]
        return torch.cat(draws)

    def rgb(self, values: Tensor, decorrelate: bool) -> Tensor:
        """Unbounded values to RGB: colours correlated as in photographs if asked, then a sigmoid."""
        if decorrelate:
            return (self.colour @ values.flatten(2)).view_as(values).sigmoid_()
        return values.sigmoid()

    def values(self, images: Tensor, decorrelate: bool) -> Tensor:
        """The inverse of `rgb`; what lies within half a level of 8 bits of 0 or 1 is moved that far away from them."""
        return unbounded(images, self.colour if decorrelate else None)


class Basis(Parameterisation):
    """A parameterisation that can be set to any picture."""

    @abstractmethod
    def hold(self, images: Tensor) -> None:
        """Set the parameters so that calling returns `images`, RGB in [0, 1], (runs * images, 3, H, W)."""


class SizeFree(Parameterisation):
    """A parameterisation whose images can be made at any size."""

    @abstractmethod
    def render(self, size: Size, image: int) -> Tensor:
        """One of the images at another size, (1, 3, *size)."""
