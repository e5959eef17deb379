"""Images as parameters: modules called with nothing that return RGB in [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interpret_runs.randomness import generator

# Square root of the covariance of ImageNet's colours (Olah et al., 2017), scaled to a largest column norm of 1.
_COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOUR = _COLOUR / _COLOUR.norm(dim=0).max()

Size = int | Sequence[int]


def height_and_width(size: Size) -> tuple[int, int]:
    """(height, width) in pixels from one number or two.

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise ValueError(f"size {size!r} is not a positive number of pixels, nor [height, width]")
    return sides[0], sides[1]


class Parameterisation(nn.Module, ABC):
    """Images held as parameters; calling it returns RGB in [0, 1], (runs * images, 3, H, W), run by run.

    Args (of every subclass, beside its own):
        size: height and width in pixels, one number or [height, width].
        images: images of each run.
        seeds: one seed per run. A run's start depends on its own seed alone.
    """

    def __init__(self, size: Size, images: int, seeds: Sequence[int]) -> None:
        super().__init__()
        if isinstance(images, bool) or not isinstance(images, int) or images < 1:
            raise ValueError(f"parameterisation.images is {images!r}; it must be a whole number from 1 on")
        self.size = height_and_width(size)
        self.images = images
        self.seeds = tuple(seeds)
        self.register_buffer("colour", COLOUR.clone())

    @abstractmethod
    def forward(self) -> Tensor:
        """RGB in [0, 1], (runs * images, 3, H, W)."""

    def start(self, *shape: int) -> Tensor:
        """Standard normal numbers, (runs * images, *shape), drawn on the CPU, one stream a run."""
        draws = [torch.randn(self.images, *shape, generator=generator(seed, "start")) for seed in self.seeds]
        return torch.cat(draws)

    def rgb(self, values: Tensor, decorrelate: bool) -> Tensor:
        """Unbounded values to RGB: colours correlated as in photographs if asked, then a sigmoid."""
        if decorrelate:
            return torch.einsum("oc,bchw->bohw", self.colour, values).sigmoid_()
        return values.sigmoid()


class Fourier(Parameterisation):
    """Spectrum scaled by ``1 / frequency**decay``, so low frequencies move first (Olah et al., 2017).

    Args:
        decay: 0 is white, 1 like natural images. At least 0.
        std: spread of the initial spectrum; 0 starts from flat grey.
        decorrelate: hold colours in decorrelated axes.
    """

    scale: Tensor

    def __init__(
        self,
        size: Size = 128,
        images: int = 1,
        decay: float = 1.0,
        std: float = 0.01,
        decorrelate: bool = True,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, seeds)
        height, width = self.size
        frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
        # Lucid divides by 4, which keeps the first steps out of the sigmoid's flat parts.
        self.register_buffer("scale", frequency.clamp(min=1 / max(height, width)) ** -decay / 4)
        self.decorrelate = decorrelate
        self.spectrum = nn.Parameter(std * self.start(3, *frequency.shape, 2))

    def forward(self) -> Tensor:
        spectrum = torch.view_as_complex(self.spectrum) * self.scale
        return self.rgb(torch.fft.irfft2(spectrum, s=self.size, norm="ortho"), self.decorrelate)


class Pixel(Parameterisation):
    """One free value per pixel and colour.

    Args:
        std: spread of the initial values around mid-grey.
        decorrelate: hold colours in decorrelated axes.
    """

    def __init__(
        self,
        size: Size = 128,
        images: int = 1,
        std: float = 0.01,
        decorrelate: bool = True,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, seeds)
        self.decorrelate = decorrelate
        self.values = nn.Parameter(std * self.start(3, *self.size))

    def forward(self) -> Tensor:
        return self.rgb(self.values, self.decorrelate)
