"""Maps read off the gradient at the image, or at noisy copies of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution, check_count, check_number, gradients, largest_colour
from interpret_runs.baselines import FIXED, check_name, fixed
from interpret_runs.objective import Objective
from interpret_runs.one_pass import OnePass, Passed
from interpret_runs.randomness import noise, sample_keys
from interpret_runs.summary import PIXELS
from interpret_runs.variants import Take, add_up, fitting, over_variants


@dataclass(frozen=True)
class Saliency(OnePass):
    """Gradient of the objective: at each pixel that of the colour with the largest magnitude.

    Its absolute value is the saliency map of Simonyan et al. (2014).
    """

    layers = (PIXELS,)

    def draw(self, model: nn.Module, passed: Passed) -> tuple[Tensor]:
        return (largest_colour(_at_pixels(passed)),)


@dataclass(frozen=True)
class InputXGradient(OnePass):
    """``(x - b) * gradient``, summed over colours (Shrikumar et al., 2016).

    x is the image as RGB in [0, 1], before the model normalises it, and b the baseline: what a linear network's score
    would lose with that pixel. Where scores are homogeneous in ``x - b`` (no biases, ReLU, max pooling) the map sums
    to ``score(x)`` and equals integrated gradients.

    Args:
        baseline: ``black``, ``white``, ``mean`` or ``blur``; see `baselines.fixed`.
    """

    layers = (PIXELS,)
    baseline: str = "black"

    def __post_init__(self) -> None:
        check_name(self.baseline, FIXED)

    def draw(self, model: nn.Module, passed: Passed) -> tuple[Tensor]:
        return (((passed.images - fixed(self.baseline, model, passed.images)) * _at_pixels(passed)).sum(1),)


@dataclass(frozen=True)
class NoisyGradients(Attribution):
    """A statistic of the gradient over copies of the image with normal noise.

    The noise of copy number n depends on `seed`, n and the image's size alone. Copies may leave [0, 1].

    Args:
        samples: copies of each image.
        noise: standard deviation of the noise, in units of the image's own range: its largest number minus its
            smallest.
        seed: of the noise.
    """

    least: ClassVar[int] = 1
    samples: int = 32
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples, self.least)
        check_number("noise", self.noise)

    def over_samples(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor, take: Take) -> None:
        """Hand the gradients at all copies to `take`; see `over_variants`."""
        sigma = self.noise * (images.flatten(1).amax(1) - images.flatten(1).amin(1)).view(-1, 1, 1, 1)
        keys = sample_keys(self.seed, "noisy gradients", self.samples).to(images.device)

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            return images[places] + sigma[places] * noise(keys[numbers], images.shape[1:]).to(images.dtype)

        at_once = fitting(model, objective.layers, images)
        over_variants(self.samples, rows, make, partial(gradients, model, objective), take, at_once)


@dataclass(frozen=True)
class SmoothGrad(NoisyGradients):
    """Mean gradient over noisy copies of the image: at each pixel that of the colour where it is largest.

    Smilkov et al. (2017), who take 10 to 20 % noise and show absolute values.
    """

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        total = torch.zeros_like(images)

        def take(places: Tensor, _numbers: Tensor, found: Tensor) -> None:
            add_up(total, places, found)

        self.over_samples(model, objective, images, rows, take)
        return largest_colour(total / self.samples)


@dataclass(frozen=True)
class VarGrad(NoisyGradients):
    """Variance of the gradient over noisy copies of the image, averaged over colours; from 0 on.

    Adebayo et al. (2018). The sum of squares is divided by ``samples - 1``, so that more samples change the map's
    noise and not its level.
    """

    least: ClassVar[int] = 2

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        # Of differences from the clean gradient: the variance is a small difference of large squares otherwise.
        clean = _gradients(model, objective, images, rows)
        both = images.new_zeros(len(images), 2, *images.shape[1:])

        def take(places: Tensor, _numbers: Tensor, found: Tensor) -> None:
            difference = found - clean[places]
            # Together, so that a piece for which memory runs out has left nothing behind.
            add_up(both, places, torch.stack([difference, difference.square()], 1))

        self.over_samples(model, objective, images, rows, take)
        first, second = both.unbind(1)
        variance = (second - first.square() / self.samples) / (self.samples - 1)
        return variance.clamp(min=0).mean(1)


def _at_pixels(passed: Passed) -> Tensor:
    """The gradient at the images, in their precision; zero where the score does not depend on them."""
    found = passed.gradients[PIXELS]
    return torch.zeros_like(passed.images) if found is None else found.to(passed.images.dtype)


def _gradients(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
    """The gradient at each image, (B, 3, H, W), of as many at once as fit."""
    found = torch.zeros_like(images)

    def take(places: Tensor, _numbers: Tensor, there: Tensor) -> None:
        found[places] = there

    at_once = fitting(model, objective.layers, images)
    over_variants(1, rows, lambda places, _: images[places], partial(gradients, model, objective), take, at_once)
    return found
