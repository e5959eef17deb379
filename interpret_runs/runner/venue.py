"""How wide a figure is in print, by the venue it is for."""

from interpret_runs.summary import nearest

MILLIMETRE = 1 / 25.4
NARROWEST, WIDEST = 1.0, 40.0

# Inches.
WIDTHS = {
    "neurips.text": 5.5,
    "iclr.text": 5.5,
    "icml.column": 3.25,
    "icml.text": 6.75,
    "cvpr.column": 3.25,
    "cvpr.text": 6.875,
    "eccv.text": 122 * MILLIMETRE,
    "jmlr.text": 6.0,
    "tmlr.text": 6.5,
    "nature.column": 89 * MILLIMETRE,
    "nature.text": 183 * MILLIMETRE,
}


def inches(width: object) -> float:
    """A width in inches: a number of them, or ``venue.column`` or ``venue.text``, the widths that a venue prints.

    Sources: the formatting instructions in the style files of NeurIPS and ICLR (text "5.5 inches (33 picas) wide"),
    of ICML (columns of 3.25 inches in 6.75), of CVPR (columns of 3 1/4 inches in 6 7/8), of ECCV, which are those of
    Springer's LNCS ("the printing area is 122 mm x 193 mm"), and of JMLR and TMLR; for Nature
    https://research-figure-guide.nature.com/figures/building-and-exporting-figure-panels ("89 mm (single column), 183
    mm (double column)"; texts of 5 to 7 points). ICCV has the columns of CVPR; AISTATS and UAI those of ICML.

    Raises:
        ValueError: no such venue, or no width of a page.
    """
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    if isinstance(width, int | float) and not isinstance(width, bool) and NARROWEST <= width <= WIDEST:
        return float(width)
    if isinstance(width, str):
        raise ValueError(
            f"figure.width is {width!r}; closest: {nearest(width, list(WIDTHS))} (all: {', '.join(WIDTHS)}; or inches)"
        )
    raise ValueError(
        f"figure.width is {width!r}; it is a number of inches from {NARROWEST:g} to {WIDEST:g}, or one of "
        f"{', '.join(WIDTHS)}"
    )
