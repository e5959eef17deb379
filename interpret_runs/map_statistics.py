"""What a map is like: how few pixels it names, and whether it adds up to the score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpret_runs.attribution import relative_error
from interpret_runs.metric import Explained, Metric, scores_of_picture, whole_scores


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of the map's magnitudes (Chalasani et al., 2020).

    ``sum_i (2 i - n - 1) a_i / (n sum_i a_i)`` for the n magnitudes a, ascending, i from 1: 0 where all are equal,
    1 - 1 / n where only one is not 0. NaN for maps that are 0 everywhere.
    """

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        sizes = explained.maps.abs().flatten(1).sort(1).values
        count = sizes.shape[1]
        weights = 2 * torch.arange(1, count + 1, device=sizes.device, dtype=sizes.dtype) - count - 1
        return {"sparseness": (weights * sizes).sum(1) / (count * sizes.sum(1))}


@dataclass(frozen=True)
class Entropy(Metric):
    """Entropy of the map's magnitudes, scaled to sum to 1, in nats (complexity; Bhatt et al., 2020).

    0 where only one pixel is not 0, ``ln(H W)`` where all have one magnitude. NaN for maps that are 0 everywhere.
    """

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        sizes = explained.maps.abs().flatten(1)
        return {"entropy": torch.special.entr(sizes / sizes.sum(1, keepdim=True)).sum(1)}


@dataclass(frozen=True)
class Completeness(Metric):
    """How far the map's sum is from what the score gains over a black image.

    `completeness_error_black` is ``|sum(map) - gain| / |gain|`` with ``gain = score(image) - score(black)``; NaN where
    the gain is 0. Only some methods aim at it, and those that start from another baseline aim at another gain.
    """

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        whole = whole_scores(explained)
        black = scores_of_picture(explained, torch.zeros_like(explained.images[:1]))
        error = relative_error(explained.maps, whole - black)
        return {"completeness_error_black": error.masked_fill(whole == black, torch.nan)}
