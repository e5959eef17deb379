"""How many runs are executed together on a CPU: as many as take least time each, found by a short trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter

import torch

from interpret_runs.runner.cache import canonical, remember
from interpret_runs.runner.devices import describe
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.task import Task
from interpret_runs.runner.tasks.tried import Tried
from interpret_runs.runner.tuning import tuning

# Runs together that are tried, and how often. Fewer share what a step costs anyhow; more gain nothing.
COUNTS = (4, 8, 16)
REPEATS = 2
# Seconds after which once is enough.
PATIENCE = 5.0
# The share of the time that fewer have to save: less may be chance.
GAIN = 0.1
# Runs of a batch times their steps from which it is tried: a trial takes as long as 40 of them, or 80.
WORTH = 1000


def together(task: Task, runs: Sequence[Run], device: torch.device, fits: int, folder: Path) -> int:
    """How many of `runs` to execute together, where `fits` have room in memory.

    Tried once for runs that take equally long, and kept in `folder` for all processes that share it: which runs were
    computed together is seen in their bytes. On a GPU, of compiled networks, and where trying would take longer than it
    may save, it is all that fit.
    """
    most = min(fits, len(runs))
    how = tuning()
    if not how.split or how.compile or device.type != "cpu" or not isinstance(task, Tried):
        return most
    if len(runs) <= COUNTS[0] or fits < COUNTS[-1] or len(runs) * task.steps < WORTH:
        return most
    here = [describe(device), torch.get_num_threads(), torch.__version__]
    key = canonical([*task.alike(runs[0], device), *here])
    found = remember("batch_sizes", key, lambda: fastest(lambda count: task.trial(runs[0], device, count)), folder)
    return min(most, int(found))


def fastest(trial: Callable[[int], Callable[[], object]]) -> int:
    """Of `COUNTS` the one with the shortest ``trial(count)()`` a run; the largest where none saves a tenth of that.

    What `trial` returns is timed; where the first turn finds nothing to gain, it is the last.
    """
    trial(COUNTS[0])()  # the first one warms up
    seconds = dict.fromkeys(reversed(COUNTS), inf)
    begun = perf_counter()
    for _ in range(REPEATS):
        for count in seconds:
            step = trial(count)
            started = perf_counter()
            step()
            seconds[count] = min(seconds[count], (perf_counter() - started) / count)
        best = min(seconds, key=lambda count: seconds[count])
        if seconds[best] > (1 - GAIN) * seconds[COUNTS[-1]]:
            return COUNTS[-1]
        if perf_counter() - begun > PATIENCE:
            break
    return best
