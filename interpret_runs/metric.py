"""What a metric of maps is, and what it looks at."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from interpret_runs.activations import Activations
from interpret_runs.attribution import Attribution
from interpret_runs.objective import Objective
from interpret_runs.scoring import activations, frozen
from interpret_runs.variants import Make, scores_of


@dataclass(frozen=True)
class Explained:
    """A batch of explained images.

    Attributes:
        images: RGB in [0, 1], (B, 3, H, W), on the model's device.
        rows: the unit of a stacked `objective` that image i is explained for, (B,).
        maps: raw and signed, (B, H, W).
        masks: true on what the objective is about, (B, H, W); None where nobody knows.
        known: which images have a mask, (B,); all by default.
        seen: what the network says of the images, where that is known: scores of them then cost no pass.

    Raises:
        ValueError: maps or masks that are not one an image, of its size.
    """

    model: nn.Module
    objective: Objective
    images: Tensor
    rows: Tensor
    maps: Tensor
    method: Attribution
    masks: Tensor | None = None
    known: Tensor | None = None
    seen: Activations | None = None

    def __post_init__(self) -> None:
        count, _, height, width = self.images.shape
        for name, values in (("maps", self.maps), ("masks", self.masks)):
            if values is not None and values.shape != (count, height, width):
                raise ValueError(
                    f"{name} are {_by(values.shape)}, but the images {_by(self.images.shape)}; "
                    f"{name} must be {_by((count, height, width))}"
                )


class Metric(ABC):
    """What maps are worth: numbers by the name of their index column, (B,) each, NaN where there is none.

    A number depends on its image, map, unit and the settings alone, not on the rest of the batch. The model is left
    as it was found.
    """

    @abstractmethod
    def __call__(self, explained: Explained) -> dict[str, Tensor]: ...


def ask(explained: Explained, count: int, make: Make, objective: Objective | None = None) -> Tensor:
    """The score of each of `count` variants of each image, (B, count), in pieces that fit into memory.

    Args:
        make: from the places of images and the numbers of variants, (n,) each, the variants, (n, 3, H, W).
        objective: what scores them; the explained one by default.
    """
    wanted = objective or explained.objective
    with frozen(explained.model):
        return scores_of(explained.model, wanted, explained.images, explained.rows, count, make)


def whole_scores(explained: Explained, objective: Objective | None = None) -> Tensor:
    """The score of each image, (B,); of the explained objective by default."""
    wanted, seen = objective or explained.objective, explained.seen
    if seen is None or wanted.sources or not wanted.layers <= seen.keys():
        return ask(explained, 1, lambda places, _: explained.images[places], wanted)[:, 0]
    with torch.no_grad():
        return wanted(Activations(seen, explained.rows, seen.image_size)).to(explained.images.dtype)


def scores_of_picture(explained: Explained, picture: Tensor) -> Tensor:
    """What one picture, (1, 3, H, W), scores with the unit of each image, (B,)."""
    objective, count = explained.objective, len(explained.rows)
    if objective.sources:
        return ask(explained, 1, lambda places, _: picture.expand(len(places), -1, -1, -1))[:, 0]
    with torch.no_grad(), frozen(explained.model):
        seen = activations(explained.model, objective, picture, None)
        shared = {name: outputs.expand(count, *outputs.shape[1:]) for name, outputs in seen.items()}
        return objective(Activations(shared, explained.rows, seen.image_size)).to(explained.images.dtype)


def refuse(metric: Metric, field: str, rule: str) -> ValueError:
    """The error of a setting that is not what it must be."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(metric).__name__).lower()
    return ValueError(f"metrics.{name}.{field} is {getattr(metric, field)!r}; it must be {rule}")


def check_counts(metric: Metric, *names: str) -> None:
    """Raise ValueError for the first of these fields that is not a whole number from 1 on."""
    for name in names:
        value = getattr(metric, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise refuse(metric, name, "a whole number from 1 on")


def check_numbers(metric: Metric, *names: str) -> None:
    """Raise ValueError for the first of these fields that is not a finite number from 0 on."""
    for name in names:
        value = getattr(metric, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and value >= 0):
            raise refuse(metric, name, "a finite number from 0 on")


def check_choice(metric: Metric, name: str, choices: Sequence[str]) -> None:
    """Raise ValueError where a field is none of `choices`."""
    if getattr(metric, name) not in choices:
        raise refuse(metric, name, f"one of {', '.join(choices)}")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
