"""PNG files with text in them."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo, putchunk

from interpret_runs import photographs

# Text in a PNG file that is longer than this is compressed.
LONG = 4000
# Of PNG files: half the time of zlib's own level, for 2 % of the bytes.
COMPRESSION = 4
# How a PNG file begins, and how long its signature and its first chunk, IHDR, are together.
PNG, HEADER = b"\x89PNG\r\n\x1a\n", 33


def png_bytes(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """A PNG file with `text` in it as iTXt chunks, any Unicode; `png_text` reads it back.

    Raises:
        ValueError: a key that PNG does not take (1 to 79 Latin-1 characters).
    """
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=_chunks(text), compress_level=COMPRESSION)
    return buffer.getvalue()


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
