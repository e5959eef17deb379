"""How alike two maps are."""

from __future__ import annotations

import torch
from torch import Tensor

from interpret_runs.resampling import normalised, separable

WINDOW, SIGMA = 11, 1.5
STABLE = 0.01**2, 0.03**2


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """SSIM of maps in [0, 1], (B, H, W) each, to (B,): 1 where they are equal, from -1 on (Wang et al., 2004).

    The mean over all places of a Gaussian window of 11 x 11 pixels with sigma 1.5 that lie inside of the map, with
    the constants 0.01 and 0.03. The window of a smaller map is the largest odd square that fits.
    """
    side = min(WINDOW, *(length - (1 - length % 2) for length in one.shape[1:]))
    rows, columns = (_windows(length, side, one) for length in one.shape[1:])

    def mean(values: Tensor) -> Tensor:
        return separable(values[:, None], rows, columns)

    first, second = mean(one), mean(other)
    variances = mean(one.square()) - first.square() + mean(other.square()) - second.square()
    covariance = mean(one * other) - first * second
    light = (2 * first * second + STABLE[0]) / (first.square() + second.square() + STABLE[0])
    return (light * (2 * covariance + STABLE[1]) / (variances + STABLE[1])).flatten(1).mean(1)


def _windows(length: int, side: int, like: Tensor) -> Tensor:
    """The weights of each place of a window in a signal, (length - side + 1, length)."""
    places = torch.arange(length, device=like.device, dtype=like.dtype)
    distances = places - (side // 2 + places[: length - side + 1, None])
    return normalised((distances.abs() <= side // 2) * torch.exp(-0.5 * (distances / SIGMA).square()))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of maps, (B, H, W) each, to (B,); equal values share the mean of their ranks.

    NaN where one of the two has one value only.
    """
    first, second = (_centred_ranks(maps.flatten(1)) for maps in (one, other))
    lengths = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    correlation: Tensor = (first * second).sum(1) / lengths
    return correlation.masked_fill(lengths == 0, torch.nan).to(one.dtype)


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks, (B, n), around their mean, in float64 as squares of ranks need it."""
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto - values.shape[1]).double()
