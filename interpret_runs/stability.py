"""Whether a map says what happens to a score when the image changes, and how much the map itself changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpret_runs.metric import Explained, Metric, ask, check_counts, check_numbers, refuse
from interpret_runs.randomness import generator, noise
from interpret_runs.variants import fitting, over_variants


@dataclass(frozen=True)
class Infidelity(Metric):
    """How far the map is from what squares of the image are worth; low is good (Yeh et al., 2019).

    Each of `samples` draws blackens one square, and compares the map's sum over it, s, with what the score loses, d:
    the mean of ``(b * s - d) ** 2``. With `normalise` b is the number that makes this smallest, ``mean(s d) /
    mean(s ** 2)``, so that maps in other units than the score's can be compared; else 1. In units of the squared
    score; 0 for the exact map of a linear network. The same as captum's `infidelity` with these perturbations.

    Args:
        samples: squares.
        square: side of the square as a part of the image's shorter side.
    """

    samples: int = 64
    square: float = 0.25
    normalise: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "samples")
        check_numbers(self, "square")
        if not 0 < self.square <= 1:
            raise refuse(self, "square", "above 0 and at most 1")
        if not isinstance(self.normalise, bool):
            raise refuse(self, "normalise", "true or false")

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        images, maps = explained.images, explained.maps
        squares = self.squares(images)

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            # The last variant is the image itself.
            return images[places].masked_fill(squares[numbers][:, None], 0)

        answers = ask(explained, self.samples + 1, make)
        lost = answers[:, -1:] - answers[:, :-1]
        inside = torch.einsum("bhw,nhw->bn", maps, squares[:-1].to(maps.dtype)).to(lost.dtype)
        if self.normalise:
            energy = inside.square().sum(1, keepdim=True)
            inside = inside * (inside * lost).sum(1, keepdim=True) / torch.where(energy == 0, 1, energy)
        return {"infidelity": (inside - lost).square().mean(1)}

    def squares(self, images: Tensor) -> Tensor:
        """Where the squares are, (samples + 1, H, W); the last one is nowhere."""
        height, width = images.shape[2:]
        side = max(1, round(self.square * min(height, width)))
        drawn = torch.rand(self.samples, 2, generator=generator(self.seed, "infidelity"), dtype=torch.float64)
        top, left = (drawn * torch.tensor([height - side + 1, width - side + 1])).long().unbind(1)
        rows = torch.arange(height) - top[:, None]
        columns = torch.arange(width) - left[:, None]
        down, across = ((places >= 0) & (places < side) for places in (rows, columns))
        inside = down[:, :, None] & across[:, None]
        return torch.cat([inside, torch.zeros_like(inside[:1])]).to(images.device)


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """The largest relative change of the map under small changes of the image; low is good (Yeh et al., 2019).

    ``max |map(x + e) - map(x)| / |map(x)|`` in the Euclidean norm over `samples` draws of e, uniform in
    [-radius, radius] for each number of the image, which stays in [0, 1]. NaN for maps that are 0 everywhere.
    The method is asked `samples` times. The same as captum's `sensitivity_max` with these perturbations.
    """

    samples: int = 10
    radius: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "samples")
        check_numbers(self, "radius")

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        model, objective, images, maps = explained.model, explained.objective, explained.images, explained.maps
        changes = maps.new_empty(len(maps), self.samples)

        def take(places: Tensor, numbers: Tensor, others: Tensor) -> None:
            changes[places, numbers] = torch.linalg.vector_norm(others - maps[places], dim=(1, 2))

        over_variants(
            self.samples,
            explained.rows,
            lambda places, numbers: self.perturbed(images[places], numbers),
            lambda variants, rows: explained.method(model, objective, variants, rows),
            take,
            fitting(model, objective.layers, images),
        )
        length = torch.linalg.vector_norm(maps, dim=(1, 2))
        return {"max_sensitivity": (changes.amax(1) / length).masked_fill(length == 0, torch.nan)}

    def perturbed(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Images, (n, 3, H, W), under the draws `numbers`, (n,)."""
        key = generator(self.seed, "max_sensitivity").initial_seed()
        normal = noise(key + numbers, images.shape[1:]).to(images.dtype)
        uniform: Tensor = 2 * torch.special.ndtr(normal) - 1
        return (images + self.radius * uniform).clamp(0, 1)
