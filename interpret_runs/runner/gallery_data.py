"""What the gallery's page knows of the runs: the index by column, in few bytes."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.index import EXACT
from interpret_runs.runner.sheet_runs import CHOICES

if TYPE_CHECKING:
    import pandas as pd

    from interpret_runs.runner.gallery_pictures import Made
    from interpret_runs.runner.store import Store

CHOSEN = ("status", "task", *CHOICES)
FIRST = (*CHOSEN, "picture")
MACHINE = ("version.", "git.", "device", "threads")
ARTEFACT = "artefact."
# What is shown in other ways, or tells no run from another.
APART = ("run_id", "image", "finished", "weights_digest")
# Numbers that say what a run is and not what came of it; other names without a dot are metrics.
SETTINGS = ("seed", "threads")
DIGITS = 6  # of metrics


def gallery_data(index: pd.DataFrame, store: Store, made: Made) -> dict[str, Any]:
    """The runs of `index` as plain values, in its order.

    `columns` are those of which runs differ, each once: with ``numbers``, or with ``values`` and the place of each
    run's value in them, -1 for none. `same` are names and values of the others. `artefacts` are paths by artefact
    with ``*`` for the run id.
    """
    ids = [str(name) for name in index["run_id"]]
    columns: list[dict[str, Any]] = []
    same: list[tuple[str, Any]] = []
    for name in sorted((name for name in index.columns if not name.startswith(ARTEFACT)), key=_place):
        if name in APART:
            continue
        column = _column(name, index[name])
        values = column.get("values", ())
        if "numbers" in column or len(values) > 1 or (values and -1 in column["codes"]):
            columns.append(column)
        elif values:
            same.append((name, values[0]))
    return {
        "name": store.root.name,
        "command": shlex.join(["python", "run.py", f"outputs={store.root.parent}", f"name={store.root.name}"]),
        "ids": ids,
        "finished": [str(time)[:19].replace("T", " ") for time in index["finished"]],
        "columns": _without_twins(columns),
        "same": same,
        "artefacts": [
            {"name": name.removeprefix(ARTEFACT), **_coded(_paths(ids, index[name]))}
            for name in index.columns
            if name.startswith(ARTEFACT)
        ],
        "main": _coded(_paths(ids, index["image"])),
        "thumbnails": made.folder,
        "without": [place for place, name in enumerate(ids) if name not in made.thumbnails],
        "layers": [place for place, name in enumerate(ids) if name in made.layers],
    }


def script(data: dict[str, Any]) -> bytes:
    """A JavaScript file that assigns `data`: a page from disk may load scripts, and no other files."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"window.GALLERY={text};\n".encode("ascii")


def _place(name: str) -> tuple[int, int, str]:
    """What people ask for first: choices, then settings, then what came of it, then what it ran on."""
    if name in FIRST:
        return 0, FIRST.index(name), name
    if name.startswith(MACHINE):
        return 4, 0, name
    if "." in name:
        return 1, 0, name
    return (3 if name == "error" else 2), (0 if name == "score" else 1), name


def _column(name: str, series: pd.Series[Any]) -> dict[str, Any]:
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
    if numeric and "." not in name and name not in SETTINGS and series.nunique(dropna=False) > 1:
        return {"name": name, "kind": "metric", "numbers": [_rounded(value) for value in series.astype("float64")]}
    kind = "choice" if name in CHOSEN else "config"
    return {
        "name": name,
        "kind": kind,
        **_coded([None if gap else _plain(value) for value, gap in zip(series, series.isna(), strict=True)]),
    }


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < EXACT else float(f"{value:.{DIGITS}g}")


def _plain(value: Any) -> Any:
    """A setting as JavaScript has it; a whole number that it would round stays text."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    plain = isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < EXACT)
    return value if plain and math.isfinite(value) else str(value)


def _coded(values: Sequence[Any]) -> dict[str, Any]:
    """Distinct values in order, and the place of each in them; -1 for none."""
    found = {(type(value), value): value for value in values if value is not None}
    ordered = sorted(found.items(), key=lambda item: _order(item[1]))
    places = {key: place for place, (key, _) in enumerate(ordered)}
    codes = [-1 if value is None else places[type(value), value] for value in values]
    return {"values": [value for _, value in ordered], "codes": codes}


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 1, 0.0, str(value)
    return 0, float(value), ""


def _paths(ids: Iterable[str], paths: pd.Series[Any]) -> list[str | None]:
    """Paths with ``*`` for the run id, so that they are few."""
    return [path.replace(name, "*") if isinstance(path, str) else None for name, path in zip(ids, paths, strict=True)]


def _without_twins(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns that tell the same runs apart as an earlier one are marked, as one of them is enough to choose by."""
    seen: dict[tuple[int, ...], str] = {}
    for column in columns:
        if "codes" in column:
            first: dict[int, int] = {}
            pattern = tuple(first.setdefault(code, len(first)) for code in column["codes"])
            if (twin := seen.setdefault(pattern, column["name"])) != column["name"]:
                column["twin"] = twin
    return columns
