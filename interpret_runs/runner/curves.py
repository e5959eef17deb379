"""Score against step, from the histories in the records: ``figure=curves``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.chart import counted, high, left_out, page, plain_ticks, split
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.figure_labels import Labels, require_columns, shown_runs
from interpret_runs.runner.intervals import interval_of_mean
from interpret_runs.runner.print_style import COLOURS, DASHES, files_of, print_style, write_figure
from interpret_runs.runner.store import Store
from interpret_runs.runner.venue import inches
from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

BANDS = {"interval": "95 % bootstrap interval of the mean", "deviation": "one standard deviation", "range": "range"}
History = Mapping[str, Sequence[float]]


def curves(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    by: str | None = None,
    value: str = "score",
    band: str | None = "interval",
    filter: str | None = None,
    labels: Mapping[str, Any] | None = None,
    width: str | float = "icml.column",
    height: float | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Draw a line for each value of `by`: the mean over its runs at each step, with a band; returns the first file.

    All points of a line are of the same runs: it ends where the shortest history does.

    Args:
        index, root, out, title, filter, labels, width, formats: as for `grid_figure.grid`.
        by: a column of the index; without it all runs are one line.
        value: a series of the histories.
        band: ``interval``, ``deviation``, ``range``, or None.
        height: inches.

    Raises:
        LookupError: no such column or series.
        ValueError: no runs with a history, or a setting that cannot be.
    """
    files_of(out, formats)
    wide = inches(width)
    tall = high(height, min(2.6, 0.72 * wide))
    if band is not None and band not in BANDS:
        raise ValueError(f"figure.band is {band!r}; it must be {', '.join(BANDS)} or null")
    shown, called = shown_runs(index, filter), Labels(labels or {})
    require_columns(shown, [by] if by else [], "by")
    histories = _histories(shown, root, value)
    lines = {
        name: [histories[run] for run in rows["run_id"] if run in histories]
        for name, rows in split(shown, by, called).items()
    }
    lines = {name: found for name, found in lines.items() if found}
    bands = f"; bands: {BANDS[band]}" if band and any(len(found) > 1 for found in lines.values()) else ""
    sizes = [len(found) for found in lines.values()]
    note = f"{counted(sizes, ' a line' * (len(lines) > 1))}{bands}{left_out(shown, len(histories))}"
    with print_style():
        figure, axes = page(wide, tall, note)
        for place, (name, found) in enumerate(lines.items()):
            text = called.value(by, name) if by else ""
            _line(axes, *_common(found, value), place, text, band)
        axes.set_xlabel(called.name("step"))
        axes.set_ylabel(called.name(value))
        axes.margins(x=0.01)
        plain_ticks(axes.yaxis)
        if by:
            beside = len(lines) > 6
            figure.legend(
                *axes.get_legend_handles_labels(),
                loc="outside right upper" if beside else "outside upper center",
                ncols=1 if beside else min(3, len(lines)),
            )
        asked = {"by": by, "value": value, "band": band, "filter": filter}
        return write_figure(figure, out, formats, figure_essentials("curves", histories, root, asked), title)


def _histories(index: pd.DataFrame, root: Path, value: str) -> dict[str, History]:
    """The histories of the runs that have one, by run id."""
    records = Store.at(root).newest([str(run) for run in index["run_id"]])
    found = {
        run_id: records[run_id]["history"]
        for run_id in map(str, index["run_id"])
        if run_id in records and records[run_id]["status"] == "ok" and records[run_id].get("history")
    }
    if not found:
        raise ValueError(
            f"none of {number_of(len(index), 'run')} has a history; visualisations have: "
            "figure.filter=\"task == 'visualise'\""
        )
    series = sorted({name for one in found.values() for name in one} - {"step"})
    if value not in series:
        raise LookupError(f"figure.value is {value!r}; histories have: {nearest(value, series)}")
    return {run_id: one for run_id, one in found.items() if value in one}


def _common(histories: Sequence[History], value: str) -> tuple[list[float], np.ndarray[Any, Any]]:
    """The steps that all histories have, and their values there, (runs, steps)."""
    import numpy as np

    known = [dict(zip(one["step"], one[value], strict=True)) for one in histories]
    steps = sorted(set.intersection(*map(set, known)))
    return steps, np.array([[one[step] for step in steps] for one in known])


def _line(
    axes: Axes, steps: Sequence[float], values: np.ndarray[Any, Any], place: int, label: str, band: str | None
) -> None:
    colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
    mean = values.mean(0)
    axes.plot(steps, mean, color=colour, linestyle=dash, label=label)
    if len(values) < 2 or band is None:
        return
    if band == "interval":
        low, high = interval_of_mean(values)
    elif band == "deviation":
        spread = values.std(0, ddof=1)
        low, high = mean - spread, mean + spread
    else:
        low, high = values.min(0), values.max(0)
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
