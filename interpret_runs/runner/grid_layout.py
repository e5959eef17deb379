"""Where the panels of a grid, their labels and their colour bars are. Lengths are inches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from interpret_runs.runner.colour_bars import THICK, Scale, room_beside
from interpret_runs.runner.lettering import wrapped
from interpret_runs.runner.print_style import LINE, SMALL

if TYPE_CHECKING:
    from PIL.Image import Image

GAP, GROUP, PAD, EDGE = 0.04, 0.08, 0.04, 0.02
AIR = 0.02  # between the labels of neighbours


@dataclass(frozen=True)
class Panel:
    """A picture, or what is at fault, with lines below; `limit` and `negative` are of a map's scale: see `Scale`."""

    image: Image | None
    fault: str = ""
    caption: tuple[str, ...] = ()
    limit: float | None = None
    negative: bool = False


@dataclass(frozen=True)
class Table:
    """Panels by row and column, and the labels of both, outermost first.

    Args:
        across: panels of one line, where a single row goes on below; 0 for none such.
        bars: which share a colour bar: ``shared``, ``row``, ``column``, ``panel``, or nothing.
        signed: see `Scale`.
        heading: a line above everything.
        note: one below.
    """

    panels: Mapping[tuple[int, int], Panel]
    rows: Sequence[tuple[str, ...]]
    columns: Sequence[tuple[str, ...]]
    across: int = 0
    bars: str = ""
    signed: bool = False
    heading: str = ""
    note: str = ""

    @cached_property
    def scales(self) -> dict[int, Scale]:
        """Of the colour bars: by row or column where each has its own, else one at 0."""
        found: dict[int, Scale] = {}
        negative = any(panel.negative for panel in self.panels.values())
        for (row, column), panel in sorted(self.panels.items()):
            if panel.limit is not None and self.bars in ("row", "column"):
                place = row if self.bars == "row" else column
                found.setdefault(place, Scale(panel.limit, panel.negative, self.signed))
            elif panel.limit is not None and self.bars:
                found.setdefault(0, Scale(panel.limit, negative, self.signed, relative=self.bars == "panel"))
        return found


@dataclass(frozen=True)
class Group:
    """Places that share the label of one level."""

    text: str
    first: int
    last: int


def groups(labels: Sequence[tuple[str, ...]], level: int) -> list[Group]:
    """Neighbours that share a label and those of the outer levels; on the innermost level each is its own."""
    found = []
    for key, members in groupby(range(len(labels)), key=lambda place: labels[place][: level + 1]):
        places = list(members)
        found.append(Group(key[level], places[0], places[-1]))
    return found


def starts(labels: Sequence[tuple[str, ...]], step: float) -> list[float]:
    """Where panels begin: with a wider gap where an outer label changes."""
    found = [0.0]
    for one, other in zip(labels, labels[1:], strict=False):
        found.append(found[-1] + step + GAP + (GROUP if one[:-1] != other[:-1] else 0.0))
    return found


@dataclass(frozen=True)
class Line:
    """Panels side by side under their labels: all columns, or some of a single row that goes on below."""

    rows: Sequence[int]
    columns: Sequence[int]


@dataclass(frozen=True)
class Layout:
    """Where everything of a table is on a page of some width."""

    table: Table
    width: float
    left: float = 0.0  # room of the labels of rows

    @cached_property
    def lines(self) -> list[Line]:
        rows, columns = range(len(self.table.rows)), range(len(self.table.columns))
        step = self.table.across or len(columns)
        return [Line(rows, columns[start : start + step]) for start in range(0, len(columns), step)]

    @cached_property
    def panel(self) -> float:
        """How wide a panel is."""
        most = max(len(line.columns) for line in self.lines)
        gaps = max(starts([self.table.columns[place] for place in line.columns], 0.0)[-1] for line in self.lines)
        return (self.width - 2 * EDGE - self.left - self.right - gaps) / most

    @cached_property
    def right(self) -> float:
        """Room of the colour bars beside the panels."""
        return room_beside(self.table.scales.values()) if self.table.bars != "column" else 0.0

    @cached_property
    def foot(self) -> float:
        """Room of the colour bars below the panels."""
        if self.table.bars != "column" or not self.table.scales:
            return 0.0
        return PAD + THICK + LINE * max(len(self.span(scale)) for scale in self.table.scales.values())

    def span(self, scale: Scale) -> list[str]:
        return wrapped(scale.span, self.panel, SMALL, 2)

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
        return [part for line in panel.caption for part in wrapped(line, self.panel - AIR, SMALL, 2)]
