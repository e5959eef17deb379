"""The figure of the known-truth suite: a panel for each measure, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from interpret_runs.runner.lettering import text_width, wrapped
from interpret_runs.runner.print_names import in_print
from interpret_runs.runner.print_style import COLOURS, FAINT, SMALL, new_figure, print_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from interpret_runs.runner.truth_table import Column, Ends, Truth

PANEL, LINE = 0.88, 0.1  # inches: a panel's least width, and from one method to the next


def truth_page(truth: Truth, ends: Ends, width: float, titles: Mapping[Column, str]) -> Figure:
    """A panel for each measure, a line for each method, chance dashed."""
    names = 0.08 + max(text_width(in_print("attribution", method), SMALL) for method in truth.methods)
    across = max(1, min(len(truth.columns), int((width - names) / PANEL)))
    down = -(-len(truth.columns) // across)
    each = (width - names) / across
    headings = {column: wrapped(titles[column], each - 0.1, SMALL, 4) for column in truth.columns}
    height = 0.25 + 0.12 * max(map(len, headings.values())) + LINE * len(truth.methods)
    with print_style():
        figure = new_figure(width, height * down)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
        panels = figure.subplots(down, across, squeeze=False, sharey=True).flatten()
        for panel in panels[len(truth.columns) :]:
            panel.set_axis_off()
        for panel, column in zip(panels, truth.columns, strict=False):
            _panel(panel, truth, ends, column)
            panel.set_title("\n".join(headings[column]), fontsize=SMALL)
        figure.draw_without_rendering()  # lay it out while the style holds
    return figure


def _panel(panel: Axes, truth: Truth, ends: Ends, column: Column) -> None:
    methods = list(truth.methods)
    for place, method in enumerate(methods):
        cell = truth.cells.get((method, column))
        if cell is None or not cell.count:
            panel.text(0.5, place, "–", transform=panel.get_yaxis_transform(), ha="center", va="center", color=FAINT)
            continue
        panel.plot(ends[method, column], (place, place), color=COLOURS[0])
        panel.plot(cell.mean, place, "o", color=COLOURS[0], markersize=2.5)
    chance = truth.chance_of(column)
    if chance is not None:
        panel.axvline(chance, color=FAINT, linestyle="--", linewidth=0.7)
    panel.locator_params(axis="x", nbins=3)
    panel.set_yticks(range(len(methods)), [in_print("attribution", method) for method in methods])
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.grid(axis="x", color="0.92", linewidth=0.5)
