"""Runs of a sweep that other processes execute."""

from collections.abc import Callable, Sequence
from time import sleep

from interpret_runs.runner.claims import is_held
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.plan import Plan
from interpret_runs.runner.progress import console
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store

# Seconds from one look to the next.
LOOK_AGAIN = 1.0


def wait_for_others(
    planned: Plan,
    store: Store,
    begun: str,
    execute: Callable[[Sequence[Sequence[Run]]], None],
    again: bool = True,
) -> None:
    """Wait for runs that other processes execute, and execute those which they leave.

    Without `again`, what nobody was seen to execute is lost: a job that ran out of time would do so once more.
    """
    left = {run.id for group in planned.batches for run in group}
    awaited: set[str] = set()
    tried: set[str] = set()
    while left:
        held = {name for name in left if is_held(store, name)}  # looked at first: records come before release
        finished = store.finished()
        left = {name for name in left if name not in finished or finished[name][1] < begun}
        if new := (held & left) - awaited:
            awaited |= new
            console.print(f"waiting for {number_of(len(new), 'run')} that another process executes", highlight=False)
        # Whoever held these has left them; what is lost once more is lost.
        free = (left - held - tried) if again else (left - held - tried) & awaited
        if free:
            tried |= free
            execute([part for group in planned.batches if (part := [run for run in group if run.id in free])])
        elif held & left:
            tried -= held
            sleep(LOOK_AGAIN)
        else:
            return
