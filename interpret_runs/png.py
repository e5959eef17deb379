"""PNG files with text in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngImageFile, PngInfo, putchunk

from interpret_runs import photographs

# Text in a PNG file that is longer than this is compressed.
LONG = 4000
# PNG's colour type of each mode that is written as it is.
COLOUR_TYPES = {"L": 0, "RGB": 2, "RGBA": 6}
# One filter for all rows, and matches of runs of a byte alone: a tenth of the time of Pillow's choice of the best
# filter for each row, and of matches that photographs hardly have; 2 % more bytes.
UP, LEVEL = b"\2", 1
# How a PNG file begins, and how long its signature and its first chunk, IHDR, are together.
PNG, HEADER = b"\x89PNG\r\n\x1a\n", 33


def png_bytes(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """A PNG file with `text` in it as iTXt chunks, any Unicode; `png_text` reads it back.

    Pictures of other modes than grey, RGB and RGBA are written in RGB.

    Raises:
        ValueError: a key that PNG does not take (1 to 79 Latin-1 characters).
    """
    if image.mode not in COLOUR_TYPES:
        image = photographs.rgb(image)
    header = struct.pack(">2I5B", image.width, image.height, 8, COLOUR_TYPES[image.mode], 0, 0, 0)
    file = BytesIO()
    file.write(PNG)
    putchunk(file, b"IHDR", header)
    for kind, content, *_ in _chunks(text).chunks:
        putchunk(file, kind, content)
    deflate = zlib.compressobj(LEVEL, strategy=zlib.Z_RLE)
    putchunk(file, b"IDAT", deflate.compress(_filtered(image)) + deflate.flush())
    putchunk(file, b"IEND")
    return file.getvalue()


def _filtered(image: Image.Image) -> bytes:
    """Each row less the one above it, modulo 256, after the number of this filter."""
    above = Image.new(image.mode, image.size)
    above.paste(image, (0, 1))
    levels = ImageChops.subtract_modulo(image, above).tobytes()
    row = len(levels) // image.height
    return b"".join(UP + levels[start : start + row] for start in range(0, len(levels), row))


def with_text(png: bytes, text: Mapping[str, str]) -> bytes:
    """A PNG file with more `text` in it, and else as it was, byte by byte; what is no PNG file stays as it is.

    Raises:
        ValueError: as `png_bytes`.
    """
    if not png.startswith(PNG):
        return png
    added = BytesIO()
    for kind, content, *_ in _chunks(text).chunks:
        putchunk(added, kind, content)
    return png[:HEADER] + added.getvalue() + png[HEADER:]


def _chunks(text: Mapping[str, str]) -> PngInfo:
    chunks = PngInfo()
    for key, value in text.items():
        if not 1 <= len(key) <= 79 or any(ord(letter) > 255 for letter in key):
            raise ValueError(f"PNG text takes keys of 1 to 79 Latin-1 characters, not {key!r}")
        chunks.add_itxt(key, value, zip=len(value) > LONG)
    return chunks


def png_text(path: str | Path) -> dict[str, str]:
    """The text chunks of a PNG file.

    Raises:
        ValueError: not a PNG file. Also what `photographs.read` raises.
    """
    with photographs.opened(path) as image:
        text = image.text if isinstance(image, PngImageFile) else None
    if text is None:
        raise ValueError(f"{str(path)!r} is a {image.format} file; text is read from PNG files")
    return {key: str(value) for key, value in text.items()}
