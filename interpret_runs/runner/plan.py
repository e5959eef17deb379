"""What a sweep will do: each run once, the finished ones left out, the rest in batches."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from interpret_runs.runner.cache import canonical
from interpret_runs.runner.runs import Run, task_name
from interpret_runs.runner.slots import AUTO, gpus, named

# Runs a batch: on a CPU a larger one saves nothing, and loses more when a sweep is killed.
AUTO_BATCH = 16
AUTO_BATCH_GPU = 64
# Visualisations fill the memory of a GPU, up to so many runs, as they are lost together when a sweep is killed.
MOST_GPU = 256
POLICIES = ("failed", "stale", "none", "all")
# Tasks that read a whole set of images for one batch, and so make one batch of all runs.
ONE_PASS = ("examples",)


@dataclass(frozen=True)
class Plan:
    """`runs` are distinct and in order; `batches` hold those of them that are to be executed.

    `notes` are what there is to say of runs that are not in it.
    """

    runs: tuple[Run, ...]
    duplicates: int
    done: tuple[str, ...]
    failed_before: tuple[str, ...]
    batches: tuple[tuple[Run, ...], ...] = field(default=())
    stale: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def todo(self) -> int:
        return sum(map(len, self.batches))


def parts(runs: Sequence[Run], most: int) -> list[Sequence[Run]]:
    """As few batches of one as have at most `most` runs each, in order and alike in size."""
    count = -(-len(runs) // most)
    least, more = divmod(len(runs), count)
    ends = [least * place + min(place, more) for place in range(count + 1)]
    return [runs[begin:end] for begin, end in pairwise(ends)]


def halves(runs: Sequence[Run]) -> list[Sequence[Run]]:
    """Two batches of one that is too large, or in which a run is to be found."""
    return parts(runs, (len(runs) + 1) // 2)


def auto_batch(device: Any) -> int:
    """Runs a batch on devices as the setting names them; whether ``auto`` is a GPU is told without torch."""
    return AUTO_BATCH_GPU if _gpus_of(device) else AUTO_BATCH


def _gpus_of(device: Any) -> int:
    names = named(device)
    return gpus() if names == [AUTO] else sum(name.startswith("cuda") for name in names)


def _most(group: Sequence[Run], device: Any, per_device: int) -> int:
    """Runs a batch of those in `group`, as ``auto`` has it; all workers of all GPUs share them."""
    task, places = task_name(group[0].config), _gpus_of(device) * max(1, per_device)
    if task in ONE_PASS:
        return len(group)
    if task == "visualise" and places:
        return min(MOST_GPU, max(AUTO_BATCH_GPU, -(-len(group) // places)))
    return auto_batch(device)


def plan(
    runs: Iterable[Run],
    status: Callable[[], Mapping[str, str]],
    rerun: str = "failed",
    batch_size: int | str = "auto",
    device: Any = "cpu",
    stale: Callable[[], Collection[str]] = frozenset,
    per_device: int = 1,
) -> Plan:
    """Drop duplicates and what `status` (run id to "ok" or "failed") says is done; group the rest.

    Args:
        rerun: ``failed`` executes failed runs again, ``stale`` also those that are stale, ``all`` every run, ``none``
            only new ones.
        batch_size: most runs of one batch, or ``auto``, which depends on `device` and `per_device`.
        stale: runs of those done that were made with other versions or code; asked only where some are done.
        per_device: batches that are executed at once on each device.

    Raises:
        ValueError: an unknown policy or batch size.
    """
    if rerun not in POLICIES:
        raise ValueError(f"sweep.rerun is {rerun!r}; it is one of {', '.join(POLICIES)}")
    auto = batch_size == AUTO
    size = auto_batch(device) if auto else batch_size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"compute.batch_size is {batch_size!r}; it is auto or a whole number from 1 on")
    every = list(runs)
    distinct = {run.id: run for run in every}
    known = status()
    ok = tuple(name for name in distinct if known.get(name) == "ok")
    failed = tuple(name for name in distinct if known.get(name) == "failed")
    old = {*stale()} & {*ok} if ok else set()
    skipped = {"failed": {*ok}, "stale": {*ok} - old, "none": {*ok, *failed}, "all": set()}[rerun]
    groups: dict[str, list[Run]] = {}
    for run in distinct.values():
        if run.id not in skipped:
            groups.setdefault(run.batch_key(), []).append(run)
    batches = []
    for group in groups.values():
        if group[0].shares_pass:
            group = _by_image(group)
        most = _most(group, device, per_device) if auto else size
        batches += [group[i : i + most] for i in range(0, len(group), most)]
    return Plan(
        tuple(distinct.values()),
        len(every) - len(distinct),
        tuple(name for name in ok if name in skipped),
        tuple(name for name in failed if name in skipped),
        tuple(map(tuple, batches)),
        tuple(name for name in ok if name in skipped & old),
    )


def _by_image(runs: list[Run]) -> list[Run]:
    """Runs of one image next to each other, so that those which can share its pass meet in a batch."""
    order: dict[str, int] = {}
    return sorted(runs, key=lambda run: order.setdefault(canonical(run.config["images"]), len(order)))
