"""The runs of an index as text, and the columns in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpret_runs.runner.figure_labels import GAP, Labels, plain
from interpret_runs.runner.print_names import in_print, in_words

if TYPE_CHECKING:
    import pandas as pd

CHOICES = (
    *("model", "layer", "objective", "parameterisation", "transform", "optimizer", "lr_scheduler"),
    *("attribution", "rendering", "images", "problem"),
)
SELDOM = ("lr_scheduler", "rendering")  # said only where it varies
PLAIN = ("run_id", "status", "image", "task", "unit", "seed", "compute.precision", "picture")

Run = dict[str, str]  # column to value, as text; "" where the run has none


def runs_of(index: pd.DataFrame) -> list[Run]:
    """The index as text, without the columns that say what came out of a run and not what it is."""
    kept = [name for name in index.columns if name in PLAIN or name.split(".")[0] in (*CHOICES, "task")]
    runs = [dict(zip(kept, map(plain, row), strict=True)) for row in index[kept].itertuples(index=False, name=None)]
    return [{**run, "picture": _picture(run)} for run in runs]


def _picture(run: Run) -> str:
    """What the input of an attribution is called: its file, or image set and item."""
    if run.get("images.path") and run.get("picture"):
        return run["picture"]
    item = run.get("images.item", "") or Path(run.get("images.path", "")).name
    return f"{run.get('images', '')} {item}".strip() if item.isdigit() or not item else item


def values(runs: Iterable[Run], *names: str) -> list[tuple[str, ...]]:
    """The distinct combinations of some columns, in order of appearance."""
    return list(dict.fromkeys(tuple(run.get(name, "") for name in names) for run in runs))


def varying(runs: Sequence[Run], main: str) -> tuple[str | None, list[str]]:
    """`main` if it varies, and the other columns that do, without those which earlier ones already determine.

    Choices come before the settings inside them, and a unit before its objective, so these are what is kept.
    """
    axis = main if len(values(runs, main)) > 1 else None
    settings = [name for group in (*CHOICES, "task") for name in runs[0] if name.startswith(f"{group}.")]
    kept: list[str] = []
    for name in ("model", "attribution", "layer", "unit", *CHOICES[2:], *settings, "compute.precision", "seed"):
        # Only what the main column stands for may hide behind it: other settings could vary with it by chance.
        hides = axis and (main == "task" or name.split(".")[0] in ("unit", "objective", "images"))
        known = [*kept, axis] if axis and hides else kept
        if len(values(runs, *known, name)) > len(values(runs, *known)):
            kept.append(name)
    return axis, [name for name in kept if name != axis]


def ordered(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations of `names` that occur, each column in the order of a figure: see `Labels.ordered`."""
    columns = [Labels().ordered(name, [run.get(name, "") for run in runs]) for name in names]
    places = [{value: place for place, value in enumerate(column)} for column in columns]
    return sorted(values(runs, *names), key=lambda one: [at[value] for at, value in zip(places, one, strict=True)])


def labelled(name: str, value: str) -> str:
    group, _, setting = name.rpartition(".")
    shown = in_print(name, value) if value or name == "model.weights" else GAP
    if name == "seed" or (group and setting not in ("path", "name", "weights")):
        return f"{in_words(setting)} {shown}"
    return shown
