"""What charts of numbers have in common: which runs count, a page with axes, and a line that says how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_labels import Labels, plain, require_columns
from interpret_runs.runner.lettering import wrapped
from interpret_runs.runner.print_style import FAINT, SMALL, new_figure
from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LOWEST, HIGHEST = 0.8, 40.0


def require_numbers(index: pd.DataFrame, column: str, setting: str) -> None:
    """Raises LookupError where the index has no such column, ValueError where it holds no numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    require_columns(index, [column], setting)
    numeric = [str(name) for name in index if is_numeric_dtype(index[name]) and not is_bool_dtype(index[name])]
    if column not in numeric or not index[column].notna().any():
        kept = [name for name in numeric if "." not in name and index[name].notna().any()]
        raise ValueError(
            f"figure.{setting} is {column!r}, which has no numbers; those that have: {nearest(column, kept)}"
        )


def split(index: pd.DataFrame, column: str | None, labels: Labels) -> dict[str, pd.DataFrame]:
    """The rows by a column's value, in order; all of them, under nothing, without a column."""
    if column is None:
        return {"": index}
    texts = [plain(value) for value in index[column]]
    return {
        value: index[[text == value for text in texts]]  # by position, as values may be mixed
        for value in labels.ordered(column, texts)
    }


def page(width: float, height: float, note: str) -> tuple[Figure, Axes]:
    """A page with one pair of axes and a note below, laid out so that nothing is cut off."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    axes = figure.subplots()
    lines = wrapped(note, width - 0.1, SMALL, 4)
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=SMALL, color=FAINT)
    return figure, axes


def plain_ticks(axis: Axis) -> None:
    """Tick labels that are whole numbers by themselves, without a factor beside the axis."""
    from matplotlib.ticker import StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:.4g}"))


def high(height: object, usual: float) -> float:
    """A height in inches, or the usual one where none is given.

    Raises:
        ValueError: no height of a page.
    """
    if height is None:
        return usual
    if isinstance(height, int | float) and not isinstance(height, bool) and LOWEST <= height <= HIGHEST:
        return float(height)
    raise ValueError(f"figure.height is {height!r}; it is a number of inches from {LOWEST:g} to {HIGHEST:g}, or null")


def counted(sizes: Sequence[int], place: str = "") -> str:
    """``n = 8 runs``, ``n = 6 to 8 runs a bar``."""
    least, most = min(sizes), max(sizes)
    return f"n = {f'{least} to ' * (least < most)}{number_of(most, 'run')}{place}"


def left_out(index: pd.DataFrame, kept: int) -> str:
    """What to say of runs without a number; nothing where there are none."""
    failed = int((index["status"] != "ok").sum()) if "status" in index else 0
    without = len(index) - kept - failed
    parts = [f"{failed} failed"] * bool(failed) + [f"{without} without a value"] * bool(without)
    return f"; left out: {', '.join(parts)}" if parts else ""


def numbers(index: pd.DataFrame, column: str) -> Any:
    """The values of the runs that have one."""
    ok = index[index["status"] == "ok"] if "status" in index else index
    return ok[column].dropna().to_numpy(dtype=float)
