"""What an attribution is, and the questions every method asks of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from math import isfinite
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from interpret_runs.objective import Objective
from interpret_runs.scoring import frozen, score
from interpret_runs.summary import ModelSummary


class Attribution(ABC):
    """A function of (model, objective, images) that returns one signed map per image.

    Images are RGB in [0, 1], (B, 3, H, W), on the model's device; maps are raw, (B, H, W). Image i is
    explained for unit ``rows[i]`` of a stacked objective, by default unit i. The model and the caller's
    images are left as they were. A map depends on its image, its unit and the settings alone: neither on the
    other images of the batch nor on how many fit into memory at once.
    """

    exact: ClassVar[bool] = False  # whether maps add up to the score, which half precision would spoil

    @abstractmethod
    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        """The maps of images that need no gradient of their caller, with a frozen model."""

    def __call__(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            rows = torch.arange(len(images), device=images.device)
        with torch.enable_grad(), frozen(model):
            return self.maps(model, objective, images.detach(), rows).detach()

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:  # noqa: B027  # most explain all
        """Raise LookupError where the method cannot explain `objective`; by a pass or two over (1, 3, H, W)."""

    def resolve(self, summary: ModelSummary) -> Self:
        """The same method with its layer, if it has one, as a dotted path."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **summary.resolve(values))  # type: ignore[type-var]

    def measure(
        self, model: nn.Module, objective: Objective, images: Tensor, maps: Tensor, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Numbers that tell whether the maps can be trusted, (B,) each; none for most methods."""
        return {}


def gradients(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
    """``d score_i / d image_i``, (B, 3, H, W): of the sum over the batch, as no score depends on another image."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        total = score(model, objective, images, rows).sum()
        gradient: Tensor | None = (
            torch.autograd.grad(total, images, allow_unused=True)[0] if total.requires_grad else None
        )
    return torch.zeros_like(images) if gradient is None else gradient


def scores(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
    """The score of each image, (B,), without a graph."""
    with torch.no_grad():
        return score(model, objective, images, rows)


def relative_error(maps: Tensor, gain: Tensor) -> Tensor:
    """How far the sum of each map is from the gain of its score, relative to that; NaN where only the gain is 0."""
    gap = (maps.flatten(1).sum(1) - gain).abs()
    return torch.where(gap == 0, 0, gap / gain.abs()).masked_fill((gain == 0) & (gap > 0), torch.nan)


def largest_colour(gradient: Tensor) -> Tensor:
    """Of the three numbers at each pixel, (B, 3, H, W), the one with the largest magnitude, (B, H, W)."""
    return gradient.gather(1, gradient.abs().argmax(1, keepdim=True)).squeeze(1)


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError where the setting `name` is not a whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"attribution.{name} is {value!r}; it must be a whole number from {least} on")


def check_number(name: str, value: object) -> None:
    """Raise ValueError where the setting `name` is not a finite number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and value >= 0):
        raise ValueError(f"attribution.{name} is {value!r}; it must be a finite number from 0 on")
