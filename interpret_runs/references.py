"""The pictures that an objective compares an image with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from interpret_runs.images import ImageSet
from interpret_runs.models import Preprocessing

Source = ImageSet | tuple[ImageSet, ...]


def reference(source: Source, rows: Tensor | None, images: Tensor) -> Tensor:
    """For each of `images`, (B, 3, H, W), the picture that it is compared with, as large.

    Of several pictures image i gets number ``rows[i]``, or number i where `rows` is None.

    Raises:
        OSError, LookupError, ValueError: a picture is missing or unreadable.
    """
    pictures = _pictures(source, (images.shape[2], images.shape[3]), _changed(source), images.device, images.dtype)
    if not isinstance(source, tuple):
        return pictures.expand(len(images), -1, -1, -1)
    return pictures if rows is None else pictures[rows.to(images.device)]


# Every step asks for the pictures again, of each source of an objective.
@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept must serve later passes that need gradients
def _pictures(
    source: Source, size: tuple[int, int], _changed: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    pictures = [one(Preprocessing(size, min(size))).pixels for one in _sets(source)]
    return torch.stack(pictures).to(device, dtype)


def _changed(source: Source) -> tuple[int, ...]:
    """When the files and folders of pictures were last written."""
    paths = [Path(getattr(one, "path", "")) for one in _sets(source)]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _sets(source: Source) -> tuple[ImageSet, ...]:
    return source if isinstance(source, tuple) else (source,)
