"""Whether a map points at what its objective is about, where that is known."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import floor
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.metric import Explained, Metric, check_numbers

SIDE = 224  # pixels of the shorter side to which a tolerance refers


class Localisation(Metric):
    """A metric of a map and a mask; NaN for images without a mask, or with an empty one."""

    column: ClassVar[str]

    @abstractmethod
    def inside(self, maps: Tensor, masks: Tensor) -> Tensor:
        """One number an image, (B,), from maps and masks (B, H, W)."""

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        maps, masks = explained.maps, explained.masks
        if masks is None:
            return {self.column: maps.new_full((len(maps),), torch.nan)}
        masks = masks.to(maps.device) > 0
        usable = masks.flatten(1).any(1)
        if explained.known is not None:
            usable = usable & explained.known.to(maps.device)
        return {self.column: self.inside(maps, masks).masked_fill(~usable, torch.nan)}


@dataclass(frozen=True)
class PointingGame(Localisation):
    """1 where the map's highest pixel lies within `tolerance` of the mask, else 0 (Zhang et al., 2016).

    Where several pixels are highest, the share of them that do. NaN for maps of one value, which point at nothing.

    Args:
        tolerance: distance between the centres of two pixels, in pixels of an image whose shorter side has 224.
    """

    column: ClassVar[str] = "pointing_game"
    tolerance: float = 15

    def __post_init__(self) -> None:
        check_numbers(self, "tolerance")

    def inside(self, maps: Tensor, masks: Tensor) -> Tensor:
        reach = self.tolerance * min(maps.shape[1:]) / SIDE
        radius = min(floor(reach), max(maps.shape[1:]))
        places = torch.arange(-radius, radius + 1, device=maps.device)
        disc = (places[:, None] ** 2 + places**2 <= reach**2).to(maps.dtype)
        near = functional.conv2d(masks[:, None].to(maps.dtype), disc[None, None], padding=radius)[:, 0] > 0.5
        low, high = maps.flatten(1).aminmax(dim=1)
        highest = maps == high[:, None, None]
        return _share(highest & near, highest).to(maps.dtype).masked_fill(low == high, torch.nan)


@dataclass(frozen=True)
class RelevanceMass(Localisation):
    """The share of the map's positive mass that lies in the mask (Arras et al., 2022).

    In expectation the mask's share of the image for a random map. NaN for maps without positive mass.
    """

    column: ClassVar[str] = "relevance_mass"

    def inside(self, maps: Tensor, masks: Tensor) -> Tensor:
        positive = maps.clamp(min=0)
        return _share(positive * masks, positive)


@dataclass(frozen=True)
class RelevanceRank(Localisation):
    """The share of the map's K highest pixels that lie in the mask, which has K pixels (Arras et al., 2022).

    Of pixels equal to the last of them each counts for the share of them that finds room, so that a map of one value
    has the mask's share of the image.
    """

    column: ClassVar[str] = "relevance_rank"

    def inside(self, maps: Tensor, masks: Tensor) -> Tensor:
        values, members = maps.flatten(1), masks.flatten(1)
        count = members.sum(1)
        last = values.sort(1, descending=True).values.gather(1, (count - 1).clamp(min=0)[:, None])
        above, equal = values > last, values == last
        room = count - above.sum(1)
        hits = (above & members).sum(1) + room * _share(equal & members, equal)
        return (hits / count).to(maps.dtype)


def mosaics(cells: Tensor, grid: int = 2) -> Tensor:
    """Each `grid` x `grid` tensors (C, h, w) in a row as one, (n grid^2, C, h, w) to (n, C, grid h, grid w).

    Cells are numbered row by row. `cells_of` is the inverse.

    Raises:
        ValueError: a number of cells that fills no whole number of mosaics.
    """
    count, channels, height, width = cells.shape
    if count % grid**2:
        raise ValueError(f"{count} images fill no mosaics of {grid} x {grid}; give a multiple of {grid**2}")
    parts = cells.reshape(-1, grid, grid, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(-1, channels, grid * height, grid * width)


def cells_of(images: Tensor, grid: int = 2) -> Tensor:
    """The cells of mosaics, (n, C, H, W) to (n grid^2, C, H / grid, W / grid).

    Raises:
        ValueError: sides that `grid` does not divide.
    """
    count, channels, height, width = images.shape
    _check_divides(grid, height, width)
    parts = images.reshape(count, channels, grid, height // grid, grid, width // grid).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(-1, channels, height // grid, width // grid)


def cell_mass(maps: Tensor, cells: Tensor, grid: int = 2) -> Tensor:
    """The share of a mosaic's positive mass that lies in its target cell, (B,); NaN without positive mass.

    The score of GridPG, where each cell shows another class and chance is 1 / grid^2 (Boehle et al., 2021), and of
    DiFull, where the score can hang on one cell alone and a right map has 1 (Rao et al., 2022; see `OneCell`).

    Args:
        maps: of mosaics, (B, H, W).
        cells: the number of the target cell, (B,), row by row from 0.

    Raises:
        ValueError: sides that `grid` does not divide; a cell outside of the mosaic.
    """
    if cells.numel() and not 0 <= int(cells.min()) <= int(cells.max()) < grid**2:
        raise ValueError(f"cells are {cells.tolist()}; a mosaic of {grid} x {grid} has 0 to {grid**2 - 1}")
    mass = cells_of(maps.clamp(min=0)[:, None], grid).sum((1, 2, 3)).reshape(len(maps), grid**2)
    return mass.gather(1, cells[:, None].to(maps.device))[:, 0] / mass.sum(1)


class OneCell(nn.Module):
    """DiFull (Rao et al., 2022): a network whose head sees one cell of a mosaic, so that no other has a part in it.

    `features` sees the cells apart; what it returns is put together as the layer ``mosaic``, (B, C, grid h, grid w),
    at which class activation maps can be asked for, and `head` gets the features of cell number `cell`.
    """

    def __init__(self, features: nn.Module, head: nn.Module, cell: int, grid: int = 2) -> None:
        super().__init__()
        if not 0 <= cell < grid**2:
            raise ValueError(f"cell is {cell}; a mosaic of {grid} x {grid} has 0 to {grid**2 - 1}")
        self.features, self.head, self.cell, self.grid = features, head, cell, grid
        self.mosaic = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        seen = self.mosaic(mosaics(self.features(cells_of(images, self.grid)), self.grid))
        output: Tensor = self.head(cells_of(seen, self.grid)[self.cell :: self.grid**2])
        return output


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.flatten(1).sum(1) / whole.flatten(1).sum(1)


def _check_divides(grid: int, height: int, width: int) -> None:
    if height % grid or width % grid:
        raise ValueError(f"{height} x {width} pixels are no mosaic of {grid} x {grid} cells of one size")
