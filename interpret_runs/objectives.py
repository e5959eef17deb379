"""What to look for: pure functions of named activations, one score per image, higher is better."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from interpret_runs.activations import Activations, class_scores
from interpret_runs.objective import Objective
from interpret_runs.summary import OUTPUT, PIXELS


class LayerObjective(Objective):
    """An objective that reads one layer; subclasses say how to score its activation on a grid."""

    layer: str

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        return self.score(activations.grid(self.layer), activations.rows)

    @abstractmethod
    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        """One score per image, (B,), from channels on a grid, (B, C, H, W)."""


@dataclass(frozen=True)
class Channel(LayerObjective):
    """Mean activation of one channel over all positions (Olah et al., 2017)."""

    units: ClassVar[tuple[str, ...]] = ("channel",)
    layer: str
    channel: int | tuple[int, ...]

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        return _channel(activation, self.channel, rows).flatten(1).mean(1)


@dataclass(frozen=True)
class Neuron(LayerObjective):
    """Activation of one channel at one position: row and column on the layer's grid, its centre by default."""

    units: ClassVar[tuple[str, ...]] = ("channel", "row", "column")
    layer: str
    channel: int | tuple[int, ...]
    row: int | None | tuple[int | None, ...] = None
    column: int | None | tuple[int | None, ...] = None

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        height, width = activation.shape[2:]
        row = _pick(_position(self.row, height, "row"), rows, activation)
        column = _pick(_position(self.column, width, "column"), rows, activation)
        images = torch.arange(len(activation), device=activation.device)
        return _channel(activation, self.channel, rows)[images, row, column]


@dataclass(frozen=True)
class Layer(LayerObjective):
    """Mean of squares over a whole layer: DeepDream (Mordvintsev et al., 2015)."""

    layer: str

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        return activation.square().flatten(1).mean(1)


@dataclass(frozen=True)
class Direction(LayerObjective):
    """Dot product with a direction in channel space, averaged over positions.

    `direction` has one number per channel; its length scales the score.
    """

    units: ClassVar[tuple[str, ...]] = ("direction",)
    layer: str
    direction: tuple[float, ...] | tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _as_tuple(self.direction))

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        direction = _table(self.direction, activation.device, activation.dtype)
        if direction.shape[-1] != activation.shape[1]:
            raise ValueError(
                f"direction has {direction.shape[-1]} numbers; the layer has {activation.shape[1]} channels"
            )
        if direction.ndim == 2:
            direction = direction[_rows(rows, len(direction), activation)]
        return (activation.flatten(2).mean(2) * direction).sum(1)


@dataclass(frozen=True)
class Logit(Objective):
    """Output of one class before any softmax.

    `target` is an index, a label of the model, or ``top1``: the class that the model ranks first for
    the image at hand (attribution only).
    """

    units: ClassVar[tuple[str, ...]] = ("target",)
    target: int | str | tuple[int, ...]

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({OUTPUT})

    def __call__(self, activations: Activations) -> Tensor:
        if isinstance(self.target, str):
            raise ValueError(f"target {self.target!r} is a name; call resolve() or for_images() first")
        output = class_scores(activations[OUTPUT])[:, :, None, None]
        return _channel(output, self.target, activations.rows, "class").flatten(1).mean(1)


class PixelObjective(Objective):
    """An objective on the pixels alone, before any transform reaches the network."""

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({PIXELS})


@dataclass(frozen=True)
class TotalVariation(PixelObjective):
    """Mean over pixels and channels of the absolute differences to the right and lower neighbours."""

    def __call__(self, activations: Activations) -> Tensor:
        images = activations[PIXELS]
        across = images.diff(dim=3).abs().flatten(1).sum(1)
        down = images.diff(dim=2).abs().flatten(1).sum(1)
        return (across + down) / images[0].numel()


@dataclass(frozen=True)
class L2(PixelObjective):
    """Root of the mean squared difference from mid-grey, 0.5."""

    def __call__(self, activations: Activations) -> Tensor:
        # The tiny constant keeps the gradient finite on an image that is exactly grey.
        return ((activations[PIXELS] - 0.5).square().flatten(1).mean(1) + 1e-12).sqrt()


def _as_tuple(values: Any) -> Any:
    return tuple(_as_tuple(value) for value in values) if isinstance(values, (list, tuple)) else float(values)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve later passes that need gradients
def _table(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def _rows(rows: Tensor | None, count: int, activation: Tensor) -> Tensor:
    if rows is not None:
        return rows.to(activation.device)
    if count != len(activation):
        raise ValueError(f"{count} units for {len(activation)} images; say with rows= which image takes which unit")
    return torch.arange(count, device=activation.device)


def _pick(value: int | tuple[int, ...], rows: Tensor | None, activation: Tensor) -> Tensor | int:
    """The unit of each image: `value` itself, or the entry that its row names."""
    if isinstance(value, int):
        return value
    return _table(value, activation.device, torch.long)[_rows(rows, len(value), activation)]


def _channel(activation: Tensor, channel: int | tuple[int, ...], rows: Tensor | None, noun: str = "channel") -> Tensor:
    """One channel of each image, (B, H, W): a single gather, whatever the number of units."""
    for wanted in channel if isinstance(channel, tuple) else (channel,):
        if not 0 <= wanted < activation.shape[1]:
            raise LookupError(f"{noun} {wanted} is out of range: there are {activation.shape[1]}, counted from 0")
    picked = _pick(channel, rows, activation)
    if isinstance(picked, int):
        return activation[:, picked]
    return activation[torch.arange(len(activation), device=activation.device), picked]


def _position(value: Any, size: int, noun: str) -> int | tuple[int, ...]:
    """A row or column with None as the centre; LookupError outside of the grid."""
    values = value if isinstance(value, tuple) else (value,)
    places = tuple(size // 2 if place is None else place for place in values)
    for place in places:
        if not 0 <= place < size:
            raise LookupError(f"{noun} {place} is out of range: the layer has {size}, counted from 0")
    return places if isinstance(value, tuple) else places[0]
