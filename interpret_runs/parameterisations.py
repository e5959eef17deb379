"""Images as parameters, in one basis or another: modules called with nothing that return RGB in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

import torch
from torch import Tensor, nn

from interpret_runs.image_statistics import ImageStatistics
from interpret_runs.parameterisation import Basis, Parameterisation, SizeFree
from interpret_runs.resampling import resized
from interpret_runs.size import Size, height_and_width

# Numbers of a layer of `Cppn` that are made at once on a CPU, whose cache then holds them until the next layer reads
# them, and the fewest pixels that are worth a part.
CACHED, FEWEST = 400_000, 1024


def fall_off(statistics: ImageStatistics, size: tuple[int, int], decay: float) -> Tensor:
    """How far one unit of each coefficient reaches, (3, H, W // 2 + 1): the spectrum of photographs, ``**decay``."""
    magnitude = statistics.spectrum(size)
    law = ImageStatistics(statistics.colour).spectrum(size)
    magnitude *= law.square().mean().sqrt() / magnitude.square().mean().sqrt()
    # What photographs lack stays within reach. Lucid divides by 4, which keeps the first steps out of the sigmoid's
    # flat parts.
    return magnitude.clamp(min=1e-6 * float(magnitude.max())).pow(decay) / 4


def waves(spectrum: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Unbounded values (B, C, H, W) of a spectrum (B, C, H, W // 2 + 1, 2), real and imaginary, times `scale`."""
    values: Tensor = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=size, norm="ortho")
    return values


class Fourier(Basis):
    """Spectrum scaled as in photographs, ``1 / frequency**decay``, so low frequencies move first (Olah et al., 2017).

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
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < inf:
            raise ValueError(f"parameterisation.decay is {decay!r}; it must be a number from 0 on")
        self.register_buffer("scale", fall_off(self.statistics, self.size, decay))
        self.decorrelate = decorrelate
        self.spectrum = nn.Parameter(std * self.start(*self.scale.shape, 2))

    def forward(self) -> Tensor:
        return self.rgb(waves(self.spectrum, self.scale, self.size), self.decorrelate)

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


class Laplacian(Basis):
    """Sum of levels, each enlarged bilinearly to the image; level k has ``ceil(side / 2**k)`` values a side.

    What is coarse lies on several levels at once and so moves faster than what is fine (Burt and Adelson, 1983).

    Args:
        levels: how many, from 1 on; 1 is `Pixel`.
        std: spread of the initial values of each level around mid-grey.
        decorrelate: hold colours in decorrelated axes.
    """

    def __init__(
        self,
        size: Size = 128,
        images: int = 1,
        levels: int = 4,
        std: float = 0.01,
        decorrelate: bool = True,
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise ValueError(f"parameterisation.levels is {levels!r}; it must be a whole number from 1 on")
        self.decorrelate = decorrelate
        self.levels = nn.ParameterList()
        for level in range(levels):
            height, width = (-(-side // 2**level) for side in self.size)
            self.levels.append(std * self.start(3, height, width, purpose=f"level {level}"))

    def forward(self) -> Tensor:
        finest, *coarser = self.levels
        return self.rgb(sum((resized(level, self.size) for level in coarser), start=finest), self.decorrelate)

    @torch.no_grad()
    def hold(self, images: Tensor) -> None:
        for level in self.levels:
            level.zero_()
        self.levels[0].copy_(self.values(images, self.decorrelate))


class Cppn(SizeFree):
    """A small network for each image, from a pixel's place to its colour (Stanley, 2007; Mordvintsev et al., 2018).

    Places go from -sqrt(3) to sqrt(3) along the longer side. Each of `layers` maps a pixel's values linearly to
    `channels` numbers, of which it returns ``a / 0.67`` and ``(a**2 - 0.45) / 0.396`` with ``a = arctan``; a
    last linear map, zero at the start, gives the colour. So every image starts mid-grey. Best with transform=none.

    Args:
        layers: of the network, from 1 on, the last map apart.
        channels: of each layer, from 1 on.
        rate: weights are `rate` times the parameters, which start accordingly larger. So the step that suits
            images, 0.05 with Adam, moves weights by 0.005.
        decorrelate: let the network give colours in decorrelated axes; without, `statistics` have no effect.
    """

    grid: Tensor

    def __init__(
        self,
        size: Size = 128,
        images: int = 1,
        layers: int = 8,
        channels: int = 24,
        rate: float = 0.1,
        decorrelate: bool = False,
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        for name, value in (("layers", layers), ("channels", channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"parameterisation.{name} is {value!r}; it must be a whole number from 1 on")
        self.rate = _positive("rate", rate)
        self.decorrelate = decorrelate
        # Each layer keeps sum, arctan and its square, of every channel, for the backward pass.
        self.copies += channels * (layers + 1)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, inputs in enumerate([2] + [2 * channels] * (layers - 1)):
            weight = self.start(channels, inputs, purpose=f"weight {layer}") / sqrt(inputs)
            self.weights.append(weight / rate)
            self.biases.append(self.start(channels, 1, purpose=f"bias {layer}") * (0.1 / rate))
        count = len(self.weights[0])
        self.weights.append(torch.zeros(count, 3, 2 * channels))
        self.biases.append(torch.zeros(count, 3, 1))
        self.register_buffer("grid", _places(self.size), persistent=False)

    def forward(self) -> Tensor:
        return self._at(self.grid, self.size)

    def render(self, size: Size, image: int) -> Tensor:
        own = height_and_width(size)
        return self._at(_places(own).to(self.grid), own, slice(image, image + 1))

    def _at(self, places: Tensor, size: tuple[int, int], images: slice = slice(None)) -> Tensor:
        first, *later = (self.rate * weight[images] for weight in self.weights)
        shift, *shifts = (self.rate * bias[images] for bias in self.biases)
        layers = [_of_arctangents(weight, bias) for weight, bias in zip(later, shifts, strict=True)]
        count, channels, _ = first.shape
        at_once = max(FEWEST, CACHED // (count * channels)) if places.device.type == "cpu" else places.shape[1]
        painted = []
        for part in torch.split(places, at_once, 1):
            values = torch.baddbmm(shift, first, part.expand(count, -1, -1))
            for linear, quadratic, bias in layers:
                values = values.atan()
                values = torch.baddbmm(torch.baddbmm(bias, linear, values), quadratic, values.square())
            painted.append(values)
        return self.rgb(torch.cat(painted, 2).reshape(-1, 3, *size), self.decorrelate)


class Maco(Parameterisation):
    """Magnitudes as in photographs, fixed; phases free (MaCo, Fel et al., 2023).

    ``sigmoid(colour @ standardised(irfft2(magnitude * exp(i * phase))))``: each image has mean 0 and standard
    deviation 1 before colour and sigmoid. Phases start uniform; a coefficient that in a real image is the conjugate
    of another takes its phase from it. So magnitudes stay as they are, in proportion, but for those that a real
    image has no phase for.

    Args:
        rate: phases, in radians, are `rate` times the parameters, which start accordingly smaller. So the step that
            suits images, 0.05 with Adam, turns phases by up to a quarter of a radian, which 128 steps need (the paper:
            1 radian, NAdam, 256 steps).
        decorrelate: hold colours in decorrelated axes, as the paper does.
    """

    magnitude: Tensor
    paired: Tensor

    def __init__(
        self,
        size: Size = 128,
        images: int = 1,
        rate: float = 5.0,
        decorrelate: bool = True,
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        self.rate = _positive("rate", rate)
        self.decorrelate = decorrelate
        magnitude = self.statistics.spectrum(self.size)
        self.register_buffer("magnitude", magnitude / magnitude.square().mean().sqrt())
        self.register_buffer("paired", _paired(self.size), persistent=False)
        # The angle of two normal numbers is uniform; a normal phase would leave an impulse in a corner.
        angle = torch.view_as_complex(self.start(*magnitude.shape, 2)).angle()
        self.phase = nn.Parameter(angle / self.rate)

    def forward(self) -> Tensor:
        phase = self.rate * self.phase
        phase = phase - self.paired * phase.flip(2).roll(1, 2)
        values = torch.fft.irfft2(torch.polar(self.magnitude.expand_as(phase), phase), s=self.size, norm="ortho")
        values = values - values.mean((1, 2, 3), keepdim=True)
        # A picture of one pixel may have no spread.
        spread = (values.square().mean((1, 2, 3), keepdim=True) + 1e-12).sqrt()
        return self.rgb(values / spread, self.decorrelate)


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"parameterisation.{name} is {value!r}; it must be a number above 0")
    return value


def _of_arctangents(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer after `Cppn`'s numbers ``a / 0.67``, ``(a**2 - 0.45) / 0.396`` as one after ``a`` and ``a**2``, and bias.

    So numbers are scaled and moved where they are few, and not at every pixel.
    """
    linear, quadratic = weight.chunk(2, 2)
    linear, quadratic = linear / 0.67, quadratic / 0.396
    return linear, quadratic, bias - 0.45 * quadratic.sum(2, keepdim=True)


def _places(size: tuple[int, int]) -> Tensor:
    """x and y of every pixel's centre, (2, H * W); the edges of the longer side lie at -sqrt(3) and sqrt(3)."""
    down, across = (torch.arange(1.0 - side, side, 2) * (sqrt(3) / max(size)) for side in size)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])


def _paired(size: tuple[int, int]) -> Tensor:
    """Where `rfft2` holds both a coefficient and its conjugate, in another row, (H, W // 2 + 1): 1 there, else 0."""
    height, width = size
    rows, columns = torch.arange(height)[:, None], torch.arange(width // 2 + 1)
    return ((2 * rows % height != 0) & (2 * columns % width == 0)).float()
