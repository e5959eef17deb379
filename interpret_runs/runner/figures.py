"""The contact sheet: the pictures of a store on one page, laid out by what their runs vary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from interpret_runs.runner.sheet_page import DPI, FAINT, MARGIN, TITLE, Page
from interpret_runs.runner.sheet_sections import sections_of
from interpret_runs.whole_files import written_whole

if TYPE_CHECKING:
    import pandas as pd


def contact_sheet(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    most: int = 256,
    sections: Mapping[str, str] | None = None,
) -> Path:
    """Draw the runs of `index` on one page and return `out`, which is replaced whole or not at all.

    Args:
        index: one row a run, with the columns of a store's index.
        root: the folder that the paths in column `image` start from.
        out: the file to write, in a folder that exists; its suffix (.png, .pdf, .svg) is the format.
        title: a line above everything.
        most: the largest number of tiles; each section says how many runs it leaves out.
        sections: heading to a pandas query over the index; by default one section a task.

    Raises:
        ValueError: `most` is not positive, or a query is wrong.
    """
    from matplotlib.figure import Figure

    if most < 1:
        raise ValueError(f"most is {most}; a sheet has at least one tile")
    shown = sections_of(index, most, sections or {})
    width = max([3.8, *(section.width for section in shown)]) + 2 * MARGIN
    top = MARGIN + (0.3 if title else 0)
    height = top + (sum(section.height for section in shown) or 0.3)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    page = Page(figure, root)
    if title:
        page.text(MARGIN, MARGIN, title, width - 2 * MARGIN, TITLE)
    if not shown:
        page.text(MARGIN, top, "no runs", width - 2 * MARGIN, color=FAINT)
    for section in shown:
        section.draw(page, top, width - 2 * MARGIN)
        top += section.height
    with written_whole(out) as aside:
        figure.savefig(aside, dpi=DPI)
    return out
