"""Maps that know nothing of the network: what a method must beat."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.attribution import Attribution
from interpret_runs.objective import Objective
from interpret_runs.randomness import generator

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


@dataclass(frozen=True)
class Random(Attribution):
    """Independent noise, even over [-1, 1): chance.

    It depends on `seed` and the size of the image alone, so all images of one size have the same map; take
    a seed for each image where the mean over images must be that over maps.
    """

    seed: int = 0

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        size = images.shape[2:]
        values = 2 * torch.rand(size, generator=generator(self.seed, "random map"), dtype=torch.float32) - 1
        return values.to(images).repeat(len(images), 1, 1)


@dataclass(frozen=True)
class Centre(Attribution):
    """A Gaussian around the middle of the image, 1 there: photographers centre what they show.

    ``exp(-(v^2 + u^2) / (2 sigma^2))`` for v and u the distances from the middle as shares of height and width.
    """

    sigma: float = 0.25

    def __post_init__(self) -> None:
        if isinstance(self.sigma, bool) or not isinstance(self.sigma, (int, float)) or not 0 < self.sigma < inf:
            raise ValueError(f"attribution.sigma is {self.sigma!r}; it must be a finite number above 0")

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        down, across = (
            torch.exp(-(((torch.arange(side).to(images) + 0.5) / side - 0.5) ** 2) / (2 * self.sigma**2))
            for side in images.shape[2:]
        )
        return torch.outer(down, across).repeat(len(images), 1, 1)


@dataclass(frozen=True)
class Sobel(Attribution):
    """Edges: the length of the gradient of luma (BT.601), per pixel, by Sobel's operator; the border is repeated.

    Many maps look like it (Adebayo et al., 2018).
    """

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        luma = (images * torch.tensor(LUMA).to(images)[:, None, None]).sum(1, keepdim=True)
        padded = functional.pad(luma, (1, 1, 1, 1), mode="replicate").squeeze(1)
        smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        across = smooth[:, :, 2:] - smooth[:, :, :-2]
        smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
        down = smooth[:, 2:] - smooth[:, :-2]
        return torch.hypot(across, down) / 8
