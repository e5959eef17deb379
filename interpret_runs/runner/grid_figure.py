"""Pictures of the runs of an index in rows and columns, for print: ``figure=grid``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.colour_bars import number
from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.figure_labels import Labels, named, names_of_items, plain, require_columns, shown_runs
from interpret_runs.runner.figure_notes import tell_faults, weights_note
from interpret_runs.runner.grid_layout import Panel, Table
from interpret_runs.runner.grid_page import draw
from interpret_runs.runner.panel_pictures import (
    MAPS,
    SCALES,
    Cell,
    Pictures,
    Run,
    column_shown,
    drawn_maps,
    photographs_of,
    usual_scale,
    written_pictures,
)
from interpret_runs.runner.print_style import files_of, write_figure
from interpret_runs.runner.sheet_runs import CHOICES
from interpret_runs.runner.store import Store
from interpret_runs.runner.venue import inches

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a grid: columns of the index, outermost first, and their combinations that occur."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, index: pd.DataFrame, columns: Sequence[str], labels: Labels) -> Axis:
        texts = [[plain(value) for value in index[name]] for name in columns]
        order = [labels.ordered(name, column) for name, column in zip(columns, texts, strict=True)]
        found = dict.fromkeys(zip(*texts, strict=True) if columns else [()])
        places = [{value: place for place, value in enumerate(one)} for one in order]
        key = {one: tuple(at[value] for at, value in zip(places, one, strict=True)) for one in found}
        return cls(tuple(columns), tuple(sorted(found, key=key.__getitem__)))

    def labelled(self, labels: Labels) -> list[tuple[str, ...]]:
        return [
            tuple(labels.value(name, value) for name, value in zip(self.columns, one, strict=True))
            for one in self.values
        ]


def grid(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    rows: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    filter: str | None = None,
    show: str = "image",
    scale: str | None = None,
    share: float = 0.99,
    colour_bar: bool = True,
    caption: str | Sequence[str] | None = None,
    labels: Mapping[str, Any] | None = None,
    across: int = 8,
    heading: str = "",
    width: str | float = "neurips.text",
    formats: Sequence[str] = (),
) -> Path:
    """Draw a panel for each combination of `rows` and `columns` that runs have; returns the first file.

    Several columns of the index in `rows` or `columns` are nested, the outermost first. A panel without a run, or
    without its file, says ``missing``, one of a run that failed ``failed``.

    Args:
        index: one row a run, with the columns of a store's index.
        root: the folder that paths in the index start from.
        out: the file, in a folder that exists; its suffix is the format where there are no `formats`.
        title: written into the file, not drawn.
        rows, columns: columns of the index; without `rows`, panels go on below each other, `across` a line.
        filter: a pandas query over the index.
        show: ``image``, or an artefact: ``overlay``, ``heat_map``, ``map`` (drawn anew), ...
        scale: of colours, for ``map`` and ``overlay``, which are then drawn anew: ``shared`` (the default of maps of
            one method), ``row``, ``column`` (of several, whichever holds the method) or ``panel``; overlays are
            otherwise those that the runs wrote, each with its own.
        share: the last colour is the magnitude that this share of the values on a scale do not pass.
        colour_bar: whether maps that are drawn anew have one.
        caption: columns whose values stand below each panel.
        labels: see `Labels`.
        heading: a line above everything.
        width: see `venue.inches`.
        formats: of ``png``, ``pdf``, ``svg``.

    Raises:
        LookupError: no such column or artefact.
        ValueError: two runs of one panel, no runs, or a setting that cannot be.
    """
    asked = {"rows": rows, "columns": columns, "filter": filter, "show": show, "scale": scale, "caption": caption}
    files_of(out, formats)
    wide = inches(width)
    shown, down, beside, below = shown_runs(index, filter), *_names(rows, columns, caption)
    for setting, names in (("rows", down), ("columns", beside), ("caption", below)):
        require_columns(index, names, setting)
    if not down and not beside:
        raise ValueError("figure.rows and figure.columns are empty; name columns of the index: figure.columns=layer")
    _check(show, scale, share, across)
    called = Labels(labels or {}, {"images.item": names_of_items(shown)})
    axes = Axis.of(shown, down, called), Axis.of(shown, beside, called)
    runs = placed(shown, *axes)
    redrawn = scale or (usual_scale(runs) if show == "map" else "")
    pictures = _pictures(shown, runs, root, show, redrawn, share)
    panels = {
        cell: _panel(pictures, cell, runs.get(cell), below, called, redrawn)
        for cell in product(range(len(axes[0].values)), range(len(axes[1].values)))
    }
    table = Table(
        panels,
        axes[0].labelled(called),
        axes[1].labelled(called),
        across=0 if down else across,
        bars=redrawn if colour_bar else "",
        signed=pictures.signed,
        heading=heading,
        note=weights_note(runs.values()),
    )
    order = [str(runs[cell]["run_id"]) for cell in sorted(runs)]
    file = write_figure(draw(table, wide), out, formats, figure_essentials("grid", order, root, asked), title)
    faults = [panel.fault for panel in panels.values()]
    absent = len(panels) - len(runs)
    tell_faults(absent, faults.count("missing") - absent, faults.count("failed"))
    return file


def placed(index: pd.DataFrame, rows: Axis, columns: Axis) -> dict[Cell, Run]:
    """The run of each panel.

    Raises:
        ValueError: two runs have one panel; names what tells them apart.
    """
    found: dict[Cell, Run] = {}
    at = [{value: place for place, value in enumerate(axis.values)} for axis in (rows, columns)]
    for run in index.to_dict("records"):
        row, column = (
            where[tuple(plain(run[name]) for name in axis.columns)]
            for where, axis in zip(at, (rows, columns), strict=True)
        )
        if (row, column) in found:
            raise ValueError(_collision(found[row, column], run, (*rows.columns, *columns.columns)))
        found[row, column] = {str(key): value for key, value in run.items()}
    return found


def _collision(one: Mapping[Any, Any], other: Mapping[Any, Any], shared: Sequence[str]) -> str:
    """What to say of two runs on one panel."""
    where = ", ".join(f"{name} {plain(one[name]) or 'none'}" for name in shared)
    groups = (*CHOICES, "task", "compute", "rendering", "metrics")
    names = [str(name) for name in one if str(name) == "seed" or str(name).partition(".")[0] in groups]
    names = sorted(names, key=lambda name: ("." in name, name == "seed"))  # choices first
    differ = [name for name in names if plain(one[name]) != plain(other[name])]
    runs = f"runs {one['run_id']} and {other['run_id']} fall on one panel ({where})"
    if not differ:
        return f"{runs}, and no setting in the index tells them apart; choose one: figure.filter=\"run_id != '...'\""
    first, value = differ[0], plain(one[differ[0]])
    column = f"`{first}`" if "." in first else first
    told = value if value.replace(".", "").isdigit() else repr(value)
    return (
        f"{runs}; they differ in {', '.join(differ[:4])}: add {first} to figure.rows or figure.columns, or take one, "
        f'as figure.filter="{column} == {told}"'
    )


def _names(rows: object, columns: object, caption: object) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return named(rows, "rows"), named(columns, "columns"), named(caption, "caption")


def _check(show: object, scale: object, share: object, across: object) -> None:
    if not isinstance(show, str):
        raise ValueError(f"figure.show is {show!r}; it names an artefact of the runs: image, overlay, heat_map, map")
    if scale is not None and scale not in SCALES:
        raise ValueError(f"figure.scale is {scale!r}; it must be {', '.join(SCALES[:-1])} or {SCALES[-1]}, or null")
    if scale is not None and show not in MAPS:
        raise ValueError(f"figure.scale is for figure.show=map or overlay, which are drawn anew, not for {show}")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"figure.share is {share!r}; it must be a number above 0 and at most 1")
    if isinstance(across, bool) or not isinstance(across, int) or across < 1:
        raise ValueError(f"figure.across is {across!r}; it must be a whole number from 1 on")


def _pictures(
    index: pd.DataFrame, runs: Mapping[Cell, Run], root: Path, show: str, scale: str, share: float
) -> Pictures:
    column = column_shown(index, show)
    if not scale:
        return written_pictures(runs, root, column)
    photos = None
    if show == "overlay":
        ok = [str(run["run_id"]) for run in runs.values() if run["status"] == "ok"]
        records = Store.at(root).newest(ok)
        photos = photographs_of({run_id: record["config"] for run_id, record in records.items()})
    return drawn_maps(runs, root, share, scale, photos)


def _panel(
    pictures: Pictures, cell: Cell, run: Run | None, caption: Sequence[str], labels: Labels, scale: str
) -> Panel:
    if run is None:
        return Panel(None, "missing")
    picture = pictures.cells[cell]
    lines = [f"{labels.name(name)} {short(run.get(name))}" for name in caption]
    if scale == "panel" and picture.limit is not None:
        lines.append(f"limit {number(picture.limit)}")
    return Panel(picture.image, picture.fault, tuple(lines), picture.limit, picture.negative)


def short(value: Any) -> str:
    """A value of a caption: a number in three digits."""
    if isinstance(value, float) and value == value:
        return f"{value:.3g}"
    return plain(value) or "–"
