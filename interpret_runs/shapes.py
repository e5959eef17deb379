"""The embedded data set: procedural images of one textured shape, with the exact mask of the shape.

Twelve classes, four shapes times three textures, so an explanation can be checked against two known answers:
*where* the evidence is (the mask) and *what* it is (outline or texture). Nothing is downloaded or stored:
`draw(index, split)` makes the image.

An image is two layers. The background (1/f noise round one colour, with a distractor, a bar or a blob) is drawn
before the label is looked at; place, size, rotation and colours are drawn without it. Only outline and texture
therefore tell the class. All random numbers are uniform draws of the CPU's Mersenne Twister, which are the same
on every machine; what is computed from them agrees to float rounding.

Lengths are pixels, positions (y, x) of pixel centres with the origin at the image's upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import torch
from torch import Tensor

SIZE = 64
SPLITS = ("train", "test")
SHAPES = ("disc", "square", "triangle", "ring")
TEXTURES = ("plain", "striped", "checked")
CLASSES: tuple[str, ...] = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)

RADIUS = (14.0, 22.0)
REACH = 1.3  # the farthest point of any outline, in radii: every shape fits where any other does
PERIOD = (7.0, 10.0)  # one light and one dark stripe, or two cells of a check
CONTRAST = 0.5  # distance in RGB wanted between the two colours, and of each from the background
CANDIDATES = 32


@dataclass(frozen=True)
class Shape:
    """One labelled image.

    Attributes:
        image: (3, 64, 64) float32, RGB in [0, 1].
        mask: (64, 64) bool, true where the object covers more than half of the pixel (its centre is inside).
        label: index into `CLASSES`.
    """

    image: Tensor
    mask: Tensor
    label: int


def draw(index: int, split: str = "test") -> Shape:
    """Draw image `index` of a split; the same arguments give the same image, on any machine.

    Labels go round: ``label == index % 12``, so any 12 neighbours hold each class once.

    Raises:
        ValueError: `split` is neither "train" nor "test", or `index` is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; valid: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"index {index} is negative; images are numbered from 0")
    label = index % len(CLASSES)
    scene = _scene(label, _generator(index, split))
    return Shape(scene.image(), scene.mask(), label)


@dataclass(frozen=True)
class _Scene:
    """An image in layers: `paint` hides `background` in the proportion `coverage`.

    Attributes:
        background: (3, 64, 64) RGB in [0, 1], distractor included.
        paint: (3, 64, 64) RGB in [0, 1], the texture over the whole plane.
        coverage: (64, 64), the part of each pixel inside the outline.
    """

    background: Tensor
    paint: Tensor
    coverage: Tensor

    def image(self) -> Tensor:
        return self.coverage * self.paint + (1 - self.coverage) * self.background

    def mask(self) -> Tensor:
        return self.coverage > 0.5


def _scene(label: int, generator: torch.Generator) -> _Scene:
    """Draw the layers of one image. Every label draws the same numbers in the same order."""
    shape, texture = divmod(label, len(TEXTURES))
    ground = _uniform(generator, 0.1, 0.9, 3)
    background = _distractor(_noise(ground, generator), generator)
    first, second = _colours(ground, generator)

    radius = _number(generator, *RADIUS)
    margin = REACH * radius + 1
    centre = _number(generator, margin, SIZE - margin), _number(generator, margin, SIZE - margin)
    y, x = _rotated(*centre, _number(generator, 0, math.tau))
    coverage = (0.5 - _OUTLINES[SHAPES[shape]](y, x, radius)).clamp(0, 1)

    # The texture has its own angle and phase: stripes that always met the sides squarely would tell a square.
    y, x = _rotated(_number(generator, 0, SIZE), _number(generator, 0, SIZE), _number(generator, 0, math.tau))
    light = _TEXTURES[TEXTURES[texture]](y, x, _number(generator, *PERIOD))
    paint = first[:, None, None] * light + second[:, None, None] * (1 - light)
    return _Scene(background, paint, coverage)


def _generator(index: int, split: str) -> torch.Generator:
    """A generator of this image's own, keyed by a hash that does not vary between processes as `hash` does."""
    digest = sha256(f"{split}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))  # the Twister reads 32 bits


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _number(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


# --- the background ---------------------------------------------------------------------------------------------


@cache
def _pink() -> Tensor:
    """(64, 33) amplitudes 1/frequency of a half spectrum; the constant term is left out."""
    frequency = torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE)[None])
    frequency[0, 0] = math.inf
    return 1 / frequency


def _noise(ground: Tensor, generator: torch.Generator) -> Tensor:
    """Noise with a 1/f amplitude spectrum round the colour `ground`, standard deviation 0.04 to 0.12."""
    white = _uniform(generator, -0.5, 0.5, 3, SIZE, SIZE)
    field = torch.fft.irfft2(torch.fft.rfft2(white) * _pink(), s=(SIZE, SIZE))
    field = field / field.std((1, 2), keepdim=True) * _number(generator, 0.04, 0.12)
    noise: Tensor = (ground[:, None, None] + field).clamp(0, 1)
    return noise


def _distractor(background: Tensor, generator: torch.Generator) -> Tensor:
    """Lay a thin bar or a small blob of any colour on the background; it comes before, so behind, the object."""
    colour = _uniform(generator, 0, 1, 3)
    y, x = _rotated(_number(generator, 0, SIZE), _number(generator, 0, SIZE), _number(generator, 0, math.tau))
    bar = _number(generator, 0, 1) < 0.5
    length, width = _number(generator, 10, 24), _number(generator, 1, 1.8)
    if not bar:
        length, width = 0, 2 * width
    outside = torch.hypot(y, (x.abs() - length).clamp(min=0)) - width
    coverage = (0.5 - outside).clamp(0, 1)
    return coverage * colour[:, None, None] + (1 - coverage) * background


# --- the object -------------------------------------------------------------------------------------------------


def _colours(ground: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two colours, the first drawn that differ enough from each other and from `ground`, else the best drawn."""
    pairs = _uniform(generator, 0, 1, CANDIDATES, 2, 3)
    to_ground = (pairs - ground).norm(dim=2).amin(1)
    between = (pairs[:, 0] - pairs[:, 1]).norm(dim=1)
    first, second = pairs[torch.minimum(to_ground, between).clamp(max=CONTRAST).argmax()]
    return first, second


@cache
def _pixels() -> tuple[Tensor, Tensor]:
    """Pixel centres: a column of y, (64, 1), and a row of x, (1, 64)."""
    line = torch.arange(SIZE) + 0.5
    return line[:, None], line[None]


def _rotated(centre_y: float, centre_x: float, angle: float) -> tuple[Tensor, Tensor]:
    """Coordinates (y, x), each (64, 64), of all pixels in a frame moved to the centre and turned by `angle` radians."""
    y, x = _pixels()
    y, x = y - centre_y, x - centre_x
    return math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x


# Outlines: distance in pixels to the edge, negative inside. They hold areas of 2.2 to 3.2 radii squared.


def _disc(y: Tensor, x: Tensor, radius: float) -> Tensor:
    return torch.hypot(y, x) - radius


def _square(y: Tensor, x: Tensor, radius: float) -> Tensor:
    return torch.maximum(y.abs(), x.abs()) - 0.9 * radius


def _triangle(y: Tensor, x: Tensor, radius: float) -> Tensor:
    """Equilateral; the farthest corner is at `REACH`, twice as far as the nearest side."""
    sides = torch.maximum(-y, y / 2 + math.sqrt(0.75) * x.abs())
    return sides - REACH * radius / 2


def _ring(y: Tensor, x: Tensor, radius: float) -> Tensor:
    return (torch.hypot(y, x) - 0.8 * radius).abs() - 0.3 * radius


# Textures: the share of the first colour, smoothed over one pixel at the edges.


def _plain(y: Tensor, _x: Tensor, _period: float) -> Tensor:
    return torch.ones_like(y)


def _striped(_y: Tensor, x: Tensor, period: float) -> Tensor:
    """Stripes along y, each half a period wide: the distance to the nearest edge is a triangle wave of x."""
    return (0.5 + period / 4 - (x.remainder(period) - period / 2).abs()).clamp(0, 1)


def _checked(y: Tensor, x: Tensor, period: float) -> Tensor:
    rows, columns = _striped(x, y, period), _striped(y, x, period)
    return rows * columns + (1 - rows) * (1 - columns)


_OUTLINES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
}
_TEXTURES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
}
