"""What a figure says of itself in its file: which runs of which store its panels are, and how it was drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from interpret_runs import __version__

KEY = "interpret-runs"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
# What a letter after a backslash stands for in a PDF's text.
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def figure_essentials(figure: str, runs: Iterable[str], root: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `read_figure` reads: `figure` (its kind), `store` (a name), `runs` (ids), `settings` and `version`.

    Args:
        figure: an option of group ``figure``.
        runs: ids, panel by panel; one that is in several is said once.
        root: the folder of the store.
        settings: those of the figure which are not as in its option.
    """
    ids = list(dict.fromkeys(map(str, runs)))
    kept = {key: value for key, value in settings.items() if value not in (None, "", [], (), {})}
    return {"figure": figure, "store": root.resolve().name, "runs": ids, "settings": kept, "version": __version__}


def metadata(essentials: Mapping[str, Any], title: str, suffix: str) -> dict[str, Any]:
    """The `essentials` as matplotlib writes them into a file of a format; no dates, so that equal figures are equal."""
    text = json.dumps({KEY: essentials} if suffix != ".png" else essentials, default=str)
    maker = f"{KEY} {__version__}"
    if suffix == ".pdf":
        return {"Title": title, "Subject": maker, "Keywords": text, "CreationDate": None}
    if suffix == ".svg":
        return {"Title": title, "Description": text, "Creator": maker, "Date": None}
    return {"Title": title, "Software": maker, KEY: text}


def read_figure(path: str | Path) -> dict[str, Any]:
    """The essentials in a figure's file, PNG, PDF or SVG, wherever it was copied to; see `figure_essentials`.

    Raises:
        OSError: no such file, or one that cannot be read.
        ValueError: a file of another format, or no figure that this project drew.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{str(path)!r} is no figure: its name ends in none of {', '.join(READERS)}")
    content = path.read_bytes()
    try:
        found = json.loads(reader(content))
    except (ValueError, LookupError, OSError, SyntaxError) as error:  # SyntaxError: XML, and damaged PNG files
        raise ValueError(_foreign(path)) from error
    found = found.get(KEY, found) if isinstance(found, dict) else {}
    if not isinstance(found, dict) or not isinstance(found.get("runs"), list) or "figure" not in found:
        raise ValueError(_foreign(path))
    return found


def _foreign(path: Path) -> str:
    return (
        f"{str(path)!r} does not say which runs it shows: it is no figure of this project, or a program that wrote it "
        "again left that out; take the file in outputs/<name>/figures"
    )


def _in_png(content: bytes) -> str:
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        text: Mapping[str, str] = image.text  # type: ignore[attr-defined]  # of PNG files
        return text[KEY]


def _in_svg(content: bytes) -> str:
    return next((str(node.text) for node in ElementTree.fromstring(content).iter(DESCRIPTION)), "")


def _in_pdf(content: bytes) -> str:
    """The keywords in the information that the trailer points to."""
    number = re.findall(rb"/Info\s+(\d+)\s+\d+\s+R", content)[-1]
    start = [found.end() for found in re.finditer(rb"(?:^|\s)%s\s+\d+\s+obj\b" % number, content)][-1]
    place = content.index(b"/Keywords", start, content.index(b"endobj", start))
    return _literal(content, content.index(b"(", place) + 1).decode("ascii")


def _literal(content: bytes, start: int) -> bytes:
    """A PDF's text in brackets, from behind the first one on."""
    text, depth, place = bytearray(), 1, start
    while True:
        letter = content[place : place + 1]
        if letter == b"\\":
            place += 1
            escaped = content[place : place + 1]
            text += ESCAPES.get(escaped, escaped)
        else:
            depth += (letter == b"(") - (letter == b")")
            if not depth or not letter:
                return bytes(text)
            text += letter
        place += 1


READERS: dict[str, Callable[[bytes], str]] = {".png": _in_png, ".pdf": _in_pdf, ".svg": _in_svg}
