"""What a score has to do with each pixel's being seen, over random masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs import variants
from interpret_runs.attribution import Attribution, check_count
from interpret_runs.baselines import FIXED, check_name, fixed
from interpret_runs.objective import Objective
from interpret_runs.randomness import generator


@dataclass(frozen=True)
class Rise(Attribution):
    """Covariance of score and mask over random masks: RISE (Petsiuk et al., 2018), centred.

    ``sum_n (F_n - mean F) (M_n - p) / ((N - 1) p (1 - p))`` for the score F_n of ``M_n image + (1 - M_n) baseline``;
    the original, ``sum_n F_n M_n / (N p)``, adds a large number that is the same everywhere. On a linear network the
    map's expectation is the sum of ``weight * (image - baseline)`` over the about one cell around a pixel, weighted
    by the correlation of the masks there; its error falls as N^(-1/2).

    A mask is a grid of cells, each seen with probability p, scaled up bilinearly to one cell more than the image and
    cut out at a random place. Mask n depends on `seed`, n and the size of the image alone. It takes a forward pass
    for each sample: 4000 are 5 times an occlusion with its defaults. The original scores softmax probabilities
    (objective=probability); this scores any objective.

    Args:
        samples: masks, at least 2.
        grid: cells along height and width.
        probability: of a cell's being seen.
        baseline: what is seen instead: ``black``, ``white``, ``mean`` or ``blur``; see `baselines.fixed`.
        seed: of the masks.
    """

    samples: int = 4000
    grid: int = 7
    probability: float = 0.5
    baseline: str = "black"
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 2)
        check_count("grid", self.grid)
        check_name(self.baseline, FIXED)
        if not isinstance(self.probability, (int, float)) or not 0 < self.probability < 1:
            raise ValueError(f"attribution.probability is {self.probability!r}; it must lie between 0 and 1")

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        fixed(self.baseline, model, image)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        masks = self.masks(images)
        blank = fixed(self.baseline, model, images)

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            return torch.lerp(blank[places], images[places], masks(numbers)[:, None])

        found = variants.scores_of(model, objective, images, rows, self.samples, make)
        centred = found - found.mean(1, keepdim=True)
        maps = torch.zeros_like(images[:, 0])

        def add(start: int, stop: int) -> None:
            seen = masks(torch.arange(start, stop, device=images.device)) - self.probability
            with torch.autocast(images.device.type, enabled=False):
                maps.add_(torch.einsum("bn,nhw->bhw", centred[:, start:stop], seen))

        variants.in_pieces(self.samples, add, variants.AT_ONCE)
        return maps / ((self.samples - 1) * self.probability * (1 - self.probability))

    def masks(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        """From numbers of samples, (n,), the masks of images of this size, (n, H, W), in [0, 1]."""
        stream = generator(self.seed, "rise")
        drawn = torch.rand(self.samples, self.grid**2 + 2, generator=stream, dtype=torch.float32).to(images.device)
        cells = (drawn[:, 2:] < self.probability).to(images.dtype).view(-1, self.grid, self.grid)

        def made(numbers: Tensor) -> Tensor:
            down, across = (
                self._weights(side, drawn[numbers, axis], images) for axis, side in enumerate(images.shape[2:])
            )
            with torch.autocast(images.device.type, enabled=False):
                return down @ cells[numbers] @ across.mT

        return made

    def _weights(self, side: int, drawn: Tensor, images: Tensor) -> Tensor:
        """How much of each cell each of `side` pixels shows, (n, side, cells), for shifts drawn from [0, 1)."""
        cell = -(-side // self.grid)
        shifts = (drawn * cell).floor().to(images.dtype)
        pixels = torch.arange(side, device=images.device) + 0.5
        places = (pixels + shifts[:, None]) * (self.grid / ((self.grid + 1) * cell)) - 0.5
        away = places.clamp(0, self.grid - 1)[:, :, None] - torch.arange(self.grid, device=images.device)
        return (1 - away.abs()).clamp_min(0)
