"""What to look for in images that are compared: with the other images of their run, or with a picture."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.activations import Activations
from interpret_runs.objective import Compound, Objective
from interpret_runs.objectives import TINY, OneLayer, by_cosine, check_power
from interpret_runs.references import Source

FARTHEST_NEIGHBOUR = 4


class RunObjective(OneLayer):
    """Compares the images of each run with each other; subclasses say how.

    Raises, when called: ValueError where a run has one image (`parameterisation.images`).
    """

    def __call__(self, activations: Activations) -> Tensor:
        count = _images_of_a_run(activations, self)
        activation = activations.grid(self.layer)
        return self.compare(activation.reshape(-1, count, *activation.shape[1:])).flatten()

    @abstractmethod
    def compare(self, activation: Tensor) -> Tensor:
        """One score per image, (runs, images), from channels on a grid, (runs, images, C, H, W)."""


@dataclass(frozen=True)
class Diversity(RunObjective):
    """Minus the mean cosine similarity of an image's Gram matrix with those of the other images of its run.

    -1, all images have the same texture, to 0, nothing in common (Olah et al., 2017). The Gram matrix holds, for
    each two channels, the mean over positions of their product.
    """

    layer: str

    def compare(self, activation: Tensor) -> Tensor:
        grams = functional.normalize(_gram(activation), dim=2)
        similar = grams @ grams.mT
        return (similar.diagonal(dim1=1, dim2=2) - similar.sum(2)) / (similar.shape[1] - 1)


@dataclass(frozen=True)
class Alignment(RunObjective):
    """Minus the squared difference between neighbours in a run, 0 at best: what they share stays in its place.

    An image has neighbours at distance d = 1 to 4 before and behind it; each adds the mean squared difference of the
    two activations, divided by 2^d and shared by the two images (Mordvintsev et al., 2018). Goes with `Interpolation`.
    """

    layer: str

    def compare(self, activation: Tensor) -> Tensor:
        values = activation.flatten(2)
        total = values.new_zeros(values.shape[:2])
        for distance in range(1, min(FARTHEST_NEIGHBOUR, values.shape[1] - 1) + 1):
            halves = (values[:, distance:] - values[:, :-distance]).square().mean(2) / 2 ** (distance + 1)
            total = total + functional.pad(halves, (distance, 0)) + functional.pad(halves, (0, distance))
        return -total


@dataclass(frozen=True)
class Interpolation(Compound):
    """From one objective to another along the images of a run: image j of k scores ``(1 - t) * first + t * last``.

    t = j / (k - 1), from 0 for the first image to 1 for the last (Olah et al., 2017).

    Raises, when called: ValueError where a run has one image (`parameterisation.images`).
    """

    first: Objective
    last: Objective

    def __call__(self, activations: Activations) -> Tensor:
        count = _images_of_a_run(activations, self)
        first, last = self.first(activations), self.last(activations)
        way = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device)
        return torch.lerp(first, last, way.repeat(len(first) // count))


class PictureObjective(OneLayer):
    """Compares each image with a picture, as one layer sees them under the same transform; subclasses say how."""

    units: ClassVar[tuple[str, ...]] = ("source",)
    source: Source

    def __call__(self, activations: Activations) -> Tensor:
        return self.compare(activations.grid(self.layer), activations.of(self.source).grid(self.layer))

    @abstractmethod
    def compare(self, activation: Tensor, wanted: Tensor) -> Tensor:
        """One score per image, (B,), from its activation and the picture's, both (B, C, H, W)."""


@dataclass(frozen=True)
class Caricature(PictureObjective):
    """More of what a layer sees in a picture: ``d * max(0.1, cos(a, p)) ** cosine_power``, d = <a, p> / |p|^2.

    a and p are all activations of the image and of the picture. The picture itself scores 1 at any size and
    layer; there is no upper end (as in Lucid). Higher powers keep closer to the picture.
    """

    layer: str
    source: Source
    cosine_power: float = 1

    def __post_init__(self) -> None:
        check_power(self.cosine_power)

    def compare(self, activation: Tensor, wanted: Tensor) -> Tensor:
        activation, wanted = _relative(activation, wanted)
        lengths = torch.linalg.vector_norm(activation, dim=1) + TINY  # the picture's is 1
        return by_cosine((activation * wanted).sum(1), lengths, self.cosine_power)


@dataclass(frozen=True)
class Inversion(PictureObjective):
    """What a layer keeps of a picture: ``-|a - p|^2 / |p|^2`` (Mahendran and Vedaldi, 2015), 0 at best."""

    layer: str
    source: Source

    def compare(self, activation: Tensor, wanted: Tensor) -> Tensor:
        return _likeness(activation, wanted)


@dataclass(frozen=True)
class Style(PictureObjective):
    """A picture's texture wherever it is: ``-|G - P|^2 / |P|^2`` for Gram matrices G and P (Gatys et al., 2016).

    0 at best. A Gram matrix holds, for each two channels, the mean over positions of their product. For the
    style of several layers, add one objective per layer.
    """

    layer: str
    source: Source

    def compare(self, activation: Tensor, wanted: Tensor) -> Tensor:
        return _likeness(_gram(activation), _gram(wanted))


@dataclass(frozen=True)
class ActivationDifference(PictureObjective):
    """How differently a layer sees an image and a picture: the mean of ``|a - p|``, from 0 on."""

    layer: str
    source: Source

    def compare(self, activation: Tensor, wanted: Tensor) -> Tensor:
        return (activation - wanted).abs().flatten(1).mean(1)


def _images_of_a_run(activations: Activations, objective: Objective) -> int:
    if activations.images < 2:
        name = type(objective).__name__.lower()
        raise ValueError(f"{name} compares the images of a run: parameterisation.images=4")
    return activations.images


def _gram(activation: Tensor) -> Tensor:
    """Mean over positions of the products of each two channels, (..., C * C) of (..., C, H, W)."""
    channels = activation.flatten(-2)
    return (channels @ channels.mT / channels.shape[-1]).flatten(-2)


def _relative(activation: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Both as vectors, (B, n), in units of the second's length."""
    activation, wanted = activation.flatten(1), wanted.flatten(1)
    length = torch.linalg.vector_norm(wanted, dim=1, keepdim=True).clamp_min(1e-12)
    return activation / length, wanted / length


def _likeness(activation: Tensor, wanted: Tensor) -> Tensor:
    activation, wanted = _relative(activation, wanted)
    return -(activation - wanted).square().sum(1)
