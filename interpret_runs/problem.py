"""Questions to which the right answer is known, for maps to be measured by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from interpret_runs.attribution import Attribution
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.trained import Trained


@dataclass(frozen=True)
class Question:
    """Images for one network, and what is asked of each.

    Attributes:
        name: tells the questions of a problem apart.
        objective: unit i is what image i is explained for.
        images: RGB in [0, 1], (B, 3, H, W), on the model's device.
        truth: what right maps show, first axis B; what it means is the problem's own.
        trained: where the network comes from, if it is trained.
    """

    name: str
    model: VisionModel
    objective: Objective
    images: Tensor
    truth: Tensor
    trained: Trained | None = None

    def to(self, device: torch.device) -> Question:
        """The same question on a device, to which its model moves."""
        return replace(self, model=self.model.to(device), images=self.images.to(device), truth=self.truth.to(device))


class Problem(ABC):
    """A benchmark of attribution methods with a known truth.

    What it asks depends on its settings and the seed alone, of which images, networks and their training are drawn.
    All its networks have the same layers, of which ``late`` is the last convolutional stage.

    `higher` tells of each kind of measure whether more is better. `one_draw` tells that a stochastic method must draw
    the same for all images, as measures ask it again; else it gets a seed for each image.
    """

    higher: ClassVar[Mapping[str, bool]]
    one_draw: ClassVar[bool] = False
    samples: int

    @abstractmethod
    def blank(self) -> VisionModel:
        """A network like those that the questions are about, untrained: whether a method can explain it, it tells."""

    @abstractmethod
    def questions(self, seed: int) -> tuple[Question, ...]:
        """What is asked, on the CPU; networks are trained, where they are not kept (see `trained`)."""

    @abstractmethod
    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        """Numbers by the name of the measure, (B,) each, NaN where there is none; names begin with one of `higher`."""

    @abstractmethod
    def chance(self, question: Question) -> dict[str, float]:
        """What random maps come to in expectation, for the measures of `measure` of which that is known."""


def check_counts(problem: Problem, *names: str, least: int = 1) -> None:
    """Raise ValueError for the first of these fields that is not a whole number from `least` on."""
    for name in names:
        value = getattr(problem, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"problem.{name} is {value!r}; it must be a whole number from {least} on")
