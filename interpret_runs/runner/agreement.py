"""How far two files that should be the same are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BYTES, VALUES, CLOSE, OTHER = "identical bytes", "identical values", "differs", "cannot be compared"


@dataclass(frozen=True)
class Agreement:
    """`kind` is one of the above; `largest` is the largest difference, of pixels in levels of 0 to 255.

    `similarity` is the SSIM of two pictures, 1 where they are equal.
    """

    kind: str
    largest: float | None = None
    similarity: float | None = None

    def __str__(self) -> str:
        said = self.kind
        if self.largest is not None and self.kind == CLOSE:
            said += f" by at most {self.largest:.3g}"
        return said + (f", SSIM {self.similarity:.4f}" if self.similarity is not None and self.kind == CLOSE else "")


def agreement(one: bytes, other: bytes, suffix: str) -> Agreement:
    """Compare the contents of two files of one suffix: as bytes, then as pixels or numbers."""
    if one == other:
        return Agreement(BYTES)
    if suffix == ".png":
        return _of_pictures(one, other)
    if suffix == ".npy":
        return _of_numbers(one, other)
    return Agreement(OTHER)


def _of_pictures(one: bytes, other: bytes) -> Agreement:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        if first.mode != second.mode or first.size != second.size:
            return Agreement(OTHER)
        pixels = [np.asarray(image, dtype=np.float32) for image in (first, second)]
    largest = float(np.abs(pixels[0] - pixels[1]).max())
    return Agreement(VALUES, 0.0, 1.0) if largest == 0 else Agreement(CLOSE, largest, _similarity(*pixels))


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    """The mean SSIM of the channels."""
    import torch

    from interpret_runs.similarity import structural_similarity

    planes = [torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1) / 255).permute(2, 0, 1) for pixels in (one, other)]
    return float(structural_similarity(*planes).mean())


def _of_numbers(one: bytes, other: bytes) -> Agreement:
    import numpy as np

    values = [np.load(io.BytesIO(content)) for content in (one, other)]
    if values[0].shape != values[1].shape:
        return Agreement(OTHER)
    largest = float(np.abs(values[0] - values[1]).max(initial=0.0))
    return Agreement(VALUES, 0.0) if largest == 0 else Agreement(CLOSE, largest)


def read(file: Path) -> bytes | None:
    """A file's content; None where there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return None
