"""Some runs of a plan file, executed: what a worker or a launcher's job does."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from interpret_runs.runner.runs import Run
from interpret_runs.runner.slurm_job import in_job
from interpret_runs.runner.store import Store
from interpret_runs.runner.tuning import Tuning


def run_batch(
    file: str, ids: Sequence[str], device: str, progress: Callable[[float], None] | None = None, slot: str = ""
) -> bool:
    """Execute some runs of a plan: what a launcher's job does; returns whether none of them failed.

    Raises:
        LookupError: a run is not in the plan.
    """
    from interpret_runs.runner.execute import execute

    path = Path(file)
    store = _store(path.parents[1].resolve())
    lines = _lines(path, ids)
    planned = max(line["planned"] for line in lines)
    runs = [Run.from_json(line) for line in lines]
    with in_job() as fail:
        how = Tuning.from_json(lines[0].get("tuning", {}))
        records = execute(runs, store, device, planned, progress, slot=slot, how=how)
        well = all(record["status"] == "ok" for record in records)
        if not well:
            fail()
    return well


@cache
def _store(root: Path) -> Store:
    """One store a process: it remembers which records it has read."""
    return Store.at(root)


def _lines(path: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    places = _places(path, path.stat().st_mtime_ns) if path.is_file() else {}
    missing = [name for name in ids if name not in places]
    if missing:
        raise LookupError(f"run {missing[0]} is not in plan {path}")
    lines = []
    with path.open("rb") as stream:
        for name in ids:
            start, length = places[name]
            stream.seek(start)
            lines.append(json.loads(stream.read(length)))
    return lines


@lru_cache(maxsize=1)
def _places(path: Path, _: int) -> dict[str, tuple[int, int]]:
    """Where the line of each run is in a plan, in bytes: a large one is read once a process, not once a batch."""
    places, start = {}, 0
    for text in path.read_bytes().split(b"\n"):
        with suppress(ValueError, LookupError, TypeError):  # a damaged line is none of those asked for
            places[json.loads(text)["id"]] = (start, len(text))
        start += len(text) + 1
    return places
