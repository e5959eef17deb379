"""What a contact sheet shows: the runs of an index, laid out by what they vary.

A section finds which columns of the index tell its runs apart, puts units (visualisations) or input pictures
(attributions) side by side and the combinations of everything else below each other; where that makes no table,
its tiles flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.figure_labels import plain, queried
from interpret_runs.runner.lettering import wrapped
from interpret_runs.runner.sheet_page import (
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
from interpret_runs.runner.sheet_runs import CHOICES, SELDOM, Run, labelled, runs_of, values, varying

if TYPE_CHECKING:
    import pandas as pd

HEADINGS = {
    "visualise": "Visualisations",
    "attribute": "Attributions",
    "examples": "Dataset examples",
    "activationgrid": "Activation grids",
    "atlas": "Activation atlases",
}
BESIDE = ("visualise", "examples")

WIDEST = 12  # columns of a table
BROADEST = 5  # tiles that one run of several images takes at most
LETTER, LONGEST = 0.065, 1.4  # a letter of a row's label, and all of it


@dataclass(frozen=True)
class _Tile:
    run: Run
    row: int
    column: int
    caption: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Tiles in a table, labelled above and, a line for each of `names`, at the left; tiles that flow have captions.

    Both kinds of labels are lines.
    """

    heading: str
    constant: str
    tiles: Sequence[_Tile]
    columns: Sequence[Sequence[str]]
    rows: Sequence[Sequence[str]] = ()
    names: Sequence[str] = ()

    @cached_property
    def size(self) -> float:
        """Height of a tile: smaller where many side by side would be wider than a printed page."""
        room = (PRINT_WIDTH - 2 * MARGIN - self.left + GAP) / len(self.columns) - GAP
        return min(TILE, max(LEAST_TILE, room / self._images))

    @cached_property
    def _images(self) -> int:
        """How many tiles wide a run is: one of several images, which lie side by side, gets more room."""
        images = [run.run.get("parameterisation.images", "") for run in self.tiles]
        return min(BROADEST, max(int(count) if count.isdigit() else 1 for count in images))

    @property
    def runs(self) -> list[str]:
        """The ids of the runs, tile by tile."""
        return [tile.run["run_id"] for tile in self.tiles if "run_id" in tile.run]

    @cached_property
    def tile(self) -> float:
        """Width of a tile."""
        return self.size * self._images

    @cached_property
    def left(self) -> float:
        letters = max((len(line) for line in [*self.names, *chain(*self.rows)]), default=0)
        return min(LETTER * letters, LONGEST) + 0.1 if letters else 0.0

    @property
    def above(self) -> float:
        lines = max(len(self.names), *map(len, self.columns))
        return 0.22 + (0.16 if self.constant else 0.0) + 0.05 + LINE * lines

    def caption(self, tile: _Tile) -> list[str]:
        """The lines below a tile, of which each may become two."""
        return [part for line in tile.caption for part in wrapped(line, self.tile, LABEL, 2)]

    @cached_property
    def pitch(self) -> float:
        lines = max(len(self.caption(tile)) for tile in self.tiles)
        return self.size + GAP + (LINE * lines + 0.06 if lines else 0.0)

    @property
    def width(self) -> float:
        return self.left + len(self.columns) * (self.tile + GAP) - GAP

    @property
    def height(self) -> float:
        return self.above + (1 + max(tile.row for tile in self.tiles)) * self.pitch + 0.15

    def divided(self, height: float) -> list[Section]:
        """Parts with as many rows of tiles as fit a height; itself where it does."""
        most = max(1, int((height - self.above - 0.15) / self.pitch))
        last = max(tile.row for tile in self.tiles)
        return [
            replace(
                self,
                heading=self.heading + " (continued)" * (start > 0),
                tiles=[replace(tile, row=tile.row - start) for tile in self.tiles if start <= tile.row < start + most],
                rows=self.rows[start : start + most],
            )
            for start in range(0, last + 1, most)
        ]

    def draw(self, page: Page, top: float, width: float) -> None:
        page.text(MARGIN, top, self.heading, width, HEADING)
        page.text(MARGIN, top + 0.2, self.constant, width, color=FAINT)
        left, top = MARGIN + self.left, top + self.above
        page.lines(MARGIN, top - 0.05 - LINE * len(self.names), self.names, self.left - 0.1, color=FAINT)
        pitch = self.tile + GAP
        for place, lines in enumerate(self.columns):
            middle = left + place * pitch + self.tile / 2
            page.lines(middle, top - 0.05 - LINE * len(lines), lines, self.tile, ha="center")
        for place, lines in enumerate(self.rows):
            page.lines(MARGIN, top + place * self.pitch + (self.size - LINE * len(lines)) / 2, lines, self.left - 0.1)
        for tile in self.tiles:
            x, y = left + tile.column * pitch, top + tile.row * self.pitch
            page.picture(x, y, self.tile, self.size, tile.run.get("image", ""), _fault(tile.run))
            page.lines(x + self.tile / 2, y + self.size + 0.03, self.caption(tile), self.tile, ha="center")


def sections_of(index: pd.DataFrame, most: int, wanted: Mapping[str, str]) -> list[Section]:
    """One section for each query that is `wanted`, or for each task; dataset examples go beside visualisations.

    Of more than `most` runs each section shows its share, the first ones.
    """
    parts = [
        (heading, queried(index, query, f"figure.sections, {heading!r}")) for heading, query in wanted.items()
    ] or _by_task(index)
    total = sum(len(part) for _, part in parts)
    sections = []
    for heading, part in parts:
        share = len(part) if total <= most else max(1, most * len(part) // total)
        if len(part):
            sections.append(_section(heading, runs_of(part.iloc[:share]), len(part) - share))
    return sections


def check_sections(wanted: Any) -> None:
    """Refuse what no index could be divided by; whether there are such columns is known once there is an index.

    Raises:
        ValueError: no mapping of headings to queries, or a query that is no expression.
    """
    import pandas as pd

    rule = "it must be headings with queries over the index, as figure.sections={Late: \"layer == 'late'\"}"
    if not isinstance(wanted, Mapping) or not all(isinstance(query, str) for query in wanted.values()):
        raise ValueError(f"figure.sections is {wanted!r}; {rule}")
    for heading, query in wanted.items():
        try:
            pd.DataFrame().query(query)
        except NameError:
            continue
        except Exception as error:  # pandas raises whatever Python, numpy or itself does
            reason = str(error).partition(" (<unknown>")[0]
            raise ValueError(f"figure.sections, {heading!r}: {query!r} is no query: {reason}; {rule}") from error


def _by_task(index: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    tasks = [plain(task) for task in index["task"]] if "task" in index else [""] * len(index)

    def those(*wanted: str) -> pd.DataFrame:
        return index.iloc[[place for place, task in enumerate(tasks) if task in wanted]]

    names = [task for task in dict.fromkeys([*HEADINGS, *tasks]) if task in tasks]
    parts = [(HEADINGS.get(task, task.capitalize() or "Runs"), those(task)) for task in names]
    naming = [name for name in ("model", "layer", "unit") if name in index]
    units = [set(those(task)[naming].itertuples(index=False, name=None)) for task in BESIDE]
    if units[0] & units[1]:
        alone = [part for task, part in zip(names, parts, strict=True) if task not in BESIDE]
        return [("Visualisations and dataset examples", those(*BESIDE)), *alone]
    return parts


def _section(heading: str, runs: Sequence[Run], left_out: int) -> Section:
    tasks = [task for (task,) in values(runs, "task")]
    usual = "task" if len(tasks) > 1 else "picture" if tasks == ["attribute"] else "unit"
    main, others = varying(runs, usual)
    if main is None and len(others) > 1:  # what comes last in the configuration goes side by side
        main = others.pop()
    failed = sum(_fault(run) == "failed" for run in runs)
    heading += f": {len(runs)} run{'s' * (len(runs) != 1)}"
    heading += f", {failed} failed" * (failed > 0) + f", {left_out} more left out" * (left_out > 0)
    same = [
        name for name in (*CHOICES, "unit") if name not in SELDOM and runs[0].get(name) and len(values(runs, name)) == 1
    ]
    constant = ", ".join(f"{name} {runs[0][name]}" for name in same)
    table = _table(heading, constant, runs, main, others) if main and others else None
    return table or _flow(heading, constant, runs, [main or usual, *others] if main or not others else others)


def _table(heading: str, constant: str, runs: Sequence[Run], main: str, others: Sequence[str]) -> Section | None:
    """Tiles in rows and columns; None where two runs would share a place, or that is too wide or mostly gaps."""
    columns = [value for (value,) in values(runs, main)]
    order = [values(runs, name) for name in others]
    places = [tuple(seen.index((run.get(name, ""),)) for name, seen in zip(others, order, strict=True)) for run in runs]
    rows = sorted(set(places))  # the first name changes slowest
    cells = [(rows.index(place), columns.index(run[main])) for run, place in zip(runs, places, strict=True)]
    if len(columns) > WIDEST or len(set(cells)) < len(runs) or len(runs) <= len(rows) * len(columns) / 2:
        return None
    tiles = [_Tile(run, *cell) for run, cell in zip(runs, cells, strict=True)]
    labels = [[labelled(name, seen[i][0]) for name, seen, i in zip(others, order, row, strict=True)] for row in rows]
    above = [[labelled(main, value), *_class_of(runs, main, value)] for value in columns]
    return Section(heading, constant, tiles, above, labels, others)


def _class_of(runs: Sequence[Run], main: str, value: str) -> list[str]:
    """The class that is explained in a column of pictures, where each has its own."""
    units = values([run for run in runs if run.get(main) == value and run.get("unit")], "unit")
    return [units[0][0]] if main == "picture" and len(units) == 1 < len(values(runs, "unit")) else []


def _flow(heading: str, constant: str, runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Tiles one after the other, about as many down as across; the first name has a line of its own."""
    several = any(run.get("parameterisation.images", "1") not in ("", "1") for run in runs)
    across = min(len(runs), 2 if several else max(4, math.ceil(math.sqrt(len(runs)))))
    tiles = []
    for place, run in enumerate(runs):
        first, *rest = [labelled(name, run.get(name, "")) for name in names]
        rest += _class_of(runs, names[0], run.get(names[0], ""))
        tiles.append(_Tile(run, *divmod(place, across), (first, " · ".join(rest)) if rest else (first,)))
    return Section(heading, constant, tiles, [()] * across)


def _fault(run: Run) -> str:
    if run.get("status", "ok") != "ok":
        return "failed"
    return "" if run.get("image") else "missing"
