"""Gradients integrated on the way from a baseline to the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution, check_count, check_number, gradients, relative_error, scores
from interpret_runs.baselines import FIXED, Baselines, Lookup
from interpret_runs.images import ImageSet
from interpret_runs.line import Line
from interpret_runs.objective import Objective
from interpret_runs.pixel_convolution import pixel_convolutions
from interpret_runs.randomness import generator
from interpret_runs.scoring import frozen
from interpret_runs.variants import add_up, fitting, over_variants


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Mean gradient on the line from a baseline to the image, times their difference (Sundararajan et al., 2017).

    ``(x - b) * integral of gradient(b + a * (x - b)) da``, a from 0 to 1, summed over colours; with several baselines
    the mean of their maps (expected gradients, Erion et al., 2021). By the midpoint rule: its error falls, and the sum
    of the map tends to ``score(x) - score(b)``, the mean score of several. The number of points starts at `steps` and
    triples, for the images alone that are not complete to within `tolerance`: every third of the new points is an old
    one, so none is asked about twice.

    Completeness is relative to ``|score(x) - score(b)|``. Where that is nearly zero it can be out of reach: such an
    image takes all steps and does not count as converged. Where it is zero a map that sums to zero is complete.

    Args:
        steps: points on the line to begin with.
        baseline: ``black``, ``white``, ``mean``, ``blur``, ``noise`` or ``dataset``; see `Baselines`.
        tolerance: largest relative error of the map's sum that counts as converged.
        most_steps: points that are not exceeded.
        baselines: how many of ``noise`` or ``dataset`` are averaged; each has its own points.
        data: the set of images for ``dataset``.
        seed: of ``noise``, and of which images are taken.
    """

    exact: ClassVar[bool] = True
    steps: int = 16
    baseline: str = "black"
    tolerance: float = 0.01
    most_steps: int = 1296
    baselines: int = 8
    data: ImageSet | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("most_steps", self.most_steps, self.steps)
        check_count("baselines", self.baselines)
        check_number("tolerance", self.tolerance)
        self._starts()

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        self._starts().of(model, image)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        starts, gain = self._starts(), self._gain(model, objective, images, rows)
        total, maps = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
        left, points = torch.arange(len(images), device=images.device), self.steps
        new = torch.arange(points, device=images.device)
        while len(left) and points <= self.most_steps:
            way = (new.to(images.dtype) + 0.5) / points
            total[left] += _on_lines(model, objective, images[left], rows[left], starts, way)
            maps[left] = total[left] / (points * starts.count)
            left = left[~(relative_error(maps[left], gain[left]) <= self.tolerance)]
            points *= 3
            new = torch.arange(points, device=images.device)
            new = new[new % 3 != 1]
        return maps

    def measure(
        self, model: nn.Module, objective: Objective, images: Tensor, maps: Tensor, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`completeness_error`, relative, and `converged`: whether it is within `tolerance`."""
        if rows is None:
            rows = torch.arange(len(images), device=images.device)
        with frozen(model):
            error = relative_error(maps, self._gain(model, objective, images.detach(), rows))
        return {"completeness_error": error, "converged": error <= self.tolerance}

    def _starts(self) -> Baselines:
        count = 1 if self.baseline in FIXED else self.baselines
        return Baselines(self.baseline, count, self.seed, self.data)

    def _gain(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        """How much the image scores above its baselines, (B,)."""
        starts = self._starts()
        there = _mean_scores(model, objective, images, rows, lambda places, _: images[places], 1)
        return there - _mean_scores(model, objective, images, rows, starts.of(model, images), starts.count)


@dataclass(frozen=True)
class GradientShap(Attribution):
    """``(x - b) * gradient(b + a * (x - b))``, averaged over random baselines b and random a (Lundberg and Lee, 2017).

    Summed over colours; a is uniform from 0 to 1. The expected sum of the map is ``score(x)`` minus the mean score of
    the baselines; the map's error falls with the square root of `samples`. Sample number n depends on `seed`, n and the
    image alone.

    Args:
        samples: pairs of a and b.
        baseline: ``black``, ``white``, ``mean``, ``blur``, ``noise`` or ``dataset``; see `Baselines`.
        noise: standard deviation of normal noise that is added to the baseline, in units of [0, 1]. (captum's `stdevs`
            are added to the image, whose score the map then does not explain.)
        data: the set of images for ``dataset``.
        seed: of all that is drawn.
    """

    samples: int = 32
    baseline: str = "black"
    noise: float = 0.1
    data: ImageSet | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples)
        check_number("noise", self.noise)
        self._starts()

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        self._starts().of(model, image)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        way = torch.rand(self.samples, generator=generator(self.seed, "gradient shap"), dtype=torch.float64)
        start = torch.arange(self.samples, device=images.device)
        total = _summed(model, objective, images, rows, self._starts(), start, way.to(images))
        return total / self.samples

    def _starts(self) -> Baselines:
        return Baselines(self.baseline, self.samples, self.seed, self.data, self.noise)


def _on_lines(
    model: nn.Module, objective: Objective, images: Tensor, rows: Tensor, starts: Baselines, way: Tensor
) -> Tensor:
    """`_summed` over every point of `way` from every baseline."""
    at_once, first = fitting(model, objective.layers, images), pixel_convolutions(model)
    # On a GPU a piece has points of several images; few points are not worth what both ends take.
    if images.device.type != "cpu" or len(first) != 1 or len(way) < at_once:
        start = torch.arange(starts.count, device=images.device).repeat_interleave(len(way))
        return _summed(model, objective, images, rows, starts, start, way.repeat(starts.count))
    baselines, total = starts.of(model, images), torch.zeros_like(images[:, 0])
    for place in range(len(images)):
        for number in range(starts.count):
            baseline = baselines(*torch.tensor([[place], [number]]))[0]
            line = Line(model, first[0], baseline, images[place])
            found = line.gradients(objective, rows[place : place + 1], way, at_once)
            total[place] += ((images[place] - baseline) * found).sum(0)
    return total


def _summed(
    model: nn.Module, objective: Objective, images: Tensor, rows: Tensor, starts: Baselines, start: Tensor, way: Tensor
) -> Tensor:
    """``sum_n (x - b_n) * gradient(b_n + way_n * (x - b_n))`` over colours too, (B, H, W); b_n is number `start_n`."""
    baselines = starts.of(model, images)
    total = torch.zeros_like(images[:, 0])

    def make(places: Tensor, numbers: Tensor) -> Tensor:
        return torch.lerp(baselines(places, start[numbers]), images[places], way[numbers].view(-1, 1, 1, 1))

    def take(places: Tensor, numbers: Tensor, found: Tensor) -> None:
        difference = images[places] - baselines(places, start[numbers])
        add_up(total, places, (difference * found).sum(1))

    at_once = fitting(model, objective.layers, images)
    over_variants(len(way), rows, make, partial(gradients, model, objective), take, at_once)
    return total


def _mean_scores(
    model: nn.Module, objective: Objective, images: Tensor, rows: Tensor, make: Lookup, count: int
) -> Tensor:
    """The mean score of `count` variants of each image, (B,)."""
    total = images.new_zeros(len(images))

    def take(places: Tensor, _numbers: Tensor, found: Tensor) -> None:
        add_up(total, places, found.to(total.dtype))

    at_once = fitting(model, objective.layers, images)
    over_variants(count, rows, make, partial(scores, model, objective), take, at_once)
    return total / count
