"""A metric over two columns of the index, as coloured cells with numbers: ``figure=heatmap``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.chart import counted, high, left_out, numbers, page, plain_ticks, require_numbers, split
from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.figure_labels import Labels, require_columns, shown_runs
from interpret_runs.runner.lettering import text_width, wrapped
from interpret_runs.runner.print_style import EMPTY, FAINT, NORMAL, SMALL, files_of, print_style, write_figure
from interpret_runs.runner.venue import inches

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

ROWS, COLUMNS = "attribution", "layer"
ROW = 0.2  # inches
COLOURS = "cividis"  # the same to all kinds of colour vision


def pivot(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    rows: str = ROWS,
    columns: str = COLUMNS,
    value: str = "score",
    digits: int = 3,
    filter: str | None = None,
    labels: Mapping[str, Any] | None = None,
    width: str | float = "icml.column",
    height: float | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Draw a cell for each pair of values, with the mean of `value` over its runs in colour and number; the first file.

    A pair without a run is grey, and says ``failed`` where its runs did.

    Args:
        index, root, out, title, filter, labels, width, formats: as for `grid_figure.grid`.
        rows, columns: columns of the index.
        value: a column with numbers.
        digits: of the numbers in cells that count, from 1 on.
        height: inches.

    Raises:
        LookupError: no such column.
        ValueError: no numbers, no runs, too many columns, or a setting that cannot be.
    """
    import numpy as np

    files_of(out, formats)
    if isinstance(digits, bool) or not isinstance(digits, int) or digits < 1:
        raise ValueError(f"figure.digits is {digits!r}; it must be a whole number from 1 on")
    shown, called = shown_runs(index, filter), Labels(labels or {})
    require_columns(shown, [rows], "rows", ROWS)
    require_columns(shown, [columns], "columns", COLUMNS)
    require_numbers(shown, value, "value")
    down, beside = split(shown, rows, called), list(split(shown, columns, called))
    cells = {(row, one): part for row, mine in down.items() for one, part in split(mine, columns, called).items()}
    found = {key: numbers(part, value) for key, part in cells.items()}
    means = np.array([[_mean(found, row, one) for one in beside] for row in down])
    sizes = [len(values) for values in found.values() if len(values)]
    note = f"{counted(sizes, ' a cell')}{left_out(shown, sum(sizes))}"
    names = [called.value(rows, row) for row in down], [called.value(columns, one) for one in beside]
    wide = inches(width)
    texts = {
        (i, j): _text(means[i, j], digits, (row, one) in found)
        for (i, row), (j, one) in product(enumerate(down), enumerate(beside))
    }
    room = _cell(wide, names, texts.values())
    above = [wrapped(name, room, SMALL, 3) for name in names[1]]
    tall = high(height, 0.6 + ROW * len(down) + 0.12 * max(map(len, above)))
    with print_style():
        figure, axes = page(wide, tall, note)
        drawn = axes.imshow(np.ma.masked_invalid(means), aspect="auto", cmap=COLOURS)
        axes.set_facecolor(EMPTY)
        _numbers(axes, drawn, texts, means)
        axes.set_yticks(range(len(down)), names[0])
        axes.set_xticks(range(len(beside)), ["\n".join(lines) for lines in above])
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        told = "\n".join(wrapped(called.name(value), tall - 0.4, NORMAL, 3))
        bar = figure.colorbar(drawn, ax=axes, label=told, fraction=0.04, pad=0.02)
        plain_ticks(bar.ax.yaxis)
        bar.outline.set_visible(False)
        asked = {"rows": rows, "columns": columns, "value": value, "filter": filter}
        return write_figure(figure, out, formats, figure_essentials("heatmap", shown["run_id"], root, asked), title)


def _mean(found: Mapping[tuple[str, str], Any], row: str, column: str) -> float:
    values = found.get((row, column), ())
    return float(values.mean()) if len(values) else float("nan")


def _text(value: float, digits: int, ran: bool) -> str:
    if value == value:
        return f"{value:#.{digits}g}".rstrip(".") if abs(value) < 10**digits else f"{value:.{digits}g}"
    return "failed" if ran else "–"


def _cell(width: float, names: tuple[Sequence[str], Sequence[str]], texts: Any) -> float:
    """The width of a cell, about.

    Raises:
        ValueError: numbers would not fit.
    """
    room = (width - max(text_width(name, SMALL) for name in names[0]) - 0.75) / len(names[1])
    if room < max(text_width(text, SMALL) for text in texts):
        raise ValueError(
            f"figure.width of {width:.3g} inches has no room for {len(names[1])} columns of numbers; take a wider "
            "figure, swap figure.rows and figure.columns, or fewer figure.digits"
        )
    return room


def _numbers(axes: Axes, drawn: Any, texts: Mapping[tuple[int, int], str], means: np.ndarray[Any, Any]) -> None:
    """The numbers, dark on light cells and light on dark ones."""
    for (row, column), text in texts.items():
        colour = FAINT
        if means[row, column] == means[row, column]:
            red, green, blue, _ = drawn.cmap(drawn.norm(means[row, column]))
            colour = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", color=colour, size=SMALL)
