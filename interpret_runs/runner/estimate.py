"""How long a plan may take, by earlier records of like runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.index import load_index
from interpret_runs.runner.plan import Plan
from interpret_runs.runner.runs import Run, task_name
from interpret_runs.runner.slots import AUTO, CPU, gpus, named, workers_of
from interpret_runs.runner.status import duration
from interpret_runs.runner.store import Store

if TYPE_CHECKING:
    import pandas as pd

# What makes runs alike, in the order of how much it says: of unlike runs, those that share the first are asked.
ALIKE = ("task", "model", "attribution", "parameterisation", "task.steps", "parameterisation.size", "metrics", "layer")


def estimate(planned: Plan, store: Store, compute: Mapping[str, Any]) -> str:
    """One line: devices, and the time for what is to do, as far as the store knows runs like these."""
    names = named(compute["device"])
    if names == [AUTO]:
        names = [f"cuda:{number}" for number in range(gpus())] or [CPU]
    workers = len(names) * max(1, workers_of(compute["per_device"]))
    where = f"{', '.join(names)}: {workers} batch{'es' * (workers > 1)} at a time"
    kinds = Counter(_features(run) for batch in planned.batches for run in batch)
    if not store.finished() or not kinds:
        return where
    table = load_index(store.root)
    known = {kind: seconds for kind in kinds if (seconds := _seconds(table, kind)) is not None}
    if not known:
        return where
    least = sum(known[kind] * count for kind, count in kinds.items() if kind in known) / workers
    unknown = sum(count for kind, count in kinds.items() if kind not in known)
    beside = f", beside {number_of(unknown, 'run')} of which the store knows nothing alike" * bool(unknown)
    return f"{where}; about {duration(least)}, by earlier runs like these{beside}"


def _features(run: Run) -> tuple[str, ...]:
    """What `ALIKE` says of a run, as text."""
    found = dict(run.choices)
    for name in ("task.steps", "parameterisation.size"):
        head, _, leaf = name.partition(".")
        value = run.config.get(head, {}).get(leaf, "")
        found[name] = str(value[0] if isinstance(value, list) and len(set(map(str, value))) == 1 else value)
    found["task"] = task_name(run.config)
    return tuple(found.get(name, "") for name in ALIKE)


def _seconds(table: pd.DataFrame, kind: tuple[str, ...]) -> float | None:
    """The mean seconds of finished runs that share most of `kind`; None where none is alike in task and model."""
    rows, best = table[(table.status == "ok") & table.seconds.notna()], None
    for place, (name, value) in enumerate(zip(ALIKE, kind, strict=True)):
        if name in rows and value:
            rows = rows[rows[name].map(_plain) == value]
        if rows.empty:
            break
        if place >= 1:
            best = float(rows.seconds.mean())
    return best


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
