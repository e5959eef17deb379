"""Images made of other parameterisations' parts: ones that start at a picture, are transparent, or share a part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from interpret_runs import photographs
from interpret_runs.images import ImageSet, to_tensor
from interpret_runs.parameterisation import Basis, Parameterisation
from interpret_runs.parameterisations import Fourier, Pixel, fall_off, waves
from interpret_runs.preprocessing import Preprocessing
from interpret_runs.randomness import generator, noise
from interpret_runs.size import Size

# Spread of unbounded values that, through colours and sigmoid, gives RGB the spread it has in photographs, about 0.23.
PHOTOGRAPHIC = 2.0


class Image(Parameterisation):
    """Starts at a picture, which covers the image and is cropped at its centre.

    Args:
        source: the picture, or one for each run.
        space: ``fourier`` or ``pixel``: what holds the image.
        mask: an image file of the image's size: white may change, black stays as in the picture, grey in between.
        std: spread of what is added to the picture's parameters; with 0 all images of a run start equal.
        decay: of `Fourier`; without effect in ``pixel``.
        decorrelate: hold colours in decorrelated axes.

    Raises:
        ValueError: another `space`, a mask of another size, or not one picture for each run. Also what `source`
            and `photographs.read` raise.
    """

    picture: Tensor
    mask: Tensor | None

    def __init__(
        self,
        source: ImageSet | Sequence[ImageSet],
        space: str = "fourier",
        mask: str | None = None,
        size: Size = 128,
        images: int = 1,
        std: float = 0.0,
        decay: float = 1.0,
        decorrelate: bool = True,
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        if space == "fourier":
            self.inner: Basis = Fourier(self.size, images, decay, std, decorrelate, statistics, seeds)
        elif space == "pixel":
            self.inner = Pixel(self.size, images, std, decorrelate, statistics, seeds)
        else:
            raise ValueError(f"parameterisation.space is {space!r}; it is fourier or pixel")
        self.register_buffer("picture", self._pictures(source))
        self.register_buffer("mask", None if mask is None else _mask(mask, self.size))
        added = [parameter.detach().clone() for parameter in self.inner.parameters()]
        self.inner.hold(self.picture)
        with torch.no_grad():
            for parameter, start in zip(self.inner.parameters(), added, strict=True):
                parameter.add_(start)

    def forward(self) -> Tensor:
        made: Tensor = self.inner()
        return made if self.mask is None else torch.lerp(self.picture, made, self.mask)

    def _pictures(self, source: ImageSet | Sequence[ImageSet]) -> Tensor:
        """The picture of each image, (runs * images, 3, H, W)."""
        sources = [source] * len(self.seeds) if isinstance(source, ImageSet) else list(source)
        if len(sources) != len(self.seeds):
            raise ValueError(f"parameterisation.source is {len(sources)} pictures for {len(self.seeds)} runs")
        preprocessing = Preprocessing(self.size, min(self.size))
        return torch.stack([one(preprocessing).pixels for one in sources]).repeat_interleave(self.images, 0)


class Rgba(Parameterisation):
    """Transparent images: `Fourier` colours, and an opacity made in the same way, over random backgrounds.

    At each step of an optimisation every image lies over coloured noise of its own, with the spectrum and about
    the spread of photographs; outside of one, over mid-grey. So what does not matter to the objective can become
    transparent, and will where the objective is multiplied by ``transparency`` (Mordvintsev et al., 2018). Calling
    sets `opacity` and `straight`.

    Args:
        decay: 0 is white, 1 like natural images. At least 0.
        std: spread of the initial spectrum; 0 starts from flat grey, half transparent.
        decorrelate: hold colours in decorrelated axes.
    """

    scale: Tensor
    spread: Tensor
    keys: Tensor

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
        self.decorrelate = decorrelate
        scale = fall_off(self.statistics, self.size, decay)
        self.register_buffer("scale", torch.cat([scale, scale[:1]]))
        self.spectrum = nn.Parameter(std * self.start(*self.scale.shape, 2))
        spectrum = self.statistics.spectrum(self.size)
        self.register_buffer("spread", PHOTOGRAPHIC / 2**0.5 * spectrum / spectrum.square().mean().sqrt())
        draws = [torch.randint(2**32, (images,), generator=generator(seed, "background")) for seed in self.seeds]
        self.register_buffer("keys", torch.cat(draws))

    def forward(self) -> Tensor:
        values = waves(self.spectrum, self.scale, self.size)
        colours, opacity = self.rgb(values[:, :3], self.decorrelate), values[:, 3:].sigmoid()
        self.straight, self.opacity = colours.detach(), opacity
        return torch.lerp(self._background(colours), colours, opacity)

    def _background(self, images: Tensor) -> Tensor:
        if self.step is None:
            return torch.full_like(images, 0.5)
        # Steps are an odd number apart, so that no two of an image come to the same key.
        drawn = noise(self.keys + 0x9E3779B1 * self.step, (*self.spread.shape, 2)).to(images.dtype)
        return self.rgb(waves(drawn, self.spread, self.size), decorrelate=True)


class Shared(Parameterisation):
    """The images of a run share a part: spectrum i is ``share * common + (1 - share) * own[i]``, as in `Fourier`.

    So what they show is aligned, and they can go from one to the next (Mordvintsev et al., 2018).

    Args:
        share: from 0, as many separate `Fourier` images, to 1, the same image as often.
        decay: 0 is white, 1 like natural images. At least 0.
        std: spread of the initial spectra; 0 starts from flat grey.
        decorrelate: hold colours in decorrelated axes.
    """

    scale: Tensor

    def __init__(
        self,
        size: Size = 128,
        images: int = 2,
        share: float = 0.5,
        decay: float = 1.0,
        std: float = 0.01,
        decorrelate: bool = True,
        statistics: str | None = None,
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(size, images, statistics, seeds)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ValueError(f"parameterisation.share is {share!r}; it must be a number from 0 to 1")
        self.share, self.decorrelate = share, decorrelate
        self.register_buffer("scale", fall_off(self.statistics, self.size, decay))
        shape = (*self.scale.shape, 2)
        self.common = nn.Parameter(std * self.start(*shape, purpose="common")[::images].contiguous())
        self.own = nn.Parameter(std * self.start(*shape))

    def forward(self) -> Tensor:
        spectrum = self.common.repeat_interleave(self.images, 0).lerp(self.own, 1 - self.share)
        return self.rgb(waves(spectrum, self.scale, self.size), self.decorrelate)


def _mask(file: str, size: tuple[int, int]) -> Tensor:
    """Brightness of an image file, (1, H, W) in [0, 1]."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"no mask {file!r}; give an image file: parameterisation.mask=FILE")
    photo = photographs.read(file)
    if (photo.height, photo.width) != size:
        sizes = f"{photo.height}x{photo.width} pixels high and wide, the image {size[0]}x{size[1]}"
        way_out = f"make both equal, as with parameterisation.size=[{photo.height},{photo.width}]"
        raise ValueError(f"parameterisation.mask is {sizes}; {way_out}")
    return to_tensor(photo.convert("L"))[:1]
