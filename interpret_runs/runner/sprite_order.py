"""In which order the sprites of a sheet lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

ORDERS = ("index", "score", "similarity")
EXTRA = "pip install 'interpret-runs[atlas]'"
# Columns by which runs stand in the order of the index, the first one first.
NAMES = ("task", "model", "layer.path", "layer", "unit", "seed")
# Of more pictures the leaves stay in the order of the clustering: the best one takes minutes.
MOST_OPTIMAL = 3000
SIDE = 32  # pixels of a picture that is compared
RINGS, SECTORS = 4, 4  # parts of a spectrum


def order_of(index: pd.DataFrame, pictures: Sequence[Image.Image | None], order: str) -> list[int]:
    """The rows of `index` in order, each once; those without a picture are the last.

    ``index`` is the order of names, numbers in them as numbers; ``score`` the highest first; ``similarity`` puts
    pictures alike in colour and texture next to each other: the leaves of a hierarchical clustering (average linkage)
    in the order that makes neighbours closest (Bar-Joseph et al., 2001).

    Raises:
        LookupError: another order, or scipy is not installed.
    """
    check_order(order)
    rows = sorted(range(len(index)), key=_names(index).__getitem__)
    shown = [row for row in rows if pictures[row] is not None]
    if order == "score":
        scores = {row: float(index["score"].iloc[row]) for row in shown}
        shown.sort(key=lambda row: -scores[row] if scores[row] == scores[row] else float("inf"))
    if order == "similarity" and len(shown) > 2:
        shown = [shown[place] for place in _by_similarity([_descriptor(pictures[row]) for row in shown])]
    return [*shown, *(row for row in rows if pictures[row] is None)]


def check_order(order: str) -> None:
    """Raises LookupError where there is no such order."""
    if order not in ORDERS:
        raise LookupError(f"no task.order={order!r}; closest: {nearest(str(order), list(ORDERS))}")


def _names(index: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = [[str(value) for value in index[name]] for name in NAMES if name in index]
    return [tuple(map(_natural, values)) for values in zip(*columns, strict=True)]


def _natural(text: str) -> list[tuple[int, str]]:
    """A text as a key by which `channel 9` stands before `channel 10`."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]


def _by_similarity(descriptors: Sequence[np.ndarray[Any, Any]]) -> list[int]:
    import numpy as np

    try:
        from scipy.cluster.hierarchy import leaves_list, linkage
    except ImportError:
        raise LookupError(f"task.order=similarity needs scipy: {EXTRA}, or take task.order=index") from None
    values = np.stack(descriptors)
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1)
    weights = np.concatenate([np.full(size, size**-0.5) for size in PARTS])
    order: list[int] = leaves_list(
        linkage(values * weights, "average", optimal_ordering=len(values) <= MOST_OPTIMAL)
    ).tolist()
    return order


# How many numbers of a descriptor tell of colours, of the texture in grey, and of that of colours.
PARTS = (6, RINGS * SECTORS, 2 * RINGS)


def _descriptor(picture: Image.Image | None) -> np.ndarray[Any, Any]:
    """Colours and texture of a picture as numbers that its place in the frame does not change.

    Mean and spread of brightness, red against green and yellow against blue; the logarithm of the spectrum, of
    brightness by frequency and direction, of the colours by frequency.
    """
    import numpy as np

    assert picture is not None
    red, green, blue = np.asarray(picture.convert("RGB").resize((SIDE, SIDE)), dtype=float).transpose(2, 0, 1) / 255
    planes = np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue])
    means, spreads = planes.mean((1, 2)), planes.std((1, 2))
    window = np.hanning(SIDE + 2)[1:-1]
    powers = np.abs(np.fft.fft2((planes - means[:, None, None]) * window * window[:, None])) ** 2
    down, across = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    radius = np.hypot(down, across)
    octave = np.clip(np.log2(np.maximum(radius * SIDE, 1)).astype(int), 0, RINGS - 1)
    sector = (np.round(np.arctan2(down, across) / np.pi * SECTORS).astype(int)) % SECTORS
    part = np.where(radius > 0, octave * SECTORS + sector, RINGS * SECTORS)  # the mean is none of them
    sums = np.stack([np.bincount(part.ravel(), power.ravel(), RINGS * SECTORS + 1)[:-1] for power in powers])
    colour = sums[1:].reshape(2, RINGS, SECTORS).sum(2)
    return np.concatenate([means, spreads, np.log(sums[0] + 1e-4), np.log(colour.ravel() + 1e-4)])
