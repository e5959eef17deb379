"""What to look for: pure functions of named activations, one score per image, higher is better."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import torch
from torch import Tensor

from interpret_runs.activations import Activations, class_scores
from interpret_runs.objective import Objective
from interpret_runs.summary import OUTPUT
from interpret_runs.units import pick_channel, pick_direction, pick_place, pick_window

# A cosine is at least this where it is a factor, so that what points elsewhere has a gradient too.
LOWEST_COSINE = 0.1
# Added to lengths, so that a cosine is finite where nothing is active.
TINY = 1e-4


class OneLayer(Objective):
    """An objective that reads one layer."""

    layer: str

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({self.layer})


class LayerObjective(OneLayer):
    """An objective that reads one layer of one image; subclasses say how to score its activation on a grid."""

    def __call__(self, activations: Activations) -> Tensor:
        return self.score(activations.grid(self.layer), activations.rows)

    @abstractmethod
    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        """One score per image, (B,), from channels on a grid, (B, C, H, W)."""


@dataclass(frozen=True)
class Channel(LayerObjective):
    """Mean activation of one channel over all positions (Olah et al., 2017)."""

    units: ClassVar[tuple[str, ...]] = ("channel",)
    hidden: ClassVar[bool] = True
    layer: str
    channel: int | tuple[int, ...]

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        return pick_channel(activation, self.channel, rows).flatten(1).mean(1)


@dataclass(frozen=True)
class Neuron(LayerObjective):
    """Activation of one channel at one position: row and column on the layer's grid, its centre by default."""

    units: ClassVar[tuple[str, ...]] = ("channel", "row", "column")
    hidden: ClassVar[bool] = True
    layer: str
    channel: int | tuple[int, ...]
    row: int | None | tuple[int | None, ...] = None
    column: int | None | tuple[int | None, ...] = None

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        row, column = pick_place(activation, self.row, 2, rows), pick_place(activation, self.column, 3, rows)
        images = torch.arange(len(activation), device=activation.device)
        return pick_channel(activation, self.channel, rows)[images, row, column]


@dataclass(frozen=True)
class LocalGroup(LayerObjective):
    """Mean activation of one channel over a window of `height` x `width` positions.

    `row` and `column` are the window's centre on the layer's grid, by default the centre of the grid; an even
    window reaches one position further up or left of it than down or right.
    """

    units: ClassVar[tuple[str, ...]] = ("channel", "row", "column")
    hidden: ClassVar[bool] = True
    layer: str
    channel: int | tuple[int, ...]
    row: int | None | tuple[int | None, ...] = None
    column: int | None | tuple[int | None, ...] = None
    height: int = 3
    width: int = 3

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int) or side < 1:
                raise ValueError(f"objective.{name} is {side!r}; it must be a whole number from 1 on")

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        down = pick_window(activation, self.row, self.height, 2, rows).unsqueeze(-1)
        across = pick_window(activation, self.column, self.width, 3, rows).unsqueeze(-2)
        images = torch.arange(len(activation), device=activation.device).view(-1, 1, 1)
        return pick_channel(activation, self.channel, rows)[images, down, across].flatten(1).mean(1)


@dataclass(frozen=True)
class Layer(LayerObjective):
    """Mean of squares over a whole layer: DeepDream (Mordvintsev et al., 2015)."""

    hidden: ClassVar[bool] = True
    layer: str

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        return _energy(activation)


@dataclass(frozen=True)
class DeepDream(Objective):
    """Mean of squares over each of several layers, averaged over the layers (Mordvintsev et al., 2015).

    `paths` are names of layers, or one of them.
    """

    hidden: ClassVar[bool] = True
    paths: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", (self.paths,) if isinstance(self.paths, str) else tuple(self.paths))
        if not self.paths:
            raise ValueError("objective.paths names no layer; give one or more: objective.paths=[early,late]")

    @property
    def layers(self) -> frozenset[str]:
        return frozenset(self.paths)

    def __call__(self, activations: Activations) -> Tensor:
        return torch.stack([_energy(activations.grid(path)) for path in self.paths]).mean(0)


@dataclass(frozen=True)
class Direction(LayerObjective):
    """How far a layer goes in a direction of channel space, averaged over positions.

    ``mean(<a, v> * max(0.1, cos(a, v)) ** cosine_power)`` for the activations a and the direction v, one number
    per channel; its length scales the score. With power 0 it is the dot product; higher powers ask for the
    direction itself rather than for a large activation (Carter et al., 2019: power 2).
    """

    units: ClassVar[tuple[str, ...]] = ("direction",)
    layer: str
    direction: tuple[float, ...] | tuple[tuple[float, ...], ...]
    cosine_power: float = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _as_tuple(self.direction))
        check_power(self.cosine_power)

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        direction = pick_direction(activation, self.direction, rows)
        if self.cosine_power == 0:
            return (activation.flatten(2).mean(2) * direction).sum(1)
        return _along(activation.flatten(2), direction, self.cosine_power).mean(1)


@dataclass(frozen=True)
class NeuronDirection(LayerObjective):
    """`Direction` at one position: row and column on the layer's grid, its centre by default."""

    units: ClassVar[tuple[str, ...]] = ("direction", "row", "column")
    layer: str
    direction: tuple[float, ...] | tuple[tuple[float, ...], ...]
    row: int | None | tuple[int | None, ...] = None
    column: int | None | tuple[int | None, ...] = None
    cosine_power: float = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _as_tuple(self.direction))
        check_power(self.cosine_power)

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        row, column = pick_place(activation, self.row, 2, rows), pick_place(activation, self.column, 3, rows)
        images = torch.arange(len(activation), device=activation.device)
        there = activation[images, :, row, column].unsqueeze(2)
        return _along(there, pick_direction(activation, self.direction, rows), self.cosine_power).squeeze(1)


class ClassObjective(Objective):
    """An objective on the network's output; subclasses say how to score it."""

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({OUTPUT})

    def __call__(self, activations: Activations) -> Tensor:
        return self.score(class_scores(activations[OUTPUT]), activations.rows)

    @abstractmethod
    def score(self, output: Tensor, rows: Tensor | None) -> Tensor:
        """One score per image, (B,), from one number per class before any softmax, (B, K)."""


@dataclass(frozen=True)
class Logit(ClassObjective):
    """Output of one class before any softmax.

    `target` is an index, a label of the model, or ``top1``, ``top2``, ...: the class that the model ranks so for
    the image at hand (attribution only).
    """

    units: ClassVar[tuple[str, ...]] = ("target",)
    target: int | str | tuple[int, ...]

    def score(self, output: Tensor, rows: Tensor | None) -> Tensor:
        return _class(output, self.target, rows, "target")


@dataclass(frozen=True)
class Probability(ClassObjective):
    """Softmax probability of one class, 0 to 1; `target` as for `Logit`.

    It also rises when other classes fall, and hardly moves near 0 and 1: a logit makes the clearer image
    (Simonyan et al., 2014).
    """

    units: ClassVar[tuple[str, ...]] = ("target",)
    target: int | str | tuple[int, ...]

    def score(self, output: Tensor, rows: Tensor | None) -> Tensor:
        return _class(output.softmax(1), self.target, rows, "target")


@dataclass(frozen=True)
class Contrast(ClassObjective):
    """Logit of one class minus the logit of another: why `target` rather than `against`; each as for `Logit`."""

    units: ClassVar[tuple[str, ...]] = ("target", "against")
    target: int | str | tuple[int, ...]
    against: int | str | tuple[int, ...]

    def score(self, output: Tensor, rows: Tensor | None) -> Tensor:
        return _class(output, self.target, rows, "target") - _class(output, self.against, rows, "against")


def check_power(power: Any) -> None:
    """Raise ValueError where `cosine_power` is none."""
    if isinstance(power, bool) or not isinstance(power, (int, float)) or not (isfinite(power) and power >= 0):
        raise ValueError(f"objective.cosine_power is {power!r}; it must be a finite number from 0 on")


def by_cosine(product: Tensor, lengths: Tensor, power: float) -> Tensor:
    """``product * max(0.1, product / lengths) ** power``, for dot products and the products of the lengths."""
    return product * (product / lengths).clamp_min(LOWEST_COSINE) ** power if power else product


def _along(activation: Tensor, direction: Tensor, power: float) -> Tensor:
    """Dot products with a cosine as a factor, (B, positions), of (B, C, positions) and (C,) or (B, C)."""
    product = torch.einsum("bcp,bc->bp", activation, direction.expand(len(activation), -1))
    own = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    return by_cosine(product, (torch.linalg.vector_norm(activation, dim=1) + TINY) * (own + TINY), power)


def _energy(activation: Tensor) -> Tensor:
    return activation.square().flatten(1).mean(1)


def _class(output: Tensor, target: int | str | tuple[int, ...], rows: Tensor | None, noun: str) -> Tensor:
    if isinstance(target, str):
        raise ValueError(f"{noun} {target!r} is a name; call resolve() or for_images() first")
    return pick_channel(output[:, :, None, None], target, rows, "class").flatten(1).mean(1)


def _as_tuple(values: Any) -> Any:
    return tuple(_as_tuple(value) for value in values) if isinstance(values, (list, tuple)) else float(values)
