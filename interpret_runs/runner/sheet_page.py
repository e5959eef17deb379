"""Drawing a contact sheet: text and pictures on one page. Lengths are inches, downwards from the upper left corner."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
FINEST = 600  # pixels an inch at most: an overview of thousands of large pictures stays small
TILE, GAP, MARGIN = 1.1, 0.06, 0.15
LEAST_TILE = 0.6
AIR = 0.02  # beside the labels of tiles
PRINT_WIDTH, PRINT_HEIGHT = 183 / 25.4, 9.5  # of a page of a journal
LINE = 0.14  # from one line of labels to the next
LABEL, HEADING, TITLE = 7.0, 8.0, 9.0  # points
INK, FAINT, EMPTY = "0.1", "0.45", "0.88"


class Page:
    """One figure, drawn on in inches: text fitted to a width, and the pictures under `root`."""

    def __init__(self, figure: Figure, root: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.figure, self.root = figure, root
        self.faults: list[str] = []  # of the tiles that have no picture
        self.renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        self.axes = figure.add_axes((0, 0, 1, 1), xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
        self.axes.set_axis_off()

    def lines(self, x: float, y: float, lines: Iterable[str], width: float, **style: Any) -> None:
        for place, line in enumerate(lines):
            self.text(x, y + place * LINE, line, width, **style)

    def text(self, x: float, y: float, text: str, width: float, size: float = LABEL, **style: Any) -> None:
        """One line whose top is at y, cut in the middle with an ellipsis where it is wider than `width`."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size, weight="normal" if size == LABEL else "bold")

        def cut(keep: int) -> str:  # both ends tell more than one: names that vary often share a beginning
            return f"{text[: keep - keep // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"

        def wide(shown: str) -> bool:
            return bool(self.renderer.get_text_width_height_descent(shown, font, False)[0] > width * DPI)

        if wide(text):
            text = cut(bisect_left(range(1, len(text)), True, key=lambda keep: wide(cut(keep))))
        # A dollar sign is a letter here, not mathematics.
        self.axes.text(x, y, text, font=font, va="top", parse_math=False, **{"color": INK, **style})

    def picture(self, x: float, y: float, width: float, height: float, image: str, fault: str) -> None:
        """A picture in a tile of `width` by `height`, as large as fits, or a grey tile that says what is at fault."""
        from interpret_runs import photographs

        try:
            photo = None if fault else photographs.read(self.root / image)
        except (OSError, ValueError):
            photo, fault = None, "missing"
        if photo is None:
            self.faults.append(fault)
            self.axes.fill_between((x, x + width), y, y + height, color=EMPTY, linewidth=0)
            self.text(x + width / 2, y + height / 2 - LINE / 2, fault, width, color=FAINT, ha="center")
            return
        scale = min(width / photo.width, height / photo.height)  # inches of a pixel
        wide, high = scale * photo.width, scale * photo.height
        if scale * FINEST < 1:
            photo = photo.resize((round(wide * FINEST), round(high * FINEST)))
        right, down = (width + wide) / 2, (height + high) / 2
        extent = (x + width - right, x + right, y + down, y + height - down)
        self.axes.imshow(photo, extent=extent, aspect="auto")
