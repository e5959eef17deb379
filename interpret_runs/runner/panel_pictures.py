"""The pictures of a grid's panels: those that the runs wrote, or their maps drawn anew on one scale."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from interpret_runs.photographs import SUFFIXES
from interpret_runs.runner.figure_labels import plain
from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from interpret_runs.rendering import Rendering

SCALES = ("shared", "row", "column", "panel")
MAPS = ("map", "overlay")
Cell = tuple[int, int]  # row and column of a panel
Content = TypeVar("Content")
Run = Mapping[str, Any]  # a row of the index


@dataclass(frozen=True)
class Picture:
    """What a panel shows, or what is at fault.

    Args:
        limit: the value of the last colour of a map drawn anew.
        negative: whether a map on the same scale has negative values.
    """

    image: Image | None
    fault: str = ""
    limit: float | None = None
    negative: bool = False


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


def usual_scale(runs: Mapping[Cell, Run]) -> str:
    """A scale for each method, as raw maps of several are in different units; shared where there is one method."""
    named = {cell: plain(run.get("attribution")) for cell, run in runs.items()}
    methods = {cell: method for cell, method in named.items() if method}
    if len(set(methods.values())) < 2:
        return "shared"
    for axis, scale in ((0, "row"), (1, "column")):
        if len({(cell[axis], method) for cell, method in methods.items()}) == len({cell[axis] for cell in methods}):
            return scale
    return "panel"


def drawn_maps(
    runs: Mapping[Cell, Run], root: Path, share: float, scale: str, photos: Mapping[str, Image] | None
) -> Pictures:
    """The maps of the runs in colours, or over their photographs where those are given, by run id.

    Maps are smoothed, and overlays drawn, as the runs' own are.

    Args:
        share: the last colour is the magnitude that this share of all values on a scale do not pass.
        scale: ``shared``, one for all; ``row`` or ``column``, one for each; ``panel``, each its own.
    """
    from interpret_runs.attribution_map import read_map
    from interpret_runs.colour_bar import coloured
    from interpret_runs.heat_maps import shared_limit

    found = {cell: _tried(run, "artefact.map", lambda file: read_map(root / file).values) for cell, run in runs.items()}
    looks = {cell: _rendering(runs[cell]) for cell, (one, _) in found.items() if one is not None}
    values = {cell: looks[cell].smoothed(one.double()) for cell, (one, _) in found.items() if one is not None}
    negative = {cell: bool((one < 0).any()) for cell, one in values.items()}
    signed = any(negative.values())

    def image(cell: Cell, limit: float) -> Image:
        if photos is None:
            return coloured(values[cell] / limit, signed)
        look = replace(looks[cell], smoothing=0.0, limit=limit)
        return look.overlay(photos[str(runs[cell]["run_id"])], values[cell], signed)

    drawn = {cell: Picture(None, fault) for cell, (_, fault) in found.items()}
    for cells in _on_one_scale(values, scale):
        limit = shared_limit([values[cell] for cell in cells], share) or 1.0
        below = any(negative[cell] for cell in cells)
        drawn |= {cell: Picture(image(cell, limit), limit=limit, negative=below) for cell in cells}
    return Pictures(drawn, signed)


def _on_one_scale(cells: Iterable[Cell], scale: str) -> list[list[Cell]]:
    """The cells in groups that share a scale."""
    keys: dict[str, Callable[[Cell], Hashable]] = {
        "shared": lambda _: 0,
        "row": lambda cell: cell[0],
        "column": lambda cell: cell[1],
        "panel": lambda cell: cell,
    }
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(keys[scale](cell), []).append(cell)
    return list(groups.values())


def _rendering(run: Run) -> Rendering:
    """How a run's own map was drawn, as far as its row of the index tells."""
    from interpret_runs.rendering import Rendering

    told = {name: plain(run.get(f"rendering.{name}")) for name in ("smoothing", "opacity", "interpolation", "contours")}
    smoothing, opacity = (float(told[name] or usual) for name, usual in (("smoothing", 0.0), ("opacity", 0.8)))
    return Rendering(
        smoothing=smoothing,
        opacity=opacity,
        interpolation=told["interpolation"] or "bilinear",
        contours=json.loads(told["contours"] or "[]"),
    )


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
