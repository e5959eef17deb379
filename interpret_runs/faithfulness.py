"""Whether the pixels that a map ranks high are those that the score hangs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from interpret_runs.imputation import linear_imputation
from interpret_runs.metric import (
    Explained,
    Metric,
    ask,
    check_choice,
    check_counts,
    check_numbers,
    refuse,
    whole_scores,
)
from interpret_runs.objective import Objective
from interpret_runs.objectives import ClassObjective, Logit, Probability
from interpret_runs.randomness import generator, noise
from interpret_runs.resampling import normalised, separable

SCORES = ("auto", "probability", "objective")
FILLS = ("black", "white", "blur")
# Of the blur, where the shorter side has so many pixels (Petsiuk et al., 2018); they scale with it.
SIDE, RADIUS, SIGMA = 224, 5, 5.0


class Scored(Metric):
    """A metric that asks for the score of changed images.

    `score` says which: ``probability`` is the softmax of the objective's `target`, for objectives on classes;
    ``objective`` the objective itself; ``auto`` the probability for a logit or a probability, else the objective.

    Raises, when called: ValueError for the probability of an objective without a class.
    """

    score: str

    def measured(self, objective: Objective) -> Objective:
        """The objective that images are scored with."""
        target = getattr(objective, "target", None) if isinstance(objective, ClassObjective) else None
        if self.score == "probability" and target is None:
            raise refuse(self, "score", f"objective or auto, as {objective!r} has no class")
        wanted = self.score == "probability" or (self.score == "auto" and isinstance(objective, (Logit, Probability)))
        return Probability(target) if wanted and target is not None else objective


class Curve(Scored):
    """A metric that puts back pixels, or takes them away, in the order in which the map ranks them.

    The raw signed map ranks: what speaks against the objective comes last. Equal pixels rank by position, row by row
    from the top left. At step k of `steps`, k from 0, the first ``round(k * H * W / steps)`` pixels are changed, so
    that both the image and its fill are points of the curve. The result is the area under score over fraction of
    pixels, by the trapezoid rule; for a linear network and one fill, insertion and deletion add up to
    ``score(image) + score(fill)``, and a random order has half of that in expectation.

    `fill` is ``black``, ``white`` or ``blur``: a Gaussian of sigma 5 over 11 x 11 pixels at 224 pixels, which scales
    with the shorter side; at the border pixels outside count for nothing. NaN for maps that hold a NaN.
    """

    column: ClassVar[str]
    inserts: ClassVar[bool]
    steps: int
    fill: str

    def __post_init__(self) -> None:
        check_counts(self, "steps")
        check_choice(self, "fill", FILLS)
        check_choice(self, "score", SCORES)

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        images, maps = explained.images, explained.maps
        fill, ranks = filled(images, self.fill), ranked(maps)
        counts = (torch.arange(self.steps + 1, device=maps.device) * ranks[0].numel() / self.steps).round()

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            numbers = numbers if self.inserts else numbers + 1
            first = (ranks[places] < counts[numbers, None, None])[:, None]
            return torch.where(first == self.inserts, images[places], fill[places])

        measured = self.measured(explained.objective)
        whole = whole_scores(explained, measured)[:, None]
        changed = ask(explained, self.steps, make, measured)
        answers = torch.cat([changed, whole] if self.inserts else [whole, changed], 1)
        area = torch.trapezoid(answers, (counts / ranks[0].numel()).to(answers.dtype), dim=1)
        return {self.column: area.masked_fill(maps.flatten(1).isnan().any(1), torch.nan)}


@dataclass(frozen=True)
class Insertion(Curve):
    """Area under the score as pixels are put back, the highest first; high is good (Petsiuk et al., 2018)."""

    column: ClassVar[str] = "insertion"
    inserts: ClassVar[bool] = True
    steps: int = 32
    fill: str = "blur"
    score: str = "auto"


@dataclass(frozen=True)
class Deletion(Curve):
    """Area under the score as pixels are taken away, the highest first; low is good (Petsiuk et al., 2018)."""

    column: ClassVar[str] = "deletion"
    inserts: ClassVar[bool] = False
    steps: int = 32
    fill: str = "black"
    score: str = "auto"


@dataclass(frozen=True)
class AverageDrop(Scored):
    """What the score loses where only what the map shows is left (Chattopadhay et al., 2018).

    With m the score of the image and m' that of the image times the map's positive part, scaled from 0 to 1 by its
    smallest and largest value: `average_drop` is ``max(0, m - m') / m``, NaN where m is not above 0, and
    `average_increase` is 1 where m' > m, else 0. Both NaN for maps whose positive part is one value.
    """

    score: str = "auto"

    def __post_init__(self) -> None:
        check_choice(self, "score", SCORES)

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        positive = explained.maps.clamp(min=0)
        low, high = (end[:, None, None] for end in positive.flatten(1).aminmax(dim=1))
        shown = ((positive - low) / (high - low))[:, None]
        undefined = ~(high > low).flatten()

        def make(places: Tensor, _numbers: Tensor) -> Tensor:
            return explained.images[places] * shown[places].nan_to_num().to(explained.images.dtype)

        measured = self.measured(explained.objective)
        whole, masked = whole_scores(explained, measured), ask(explained, 1, make, measured)[:, 0]
        drop = ((whole - masked).clamp(min=0) / whole).masked_fill(~(whole > 0), torch.nan)
        increase = (masked > whole).to(whole.dtype)
        return {
            "average_drop": drop.masked_fill(undefined, torch.nan),
            "average_increase": increase.masked_fill(undefined, torch.nan),
        }


@dataclass(frozen=True)
class Road(Scored):
    """Remove and debias (Rong et al., 2022): what the score loses by the highest pixels rather than by the lowest.

    ``(score without the lowest p % - score without the highest p %) / 2``, averaged over `percentiles`; high is good,
    0 is chance. Pixels rank as for `Insertion`. What is removed is filled in by `linear_imputation`, so that the
    shape of the hole tells nothing, plus normal noise of standard deviation `noise`, and kept in [0, 1]. NaN for maps
    that hold a NaN.
    """

    percentiles: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    noise: float = 0.01
    score: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, "noise")
        check_choice(self, "score", SCORES)
        given = self.percentiles if isinstance(self.percentiles, (list, tuple)) else ()
        numbers = [value for value in given if isinstance(value, (int, float)) and 0 < value < 100]
        if not numbers or len(numbers) != len(given):
            raise refuse(self, "percentiles", "a list of numbers above 0 and below 100")
        object.__setattr__(self, "percentiles", tuple(numbers))

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        images, ranks = explained.images, ranked(explained.maps)
        pixels = ranks[0].numel()
        removed = torch.tensor([min(round(p * pixels / 100), pixels - 1) for p in self.percentiles])
        # First how many of the highest, then how many of the lowest; a lowest pixel has one of the last ranks.
        removed = torch.cat([removed, removed - pixels]).to(images.device)
        key = generator(self.seed, "road").initial_seed()

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            bound = removed[numbers, None, None]
            missing = torch.where(bound >= 0, ranks[places] < bound, ranks[places] >= -bound)
            drawn = self.noise * noise(key + numbers, images.shape[1:]).to(images.dtype)
            made = linear_imputation(images[places], ~missing)
            return torch.where(missing[:, None], (made + drawn).clamp(0, 1), made)

        answers = ask(explained, len(removed), make, self.measured(explained.objective))
        highest, lowest = answers.chunk(2, 1)
        value = (lowest - highest).mean(1) / 2
        return {"road": value.masked_fill(explained.maps.flatten(1).isnan().any(1), torch.nan)}


def ranked(maps: Tensor) -> Tensor:
    """The rank of each pixel of a map, (B, H, W), 0 the highest value; equal ones in order of their position."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).reshape(maps.shape)


def filled(images: Tensor, fill: str) -> Tensor:
    """What stands for images without evidence, (B, 3, H, W); see `Curve`."""
    if fill != "blur":
        return torch.full_like(images, float(fill == "white"))
    scale = min(images.shape[2:]) / SIDE
    rows, columns = (_gaussians(side, scale, images) for side in images.shape[2:])
    return separable(images, rows, columns)


def _gaussians(count: int, scale: float, images: Tensor) -> Tensor:
    """Weights, (count, count), that blur a signal."""
    places = torch.arange(count, device=images.device, dtype=images.dtype)
    distances = (places[:, None] - places).abs()
    near = distances <= max(1, round(RADIUS * scale))
    return normalised(near * torch.exp(-0.5 * (distances / (SIGMA * scale)).square()))
