"""The parts of images that excite a unit, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isqrt

from PIL import Image
from torch import Tensor

from interpret_runs.dataset_examples import Extremes, Survey
from interpret_runs.images import ImageSet, to_pil
from interpret_runs.models import VisionModel
from interpret_runs.receptive_field import Box, receptive_fields

TILE, GAP = 112, 3  # pixels
PAPER = (255, 255, 255)


def patches(
    found: Survey, unit: int, dataset: Sequence[ImageSet], model: VisionModel
) -> tuple[list[Tensor], list[Tensor]]:
    """What excites a unit in its strongest images, and in its weakest, as RGB (3, h, w), from best to worst.

    Each is the part of the image that the unit's place sees, see `patch`; the whole image where it has no place.

    Raises:
        OSError, LookupError, ValueError: an image can no longer be read.
    """
    layer = found.layers[unit]
    fields = None if layer is None else receptive_fields(model, layer, model.preprocessing.size)

    def shown(end: Extremes) -> list[Tensor]:
        parts = []
        for image, place in zip(end.images[:, unit].tolist(), end.places[:, unit].tolist(), strict=True):
            if image >= 0:
                pixels = dataset[image](model.preprocessing).pixels
                parts.append(pixels if fields is None or place[0] < 0 else patch(pixels, fields.box(*place)))
        return parts

    return shown(found.strongest), shown(found.weakest)


def patch(picture: Tensor, box: Box) -> Tensor:
    """The smallest part of a picture (3, H, W), of its proportions, that holds `box`; all of it for an empty box."""
    top, left, bottom, right = box
    if top >= bottom or left >= right:
        return picture
    height, width = picture.shape[1:]
    tall = max(bottom - top, ceil((right - left) * height / width))
    wide = max(right - left, ceil((bottom - top) * width / height))
    first = min(max((top + bottom - tall) // 2, 0), height - tall)
    left = min(max((left + right - wide) // 2, 0), width - wide)
    return picture[:, first : first + tall, left : left + wide]


def mosaic(pictures: Sequence[Tensor], tile: int = TILE) -> Image.Image:
    """Pictures with white gaps, row by row, about as many across as down.

    Args:
        pictures: RGB (3, h, w) of the same proportions, as `patches` gives them.
        tile: height of each in the mosaic, in pixels.

    Raises:
        ValueError: no picture.
    """
    if not pictures:
        raise ValueError("no picture to show")
    height, width = pictures[0].shape[1:]
    wide = round(tile * width / height)
    columns = isqrt(len(pictures) - 1) + 1
    rows = ceil(len(pictures) / columns)
    made = Image.new("RGB", (columns * (wide + GAP) - GAP, rows * (tile + GAP) - GAP), PAPER)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        scaled = to_pil(picture).resize((wide, tile), Image.Resampling.BICUBIC)
        made.paste(scaled, (column * (wide + GAP), row * (tile + GAP)))
    return made
