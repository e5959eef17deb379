"""Maps drawn as pictures: one colour a value, beside a colour bar, over the photograph they explain, or as contours.

Maps are raw and signed, (H, W); scaling belongs here. A signed map is drawn with a diverging colour table whose
neutral middle is zero, an unsigned one with a perceptually uniform table that starts at zero. The limit is the value
of the last colour. Photographs are drawn as they are, never resized to fit a map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from interpret_runs.attribution_map import resized
from interpret_runs.colour_bar import INK, PAPER, coloured, grey, with_bar
from interpret_runs.images import to_pil

SMALLEST = 224  # pixels; lower maps are scaled up
FINEST = 4096  # pixels of the longer side of a drawing from which lines are scaled down

Photograph = Tensor | Image.Image


def robust_limit(values: Tensor, share: float = 0.99) -> float:
    """The magnitude that `share` of the values do not pass, so that a few outliers do not hide all others.

    `limit_of` where that is 0. What is beyond it is drawn in the last colour.

    Raises:
        ValueError: a share outside [0, 1]; also what `limit_of` raises.
    """
    largest = limit_of(values)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be a number from 0 to 1")
    magnitudes = values.detach().abs().flatten()
    return float(magnitudes.kthvalue(1 + int(share * (len(magnitudes) - 1))).values) or largest


def shared_limit(maps: Iterable[Tensor], share: float = 0.99) -> float:
    """The `robust_limit` of the values of all maps together: one scale for a figure. Shapes may differ.

    Raises:
        ValueError: no maps; also what `robust_limit` raises.
    """
    values = [one.detach().flatten().double().cpu() for one in maps]
    if not values:
        raise ValueError("there are no maps to share a limit; give at least one")
    return robust_limit(torch.cat(values), share)


def importance_opacity(importance: Tensor, share: float = 0.95) -> Tensor:
    """Opacity (B, 1, H, W) in [0, 1] from how important pixels are, (B, H, W), not negative.

    The most important pixels, all but `share` of an image, are opaque (after Fel et al., 2023).
    """
    limits = importance.new_tensor([robust_limit(one, share) or 1.0 for one in importance])
    return (importance / limits.view(-1, 1, 1)).clamp(0, 1)[:, None]


def limit_of(values: Tensor) -> float:
    """The largest absolute value, of one map or of several that are to share a scale.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    if not values.numel():
        raise ValueError(f"a map of shape {tuple(values.shape)} has no values")
    limit = float(values.detach().abs().max())
    if not math.isfinite(limit):
        raise ValueError("the map holds values that are not finite")
    return limit


def heat_map(
    values: Tensor, limit: float | None = None, signed: bool | None = None, interpolation: str = "nearest"
) -> Image.Image:
    """The map (H, W) in colours, with a colour bar in the map's own units at its right.

    Each side grows by one whole factor, so that the picture is at least `SMALLEST` pixels high.

    Args:
        values: the map.
        limit: the value of the last colour; what lies beyond takes that colour. The largest absolute value by
            default; 0, as in a map of zeros, stands for 1.
        signed: colours from -limit to limit, or from 0 to limit (negative values drawn as 0); by default signed
            where any value is below 0.
        interpolation: ``nearest``, a square for each pixel, or ``bilinear``.

    Raises:
        ValueError: not a map, values that are not finite, a limit that is not a positive number, another
            interpolation.
    """
    parts, limit, signed = _parts(values, limit, signed)
    below, above = signed and bool((parts < -1).any()), bool((parts > 1).any())
    factor = math.ceil(SMALLEST / len(values))
    parts = resized(parts, (factor * parts.shape[0], factor * parts.shape[1]), interpolation)
    return with_bar(coloured(parts, signed), limit, signed, below, above)


def enlarged(picture: Image.Image) -> Image.Image:
    """A small picture with each pixel as a square of whole pixels, at least `SMALLEST` high."""
    factor = math.ceil(SMALLEST / picture.height)
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def overlay(
    image: Photograph,
    values: Tensor,
    limit: float | None = None,
    signed: bool | None = None,
    opacity: float = 0.8,
    interpolation: str | None = None,
) -> Image.Image:
    """The map (H, W) laid over the greyed image, in the image's size and the colours of `heat_map`.

    A value's opacity is ``opacity * |value| / limit``: where the map is zero the grey photograph shows as it is.

    Args:
        image: (3, H, W), RGB in [0, 1], or a photograph. Of another size than the map, it shows the same field: the
            map is stretched over it.
        values, limit, signed: as for `heat_map`.
        opacity: of the last colour, from 0 to 1.
        interpolation: how a map of another size than the image is resized, ``nearest`` or ``bilinear``.

    Raises:
        ValueError: as `heat_map`, or sizes that differ without an `interpolation`, or an opacity outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; it must be a number from 0 to 1")
    photo = photograph(image)
    parts, _, signed = _parts(values, limit, signed)
    parts = _fitted(parts, photo, interpolation)
    mask = grey(opacity * 255 * parts.abs().clamp(max=1))
    return Image.composite(coloured(parts, signed), photo.convert("L").convert("RGB"), mask)


def contours(
    image: Photograph,
    values: Tensor,
    levels: Sequence[float],
    limit: float | None = None,
    signed: bool | None = None,
    interpolation: str | None = None,
) -> Image.Image:
    """The photograph with a line around each region where the map (H, W) passes a level, in the level's colour.

    Levels are shares of the limit, in (0, 1]; in signed maps each has a line at minus that share too. Lines run where
    the map, read bilinearly between the centres of the picture's pixels, equals the level.

    Args:
        image, values, limit, signed, interpolation: as for `overlay`.
        levels: where there are lines.

    Raises:
        ValueError: as `overlay`, or a level outside (0, 1].
    """
    for level in levels:
        if not 0 < level <= 1:
            raise ValueError(f"a level is {level}; levels are shares of the limit, above 0 and at most 1")
    photo = photograph(image)
    parts, _, signed = _parts(values, limit, signed)
    parts = _fitted(parts, photo, interpolation)
    width = max(1.5, min(photo.size) / 160)
    for level, side in product(sorted(levels), (-1, 1) if signed else (1,)):
        lines = _lines(side * parts, level)
        line = coloured(torch.full((1, 1), side * level), signed)
        edge = PAPER if line.convert("L").tobytes()[0] < 128 else INK  # seen on dark photographs and light ones
        for thickness, colour in ((2 * width, edge), (width, line.tobytes())):
            photo.paste(tuple(colour), mask=_ink(lines, photo.size, thickness))
    return photo


def photograph(image: Photograph) -> Image.Image:
    """A copy in RGB."""
    return image.convert("RGB") if isinstance(image, Image.Image) else to_pil(image).convert("RGB")


def _parts(values: Tensor, limit: float | None, signed: bool | None) -> tuple[Tensor, float, bool]:
    """The map in float64 as parts of the limit; the limit; whether it is signed."""
    if values.ndim != 2:
        raise ValueError(f"a map has shape (H, W), not {tuple(values.shape)}")
    largest = limit_of(values)
    limit = largest if limit is None else float(limit)
    if limit < 0 or not math.isfinite(limit):
        raise ValueError(f"limit is a positive number, not {limit}")
    limit = limit if limit > 1e-300 else 1.0
    values = values.detach().double()
    signed = bool((values < 0).any()) if signed is None else signed
    return values / limit, limit, signed


def _fitted(parts: Tensor, photo: Image.Image, interpolation: str | None) -> Tensor:
    """The map in the photograph's size."""
    if interpolation is not None:
        return resized(parts, (photo.height, photo.width), interpolation)
    if tuple(parts.shape) != (photo.height, photo.width):
        raise ValueError(
            f"a map of shape {tuple(parts.shape)} does not fit an image of {(photo.height, photo.width)}; "
            "say how to resize it: interpolation='bilinear' or 'nearest'"
        )
    return parts


def _lines(parts: Tensor, level: float) -> Iterable[np.ndarray[Any, Any]]:
    """Where the map equals `level`, as lines of (x, y), (n, 2) each, in pixels from the picture's corner."""
    from contourpy import contour_generator

    heights = np.pad(parts.cpu().numpy(), 1, mode="edge")  # else lines would end at the centres of the outer pixels
    return [np.asarray(line) - 0.5 for line in contour_generator(z=heights, line_type="Separate").lines(level)]


def _ink(lines: Iterable[np.ndarray[Any, Any]], size: tuple[int, int], thickness: float) -> Image.Image:
    """Lines as opacity, drawn larger and scaled down for smooth edges."""
    factor = max(1, min(4, FINEST // max(size)))
    sheet = Image.new("L", (factor * size[0], factor * size[1]))
    pen = ImageDraw.Draw(sheet)
    for line in lines:
        pen.line([(x, y) for x, y in factor * line], fill=255, width=round(factor * thickness), joint="curve")
    return sheet.resize(size, Image.Resampling.BOX)
