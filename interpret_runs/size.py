"""Sizes of images."""

from collections.abc import Sequence

Size = int | Sequence[int]


def height_and_width(size: Size) -> tuple[int, int]:
    """(height, width) in pixels from one number or two.

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise ValueError(f"size {size!r} is not a positive number of pixels, nor [height, width]")
    return sides[0], sides[1]
