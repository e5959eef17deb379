"""Small images of one shape and one marker, drawn apart from each other, with the exact masks of both.

Shape and marker are each one of four, drawn independently, as are places, colours and the background. A network
trained to name the one therefore has no use for the other, and where its evidence lies is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.randomness import generator

SIZE = 32
KINDS = 4
SHAPES = ("disc", "ring", "square", "cross")
MARKERS = ("horizontal", "falling", "vertical", "rising")  # bars
RADIUS = (5.0, 7.0)
REACH = 1.3  # the farthest point of any shape, in radii
BAR = 3.5, 1.1  # half of length and width of a marker, in pixels
CONTRAST = 0.5  # distance in RGB wanted between an object and the background
CANDIDATES = 32


@dataclass(frozen=True)
class Scenes:
    """Labelled images.

    Attributes:
        images: RGB in [0, 1], (N, 3, 32, 32).
        labels: class indices by what they name, ``shape`` or ``marker``, (N,) each.
        masks: true where the object covers more than half of a pixel, by the same names, (N, 32, 32) each.
    """

    images: Tensor
    labels: dict[str, Tensor]
    masks: dict[str, Tensor]


def scenes(count: int, seed: int, split: str) -> Scenes:
    """`count` scenes of a split; the same arguments give the same. Any four neighbours hold each shape once."""
    source = generator(seed, f"scenes {split}")

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=source, dtype=torch.float32)

    shape = torch.arange(count) % KINDS
    marker = torch.randint(KINDS, (count,), generator=source)
    ground = uniform(0.1, 0.9, 3)
    waves = functional.interpolate(uniform(-0.15, 0.15, 3, 5, 5), size=[SIZE, SIZE], mode="bilinear")
    images = ground[:, :, None, None] + waves + uniform(-0.06, 0.06, 3, SIZE, SIZE)

    radius = uniform(*RADIUS)
    margin = REACH * radius[:, None] + 0.5
    centre = margin + uniform(0, 1, 2) * (SIZE - 2 * margin)
    y, x = _turned(centre, uniform(0, 2 * pi))
    coverage = {"shape": _coverage(_outlines(y, x, radius[:, None, None]), shape)}

    places = BAR[0] + 1 + uniform(0, 1, CANDIDATES, 2) * (SIZE - 2 * BAR[0] - 2)
    apart = (places - centre[:, None]).norm(dim=2) - REACH * radius[:, None] - BAR[0] - 1
    first = apart.clamp(max=0).argmax(1)  # the first that is apart, else the farthest
    y, x = _turned(places[torch.arange(count), first], marker * (pi / 4))
    bar = torch.maximum(x.abs() - BAR[0], y.abs() - BAR[1])
    coverage["marker"] = (0.5 - bar).clamp(0, 1)

    for covered in coverage.values():
        paint = _paint(ground, uniform(0, 1, CANDIDATES, 3))[:, :, None, None]
        images = covered[:, None] * paint + (1 - covered[:, None]) * images
    masks = {name: covered > 0.5 for name, covered in coverage.items()}
    return Scenes(images.clamp(0, 1), {"shape": shape, "marker": marker}, masks)


def _turned(centre: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (y, x) of all pixels, (N, 32, 32) each, in frames moved to centres, (N, 2), and turned."""
    line = torch.arange(SIZE) + 0.5
    y, x = line[:, None] - centre[:, 0, None, None], line - centre[:, 1, None, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * y - sine * x, sine * y + cosine * x


def _outlines(y: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """Distance to the edge of each of `SHAPES`, negative inside, (4, N, 32, 32)."""
    away = torch.hypot(y, x)
    longer, shorter = torch.maximum(y.abs(), x.abs()), torch.minimum(y.abs(), x.abs())
    cross = torch.maximum(longer - 1.2 * radius, shorter - 0.4 * radius)
    return torch.stack([away - radius, (away - 0.8 * radius).abs() - 0.3 * radius, longer - 0.9 * radius, cross])


def _coverage(distances: Tensor, kind: Tensor) -> Tensor:
    """How much of each pixel is inside of the outline that each image has, (N, 32, 32)."""
    return (0.5 - distances[kind, torch.arange(len(kind))]).clamp(0, 1)


def _paint(ground: Tensor, candidates: Tensor) -> Tensor:
    """The first of the colours that differs enough from the ground, else the one that differs most, (N, 3)."""
    best = (candidates - ground[:, None]).norm(dim=2).clamp(max=CONTRAST).argmax(1)
    return candidates[torch.arange(len(ground)), best]
