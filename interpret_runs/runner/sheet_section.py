"""A section of a contact sheet: tiles in rows and columns with their labels. Lengths are inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from interpret_runs.runner.lettering import text_width, wrapped
from interpret_runs.runner.sheet_page import (
    AIR,
    FAINT,
    GAP,
    HEADING,
    LABEL,
    LEAST_TILE,
    LINE,
    MARGIN,
    PRINT_WIDTH,
    TILE,
    Page,
)
from interpret_runs.runner.sheet_runs import Run

BROADEST = 5  # tiles that one run of several images takes at most
LONGEST, NARROWEST = 1.4, 0.4  # the labels of rows
ENDING = 0.15  # below a section


@dataclass(frozen=True)
class Tile:
    run: Run
    row: int
    column: int
    caption: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Tiles in a table, labelled above and, a line for each of `names`, at the left; tiles that flow have captions.

    Both kinds of labels are lines. A row with the label of the row above goes on from there.

    Args:
        constant: what all runs have in common.
        page: how wide lines above the tiles may be.
        whole: the section of which this is a part: its lengths count.
    """

    heading: str
    constant: str
    tiles: Sequence[Tile]
    columns: Sequence[Sequence[str]]
    rows: Sequence[Sequence[str]] = ()
    names: Sequence[str] = ()
    page: float = PRINT_WIDTH - 2 * MARGIN
    whole: Section | None = None

    @cached_property
    def size(self) -> float:
        """Height of a tile: smaller where many side by side would be wider than a printed page."""
        if self.whole:
            return self.whole.size
        room = (PRINT_WIDTH - 2 * MARGIN - self.left + GAP) / len(self.columns) - GAP
        return min(TILE, max(LEAST_TILE, room / self.images))

    @cached_property
    def images(self) -> int:
        """How many tiles wide a run is: one of several images, which lie side by side, gets more room."""
        if self.whole:
            return self.whole.images
        images = [tile.run.get("parameterisation.images", "") for tile in self.tiles]
        return min(BROADEST, max(int(count) if count.isdigit() else 1 for count in images))

    @property
    def runs(self) -> list[str]:
        """The ids of the runs, tile by tile."""
        return [tile.run["run_id"] for tile in self.tiles if "run_id" in tile.run]

    @property
    def tile(self) -> float:
        """Width of a tile."""
        return self.size * self.images

    @cached_property
    def left(self) -> float:
        """Room of the labels of rows."""
        if self.whole:
            return self.whole.left
        labels = [*self.names, *(line for row in self.rows for line in row)]
        return min(LONGEST, max(NARROWEST, *(text_width(line, LABEL) for line in labels))) + 0.1 if labels else 0.0

    @cached_property
    def constants(self) -> list[str]:
        return wrapped(self.constant, self.page, LABEL, 3)

    @property
    def above(self) -> float:
        """Room over the tiles."""
        lines = max(len(self.beside(self.names)), *(len(self.over(lines)) for lines in self.columns))
        return 0.22 * bool(self.heading) + LINE * len(self.constants) + 0.1 + LINE * lines

    def over(self, labels: Sequence[str]) -> list[str]:
        """The lines over a column."""
        return [part for label in labels for part in wrapped(label, self.tile - AIR, LABEL, 3)]

    def beside(self, labels: Sequence[str]) -> list[str]:
        """The lines at the left of a row."""
        return [part for label in labels for part in wrapped(label, self.left - 0.1, LABEL, 3)]

    def caption(self, tile: Tile) -> list[str]:
        """The lines below a tile."""
        return [part for line in tile.caption for part in wrapped(line, self.tile - AIR, LABEL, 4)]

    @cached_property
    def pitch(self) -> float:
        """From one row of tiles to the next."""
        if self.whole:
            return self.whole.pitch
        lines = max(len(self.caption(tile)) for tile in self.tiles)
        high = self.size + (LINE * lines + 0.06 if lines else 0.0)
        return GAP + max(high, *(LINE * len(self.beside(row)) for row in self.rows), 0.0)

    @property
    def width(self) -> float:
        return self.left + len(self.columns) * (self.tile + GAP) - GAP

    @property
    def height(self) -> float:
        return self.above + (1 + max(tile.row for tile in self.tiles)) * self.pitch + ENDING

    def divided(self, height: float) -> list[Section]:
        """Parts with as many rows of tiles as fit a height; itself where it does."""
        most = max(1, int((height - self.above - ENDING) / self.pitch))
        last = max(tile.row for tile in self.tiles)
        if last < most:
            return [self]
        return [
            replace(
                self,
                heading=self.heading + " (continued)" * bool(self.heading and start),
                tiles=[replace(tile, row=tile.row - start) for tile in self.tiles if start <= tile.row < start + most],
                rows=self.rows[start : start + most],
                whole=self,
            )
            for start in range(0, last + 1, most)
        ]

    def draw(self, page: Page, top: float) -> None:
        page.text(MARGIN, top, self.heading, self.page, HEADING)
        page.lines(MARGIN, top + 0.2 * bool(self.heading), self.constants, self.page, color=FAINT)
        left, top = MARGIN + self.left, top + self.above
        names = self.beside(self.names)
        page.lines(MARGIN, top - 0.05 - LINE * len(names), names, self.left, color=FAINT)
        pitch = self.tile + GAP
        for place, labels in enumerate(self.columns):
            lines = self.over(labels)
            middle = left + place * pitch + self.tile / 2
            page.lines(middle, top - 0.05 - LINE * len(lines), lines, self.tile, ha="center")
        for place, labels in enumerate(self.rows):
            lines = self.beside(labels) if not place or labels != self.rows[place - 1] else []
            page.lines(MARGIN, top + place * self.pitch + (self.size - LINE * len(lines)) / 2, lines, self.left)
        for tile in self.tiles:
            x, y = left + tile.column * pitch, top + tile.row * self.pitch
            page.picture(x, y, self.tile, self.size, tile.run.get("image", ""), _fault(tile.run))
            page.lines(x + self.tile / 2, y + self.size + 0.03, self.caption(tile), self.tile, ha="center")


def _fault(run: Run) -> str:
    if run.get("status", "ok") != "ok":
        return "failed"
    return "" if run.get("image") else "missing"
