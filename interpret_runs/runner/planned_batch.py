"""Some runs of a plan file, executed: what a worker or a launcher's job does."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from interpret_runs.runner.record_files import read_lines
from interpret_runs.runner.runs import Run
from interpret_runs.runner.slurm_job import in_job
from interpret_runs.runner.store import Store


def run_batch(
    file: str, ids: Sequence[str], device: str, progress: Callable[[float], None] | None = None, slot: str = ""
) -> bool:
    """Execute some runs of a plan: what a launcher's job does; returns whether none of them failed."""
    from interpret_runs.runner.execute import execute

    path = Path(file)
    store = _store(path.parents[1].resolve())
    lines = {line["id"]: line for line in read_lines(path)}
    missing = [name for name in ids if name not in lines]
    if missing:
        raise LookupError(f"run {missing[0]} is not in plan {file}")
    planned = max(lines[name]["planned"] for name in ids)
    runs = [Run.from_json(lines[name]) for name in ids]
    with in_job() as fail:
        records = execute(runs, store, device, planned, progress, slot=slot)
        well = all(record["status"] == "ok" for record in records)
        if not well:
            fail()
    return well


@cache
def _store(root: Path) -> Store:
    """One store a process: it remembers which records it has read."""
    return Store(root.parent, root.name)
