"""Runs of a sweep that other processes execute."""

from collections.abc import Callable, Sequence
from time import sleep

from interpret_runs.runner.claims import is_held
from interpret_runs.runner.plan import Plan
from interpret_runs.runner.progress import console
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store

# Seconds from one look to the next.
LOOK_AGAIN = 1.0


def wait_for_others(
    planned: Plan, store: Store, begun: str, execute: Callable[[Sequence[Sequence[Run]]], None]
) -> None:
    """Wait for runs that other processes execute, and execute those which they leave."""
    left = {run.id: run for group in planned.batches for run in group}
    awaited: set[str] = set()
    while True:
        finished = store.finished()
        left = {name: run for name, run in left.items() if name not in finished or finished[name][1] < begun}
        held = {name for name in left if is_held(store, name)}
        if new := held - awaited:
            console.print(f"waiting for {len(new)} runs that another process executes", highlight=False)
        free = [run for name, run in left.items() if name in awaited - held]
        awaited |= held
        if free:
            groups: dict[str, list[Run]] = {}
            for run in free:
                groups.setdefault(run.batch_key(), []).append(run)
            awaited -= {run.id for run in free}  # what is lost now is lost
            execute(list(groups.values()))
        elif not held:
            return
        else:
            sleep(LOOK_AGAIN)
