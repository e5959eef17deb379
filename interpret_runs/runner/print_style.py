"""How figures are drawn for print, and written in the formats asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.figure_essentials import metadata
from interpret_runs.summary import nearest
from interpret_runs.whole_files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DPI = 300
SMALL, NORMAL, LARGE = 6.0, 7.0, 8.0  # points
LINE = 0.12  # inches from one line of text to the next
INK, FAINT, EMPTY = "0.1", "0.45", "0.92"
# Okabe and Ito's colours, which all kinds of colour vision tell apart (Wong, 2011), the darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@contextmanager
def print_style() -> Iterator[None]:
    """Within the ``with``, what matplotlib draws has texts of 6 to 8 points and thin lines.

    Fonts are embedded as TrueType (42) and pictures keep their own pixels.
    """
    from matplotlib import rc_context

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
        "font.size": NORMAL,
        "axes.titlesize": NORMAL,
        "axes.labelsize": NORMAL,
        "figure.titlesize": LARGE,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 1.8,
        "axes.linewidth": 0.5,
        "axes.edgecolor": INK,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.use_mathtext": False,
        "axes.unicode_minus": True,
        "xtick.major.width": 0.5,
        "ytick.major.width": 0.5,
        "xtick.major.size": 2.0,
        "ytick.major.size": 2.0,
        "xtick.major.pad": 2.0,
        "ytick.major.pad": 2.0,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "text.parse_math": False,  # a dollar sign is a letter
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "interpret-runs",  # else equal figures differ
        "image.composite_image": False,  # else pictures that share axes are resampled
    }
    with rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty page of some inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def files_of(out: Path, formats: Sequence[str]) -> list[Path]:
    """The files of a figure: `out` itself, or one for each format beside it.

    Raises:
        ValueError: a format that is not written.
    """
    if isinstance(formats, str) or not isinstance(formats, Sequence):
        raise ValueError(f"figure.formats is {formats!r}; it is a list, as in figure.formats=[png,pdf]")
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"figure.formats has {name!r}; closest: {nearest(str(name), list(FORMATS))}")
    return [out.with_suffix(f".{name}") for name in dict.fromkeys(formats)] or [out]


def write_figure(
    figure: Figure,
    out: Path,
    formats: Sequence[str],
    essentials: Mapping[str, Any],
    title: str = "",
    dpi: int = DPI,
    pages: Sequence[Figure] = (),
) -> Path:
    """Write the figure in all formats, with `essentials` in each file; returns the first, each replaced whole.

    Pictures are drawn pixel by pixel in PDF and SVG, in their own resolution; in PNG, which has one, they are scaled.
    A PDF has the `pages`, where there are any, in place of the figure.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    files = files_of(out, formats)
    with print_style():
        for file in files:
            said = metadata(essentials, title, file.suffix)
            with written_whole(file) as aside:
                if file.suffix == ".pdf":
                    with PdfPages(aside, metadata=said) as document:
                        for page in pages or [figure]:
                            _set_interpolation(page, "none")
                            document.savefig(page, dpi=dpi)
                else:
                    _set_interpolation(figure, "auto" if file.suffix == ".png" else "none")
                    figure.savefig(aside, dpi=dpi, metadata=said)
    return files[0]


def _set_interpolation(figure: Figure, interpolation: str) -> None:
    for axes in figure.axes:
        for image in axes.images:
            image.set_interpolation(interpolation)
