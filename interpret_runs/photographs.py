"""Photographs in files: which there are in a folder, and their pixels as RGB.

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

from interpret_runs.summary import nearest

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

ORIENTATION = Base.Orientation

# What Pillow's decoders raise on a damaged file.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error)


def files(folder: str | Path) -> list[Path]:
    """The image files right inside `folder`, told by their suffix, hidden files apart, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: `folder` is a file.
        LookupError: it holds no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"no folder {str(folder)!r}; give a folder of images: images.path=DIR")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file, not a folder; for one image take images=file")
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    images = sorted((path for path in found if path.is_file()), key=lambda path: path.name)
    if not images:
        raise LookupError(f"no image in folder {str(folder)!r}; images end in {', '.join(SUFFIXES)}")
    return images


def find(folder: str | Path, item: int | str) -> Path:
    """One image of `folder`: by its place in `files(folder)`, counted from 0, or by its file name.

    Raises:
        LookupError: no such image; the text names the range or the nearest names. Also what `files` raises.
    """
    images = files(folder)
    if isinstance(item, int):
        if not 0 <= item < len(images):
            raise LookupError(f"image {item} is out of range: folder {str(folder)!r} has images 0 to {len(images) - 1}")
        return images[item]
    names = [path.name for path in images]
    if item not in names:
        raise LookupError(f"no image {item!r} in folder {str(folder)!r}; closest: {nearest(item, names)}")
    return images[names.index(item)]


def read(path: str | Path) -> Image.Image:
    """The picture in a file, in mode RGB, upright (EXIF orientation applied); of an animation the first frame.

    Transparency is composited over white. 16-bit grey is scaled to 8 bit, 65535 to 255, not clipped; floating
    point grey is taken to lie in [0, 1].

    Raises:
        FileNotFoundError, IsADirectoryError: nothing to read at `path`.
        ValueError: the file is empty, cut short, damaged, too large, or not an image.
    """
    with opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return _rgb(upright)


def size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the picture that `read` gives, without decoding it. Raises what `read` raises."""
    with opened(path) as image:
        on_its_side = image.getexif().get(ORIENTATION, 1) >= 5
        return (image.width, image.height) if on_its_side else (image.height, image.width)


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
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"{str(path)!r} is not an image: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
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
        raise ValueError(f"its grey values go from {low} to {high}, not 0 to {top}")
    return wide.point(lambda value: value * (255 / top) + 0.5).convert("L")
