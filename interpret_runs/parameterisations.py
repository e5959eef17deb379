"""Images as parameters, in one basis or another: modules called with nothing that return RGB in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interpret_runs.parameterisation import Basis
from interpret_runs.size import Size


class Fourier(Basis):
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
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        height, width = self.size
        frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
        # Lucid divides by 4, which keeps the first steps out of the sigmoid's flat parts.
        self.register_buffer("scale", frequency.clamp(min=1 / max(height, width)) ** -decay / 4)
        self.decorrelate = decorrelate
        self.spectrum = nn.Parameter(std * self.start(3, *frequency.shape, 2))

    def forward(self) -> Tensor:
        spectrum = torch.view_as_complex(self.spectrum) * self.scale
        return self.rgb(torch.fft.irfft2(spectrum, s=self.size, norm="ortho"), self.decorrelate)

    @torch.no_grad()
    def hold(self, images: Tensor) -> None:
        spectrum = torch.fft.rfft2(self.values(images, self.decorrelate), norm="ortho")
        self.spectrum.copy_(torch.view_as_real(spectrum / self.scale))


class Pixel(Basis):
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
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        self.decorrelate = decorrelate
        self.pixels = nn.Parameter(std * self.start(3, *self.size))

    def forward(self) -> Tensor:
        return self.rgb(self.pixels, self.decorrelate)

    @torch.no_grad()
    def hold(self, images: Tensor) -> None:
        self.pixels.copy_(self.values(images, self.decorrelate))
