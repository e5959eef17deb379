"""How the map of a run is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from interpret_runs.attribution_map import INTERPOLATIONS
from interpret_runs.corruptions import gaussians
from interpret_runs.heat_maps import Photograph, contours, enlarged, heat_map, overlay, photograph, robust_limit
from interpret_runs.resampling import separable


@dataclass(frozen=True)
class Rendering:
    """Settings of how maps are drawn, with colours and lines on one scale.

    Small maps and images are enlarged by one whole factor to at least 224 pixels high.

    Args:
        share: the limit, the value of the last colour, is the magnitude that this share of a map's values do not
            pass; above 0 and at most 1.
        interpolation: how maps are resized, ``nearest`` or ``bilinear``.
        smoothing: standard deviation of a Gaussian with which maps are blurred before they are drawn, as a share of
            their shorter side; 0 is none. Without it lines around single pixels hide all else in maps of gradients.
        opacity: of the last colour over the greyed photograph, from 0 to 1; with 0 the photograph keeps its colours.
        contours: levels of lines on the photograph, shares of the limit, above 0 and at most 1.
        limit: the value of the last colour of all maps, in their own units; by default each map's own, by `share`.
            What maps that share a scale need is their `heat_maps.shared_limit`.
    """

    share: float = 0.99
    interpolation: str = "bilinear"
    smoothing: float = 0.01
    opacity: float = 0.8
    contours: Sequence[float] = ()
    limit: float | None = None

    def __post_init__(self) -> None:
        if not _number(self.share) or not 0 < self.share <= 1:
            raise ValueError(f"rendering.share is {self.share!r}; it must be a number above 0 and at most 1")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"rendering.interpolation is {self.interpolation!r}; it must be {' or '.join(INTERPOLATIONS)}"
            )
        for name, value in (("smoothing", self.smoothing), ("opacity", self.opacity)):
            if not _number(value) or not 0 <= value <= 1:
                raise ValueError(f"rendering.{name} is {value!r}; it must be a number from 0 to 1")
        listed = isinstance(self.contours, Sequence) and not isinstance(self.contours, str)
        if not listed or not all(_number(level) and 0 < level <= 1 for level in self.contours):
            raise ValueError(
                f"rendering.contours is {self.contours!r}; it must be a list of shares of the limit, above 0 and at "
                "most 1, e.g. [0.25, 0.5, 0.75]"
            )
        if self.limit is not None and (not _number(self.limit) or not 0 < self.limit < float("inf")):
            raise ValueError(f"rendering.limit is {self.limit!r}; it must be a number above 0, or null")
        object.__setattr__(self, "contours", tuple(self.contours))

    def scale_of(self, values: Tensor) -> float:
        """The value of the last colour of a map (H, W)."""
        return self._scaled(values)[1]

    def heat_map(self, values: Tensor) -> Image.Image:
        """The map (H, W) with its colour bar; see `heat_maps.heat_map`."""
        return self._heat_map(*self._scaled(values))

    def overlay(self, image: Photograph, values: Tensor, signed: bool | None = None) -> Image.Image:
        """The map (H, W) as colours and lines over the image; see `heat_maps.overlay` and `heat_maps.contours`."""
        return self._overlay(image, *self._scaled(values), signed)

    def pictures(self, image: Photograph, values: Tensor) -> tuple[Image.Image, Image.Image, float]:
        """`heat_map`, `overlay` and `scale_of` at once, in less time than one after the other."""
        drawn, limit = self._scaled(values)
        return self._heat_map(drawn, limit), self._overlay(image, drawn, limit), limit

    def smoothed(self, values: Tensor) -> Tensor:
        """The map (H, W), blurred as it is before it is drawn."""
        if not self.smoothing or values.ndim != 2 or not values.numel():  # what is no map is refused where it is drawn
            return values
        values = values.detach().double()
        sigma = self.smoothing * min(values.shape)
        rows, columns = (_blurring(side, sigma).to(values.device) for side in values.shape)
        return separable(values[None, None], rows, columns)[0, 0]

    def _heat_map(self, drawn: Tensor, limit: float) -> Image.Image:
        return heat_map(drawn, limit, interpolation=self.interpolation)

    def _overlay(self, image: Photograph, drawn: Tensor, limit: float, signed: bool | None = None) -> Image.Image:
        picture = enlarged(photograph(image))
        if self.opacity:
            picture = overlay(picture, drawn, limit, signed, self.opacity, self.interpolation)
        if self.contours:
            picture = contours(picture, drawn, self.contours, limit, signed, self.interpolation)
        return picture

    def _scaled(self, values: Tensor) -> tuple[Tensor, float]:
        """What is drawn of a map, and the value of its last colour."""
        drawn = self.smoothed(values)
        return drawn, self.limit or robust_limit(drawn, self.share)


@lru_cache(maxsize=8)
def _blurring(side: int, sigma: float) -> Tensor:
    """What blurs rows or columns of maps, (1, side, side); the maps of a sweep are of one size."""
    return gaussians(side, torch.full((1, 1, 1), sigma, dtype=torch.float64))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
