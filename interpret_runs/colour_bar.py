"""The colours of values, and the bar beside a map that says which colour is which value."""

from __future__ import annotations

import math
from functools import cache

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIGNED, UNSIGNED = "RdBu_r", "inferno"
INK, FRAME, PAPER = (38, 38, 38), (200, 200, 200), (255, 255, 255)


def coloured(parts: Tensor, signed: bool) -> Image.Image:
    """A picture of parts of the limit, (H, W); what lies outside [-1, 1], or unsigned [0, 1], takes the last colour.

    Signed, values that differ only in sign lie as far from the table's middle, which is 0.
    """
    table = _table(signed)
    last = len(table) // 3 - 1
    parts = parts.clamp(-1 if signed else 0, 1)
    picture = grey((parts + 1) * (last / 2) if signed else parts * last)
    picture.putpalette(table)
    return picture.convert("RGB")


def grey(levels: Tensor) -> Image.Image:
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


def with_bar(colours: Image.Image, limit: float, signed: bool, below: bool, above: bool) -> Image.Image:
    """The coloured map with its bar and the numbers, on white; lengths go with the picture's height.

    Where values lie `below` or `above` the colours' limits, the bar ends in a point, as bars with extensions do.
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
    scale = coloured(ramp[:, None], signed).resize((bar, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(sheet)
    for left, picture in ((1, colours), (1 + width + gap, scale)):
        pen.rectangle((left - 1, margin - 1, left + picture.width, margin + height), outline=FRAME)
        sheet.paste(picture, (left, margin))
    left, right = 1 + width + gap, 1 + width + gap + bar
    for y, side in [(margin, 1)] * above + [(margin + height, -1)] * below:
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
