"""Objects that show themselves in notebooks, as pictures with captions."""

from __future__ import annotations

import base64
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import accumulate

from PIL import Image, ImageDraw, ImageFont

from interpret_runs.colour_bar import INK, PAPER

SMALLEST, LARGEST = 224, 512  # pixels; smaller pictures are enlarged, larger ones scaled down
LARGEST_OF_SEVERAL = 288
MOST = 48  # pictures
COLUMNS = 6
GAP = 8
LETTERS = 13


@dataclass(frozen=True)
class Panel:
    """A picture, and what is written below it."""

    picture: Image.Image
    caption: str = ""


class Displayed(ABC):
    """Shows its panels in a notebook, below its `repr`: as HTML, and as one PNG where HTML is not shown.

    At most 48 panels are shown. Pictures are scaled for the screen, small ones with each pixel as a square.
    """

    @abstractmethod
    def panels(self) -> Sequence[Panel]:
        """What is shown, in order; one or more."""

    def _repr_html_(self) -> str:
        panels, hidden = _shown(self.panels())
        figures = "".join(_figure(panel) for panel in panels)
        more = f"<div>and {hidden} more</div>" if hidden else ""
        row = f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start;gap:{GAP}px">{figures}</div>'
        return f'<div><div style="margin-bottom:{GAP}px">{escape(repr(self))}</div>{row}{more}</div>'

    def _repr_png_(self) -> bytes:
        return _png(_sheet(_shown(self.panels())[0]))


def _shown(panels: Sequence[Panel]) -> tuple[list[Panel], int]:
    """The panels at the size that a screen shows, and how many there are beyond."""
    largest = LARGEST if len(panels) == 1 else LARGEST_OF_SEVERAL
    return [Panel(_scaled(one.picture, largest), one.caption) for one in panels[:MOST]], max(0, len(panels) - MOST)


def _scaled(picture: Image.Image, largest: int) -> Image.Image:
    factor = math.ceil(SMALLEST / picture.height)
    if factor > 1 and factor * max(picture.size) <= 2 * largest:
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
    made = picture.convert("RGB")
    made.thumbnail((2 * largest, largest))
    return made


def _figure(panel: Panel) -> str:
    data, text = base64.b64encode(_png(panel.picture)).decode(), escape(panel.caption)
    caption = f'<figcaption style="font-size:small;overflow-wrap:anywhere">{text}</figcaption>' if text else ""
    width, height = panel.picture.size
    image = f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{text}">'
    return f'<figure style="margin:0;width:{width}px">{image}{caption}</figure>'


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _sheet(panels: Sequence[Panel]) -> Image.Image:
    """The panels in rows on white, with their captions."""
    font = ImageFont.load_default(size=LETTERS)
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    width = max(sum(one.picture.width + GAP for one in row) for row in rows)
    heights = [max(one.picture.height for one in row) + 2 * LETTERS for row in rows]
    sheet = Image.new("RGB", (width, sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, top in zip(rows, accumulate(heights, initial=0), strict=False):
        left = 0
        for one in row:
            sheet.paste(one.picture, (left, top))
            caption = one.caption
            while font.getlength(caption) > one.picture.width:
                caption = caption[:-2] + "…"
            pen.text((left, top + one.picture.height + LETTERS // 3), caption, fill=INK, font=font)
            left += one.picture.width + GAP
    return sheet
