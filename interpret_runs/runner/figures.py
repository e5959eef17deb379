"""The contact sheet: the pictures of a store on one page, laid out by what their runs vary.

A sheet has one section a task. A section finds which columns of the index tell its runs apart, puts units
(visualisations) or input pictures (attributions) side by side and the combinations of everything else below
each other; where that makes no table, its tiles flow. Lengths are inches, downwards from the upper left corner.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHOICES = ("model", "layer", "objective", "parameterisation", "transform", "optimizer", "attribution", "images")
PLAIN = ("status", "image", "task", "unit", "seed", "compute.precision")
HEADINGS = {"visualise": "Visualisations", "attribute": "Attributions"}

WIDEST = 12  # columns of a table
DPI = 200
TILE, GAP, MARGIN = 1.1, 0.06, 0.15
LINE = 0.14  # from one line of labels to the next
LABEL, HEADING, TITLE = 7.0, 9.0, 11.0  # points
LETTER, LONGEST = 0.065, 1.4  # a letter of a row's label, and all of it
INK, FAINT, EMPTY = "0.1", "0.45", "0.88"

Run = dict[str, str]  # column to value, as text; "" where the run has none


def contact_sheet(index: pd.DataFrame, root: Path, out: Path, title: str = "", most: int = 256) -> Path:
    """Draw the runs of `index` on one page and return `out`, which is replaced whole or not at all.

    Args:
        index: one row a run, with the columns of a store's index.
        root: the folder that the paths in column `image` start from.
        out: the file to write, in a folder that exists; its suffix (.png, .pdf, .svg) is the format.
        title: a line above everything.
        most: the largest number of tiles; each section says how many runs it leaves out.

    Raises:
        ValueError: `most` is not positive.
    """
    from matplotlib.figure import Figure

    if most < 1:
        raise ValueError(f"most is {most}; a sheet has at least one tile")
    sections = _sections(index, most)
    width = max([3.0, *(section.width for section in sections)]) + 2 * MARGIN
    top = MARGIN + (0.3 if title else 0)
    height = top + (sum(section.height for section in sections) or 0.3)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    page = _Page(figure, root)
    if title:
        page.text(MARGIN, MARGIN, title, width - 2 * MARGIN, TITLE)
    if not sections:
        page.text(MARGIN, top, "no runs", width - 2 * MARGIN, color=FAINT)
    for section in sections:
        section.draw(page, top, width - 2 * MARGIN)
        top += section.height
    _save(figure, out)
    return out


def _save(figure: Figure, out: Path) -> None:
    aside = out.with_name(f".{out.stem}-{os.getpid()}{out.suffix}")
    try:
        figure.savefig(aside, dpi=DPI)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


# --- what the runs vary -----------------------------------------------------------------------------------------


def _runs(index: pd.DataFrame) -> list[Run]:
    """The index as text, without the columns that say what came out of a run and not what it is."""
    kept = [name for name in index.columns if name in PLAIN or name.split(".")[0] in (*CHOICES, "task")]
    runs = [dict(zip(kept, map(_plain, row), strict=True)) for row in index[kept].itertuples(index=False, name=None)]
    return [{**run, "picture": _picture(run)} for run in runs]


def _plain(value: Any) -> str:
    """A value in few letters: 12.0, which a column with gaps makes of 12, is 12; a gap is nothing."""
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    return f"{value:.15g}" if isinstance(value, float) else " ".join(str(value).split())


def _picture(run: Run) -> str:
    """What the input of an attribution is called: its file, or image set and item."""
    item = run.get("images.item", "") or Path(run.get("images.path", "")).name
    return f"{run.get('images', '')} {item}".strip() if item.isdigit() or not item else item


def _values(runs: Iterable[Run], *names: str) -> list[tuple[str, ...]]:
    """The distinct combinations of some columns, in order of appearance."""
    return list(dict.fromkeys(tuple(run.get(name, "") for name in names) for run in runs))


def _varying(runs: Sequence[Run], main: str) -> tuple[str | None, list[str]]:
    """`main` if it varies, and the other columns that do, without those which earlier ones already determine.

    Choices come before the settings inside them, and a unit before its objective, so these are what is kept.
    """
    axis = main if len(_values(runs, main)) > 1 else None
    settings = [name for group in (*CHOICES, "task") for name in runs[0] if name.startswith(f"{group}.")]
    kept: list[str] = []
    for name in ("model", "attribution", "layer", "unit", *CHOICES[2:], *settings, "compute.precision", "seed"):
        # Only what the main column stands for may hide behind it: other settings could vary with it by chance.
        hides = axis and name.split(".")[0] in ("unit", "objective", "images")
        known = [*kept, axis] if axis and hides else kept
        if len(_values(runs, *known, name)) > len(_values(runs, *known)):
            kept.append(name)
    return axis, [name for name in kept if name != axis]


def _label(name: str, value: str) -> str:
    group, _, setting = name.rpartition(".")
    if name == "seed" or (group and setting not in ("path", "name")):
        return f"{setting} {value or '-'}"
    return value or "-"


# --- sections ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tile:
    run: Run
    row: int
    column: int
    caption: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Section:
    """Tiles in a table, labelled above and, a line for each of `names`, at the left; tiles that flow have captions."""

    heading: str
    constant: str
    tiles: Sequence[_Tile]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = ()
    names: Sequence[str] = ()

    @property
    def left(self) -> float:
        letters = max((len(line) for line in [*self.names, *chain(*self.rows)]), default=0)
        return min(LETTER * letters, LONGEST) + 0.1 if letters else 0.0

    @property
    def above(self) -> float:
        return 0.22 + (0.16 if self.constant else 0.0) + 0.05 + LINE * len(self.names)

    @property
    def pitch(self) -> float:
        lines = len(self.tiles[0].caption)
        return TILE + GAP + (LINE * lines + 0.06 if lines else 0.0)

    @property
    def width(self) -> float:
        return self.left + len(self.columns) * (TILE + GAP) - GAP

    @property
    def height(self) -> float:
        return self.above + (1 + max(tile.row for tile in self.tiles)) * self.pitch + 0.15

    def draw(self, page: _Page, top: float, width: float) -> None:
        page.text(MARGIN, top, self.heading, width, HEADING)
        page.text(MARGIN, top + 0.2, self.constant, width, color=FAINT)
        left, top = MARGIN + self.left, top + self.above
        page.lines(MARGIN, top - 0.05 - LINE * len(self.names), self.names, self.left - 0.1, color=FAINT)
        for place, label in enumerate(self.columns):
            page.text(left + place * (TILE + GAP) + TILE / 2, top - 0.05 - LINE, label, TILE, ha="center")
        for place, lines in enumerate(self.rows):
            page.lines(MARGIN, top + place * self.pitch + (TILE - LINE * len(lines)) / 2, lines, self.left - 0.1)
        for tile in self.tiles:
            x, y = left + tile.column * (TILE + GAP), top + tile.row * self.pitch
            page.picture(x, y, tile.run)
            page.lines(x + TILE / 2, y + TILE + 0.03, tile.caption, TILE, ha="center")


def _sections(index: pd.DataFrame, most: int) -> list[_Section]:
    """One section a task; of more than `most` runs each task shows its share, the first ones."""
    tasks = [_plain(task) for task in index["task"]] if "task" in index else [""] * len(index)
    sections = []
    for task in dict.fromkeys([*HEADINGS, *tasks]):
        own = [place for place, other in enumerate(tasks) if other == task]
        share = len(own) if len(tasks) <= most else max(1, most * len(own) // len(tasks))
        if own:
            sections.append(_section(task, _runs(index.iloc[own[:share]]), len(own) - share))
    return sections


def _section(task: str, runs: Sequence[Run], left_out: int) -> _Section:
    main, others = _varying(runs, usual := "picture" if task == "attribute" else "unit")
    if main is None and len(others) > 1:  # what comes last in the configuration goes side by side
        main = others.pop()
    failed = sum(_fault(run) == "failed" for run in runs)
    heading = f"{HEADINGS.get(task, task.capitalize() or 'Runs')}: {len(runs)} run{'s' * (len(runs) != 1)}"
    heading += f", {failed} failed" * (failed > 0) + f", {left_out} more left out" * (left_out > 0)
    same = [name for name in (*CHOICES, "unit") if runs[0].get(name) and len(_values(runs, name)) == 1]
    constant = ", ".join(f"{name} {runs[0][name]}" for name in same)
    table = _table(heading, constant, runs, main, others) if main and others else None
    return table or _flow(heading, constant, runs, [main or usual, *others] if main or not others else others)


def _table(heading: str, constant: str, runs: Sequence[Run], main: str, others: Sequence[str]) -> _Section | None:
    """Tiles in rows and columns; None where two runs would share a place, or that is too wide or mostly gaps."""
    columns = [value for (value,) in _values(runs, main)]
    order = [_values(runs, name) for name in others]
    places = [tuple(seen.index((run.get(name, ""),)) for name, seen in zip(others, order, strict=True)) for run in runs]
    rows = sorted(set(places))  # the first name changes slowest
    cells = [(rows.index(place), columns.index(run[main])) for run, place in zip(runs, places, strict=True)]
    if len(columns) > WIDEST or len(set(cells)) < len(runs) or len(runs) <= len(rows) * len(columns) / 2:
        return None
    tiles = [_Tile(run, *cell) for run, cell in zip(runs, cells, strict=True)]
    labels = [[_label(name, seen[i][0]) for name, seen, i in zip(others, order, row, strict=True)] for row in rows]
    return _Section(heading, constant, tiles, [_label(main, value) for value in columns], labels, others)


def _flow(heading: str, constant: str, runs: Sequence[Run], names: Sequence[str]) -> _Section:
    """Tiles one after the other, about as many down as across; the first name has a line of its own."""
    across = min(len(runs), max(4, math.ceil(math.sqrt(len(runs)))))
    tiles = []
    for place, run in enumerate(runs):
        first, *rest = [_label(name, run.get(name, "")) for name in names]
        tiles.append(_Tile(run, *divmod(place, across), (first, " · ".join(rest)) if rest else (first,)))
    return _Section(heading, constant, tiles, [""] * across)


def _fault(run: Run) -> str:
    if run.get("status", "ok") != "ok":
        return "failed"
    return "" if run.get("image") else "missing"


# --- drawing ----------------------------------------------------------------------------------------------------


class _Page:
    """One figure, drawn on in inches: text fitted to a width, and the pictures under `root`."""

    def __init__(self, figure: Figure, root: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.root = root
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

    def picture(self, x: float, y: float, run: Run) -> None:
        """The run's picture in a square tile, as large as fits, or a grey tile that says why there is none."""
        from interpret_runs import photographs

        fault = _fault(run)
        try:
            photo = None if fault else photographs.read(self.root / run["image"])
        except (OSError, ValueError):
            photo, fault = None, "missing"
        if photo is None:
            self.axes.fill_between((x, x + TILE), y, y + TILE, color=EMPTY, linewidth=0)
            self.text(x + TILE / 2, y + TILE / 2 - LINE / 2, fault, TILE, color=FAINT, ha="center")
            return
        scale = round(TILE * DPI) / max(photo.size)
        photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
        right, down = (TILE + photo.width / DPI) / 2, (TILE + photo.height / DPI) / 2
        extent = (x + TILE - right, x + right, y + down, y + TILE - down)
        self.axes.imshow(photo, extent=extent, aspect="auto", interpolation="nearest")
