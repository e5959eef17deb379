"""Warm worker processes, one for each slot of a device; what dies is replaced, and the run that kills is found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any

from interpret_runs.runner.backend import Backend, Batches
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.claims import Claims
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.plan import halves
from interpret_runs.runner.progress import Batch, warn
from interpret_runs.runner.record import keep, record_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.slots import AUTO, CPU, Slot, gpus, limit_of, named, slots
from interpret_runs.runner.store import Store, StoreError, now
from interpret_runs.runner.worker import BATCH, CHECK, PROGRESS, READY, STOP, WARNING, WRONG
from interpret_runs.runner.worker_process import WorkerProcess


@dataclass(frozen=True)
class _Job:
    """Runs to execute together. The first death of a worker may be bad luck; after it, they are suspects."""

    runs: tuple[Run, ...]
    suspect: bool = False

    @cached_property
    def model(self) -> str:
        return canonical(self.runs[0].config.get("model"))

    def halves(self) -> list[_Job]:
        return [_Job(tuple(half), suspect=True) for half in halves(self.runs)]


@dataclass
class _Busy:
    """What a worker is executing, and since when."""

    job: _Job
    shown: Batch
    started: float


class Pool(Backend):
    """Executes batches in processes of their own, at most one a slot at any time.

    A worker that dies is replaced and its batch executed once more; if that kills again, halves of it, until
    the run is found that does it, which becomes a failed record. So does a run that takes too long.

    Args:
        device: the setting compute.device.
        per_device: worker processes on each device.
        time_limit: the most seconds for a run, None for no limit; a batch may take as much as its runs together.
    """

    def __init__(self, device: Any, per_device: int, time_limit: float | None = None) -> None:
        self._names, self._per_device, self._limit = named(device), per_device, limit_of(time_limit)
        self._workers: dict[Slot, WorkerProcess] = {}
        self._busy: dict[Slot, _Busy] = {}
        self._models: dict[Slot, str] = {}
        self._warned: set[str] = set()
        self._begun = ""

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.interrupt()
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        self._busy.clear()

    def check(self, kinds: Batches) -> list[Exception | None]:
        """In the first slot's worker, which is warm afterwards. A check that kills it tells nothing."""
        slot = self._slots()[0]
        found: list[Exception | None] = []
        for kind in kinds:
            self._worker(slot).send((CHECK, kind, slot.device))
            answer = self._answer(slot)
            if answer is not None and answer[0] == STOP:
                raise StoreError(answer[1])
            found.append(_error(*answer[1:]) if answer is not None and answer[0] == WRONG else None)
        return found

    def execute(self, plan: Path, batches: Batches) -> None:
        store, self._begun = Store.at(plan.parents[1]), now()
        queue = deque(_Job(tuple(runs)) for runs in batches)
        while queue or self._busy:
            for slot in self._slots():
                if queue and slot not in self._busy:
                    self._start(slot, self._take(slot, queue), plan)
            queue.extendleft(reversed(self._wait(store)))

    def _slots(self) -> list[Slot]:
        """Where batches may run; ``auto`` is every GPU that torch finds, or the CPU."""
        if self._names == [AUTO]:
            self._names = self._found() if gpus() else [CPU]
        return slots(self._names, self._per_device)

    def _found(self) -> list[str]:
        """The GPUs that a worker finds, as only torch can tell whether it can use them; else the CPU."""
        asking = Slot(CPU)
        worker = self._worker(asking)
        while not worker.present:
            if (message := worker.receive()) is None:
                self._require_start(asking)
            elif message[0] == WARNING:
                self._warn(message[1])
        names = [name for name in worker.present if name.startswith("cuda")] or [CPU]
        if slots(names, self._per_device)[0].threads is None:  # else it has another number of threads
            self._workers[slots(names, self._per_device)[0]] = self._workers.pop(asking)
        return names

    def _worker(self, slot: Slot) -> WorkerProcess:
        if slot not in self._workers:
            self._workers[slot] = WorkerProcess(slot.threads)
        return self._workers[slot]

    def _take(self, slot: Slot, queue: deque[_Job]) -> _Job:
        """The next job, of the model that the slot has loaded if there is one."""
        place = next((i for i, job in enumerate(queue) if job.model == self._models.get(slot)), 0)
        job = queue[place]
        del queue[place]
        return job

    def _start(self, slot: Slot, job: _Job, plan: Path) -> None:
        self._models[slot] = job.model
        self._busy[slot] = _Busy(job, Batch(len(job.runs)), monotonic())
        self._worker(slot).send((BATCH, str(plan), [run.id for run in job.runs], slot.device, slot.name))

    def _wait(self, store: Store) -> list[_Job]:
        """Hear one worker at least, or find one that takes too long; returns the jobs to execute again."""
        lines: dict[Any, Slot] = {
            line: slot for slot in self._busy for line in (self._workers[slot].link, *self._workers[slot].death)
        }
        ready = wait(list(lines), self._patience())
        again: list[_Job] = []
        for slot in dict.fromkeys(lines[line] for line in ready):
            again += self._hear(slot, store)
        for slot, busy in list(self._busy.items()):
            if self._deadline(slot, busy) <= monotonic() and not self._workers[slot].link.poll():
                self._workers[slot].kill()
                why = f"took longer than compute.time_limit={self._limit:g} s a run"
                again += self._bury(slot, store, why, suspect=True)
        return again

    def _hear(self, slot: Slot, store: Store) -> list[_Job]:
        message = self._workers[slot].receive()
        if message is None:
            return self._bury(slot, store, None, self._busy[slot].job.suspect)
        kind, *rest = message
        busy = self._busy[slot]
        if kind == PROGRESS:
            busy.shown(rest[0])
        elif kind == WARNING:
            self._warn(rest[0])
        elif kind == STOP:
            raise StoreError(rest[0])
        elif kind == READY:
            busy.started = monotonic()  # what it took to load torch is not the run's
        else:
            if kind == WRONG:
                warn(f"a batch could not be executed: {rest[0]}", "error")
            del self._busy[slot]
            busy.shown.end()
        return []

    def _answer(self, slot: Slot) -> tuple[Any, ...] | None:
        """What the worker says in the end; None where it died."""
        while (message := self._workers[slot].receive()) is not None:
            if message[0] == WARNING:
                self._warn(message[1])
            elif message[0] not in (READY, PROGRESS):
                return message
        self._require_start(slot)
        self._workers[slot].kill()
        self._workers.pop(slot).end()
        return None

    def _require_start(self, slot: Slot) -> None:
        """Raise where a worker died before it was ready: no run is to blame."""
        if not (worker := self._workers[slot]).present:
            fate = worker.end()
            del self._workers[slot]
            said = worker.last_words.strip().splitlines()[-1:]
            raise ChildProcessError(" ".join([f"a worker process cannot start ({fate});", *said]))

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warn(text)

    def _bury(self, slot: Slot, store: Store, why: str | None, suspect: bool) -> list[_Job]:
        """Clear away a dead worker; returns what of its job is to be executed again."""
        self._require_start(slot)
        busy, worker = self._busy.pop(slot), self._workers.pop(slot)
        worker.kill()  # what it has started may live on
        fate = worker.end()
        job = busy.job
        if suspect and len(job.runs) == 1:
            told = {"error": why or f"its process died ({fate})", "seconds": monotonic() - busy.started}
            told["traceback"] = f"{told['error']}\n\nits process said last:\n{worker.last_words}"
            self._give_up(job.runs[0], store, {**worker.machine, "device": slot.device, "slot": slot.name}, told)
            busy.shown.end()
            return []
        busy.shown.end(0)
        again = "in halves" if suspect else "once more"
        self._warn(
            f"a worker process died ({why or fate}); its {number_of(len(job.runs), 'run', 'is')} executed {again}"
        )
        return job.halves() if suspect else [_Job(job.runs, suspect=True)]

    def _give_up(self, run: Run, store: Store, machine: dict[str, Any], told: dict[str, Any]) -> None:
        """Keep that a run cannot be executed, unless another sweep has it, or it ended before its worker did."""
        with Claims(store, [run.id]) as held:
            if held and store.finished().get(run.id, ("", ""))[1] < self._begun:
                keep(store, [record_of(run, [run.id], machine, **told)])

    def _deadline(self, slot: Slot, busy: _Busy) -> float:
        """Until a worker is ready the time is not its runs'."""
        if self._limit is None or not self._workers[slot].present:
            return float("inf")
        return busy.started + self._limit * len(busy.job.runs)

    def _patience(self) -> float | None:
        soonest = min(self._deadline(slot, busy) for slot, busy in self._busy.items())
        return None if soonest == float("inf") else max(0.0, soonest - monotonic())


def _error(line: str, trace: str, kind: str) -> Exception:
    """What a worker raised, for this process; where it was raised is in the notes."""
    made = {kind.__name__: kind for kind in (LookupError, TypeError, OSError)}.get(kind, ValueError)(line)
    made.add_note(trace)
    return made
