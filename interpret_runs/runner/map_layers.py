"""An overlay taken apart: the photograph, and the map as a layer whose opacity is each value's share of the limit.

An overlay is ``photo (1 - a) + colour a`` with ``a = opacity |value| / limit`` (`heat_maps.overlay`). The colours of
the heat map tell ``value / limit``, so the photograph follows, and the map can be laid over it at any opacity.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]

MOST = 0.9  # opacity above which too little is left of the photograph
SPREAD = 12.0  # levels that red, green and blue of a photograph found again may differ by; it was grey


def map_layer(heat_map: Image.Image) -> Image.Image:
    """The map in a picture that `heat_maps.heat_map` drew, without its bar: RGBA, opaque at the limit, clear at zero.

    Raises:
        ValueError: the picture is none of a map.
    """
    colours = np.asarray(heat_map.convert("RGB"))
    inside = _packed(colours)[_frame(colours)]
    for signed in (True, False):
        known, shares = _table(signed)
        places = np.searchsorted(known, inside).clip(max=len(known) - 1)
        if inside.size and (known[places] == inside).all():
            alpha = np.rint(255 * shares[places]).astype(np.uint8)
            return Image.fromarray(np.dstack([colours[_frame(colours)], alpha]))
    raise ValueError("the picture is no heat map: its colours are not those of values")


def uncovered(overlay: Image.Image, layer: Image.Image, opacity: float) -> Image.Image:
    """The photograph under an overlay whose map, in its middle, is `layer`; what lies around that stays as it is.

    Args:
        opacity: of the last colour, as the overlay was drawn.

    Raises:
        ValueError: the layer is not that of this overlay, or covers too much of the photograph.
    """
    left, top = round((overlay.width - layer.width) / 2), round((overlay.height - layer.height) / 2)  # as torchvision
    if left < 0 or top < 0 or opacity > MOST:
        raise ValueError(f"a map of {layer.size} at opacity {opacity} does not let an overlay of {overlay.size} show")
    seen = np.asarray(overlay.convert("RGB"), dtype=np.float32).copy()
    part = seen[top : top + layer.height, left : left + layer.width]
    colour, share = np.split(np.asarray(layer, dtype=np.float32), [3], axis=2)
    cover = np.rint(opacity * share) / 255  # Pillow's mask has 256 levels
    photo = (part - cover * colour) / (1 - cover)
    if opacity and np.quantile(np.ptp(photo, axis=2), 0.9) > SPREAD:  # contours have colours of their own
        raise ValueError("the map is not the one in the overlay")
    part[...] = photo.mean(axis=2, keepdims=True) if opacity else photo
    return Image.fromarray(np.rint(seen.clip(0, 255)).astype(np.uint8))


def _frame(colours: Array) -> tuple[slice, slice]:
    """Rows and columns within the frame that starts in the picture's first column."""
    from interpret_runs.colour_bar import FRAME

    line = (colours == FRAME).all(axis=2)
    rows = np.flatnonzero(line[:, 0])
    if len(rows) < 3:
        raise ValueError("the picture is no heat map: it has no frame at its left")
    across = int(np.argmin(np.append(line[rows[0]], False)))
    return slice(int(rows[0]) + 1, int(rows[-1])), slice(1, across - 1)


@cache
def _table(signed: bool) -> tuple[Array, Array]:
    """The colours of values, packed and in order, and the magnitude of each as a share of the limit."""
    import torch

    from interpret_runs.colour_bar import coloured

    parts = np.linspace(-1, 1, 255) if signed else np.linspace(0, 1, 256)
    packed = _packed(np.asarray(coloured(torch.from_numpy(parts)[None], signed)))[0]
    known, first = np.unique(packed, return_index=True)
    return known, np.abs(parts[first])


def _packed(colours: Array) -> Array:
    red, green, blue = np.moveaxis(colours.astype(np.uint32), 2, 0)
    packed: Array = red << 16 | green << 8 | blue
    return packed
