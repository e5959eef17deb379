"""How wide texts are in print, and how they fit a width."""

from __future__ import annotations

import re
from functools import cache
from itertools import accumulate
from typing import Any

DPI = 1200  # fine, as letters are moved to whole pixels
SHORTEST = 3  # letters of a part of a word
SEAM = re.compile(r"(?<=[A-Za-z]{2}[-.])(?=..)|(?<=[a-z])(?=[A-Z])")  # where a name is made of parts


@cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(10, 10, DPI)  # type: ignore[no-untyped-call]


@cache
def text_width(text: str, size: float) -> float:
    """Inches of one line of so many points."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family="DejaVu Sans", size=size)
    return float(_renderer().get_text_width_height_descent(text, font, False)[0]) / DPI


def wrapped(text: str, width: float, size: float, most: int) -> list[str]:
    """The text in at most so many lines of at most so many inches.

    Words that are wider are divided; what does not fit the last line is cut with an ellipsis.
    """
    lines: list[str] = []
    words = text.split()
    while words:
        if len(lines) == most - 1:
            return [*lines, _cut(" ".join(words), width, size)]
        fitting = sum(text_width(line, size) <= width for line in accumulate(words, "{} {}".format))
        if not fitting:
            words = [*_divided(words[0], width, size), *words[1:]]
        lines.append(" ".join(words[: max(1, fitting)]))
        words = words[max(1, fitting) :]
    return lines


def _divided(word: str, width: float, size: float) -> list[str]:
    """A word that is too wide in two parts, of which the first fits; itself where its parts would be too short.

    Behind a hyphen or a dot, or between the words of a name like DeepLIFT, where it has such a place.
    """
    for keep in sorted((found.start() for found in SEAM.finditer(word)), reverse=True):
        first = word[:keep] if word[keep - 1] in "-." else f"{word[:keep]}-"
        if text_width(first, size) <= width:
            return [first, word[keep:]]
    for keep in range(len(word) - SHORTEST, SHORTEST - 1, -1):
        if text_width(f"{word[:keep]}-", size) <= width:
            return [f"{word[:keep]}-", word[keep:]]
    return [_cut(word, width, size)]


def _cut(text: str, width: float, size: float) -> str:
    """One line, shortened in its middle: names that vary often share a beginning."""
    shown, keep = text, len(text)
    while text_width(shown, size) > width and keep > 1:
        keep -= 1
        shown = f"{text[: keep - keep // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"
    return shown
