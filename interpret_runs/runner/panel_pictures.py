"""The pictures of a grid's panels: those that the runs wrote, or their maps drawn anew on one scale."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from interpret_runs.photographs import SUFFIXES
from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

SCALES = ("shared", "row", "panel")
MAPS = ("map", "overlay")
Cell = tuple[int, int]  # row and column of a panel
Content = TypeVar("Content")
Run = Mapping[str, Any]  # a row of the index


@dataclass(frozen=True)
class Picture:
    """What a panel shows, or what is at fault; `limit` is the value of the last colour of a map drawn anew."""

    image: Image | None
    fault: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Pictures:
    """All panels; `signed` tells the colours of maps drawn anew."""

    cells: Mapping[Cell, Picture]
    signed: bool = False


def column_shown(index: pd.DataFrame, show: str) -> str:
    """The column with the paths of an artefact.

    Raises:
        LookupError: no run has such an artefact; names those there are.
    """
    column = "image" if show == "image" else f"artefact.{show}"
    kinds = (*SUFFIXES, ".npy") if show == "map" else SUFFIXES
    paths = [path for path in index.get(column, ()) if isinstance(path, str)]
    if any(path.endswith(kinds) for path in paths):
        return column
    known = [str(name).removeprefix("artefact.") for name in index.columns if str(name).startswith("artefact.")]
    raise LookupError(
        f"figure.show is {show!r}; no run that is shown has such a picture; closest: {nearest(show, known)}"
    )


def written_pictures(runs: Mapping[Cell, Run], root: Path, column: str) -> Pictures:
    """The pictures in the files that a column names."""
    from interpret_runs import photographs

    found = {cell: _tried(run, column, lambda file: photographs.read(root / file)) for cell, run in runs.items()}
    return Pictures({cell: Picture(image, fault) for cell, (image, fault) in found.items()})


def drawn_maps(
    runs: Mapping[Cell, Run], root: Path, share: float, scale: str, photos: Mapping[str, Image] | None
) -> Pictures:
    """The maps of the runs in colours, or over their photographs where those are given, by run id.

    Args:
        share: the last colour is the magnitude that this share of all values on a scale do not pass.
        scale: ``shared``, one for all; ``row``, one for each row; ``panel``, each its own.
    """
    from interpret_runs.attribution_map import read_map
    from interpret_runs.colour_bar import coloured
    from interpret_runs.heat_maps import overlay, shared_limit

    found = {cell: _tried(run, "artefact.map", lambda file: read_map(root / file).values) for cell, run in runs.items()}
    values = {cell: one.double() for cell, (one, _) in found.items() if one is not None}
    signed = any(bool((one < 0).any()) for one in values.values())
    keys: dict[str, Callable[[Cell], Hashable]] = {"shared": lambda _: 0, "row": lambda c: c[0], "panel": lambda c: c}
    groups: dict[Hashable, list[Cell]] = {}
    for cell in values:
        groups.setdefault(keys[scale](cell), []).append(cell)
    drawn = {cell: Picture(None, fault) for cell, (_, fault) in found.items()}
    for cells in groups.values():
        limit = shared_limit([values[cell] for cell in cells], share) or 1.0
        for cell in cells:
            photo = None if photos is None else photos[str(runs[cell]["run_id"])]
            image = (
                coloured(values[cell] / limit, signed)
                if photo is None
                else overlay(photo, values[cell], limit, signed, interpolation="bilinear")
            )
            drawn[cell] = Picture(image, limit=limit)
    return Pictures(drawn, signed)


def photographs_of(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Image]:
    """The photographs that runs explain, as their networks see them, by run id.

    Raises:
        OSError, LookupError, ValueError: one is no more where it was.
    """
    from interpret_runs.images import to_pil
    from interpret_runs.models import load
    from interpret_runs.runner.build import build
    from interpret_runs.runner.cache import canonical

    models: dict[str, Any] = {}
    made: dict[str, Image] = {}
    photos: dict[str, Image] = {}
    for run_id, config in configs.items():
        name = canonical(config["model"])
        if name not in models:
            settings = {key: value for key, value in config["model"].items() if key != "_target_"}
            models[name] = load(**settings, device="meta").preprocessing
        key = canonical([name, config["images"]])
        if key not in made:
            made[key] = to_pil(build(config["images"])(models[name]).pixels)
        photos[run_id] = made[key]
    return photos


def _tried(run: Run, column: str, read: Callable[[str], Content]) -> tuple[Content | None, str]:
    """What `read` makes of a run's file, or why there is nothing."""
    if run["status"] != "ok":
        return None, "failed"
    file = run.get(column)
    if not isinstance(file, str):
        return None, "missing"
    try:
        return read(file), ""
    except (OSError, ValueError):
        return None, "missing"
