"""The contact sheet: the pictures of a store on one page, laid out by what their runs vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.figure_notes import tell_faults
from interpret_runs.runner.print_style import files_of, write_figure
from interpret_runs.runner.sheet_page import DPI, FAINT, MARGIN, PRINT_HEIGHT, TITLE, Page
from interpret_runs.runner.sheet_section import Section
from interpret_runs.runner.sheet_sections import sections_of

if TYPE_CHECKING:
    import pandas as pd

ABOVE, LEAST_WIDTH = 0.3, 3.8  # inches: of a heading; of a page without its margins


def contact_sheet(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    most: int = 256,
    sections: Mapping[str, str] | None = None,
    heading: str = "",
    formats: Sequence[str] = (),
) -> Path:
    """Draw the runs of `index` on one page, in PDF on several; returns the file, which is replaced whole or not at all.

    Args:
        index: one row a run, with the columns of a store's index.
        root: the folder that the paths in column `image` start from.
        out: the file to write, in a folder that exists; its suffix is the format where there are no `formats`.
        title: written into the file, not drawn.
        most: the largest number of tiles; each section says how many runs it leaves out.
        sections: heading to a pandas query over the index; by default one section a task.
        heading: a line above everything.
        formats: of ``png``, ``pdf``, ``svg``: a file each; the first is returned.

    Raises:
        ValueError: `most` is not positive, or a query or a format is wrong.
    """
    if most < 1:
        raise ValueError(f"most is {most}; a sheet has at least one tile")
    files = files_of(out, formats)
    shown = sections_of(index, most, sections or {})
    width = max([LEAST_WIDTH, *(section.width for section in shown)])
    shown = [replace(section, page=width) for section in shown]
    parts = paged(shown) if any(file.suffix == ".pdf" for file in files) else []
    pages = [_page(part, width, root, heading) for part in parts]
    whole = _page(shown, width, root, heading) if len(pages) != 1 else pages[0]
    runs = [run for section in shown for run in section.runs]
    asked = {"most": most, "sections": dict(sections or {})}
    essentials = figure_essentials("contact_sheet", runs, root, asked)
    drawn = [page.figure for page in pages]
    file = write_figure(whole.figure, out, formats, essentials, title, DPI, drawn)
    tell_faults(0, whole.faults.count("missing"), whole.faults.count("failed"))
    return file


def paged(sections: Sequence[Section]) -> list[list[Section]]:
    """The sections on as many pages as they need, at least one; a section that is higher than a page is divided."""
    pages: list[list[Section]] = [[]]
    room = PRINT_HEIGHT - MARGIN - ABOVE
    for part in chain.from_iterable(section.divided(room) for section in sections):
        if pages[-1] and sum(one.height for one in pages[-1]) + part.height > room:
            pages.append([])
        pages[-1].append(part)
    return pages


def _page(shown: Sequence[Section], width: float, root: Path, heading: str) -> Page:
    """Sections below each other, on a page as high as they are."""
    from matplotlib.figure import Figure

    top = MARGIN + (ABOVE if heading else 0)
    height = top + (sum(section.height for section in shown) or 0.3)
    page = Page(Figure(figsize=(width + 2 * MARGIN, height), dpi=DPI, facecolor="white"), root)
    if heading:
        page.text(MARGIN, MARGIN, heading, width, TITLE)
    if not shown:
        page.text(MARGIN, top, "no runs", width, color=FAINT)
    for section in shown:
        section.draw(page, top)
        top += section.height
    return page
