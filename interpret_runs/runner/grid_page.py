"""Drawing a grid of panels with labels, captions and colour bars. Lengths are inches, downwards from the top left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.lettering import wrapped
from interpret_runs.runner.print_style import EMPTY, FAINT, INK, LARGE, LINE, NORMAL, SMALL, new_figure, print_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

GAP, GROUP, PAD, EDGE = 0.04, 0.08, 0.04, 0.02
BAR, BAR_ROOM, BAR_HIGHEST = 0.07, 0.42, 2.0
SMALLEST = 0.4  # a panel has room for the word "missing"
LINES = 3  # of a label, at most


@dataclass(frozen=True)
class Panel:
    """A picture, or what is at fault, with lines below; `limit` is the value of the last colour of a map."""

    image: Image | None
    fault: str = ""
    caption: tuple[str, ...] = ()
    limit: float | None = None


@dataclass(frozen=True)
class Table:
    """Panels by row and column, and the labels of both, outermost first.

    Args:
        across: panels of one line, where a single row goes on below; 0 for none such.
        bars: which share a colour bar: ``shared``, ``row``, ``panel``, or nothing.
    """

    panels: Mapping[tuple[int, int], Panel]
    rows: Sequence[tuple[str, ...]]
    columns: Sequence[tuple[str, ...]]
    across: int = 0
    bars: str = ""
    signed: bool = False
    heading: str = ""

    @property
    def barred(self) -> bool:
        return bool(self.bars) and any(panel.limit is not None for panel in self.panels.values())


@dataclass(frozen=True)
class _Group:
    """Places that share the label of one level."""

    text: str
    first: int
    last: int


def groups(labels: Sequence[tuple[str, ...]], level: int) -> list[_Group]:
    """Neighbours that share a label and those of the outer levels; on the innermost level each is its own."""
    found = []
    for key, members in groupby(range(len(labels)), key=lambda place: labels[place][: level + 1]):
        places = list(members)
        found.append(_Group(key[level], places[0], places[-1]))
    return found


def starts(labels: Sequence[tuple[str, ...]], step: float) -> list[float]:
    """Where panels begin: with a wider gap where an outer label changes."""
    found = [0.0]
    for one, other in zip(labels, labels[1:], strict=False):
        found.append(found[-1] + step + GAP + (GROUP if one[:-1] != other[:-1] else 0.0))
    return found


@dataclass(frozen=True)
class _Line:
    """Panels side by side under their labels: all columns, or some of a single row that goes on below."""

    rows: Sequence[int]
    columns: Sequence[int]


@dataclass(frozen=True)
class _Layout:
    """Where everything of a table is on a page of some width."""

    table: Table
    width: float
    left: float = 0.0  # room of the labels of rows

    @cached_property
    def lines(self) -> list[_Line]:
        rows, columns = range(len(self.table.rows)), range(len(self.table.columns))
        step = self.table.across or len(columns)
        return [_Line(rows, columns[start : start + step]) for start in range(0, len(columns), step)]

    @cached_property
    def panel(self) -> float:
        """How wide a panel is."""
        most = max(len(line.columns) for line in self.lines)
        gaps = max(starts([self.table.columns[place] for place in line.columns], 0.0)[-1] for line in self.lines)
        right = BAR_ROOM + BAR if self.table.barred else 0.0
        return (self.width - 2 * EDGE - self.left - right - gaps) / most

    @cached_property
    def high(self) -> float:
        """How high panels are: as the highest picture asks for."""
        sizes = [panel.image.size for panel in self.table.panels.values() if panel.image is not None]
        return self.panel * max((height / width for width, height in sizes), default=1.0)

    @cached_property
    def caption(self) -> float:
        """Room below a panel."""
        most = max(len(self.below(panel)) for panel in self.table.panels.values())
        return most * LINE + PAD if most else 0.0

    def below(self, panel: Panel) -> list[str]:
        return [part for line in panel.caption for part in wrapped(line, self.panel, SMALL, 2)]


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
        self.table, self.layout = table, _Layout(table, width)
        self._make_room()
        if self.layout.panel < SMALLEST:
            raise ValueError(
                f"figure.width of {width:.3g} inches leaves {max(0.0, self.layout.panel):.2g} for each panel; take "
                "fewer columns (move one to figure.rows, or figure.filter) or a wider figure"
            )
        heading = LINE * 1.3 * bool(table.heading)
        heads = [self._head(line) for line in self.layout.lines]
        body = starts(table.rows, self.layout.high + self.layout.caption)
        block = body[-1] + self.layout.high + self.layout.caption
        gaps = 2 * GAP * (len(heads) - 1)
        self.height = 2 * EDGE + heading + sum(heads) + block * len(heads) + gaps
        self.width = width
        self.figure = new_figure(width, self.height)
        self.page = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(self.height, 0))
        self.page.set_axis_off()
        top = EDGE + heading
        if heading:
            self._text(width / 2, EDGE, [table.heading], LARGE)
        first = top + heads[0]
        for line, head in zip(self.layout.lines, heads, strict=True):
            self._line(line, top, head, body)
            top += head + block + 2 * GAP
        if table.barred:
            self._bars(first, top - 2 * GAP, body)

    def _make_room(self) -> None:
        """The room of the labels of rows, which is their lines, which depend on how high the panels are."""
        for _ in range(2):
            left = sum(self._levels()) if any(map(any, self.table.rows)) else 0.0
            self.layout = _Layout(self.table, self.layout.width, left)

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
            room.append(max(len(wrapped(text, span, NORMAL, LINES)) for text, span in spans) * LINE + PAD)
        return room

    def _head(self, line: _Line) -> float:
        """The room above a line of panels."""
        return sum(self._head_levels(line.columns))

    def _head_levels(self, columns: Sequence[int]) -> list[float]:
        labels = [self.table.columns[place] for place in columns]
        at, panel = starts(labels, self.layout.panel), self.layout.panel
        room = []
        for level in range(len(labels[0])):
            spans = [(group.text, at[group.last] + panel - at[group.first]) for group in groups(labels, level)]
            most = max(len(wrapped(text, span, NORMAL, LINES)) for text, span in spans)
            room.append(most * LINE + PAD)
        return room

    def _line(self, line: _Line, top: float, head: float, body: Sequence[float]) -> None:
        labels = [self.table.columns[place] for place in line.columns]
        left = EDGE + self.layout.left
        at, panel = starts(labels, self.layout.panel), self.layout.panel
        y = top
        for level, room in enumerate(self._head_levels(line.columns)):
            inner = level == len(labels[0]) - 1
            for group in groups(labels, level):
                begin, end = left + at[group.first], left + at[group.last] + panel
                texts = wrapped(group.text, end - begin, NORMAL, LINES)
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

    def _row_labels(self, top: float, body: Sequence[float]) -> None:
        x, high = EDGE, self.layout.high
        for level, room in enumerate(self._levels()):
            inner = level == len(self.table.rows[0]) - 1
            for group in groups(self.table.rows, level):
                begin, end = top + body[group.first], top + body[group.last] + high + self.layout.caption
                texts = wrapped(group.text, end - begin, NORMAL, LINES)
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
        x, high = self.width - EDGE - BAR_ROOM, self.layout.high
        limits = {row: panel.limit for (row, _), panel in self.table.panels.items() if panel.limit is not None}
        if self.table.bars == "row":
            for row, limit in limits.items():
                self._bar(x, top + body[row], high, limit, False)
            return
        end -= self.layout.caption
        tall = min(BAR_HIGHEST, end - top)
        self._bar(x, (top + end - tall) / 2, tall, next(iter(limits.values())), self.table.bars == "panel")

    def _bar(self, x: float, y: float, high: float, limit: float, relative: bool) -> None:
        """A bar of colours from the lowest value to the limit, in the maps' own units, or said in words."""
        import torch

        from interpret_runs.colour_bar import coloured

        signed = self.table.signed
        axes = self._axes(x, y, BAR, high)
        ramp = torch.linspace(1, -1 if signed else 0, 255, dtype=torch.float64)[:, None]
        axes.imshow(coloured(ramp, signed), aspect="auto", extent=(0, 1, -limit if signed else 0, limit))
        axes.set_xticks([])
        axes.yaxis.tick_right()
        ticks = [-limit, 0, limit] if signed else [0, limit]
        words = ["−limit", "0", "limit"] if signed else ["0", "limit"]
        axes.set_yticks(ticks, words if relative else [f"{tick:.2g}".replace("-", "−") for tick in ticks])
        for label, place in zip(axes.get_yticklabels(), ticks, strict=True):
            label.set_verticalalignment("top" if place == limit else "bottom" if place == ticks[0] else "center")
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _axes(self, x: float, y: float, width: float, height: float) -> Any:
        page = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(page)

    def _rule(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.page.plot(x, y, color=FAINT, linewidth=0.5)

    def _text(self, x: float, y: float, lines: Sequence[str], size: float) -> None:
        for place, line in enumerate(lines):
            self.page.text(x, y + place * LINE, line, ha="center", va="top", color=INK, size=size)
