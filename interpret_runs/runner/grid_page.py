"""Drawing a grid of panels with labels, captions and colour bars. Lengths are inches, downwards from the top left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.colour_bars import APART, HIGHEST, THICK, draw_bar
from interpret_runs.runner.grid_layout import AIR, EDGE, GAP, PAD, Layout, Line, Panel, Table, groups, starts
from interpret_runs.runner.lettering import wrapped
from interpret_runs.runner.print_style import EMPTY, FAINT, INK, LARGE, LINE, NORMAL, SMALL, new_figure, print_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST = 0.4  # a panel has room for the word "missing"
LINES = 3  # of a label, at most


def draw(table: Table, width: float) -> Figure:
    """The table on a page of `width` inches, as high as it comes to.

    Raises:
        ValueError: panels would be too small.
    """
    with print_style():
        return _Drawing(table, width).figure


class _Drawing:
    """A page with a table on it."""

    def __init__(self, table: Table, width: float) -> None:
        self.table, self.layout = table, Layout(table, width)
        self._make_room()
        if self.layout.panel < SMALLEST:
            raise ValueError(
                f"figure.width of {width:.3g} inches leaves {max(0.0, self.layout.panel):.2g} for each panel; take "
                "fewer columns (move one to figure.rows, or figure.filter) or a wider figure"
            )
        note = wrapped(table.note, width - 2 * EDGE, SMALL, LINES)
        heading, ending = LINE * 1.3 * bool(table.heading), LINE * len(note) + PAD * bool(note)
        heads = [self._head(line) for line in self.layout.lines]
        body = starts(table.rows, self.layout.high + self.layout.caption)
        block = body[-1] + self.layout.high + self.layout.caption + self.layout.foot
        gaps = 2 * GAP * (len(heads) - 1)
        self.width = width
        self.height = 2 * EDGE + heading + sum(heads) + block * len(heads) + gaps + ending
        self.figure = new_figure(width, self.height)
        self.page = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(self.height, 0))
        self.page.set_axis_off()
        if heading:
            self._text(width / 2, EDGE, [table.heading], LARGE)
        self._text(width / 2, self.height - EDGE - LINE * len(note), note, SMALL, FAINT)
        top = EDGE + heading
        for line, head in zip(self.layout.lines, heads, strict=True):
            self._line(line, top, head, body)
            top += head + block + 2 * GAP
        if self.layout.right:
            self._bars(EDGE + heading + heads[0], top - 2 * GAP, body)

    def _make_room(self) -> None:
        """The room of the labels of rows, which is their lines, which depend on how high the panels are."""
        for _ in range(2):
            left = sum(self._levels()) if any(map(any, self.table.rows)) else 0.0
            self.layout = Layout(self.table, self.layout.width, left)

    def _levels(self) -> list[float]:
        """The room of each level of labels of rows."""
        high = self.layout.high
        at = starts(self.table.rows, high + self.layout.caption)
        room = []
        for level in range(len(self.table.rows[0])):
            spans = [
                (group.text, at[group.last] + high + self.layout.caption - at[group.first])
                for group in groups(self.table.rows, level)
            ]
            room.append(max(len(wrapped(text, span - AIR, NORMAL, LINES)) for text, span in spans) * LINE + PAD)
        return room

    def _head(self, line: Line) -> float:
        """The room above a line of panels."""
        return sum(self._head_levels(line.columns))

    def _head_levels(self, columns: Sequence[int]) -> list[float]:
        labels = [self.table.columns[place] for place in columns]
        at, panel = starts(labels, self.layout.panel), self.layout.panel
        room = []
        for level in range(len(labels[0])):
            spans = [(group.text, at[group.last] + panel - at[group.first]) for group in groups(labels, level)]
            most = max(len(wrapped(text, span - AIR, NORMAL, LINES)) for text, span in spans)
            room.append(most * LINE + PAD)
        return room

    def _line(self, line: Line, top: float, head: float, body: Sequence[float]) -> None:
        labels = [self.table.columns[place] for place in line.columns]
        left = EDGE + self.layout.left
        at, panel = starts(labels, self.layout.panel), self.layout.panel
        y = top
        for level, room in enumerate(self._head_levels(line.columns)):
            inner = level == len(labels[0]) - 1
            for group in groups(labels, level):
                begin, end = left + at[group.first], left + at[group.last] + panel
                texts = wrapped(group.text, end - begin - AIR, NORMAL, LINES)
                # Labels stand on what they are above.
                self._text((begin + end) / 2, y + room - PAD - LINE * len(texts), texts, NORMAL)
                if not inner:
                    self._rule((begin, end), (y + room - PAD / 2,) * 2)
            y += room
        for row in line.rows:
            for place, column in enumerate(line.columns):
                self._panel(self.table.panels[row, column], left + at[place], top + head + body[row])
        if self.layout.left:
            self._row_labels(top + head, body)
        if self.layout.foot:
            self._bars_below(line, at, top + head + body[-1] + self.layout.high + self.layout.caption + PAD / 2)

    def _row_labels(self, top: float, body: Sequence[float]) -> None:
        x, high = EDGE, self.layout.high
        for level, room in enumerate(self._levels()):
            inner = level == len(self.table.rows[0]) - 1
            for group in groups(self.table.rows, level):
                begin, end = top + body[group.first], top + body[group.last] + high + self.layout.caption
                texts = wrapped(group.text, end - begin - AIR, NORMAL, LINES)
                for place, text in enumerate(texts):
                    across = x + room - PAD - LINE * (len(texts) - place - 0.5)
                    self.page.text(
                        across, (begin + end) / 2, text, rotation=90, ha="center", va="center", color=INK, size=NORMAL
                    )
                if not inner:
                    self._rule((x + room - PAD / 2,) * 2, (begin, end))
            x += room

    def _panel(self, panel: Panel, x: float, y: float) -> None:
        wide, high = self.layout.panel, self.layout.high
        if panel.image is None:
            self.page.fill_between((x, x + wide), y, y + high, color=EMPTY, linewidth=0)
            self.page.text(x + wide / 2, y + high / 2, panel.fault, ha="center", va="center", color=FAINT, size=SMALL)
        else:
            scale = min(wide / panel.image.width, high / panel.image.height)
            width, height = panel.image.width * scale, panel.image.height * scale
            axes = self._axes(x + (wide - width) / 2, y + (high - height) / 2, width, height)
            axes.imshow(panel.image, aspect="auto")
            axes.set_axis_off()
        self._text(x + wide / 2, y + high + PAD / 2, self.layout.below(panel), SMALL)

    def _bars(self, top: float, end: float, body: Sequence[float]) -> None:
        """Bars at the right, in the maps' own units or said in words."""
        x, high = self.width - EDGE - self.layout.right + APART, self.layout.high
        for place, scale in self.table.scales.items():
            if self.table.bars == "row":
                draw_bar(self._axes(x, top + body[place], THICK, high), scale)
            else:
                tall = min(HIGHEST, end - self.layout.caption - top)
                draw_bar(self._axes(x, (top + end - self.layout.caption - tall) / 2, THICK, tall), scale)

    def _bars_below(self, line: Line, at: Sequence[float], y: float) -> None:
        left, panel = EDGE + self.layout.left, self.layout.panel
        for place, column in enumerate(line.columns):
            if (scale := self.table.scales.get(column)) is not None:
                draw_bar(self._axes(left + at[place], y, panel, THICK), scale, upright=False)
                self._text(left + at[place] + panel / 2, y + THICK + PAD / 2, self.layout.span(scale), SMALL)

    def _axes(self, x: float, y: float, width: float, height: float) -> Any:
        page = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(page)

    def _rule(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.page.plot(x, y, color=FAINT, linewidth=0.5)

    def _text(self, x: float, y: float, lines: Sequence[str], size: float, color: str = INK) -> None:
        for place, line in enumerate(lines):
            self.page.text(x, y + place * LINE, line, ha="center", va="top", color=color, size=size)
