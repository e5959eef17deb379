"""Photographs in files: their pixels as RGB, and masks of them.

Whatever a file holds, `read` gives what a viewer would show, as 8-bit RGB. Imports no torch, so that a sweep
can be planned with it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

ORIENTATION = Base.Orientation

# What Pillow's decoders raise on a damaged file.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error)


class _GreyError(ValueError):
    """Grey levels of a sound image that are above white or below black."""


def read(path: str | Path) -> Image.Image:
    """The picture in a file, in mode RGB, upright (EXIF orientation applied); of an animation the first frame.

    Transparency is composited over white. 16-bit grey is scaled to 8 bit, 65535 to 255, not clipped; floating
    point grey is taken to lie in [0, 1].

    Raises:
        FileNotFoundError, IsADirectoryError: nothing to read at `path`.
        ValueError: the file is empty, cut short, damaged, too large, or not an image, or holds grey levels above
            white or below black.
    """
    with opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return rgb(upright)


def size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the picture that `read` gives, without decoding it. Raises what `read` raises."""
    with opened(path) as image:
        on_its_side = image.getexif().get(ORIENTATION, 1) >= 5
        return (image.width, image.height) if on_its_side else (image.height, image.width)


def read_mask(path: str | Path, size: tuple[int, int]) -> Image.Image:
    """The mask in a file, in mode L: 255 where the picture that `read` gives is lighter than mid-grey, else 0.

    Args:
        size: (height, width) of the photograph that it belongs to.

    Raises:
        ValueError: a mask of another size, or one of 0 and 1 in 255 levels. Also what `read` raises.
    """
    grey = read(path).convert("L")
    if (grey.height, grey.width) != size:
        raise ValueError(
            f"mask {str(path)!r} has {grey.height}x{grey.width} pixels, but its image has {size[0]}x{size[1]}; "
            "make them of one size"
        )
    if grey.getextrema()[1] == 1:
        raise ValueError(f"mask {str(path)!r} has no level above 1 of 255; a mask is white on the object")
    return grey.point(lambda level: 255 * (level > 127))


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file as Pillow does, for the length of a `with` whose body may decode it.

    Raises:
        As `read`; what damage raises inside the body becomes the same ValueError.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; for the images in it take images=folder")
    if not path.exists():
        raise FileNotFoundError(f"no image {str(path)!r}; give an existing file: images.path=FILE")
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError(f"{str(path)!r} is not an image: the file is empty")
        file.seek(0)
        try:
            with Image.open(file) as image:
                yield image
        except UnidentifiedImageError as error:
            raise ValueError(f"{str(path)!r} is not an image: its content is of no known image format") from error
        except Image.DecompressionBombError as error:
            raise ValueError(f"{str(path)!r} is too large: {error}") from error
        except _GreyError as error:
            raise ValueError(f"{str(path)!r} cannot be shown: {error}") from error
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"{str(path)!r} is not an image: {reason}") from error


def rgb(image: Image.Image) -> Image.Image:
    """A picture of any of Pillow's modes as `read` gives it.

    Raises:
        ValueError: grey levels above white or below black.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits a pixel, in mode L; Pillow's own conversion clips at 255."""
    top = 1 if image.mode == "F" else 65535
    wide = image.convert("F")
    wide.info.clear()  # a transparent grey level means nothing once levels are scaled
    low, high = wide.getextrema()
    if not 0 <= low <= high <= top:  # type: ignore[operator]  # numbers, as there is one band
        raise _GreyError(f"its grey values go from {low} to {high}; scale them to 0 to {top}")
    return wide.point(lambda value: value * (255 / top) + 0.5).convert("L")
