"""Activation atlas (Carter et al., 2019): samples laid out in the plane, and one direction for each part of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# The share of samples at either end of an axis that is pushed to the border, so that few do not spread all others.
OUTLIERS = 0.01


@dataclass(frozen=True)
class Cell:
    """One part of the plane and the samples in it, by their places in the list of samples."""

    row: int
    column: int
    members: Tensor


def bins(layout: Tensor, side: int) -> Tensor:
    """The bin of each of N places in the plane, (N, 2) as row and column, of ``side x side`` over all of them.

    Columns go with the first coordinate, rows downwards with the second one reversed, as on a map. Each axis is
    scaled by itself from its first to its last hundredth; what lies beyond belongs to the bins at the border.
    """
    ends = torch.tensor([OUTLIERS, 1 - OUTLIERS], dtype=layout.dtype)
    low, high = layout.quantile(ends, dim=0)
    width = high - low
    share = torch.where(width > 0, (layout - low) / width.where(width > 0, 1), 0.5)
    across, up = (share * side).long().clamp(0, side - 1).unbind(1)
    return torch.stack([side - 1 - up, across], 1)


def cells_of(places: Tensor, least: int) -> list[Cell]:
    """The cells with `least` samples or more, row by row, for the bin of each sample, (N, 2)."""
    found = []
    for row, column in sorted(set(map(tuple, places.tolist()))):
        members = ((places[:, 0] == row) & (places[:, 1] == column)).nonzero().flatten()
        if len(members) >= least:
            found.append(Cell(row, column, members))
    return found


def whitening(activations: Tensor, ridge: float) -> Tensor:
    """The symmetric matrix (C, C) that makes a direction ask for what is special in it: the inverse of E[a a'].

    As in Carter et al. (2019), ``direction = whitening @ mean``: what is active everywhere counts for less. `ridge` is
    added to the diagonal, in units of a channel's mean square; the more, the less is whitened. Where samples are few,
    a small one makes much of chance.

    Raises:
        ValueError: no channel is ever active.
    """
    values = activations.double()
    moments = values.T @ values / len(values)
    level = moments.diagonal().mean()
    if not level > 0:
        raise ValueError("the layer is 0 at every sample; there is nothing to show")
    inverse: Tensor = torch.linalg.inv(moments / level + ridge * torch.eye(len(moments), dtype=moments.dtype))
    return inverse


def unit_directions(directions: Tensor) -> Tensor:
    """Directions (N, C) at length 1; one that is 0 stays so."""
    lengths: Tensor = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    return directions / lengths.clamp_min(torch.finfo().tiny)


def most_attributed(classes: Tensor, attributed: Tensor, count: int = 3) -> list[tuple[int, float]]:
    """The classes to which samples add most, each with the mean over all samples, largest first.

    `classes` and `attributed` are (N, K); what is not said of a sample and a class counts as 0. Only classes to which
    the samples add anything are named.
    """
    sums: dict[int, float] = {}
    for index, value in zip(classes.flatten().tolist(), attributed.flatten().tolist(), strict=True):
        sums[index] = sums.get(index, 0.0) + value / len(classes)
    ranked = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [(index, value) for index, value in ranked[:count] if value > 0]
