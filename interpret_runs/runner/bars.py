"""A metric by method, or by any column, with intervals: ``figure=bars``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.chart import counted, high, left_out, numbers, page, plain_ticks, require_numbers, split
from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.figure_labels import Labels, require_columns, shown_runs
from interpret_runs.runner.intervals import interval_of_mean
from interpret_runs.runner.print_style import COLOURS, FAINT, INK, SMALL, files_of, print_style, write_figure
from interpret_runs.runner.venue import inches

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BY = "attribution"
THICK = 0.15  # inches of a bar


def bars(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    by: str = BY,
    value: str = "score",
    within: str | None = None,
    sort: bool = False,
    filter: str | None = None,
    labels: Mapping[str, Any] | None = None,
    width: str | float = "icml.column",
    height: float | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Draw the mean of `value` for each value of `by`, with its 95 % bootstrap interval over runs; the first file.

    Args:
        index, root, out, title, filter, labels, width, formats: as for `grid_figure.grid`.
        by: a column of the index.
        value: a column with numbers.
        within: a second column, of which each value has a bar of its own.
        sort: the highest mean first.
        height: inches.

    Raises:
        LookupError: no such column.
        ValueError: no numbers, no runs, or a setting that cannot be.
    """
    files_of(out, formats)
    shown, called = shown_runs(index, filter), Labels(labels or {})
    require_columns(shown, [by], "by", BY)
    require_columns(shown, [within] if within else [], "within")
    require_numbers(shown, value, "value")
    parts = split(shown, by, called)
    inner = list(split(shown, within, called))
    found = {
        (name, one): numbers(rows, value)
        for name, all_rows in parts.items()
        for one, rows in split(all_rows, within, called).items()
    }
    names = list(parts)
    if sort:
        names.sort(key=lambda name: -max(found[name, one].mean() for one in inner if _has(found, name, one)))
    sizes = [len(values) for values in found.values() if len(values)]
    ends = "; whiskers: 95 % bootstrap interval of the mean" * (max(sizes) > 1)
    note = f"{counted(sizes, ' a bar')}{ends}{left_out(shown, sum(sizes))}"
    usual = 0.75 + THICK * 1.25 * len(names) * len(inner) + 0.2 * (within is not None)
    with print_style():
        figure, axes = page(inches(width), high(height, usual), note)
        _bars(axes, names, inner, found, [called.value(within, one) for one in inner] if within else [""])
        axes.set_yticks(range(len(names)), [called.value(by, name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(called.name(value))
        axes.tick_params(axis="y", length=0)
        plain_ticks(axes.xaxis)
        if within:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=min(4, len(inner)))
        asked = {"by": by, "value": value, "within": within, "sort": sort, "filter": filter}
        return write_figure(figure, out, formats, figure_essentials("bars", shown["run_id"], root, asked), title)


def _has(found: Mapping[tuple[str, str], Any], name: str, one: str) -> bool:
    return len(found.get((name, one), ())) > 0


def _bars(
    axes: Axes,
    names: Sequence[str],
    inner: Sequence[str],
    found: Mapping[tuple[str, str], Any],
    labels: Sequence[str],
) -> None:
    """Bars of one colour for each of `inner`, side by side within a name."""
    thick = 0.8 / len(inner)
    for place, one in enumerate(inner):
        shift = (place - (len(inner) - 1) / 2) * thick
        known = [(at + shift, found[name, one]) for at, name in enumerate(names) if _has(found, name, one)]
        means = [values.mean() for _, values in known]
        axes.barh([at for at, _ in known], means, thick * 0.9, color=COLOURS[place % len(COLOURS)], label=labels[place])
        for at, values in known:
            low, high = interval_of_mean(values)
            axes.plot((low, high), (at, at), color=INK, linewidth=0.8)
        for at, name in enumerate(names):
            if not _has(found, name, one):
                text = "failed" if (name, one) in found else "missing"
                axes.text(
                    0.01, at + shift, text, transform=axes.get_yaxis_transform(), va="center", color=FAINT, size=SMALL
                )
    axes.axvline(0, color=INK, linewidth=0.5)
