"""Colour bars beside and below the maps of a grid, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpret_runs.runner.lettering import text_width
from interpret_runs.runner.print_style import SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THICK, APART, HIGHEST = 0.07, 0.07, 2.0  # inches: of a bar; from the maps; at most
TICK = 0.07  # from a bar to its numbers


def number(value: float) -> str:
    """Two digits: ``0.76``, ``120``, ``−1.2e−5``."""
    rounded = float(f"{value:.2g}")
    text = f"{rounded:.10g}" if not rounded or 1e-4 <= abs(rounded) < 1e5 else f"{rounded:.2g}"
    mantissa, _, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else mantissa).replace("-", "−")


@dataclass(frozen=True)
class Scale:
    """What a bar tells: which colours are which values.

    Args:
        limit: the value of the last colour.
        negative: whether values go down to minus the limit, else to 0.
        signed: whether the colours have a half for negative values, even where no value here is.
        relative: the limit is said in a word, as each map has its own.
    """

    limit: float
    negative: bool
    signed: bool
    relative: bool = False

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Values from the lowest up, and what stands beside them."""
        limit = "limit" if self.relative else number(self.limit)
        lowest = [(-self.limit, f"−{limit}")] if self.negative else []
        return [*lowest, (0.0, "0"), (self.limit, limit)]

    @property
    def span(self) -> str:
        """From where to where, in few letters."""
        return f"±{number(self.limit)}" if self.negative else f"0 to {number(self.limit)}"


def room_beside(scales: Iterable[Scale]) -> float:
    """How wide bars beside the maps are, with the gap before them and the longest of their numbers."""
    widths = [text_width(text, SMALL) for scale in scales for _, text in scale.ticks]
    return APART + THICK + TICK + max(widths) if widths else 0.0


def draw_bar(axes: Axes, scale: Scale, upright: bool = True) -> None:
    """Fill `axes` with the colours; with numbers at the right of a bar that is `upright`."""
    import torch

    from interpret_runs.colour_bar import coloured

    lowest = scale.ticks[0][0]
    ramp = torch.linspace(1, -1 if scale.negative else 0, 255, dtype=torch.float64)
    parts = ramp[:, None] if upright else ramp.flip(0)[None]
    ends = (0, 1, lowest, scale.limit) if upright else (lowest, scale.limit, 0, 1)
    axes.imshow(coloured(parts, scale.signed), aspect="auto", extent=ends)
    axes.set_xticks([])
    axes.set_yticks([])
    if upright:
        axes.yaxis.tick_right()
        axes.set_yticks([value for value, _ in scale.ticks], [text for _, text in scale.ticks])
        first, *middle, last = axes.get_yticklabels()
        first.set_verticalalignment("bottom")  # numbers end where the bar does
        last.set_verticalalignment("top")
        for label in middle:
            label.set_verticalalignment("center")
    for spine in axes.spines.values():
        spine.set_visible(False)
