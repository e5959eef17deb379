"""Folders of photographs: which images there are, in order, with the labels and masks that stand beside them.

Imports no torch, so that a sweep can be planned with it.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from interpret_runs.photographs import SUFFIXES
from interpret_runs.summary import nearest

COLUMNS = ("file", "label")
MASK = ".mask"  # photo.mask.png is the mask of photo.jpg
SETTLED = 0.1  # seconds after which whatever changes in a folder changes its time of modification


@dataclass(frozen=True)
class Photograph:
    """An image file, and what is known of it.

    Attributes:
        name: path inside its folder, with slashes.
        label: name of its class, None where nobody knows.
        mask: the file of its mask, None without one.
    """

    name: str
    path: Path
    label: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The photographs of a folder, sorted by name."""

    folder: str
    photographs: tuple[Photograph, ...]

    def find(self, item: int | str) -> Photograph:
        """One photograph: by its place, counted from 0, or by its name.

        Raises:
            LookupError: no such photograph; the text names the range or the nearest names.
        """
        if isinstance(item, int):
            if not 0 <= item < len(self.photographs):
                last = len(self.photographs) - 1
                raise LookupError(f"image {item} is out of range: folder {self.folder!r} has images 0 to {last}")
            return self.photographs[item]
        if item not in self._named:
            close = nearest(str(item), list(self._named))
            raise LookupError(f"no image {item!r} in folder {self.folder!r}; closest: {close}")
        return self._named[item]

    @cached_property
    def _named(self) -> dict[str, Photograph]:
        return {one.name: one for one in self.photographs}


@dataclass(frozen=True)
class _Known:
    """A listing made before, and when the files and folders that it depends on had been written by then."""

    listing: Listing
    written: Mapping[Path, int]
    at: float

    def holds(self) -> bool:
        return all(_written(path) == when < 1e9 * (self.at - SETTLED) for path, when in self.written.items())


_known: dict[tuple[Any, ...], _Known] = {}


def listing(
    folder: str | Path, recursive: bool | None = None, labels: str | Path | None = None, masks: str | Path | None = None
) -> Listing:
    """The image files of `folder`, told by their suffix, hidden files and masks apart; read anew if they changed.

    Args:
        recursive: whether images in sub-folders count, which are called ``class/file.jpg`` and labelled by the
            outermost sub-folder; None: if the folder itself holds none.
        labels: a CSV file with columns file and label that names every image; an empty label is unknown.
        masks: a folder with masks of the same names but for the suffix. The mask of ``photo.jpg`` may also stand
            beside it, as ``photo.mask.png``.

    Raises:
        FileNotFoundError: no such folder or file.
        NotADirectoryError: a file in place of a folder.
        LookupError: no image; `masks` hold none for any of them; `labels` and the folder name different files.
        ValueError: `labels` is no such table, or an image has two masks.
    """
    if recursive not in (None, True, False):
        raise ValueError(f"images.recursive is {recursive!r}; it must be true, false or null")
    key = (Path.cwd(), folder, recursive, labels, masks)
    known = _known.get(key)
    if known is None or not known.holds():
        at = time.time()
        found, read = _read(Path(folder), recursive, Path(labels) if labels else None, Path(masks) if masks else None)
        known = _known[key] = _Known(Listing(str(folder), found), {path: _written(path) for path in read}, at)
    return known.listing


def single(path: str | Path, label: str | int | None = None, mask: str | Path | None = None) -> Photograph:
    """The photograph at `path`; without `mask`, one that stands beside it counts, as in a folder.

    Raises:
        ValueError: two masks stand beside it.
    """
    path = Path(path)
    beside = [path.with_name(f"{path.stem}{MASK}{suffix}") for suffix in SUFFIXES]
    found = Path(mask) if mask else _by_stem({file.name: file for file in beside if file.is_file()}).get(path.stem)
    return Photograph(path.name, path, None if label is None else str(label), found)


def _read(
    folder: Path, recursive: bool | None, labels: Path | None, masks: Path | None
) -> tuple[tuple[Photograph, ...], list[Path]]:
    """The photographs, and every file and folder that was read to find them."""
    _require_folder(folder, "give a folder of images: images.path=DIR", "for one image take images=file")
    if masks and masks.resolve() == folder.resolve():
        raise ValueError(f"images.masks is {str(masks)!r}, the folder of the images; masks have one of their own")
    files, read = _inside(folder, bool(recursive), masks)
    if recursive is None and not files:
        files, read = _inside(folder, True, masks)
    stems = {_stem(name) for name in files}
    beside = {name: file for name, file in files.items() if name != _imaged(name) and _stem(_imaged(name)) in stems}
    names = sorted(files.keys() - beside.keys())
    if not names:
        raise LookupError(f"no image in folder {str(folder)!r}; images end in {', '.join(SUFFIXES)}")
    masked = _by_stem(beside)
    if masks:
        apart, more = _masks(masks, names)
        masked, read = masked | apart, read + more
    classes = {name: name.partition("/")[0] for name in names if "/" in name}
    if labels:
        classes, read = _labels(labels, names, folder), [*read, labels]
    found = (Photograph(name, files[name], classes.get(name), masked.get(_stem(name))) for name in names)
    return tuple(found), read


def _inside(folder: Path, deep: bool, apart: Path | None = None) -> tuple[dict[str, Path], list[Path]]:
    """The image files in `folder` by name, and the folders that were read; `apart` is left out."""
    files: dict[str, Path] = {}
    read: list[Path] = []
    seen = {os.path.realpath(apart)} if apart else set()
    for here, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # also where links go round in a circle
            folders.clear()
            continue
        seen.add(real)
        read.append(Path(here))
        for name in names:
            file = Path(here, name)
            if file.suffix.lower() in SUFFIXES and not name.startswith("."):
                files[file.relative_to(folder).as_posix()] = file
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
    return files, read


def _masks(folder: Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """The masks in a folder of masks by the images' stems, and the folders that were read."""
    _require_folder(folder, "give a folder of masks: images.masks=DIR", "give the folder of the masks")
    files, read = _inside(folder, True)
    found = _by_stem(files)
    if not found.keys() & set(map(_stem, names)):
        raise LookupError(
            f"no mask for any image in folder {str(folder)!r}; the mask of {names[0]!r} is named {_stem(names[0])}.png"
        )
    return found, read


def _by_stem(masks: Mapping[str, Path]) -> dict[str, Path]:
    """Masks by the name, without suffix, of the image that each belongs to."""
    found: dict[str, Path] = {}
    for name, file in masks.items():
        stem = _stem(_imaged(name))
        if stem in found:
            raise ValueError(f"{str(found[stem])!r} and {str(file)!r} are masks of one image; keep one")
        found[stem] = file
    return found


def _imaged(name: str) -> str:
    """``photo.png`` for ``photo.mask.png``; other names as they are."""
    stem, suffix = _stem(name), name[len(_stem(name)) :]
    return stem.removesuffix(MASK) + suffix


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _labels(file: Path, names: Sequence[str], folder: Path) -> dict[str, str]:
    """The label of each image by name.

    Raises:
        As `listing`, of its labels.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            columns = list(table.fieldnames or ())
            rows = [(table.line_num, row) for row in table]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {str(file)!r}; give a CSV file: images.labels=FILE") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"images.labels={file} is not a CSV file in UTF-8: {error}") from error
    for column in COLUMNS:
        if column not in columns:
            there = ", ".join(columns) or "none"
            raise ValueError(f"images.labels={file} has no column {column!r}; its first line names {there}")
    found, known = dict[str, str](), set(names)
    for line, row in rows:
        name, label = (row[column] or "" for column in COLUMNS)
        if name not in known:
            close = nearest(name, list(names))
            raise LookupError(
                f"images.labels={file} line {line}: no image {name!r} in folder {str(folder)!r}; closest: {close}"
            )
        if found.setdefault(name, label) != label:
            raise ValueError(f"images.labels={file} line {line}: {name!r} is {found[name]!r} and {label!r}; keep one")
    if missing := [name for name in names if name not in found]:
        raise LookupError(
            f"images.labels={file} has no line for {missing[0]!r}; it names {len(found)} of {len(names)} images "
            "(an empty label is unknown)"
        )
    return {name: label for name, label in found.items() if label}


def _require_folder(folder: Path, way_out: str, for_files: str) -> None:
    if not folder.exists():
        raise FileNotFoundError(f"no folder {str(folder)!r}; {way_out}")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file, not a folder; {for_files}")


def _stop(error: OSError) -> None:
    raise error


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
