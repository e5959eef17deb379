"""The contact sheet: the pictures of a store on one page, laid out by what their runs vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.print_style import files_of, write_figure
from interpret_runs.runner.sheet_page import DPI, FAINT, MARGIN, PRINT_HEIGHT, TITLE, Page
from interpret_runs.runner.sheet_sections import Section, sections_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ABOVE = 0.3  # inches of a title


def contact_sheet(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    most: int = 256,
    sections: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Draw the runs of `index` on one page, in PDF on several; returns the file, which is replaced whole or not at all.

    Args:
        index: one row a run, with the columns of a store's index.
        root: the folder that the paths in column `image` start from.
        out: the file to write, in a folder that exists; its suffix is the format where there are no `formats`.
        title: a line above everything.
        most: the largest number of tiles; each section says how many runs it leaves out.
        sections: heading to a pandas query over the index; by default one section a task.
        formats: of ``png``, ``pdf``, ``svg``: a file each; the first is returned.

    Raises:
        ValueError: `most` is not positive, or a query or a format is wrong.
    """
    if most < 1:
        raise ValueError(f"most is {most}; a sheet has at least one tile")
    files = files_of(out, formats)
    shown = sections_of(index, most, sections or {})
    width = max([3.8, *(section.width for section in shown)]) + 2 * MARGIN
    pages = paged(shown) if any(file.suffix == ".pdf" for file in files) else []
    drawn = [_page(part, width, root, title) for part in pages]
    whole = _page(shown, width, root, title) if len(pages) != 1 else drawn[0]
    runs = [run for section in shown for run in section.runs]
    asked = {"most": most, "sections": dict(sections or {})}
    essentials = figure_essentials("contact_sheet", runs, root, asked)
    return write_figure(whole, out, formats, essentials, title, DPI, drawn)


def paged(sections: Sequence[Section]) -> list[list[Section]]:
    """The sections on as many pages as they need, at least one; a section that is higher than a page is divided."""
    pages: list[list[Section]] = [[]]
    room = PRINT_HEIGHT - MARGIN - ABOVE
    for part in chain.from_iterable(section.divided(room) for section in sections):
        if pages[-1] and sum(one.height for one in pages[-1]) + part.height > room:
            pages.append([])
        pages[-1].append(part)
    return pages


def _page(shown: Sequence[Section], width: float, root: Path, title: str) -> Figure:
    """Sections below each other, on a page as high as they are."""
    from matplotlib.figure import Figure

    top = MARGIN + (ABOVE if title else 0)
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
    return figure
