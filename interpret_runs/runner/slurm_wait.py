"""Waiting for SLURM jobs by what they leave: records first, then the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import sleep

from interpret_runs.runner.claims import is_held
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.progress import batch, say
from interpret_runs.runner.slurm_queue import Submitted, alive, shown, states

# Seconds between two looks: at first, and at most.
SOON, SELDOM = 0.5, 10.0
SLOWER = 1.2


class Wait:
    """For the runs of `jobs`, which have a result when a record of them is newer than `planned`.

    A job that is killed leaves no record: it counts as ended when SLURM does not know it at two looks, and its
    records, which other machines may see late, were read after the first. submitit would ask accounting alone,
    and wait for ever where there is none.
    """

    def __init__(self, submitted: Submitted, jobs: Mapping[str, Sequence[str]], planned: str) -> None:
        self.submitted, self.store, self.planned = submitted, submitted.store, planned
        self.left = {job: set(ids) for job, ids in jobs.items()}
        self.lost: dict[str, str] = {}
        self._absent: set[str] = set()
        self._warned = False

    def until_done(self) -> None:
        """Until nothing is `left`; `lost` then says of each run without a result what became of it."""
        pause = SOON
        while True:
            self._see()
            if not self.left:
                return
            self._bury()
            if self.left:
                sleep(pause)
                pause = min(SELDOM, pause * SLOWER)

    def _see(self) -> None:
        """Take away what has a result by now."""
        done = self.submitted.done({name for ids in self.left.values() for name in ids}, self.planned)
        for job, ids in list(self.left.items()):
            with batch(len(ids & done)):  # on the bar
                ids -= done
            if not ids:
                del self.left[job]

    def _bury(self) -> None:
        """Give up the runs of jobs that are gone, but for those that another process is executing."""
        try:
            absent = self.left.keys() - alive(self.left)
        except OSError as error:
            if not self._warned:
                say(f"{error}; waiting on")
            self._warned = True
            return
        gone = {job for job in absent & self._absent if not any(is_held(self.store, name) for name in self.left[job])}
        self._absent = set(absent)
        ends = states(gone) if gone else {}
        for job in sorted(gone):
            ids = sorted(self.left.pop(job))
            said = (
                f"job {job} of SLURM ended as {ends.get(job, 'unknown')} and left {number_of(len(ids), 'run')} "
                f"without a result ({shown(ids)}); its log: {self.submitted.log_file(job)}"
            )
            self.lost |= dict.fromkeys(ids, said)
