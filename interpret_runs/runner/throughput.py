"""How many runs are executed together on a CPU: as many as take least time each, found by a short trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from interpret_runs.runner.cache import canonical, remember
from interpret_runs.runner.devices import describe
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.task import Task
from interpret_runs.runner.tasks.visualise import Visualise
from interpret_runs.runner.tuning import tuning

# Runs together that are tried: all of a batch, and so few that they fit the caches of a CPU. Fewer share less of what a
# step costs anyhow, and none in between were faster than both.
FEW, ALL = 4, 16
# Seconds after which a gain is believed at once.
PATIENCE = 5.0
# The share of the time that fewer have to save: less may be chance.
GAIN = 0.05
# Runs of a batch times their steps from which it is tried: a trial takes as long as 200 of them, or twice that.
WORTH = 5000


def together(task: Task, runs: Sequence[Run], device: torch.device, fits: int, folder: Path) -> int:
    """How many of `runs` to execute together, where `fits` have room in memory.

    Tried once for runs that take equally long, and kept in `folder` for all processes that share it: which runs were
    computed together is seen in their bytes. On a GPU, of compiled networks, and where trying would take longer than it
    may save, it is all that fit.
    """
    how = tuning()
    most = min(fits, len(runs), how.at_once or len(runs))
    if not how.split or how.compile or device.type != "cpu" or not isinstance(task, Visualise):
        return most
    if len(runs) <= FEW or fits < ALL or len(runs) * task.steps < WORTH:
        return most
    here = [describe(device), torch.get_num_threads(), torch.__version__]
    key = canonical([*task.alike(runs[0], device), *here])
    found = remember("batch_sizes", key, lambda: fastest(partial(task.trial, runs[0], device)), folder)
    return min(most, int(found))


def fastest(seconds: Callable[[int], float]) -> int:
    """`FEW` where ``seconds(count)``, of a step of so many runs, are clearly less a run than of `ALL`; else `ALL`.

    A gain is looked at twice, as the first may have been a disturbance.
    """
    begun = perf_counter()
    least = {count: seconds(count) / count for count in (ALL, FEW)}
    if _gains(least) and perf_counter() - begun < PATIENCE:
        least = {count: min(before, seconds(count) / count) for count, before in least.items()}
    return FEW if _gains(least) else ALL


def _gains(least: Mapping[int, float]) -> bool:
    return least[FEW] < (1 - GAIN) * least[ALL]
