"""Maps drawn as pictures: one colour a value, beside a colour bar or over the photograph they explain.

Maps are raw and signed, (H, W); scaling belongs here. A signed map is drawn with a diverging colour table whose
neutral middle is zero, an unsigned one with a perceptually uniform table that starts at zero.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from interpret_runs.images import to_pil

SIGNED, UNSIGNED = "RdBu_r", "inferno"
SMALLEST = 224  # pixels; lower maps are scaled up
INK, FRAME = (38, 38, 38), (200, 200, 200)
PAPER = (255, 255, 255)


def robust_limit(values: Tensor, share: float = 0.99) -> float:
    """The magnitude that `share` of the values do not pass, so that a few outliers do not hide all others.

    `limit_of` where that is 0. What is beyond it is drawn in the last colour.
    """
    magnitudes = values.abs().flatten().sort().values
    return float(magnitudes[int(share * (len(magnitudes) - 1))]) or limit_of(values)


def importance_opacity(importance: Tensor, share: float = 0.95) -> Tensor:
    """Opacity (B, 1, H, W) in [0, 1] from how important pixels are, (B, H, W), not negative.

    The most important pixels, all but `share` of an image, are opaque (after Fel et al., 2023).
    """
    limits = torch.tensor([robust_limit(one, share) or 1.0 for one in importance])
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


def heat_map(values: Tensor, limit: float | None = None, signed: bool | None = None) -> Image.Image:
    """The map (H, W) in colours, with a colour bar in the map's own units at its right.

    A pixel becomes a square of whole pixels, so that the picture is at least `SMALLEST` pixels high.

    Args:
        values: the map.
        limit: the value of the last colour; what lies beyond takes that colour. The largest absolute value by
            default; 0, as in a map of zeros, stands for 1.
        signed: colours from -limit to limit, or from 0 to limit (negative values drawn as 0); by default signed
            where any value is below 0.

    Raises:
        ValueError: not a map, values that are not finite, a limit that is not a positive number.
    """
    clipped = limit is not None and limit_of(values) > limit > 0
    relative, limit, signed = _relative(values, limit, signed)
    return _with_bar(enlarged(_coloured(relative, signed)), limit, signed, clipped)


def enlarged(picture: Image.Image) -> Image.Image:
    """A small picture with each pixel as a square of whole pixels, at least `SMALLEST` high."""
    factor = math.ceil(SMALLEST / picture.height)
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def overlay(
    image: Tensor, values: Tensor, limit: float | None = None, signed: bool | None = None, strength: float = 0.6
) -> Image.Image:
    """The map (H, W) laid over the greyed image (3, H, W), in the image's size and the colours of `heat_map`.

    A value's opacity is ``strength * |value| / limit``: where the map is zero the grey photograph shows as it is.

    Raises:
        ValueError: as `heat_map`, or sizes that differ, or a strength outside [0, 1].
    """
    if image.shape[-2:] != values.shape:
        raise ValueError(f"a map of shape {tuple(values.shape)} does not fit an image of {tuple(image.shape)}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is a number from 0 to 1, not {strength}")
    relative, limit, signed = _relative(values, limit, signed)
    grey = to_pil(image).convert("L").convert("RGB")
    return Image.composite(_coloured(relative, signed), grey, _levels(strength * 255 * relative.abs()))


def _relative(values: Tensor, limit: float | None, signed: bool | None) -> tuple[Tensor, float, bool]:
    """The map in float64 as parts of the limit, in [-1, 1] or [0, 1]; the limit; whether it is signed."""
    if values.ndim != 2:
        raise ValueError(f"a map has shape (H, W), not {tuple(values.shape)}")
    largest = limit_of(values)
    limit = largest if limit is None else float(limit)
    if limit < 0 or not math.isfinite(limit):
        raise ValueError(f"limit is a positive number, not {limit}")
    limit = limit if limit > 1e-300 else 1.0
    values = values.detach().double()
    signed = bool((values < 0).any()) if signed is None else signed
    return (values / limit).clamp(-1 if signed else 0, 1), limit, signed


def _coloured(relative: Tensor, signed: bool) -> Image.Image:
    """RGB of parts of the limit; signed, values that differ only in sign lie as far from the table's middle."""
    table = _table(signed)
    last = len(table) // 3 - 1
    picture = _levels((relative + 1) * (last / 2) if signed else relative * last)
    picture.putpalette(table)
    return picture.convert("RGB")


def _levels(levels: Tensor) -> Image.Image:
    """A tensor (H, W) of 0 to 255, rounded, as a grey picture."""
    height, width = levels.shape
    return Image.frombytes("L", (width, height), levels.round().to(torch.uint8).cpu().numpy().tobytes())


@cache
def _table(signed: bool) -> bytes:
    """The colours from the lowest value to the highest, three bytes each: 255, which have a middle, or 256."""
    from matplotlib import colormaps

    size = 255 if signed else 256
    colours = colormaps[SIGNED if signed else UNSIGNED].resampled(size)(range(size), bytes=True)
    return bytes(colours[:, :3].tobytes())


# --- the colour bar ---------------------------------------------------------------------------------------------


def _with_bar(colours: Image.Image, limit: float, signed: bool, clipped: bool) -> Image.Image:
    """The coloured map with its bar and the numbers, on white; lengths go with the picture's height.

    Where values lie beyond the limit, the bar ends in a point, as bars with extensions do.
    """
    width, height = colours.size
    letters = max(11, min(20, round(height / 19)))
    font = _font(letters)
    ticks = _ticks(limit, signed)
    gap, bar, dash = letters, letters, letters // 3
    text = 1 + width + gap + bar + 2 * dash
    labels = max(font.getlength(label) for _, label in ticks)
    margin = letters // 2 + 1  # half a label sticks out above and below the bar
    sheet = Image.new("RGB", (math.ceil(text + labels) + margin, height + 2 * margin), PAPER)
    ramp = torch.linspace(1, -1 if signed else 0, height, dtype=torch.float64)
    scale = _coloured(ramp[:, None], signed).resize((bar, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(sheet)
    for left, picture in ((1, colours), (1 + width + gap, scale)):
        pen.rectangle((left - 1, margin - 1, left + picture.width, margin + height), outline=FRAME)
        sheet.paste(picture, (left, margin))
    if clipped:
        left, right, ends = 1 + width + gap, 1 + width + gap + bar, [(margin, 1)] + [(margin + height, -1)] * signed
        for y, side in ends:
            for corner in (left, right):
                pen.polygon([(corner, y), (corner, y + side * bar), ((left + right) / 2, y)], fill=PAPER)
    for part, label in ticks:
        down = (1 - part) / 2 if signed else 1 - part
        y = margin + round(down * (height - 1))
        pen.line((text - 2 * dash, y, text - dash, y), fill=INK)
        pen.text((text, y), label, fill=INK, font=font, anchor="lm")
    return sheet


def _ticks(limit: float, signed: bool) -> list[tuple[float, str]]:
    """Places, as parts of the limit, and labels of round numbers: zero and two to four more a side."""
    exponent = math.floor(math.log10(limit))
    step = next(n for n in (2, 1, 0.5, 0.2) if limit / 10**exponent / n >= 2) * 10**exponent
    count = int(limit / step * (1 + 1e-9))
    return [(n * step / limit, _number(n * step)) for n in range(-count if signed else 0, count + 1)]


def _number(value: float) -> str:
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
