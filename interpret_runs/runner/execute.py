"""One batch to artefacts and records: failures stay with their run, memory that runs out halves the batch."""

from __future__ import annotations

import gc
import json
import os
import socket
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from interpret_runs import __version__, compiled, trained
from interpret_runs.memory_format import CONTIGUOUS, format_of, lay_out
from interpret_runs.models import VisionModel
from interpret_runs.png import with_text
from interpret_runs.runner import provenance
from interpret_runs.runner.build import build
from interpret_runs.runner.claims import Claims
from interpret_runs.runner.devices import choose, describe
from interpret_runs.runner.members import told
from interpret_runs.runner.objects import model_of
from interpret_runs.runner.plan import halves, parts
from interpret_runs.runner.record import OUTCOME, keep, record_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Record, Store, StoreError, now
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, Text
from interpret_runs.runner.throughput import together
from interpret_runs.runner.tuning import Tuning, tuned, tuning

USER_ERRORS = (ValueError, LookupError, TypeError, OSError)


def task_of(run: Run) -> Task:
    made = build(run.config["task"])
    if not isinstance(made, Task):
        raise TypeError(f"task._target_ makes a {type(made).__name__}, not a Task")
    return made


def check(runs: Sequence[Run], device: str) -> None:
    """Raise what is wrong with a batch, before anything of it is computed or written."""
    task_of(runs[0]).check(runs, choose(device))


def execute(
    runs: Sequence[Run],
    store: Store,
    device: str,
    planned: str,
    progress: Progress | None = None,
    strict: bool = False,
    slot: str = "",
    how: Tuning = Tuning(),  # noqa: B008  # frozen
) -> list[Record]:
    """Execute those of `runs` that no other sweep holds, or has finished since `planned`; returns their records.

    A wrong setting is raised where `strict`, else it makes a failed record. `slot` is where a pool executes them.

    Artefacts are written first, then all records in one file. Interrupted, it leaves no record and no claim.
    """
    chosen = choose(device)
    with Claims(store, [run.id for run in runs]) as held:
        finished = store.finished_since(planned)
        mine = [run for run in runs if run.id in held and run.id not in finished]
        with trained.kept_in(store.root), tuned(how):
            batch = _Batch(store, chosen, progress or (lambda _: None), strict, slot)
            return batch.execute(mine) if mine else []


class _Batch(Filing):
    def __init__(self, store: Store, device: torch.device, progress: Progress, strict: bool, slot: str) -> None:
        self.store, self.device, self.progress, self.strict = store, device, progress, strict
        self.machine = {**machine(), "device": describe(device), "slot": slot, "started": now()}
        self.done = 0.0
        self.part: Sequence[Run] = ()
        self.at_once = 0
        self.compiled: Collection[Any] = ()
        self.unwritten: OSError | None = None
        # Here, as threads that draw know nothing of the context.
        self.cuda_graphs = tuning().cuda_graphs if device.type == "cuda" else None

    def execute(self, runs: Sequence[Run]) -> list[Record]:
        records: list[Record] = []
        pending: list[Sequence[Run]] = [list(runs)]
        while pending:
            part = self.part = pending.pop(0)
            self.compiled = ()
            outcomes: list[Outcome] | None
            started = perf_counter()
            try:
                task = task_of(part[0])
                fits = task.check(part, self.device)
                most = self.at_once = together(task, part, self.device, fits, self.store.measured_folder)
                if most < len(part) and not task.refills:
                    pending[:0] = parts(part, most)
                    continue
                self._start_plain(part[0])
                with tuned(replace(tuning(), at_once=most)), compiled.noted() as self.compiled:
                    outcomes = task.execute(part, self.device, self, self._share(len(part) / len(runs)))
            except StoreError:
                raise
            except (Exception, SystemExit) as error:  # a network may raise anything; it must not end the sweep
                if self.unwritten is not None:
                    raise self.unwritten from self.unwritten.__cause__
                if self.strict and len(part) == 1 and isinstance(error, USER_ERRORS):
                    raise
                outcomes = [_failure(error)] if len(part) == 1 else None
            if outcomes is None:
                # Memory that ran out fits by halves, and any other mistake ends up alone with its run. The error, which
                # holds on to what the batch has made, is gone by now.
                _free()
                pending[:0] = halves(part)
                continue
            self.done += len(part) / len(runs)
            self.progress(self.done)
            records += self._write(part, outcomes, (perf_counter() - started) / len(part))
        return records

    def _start_plain(self, run: Run) -> None:
        """What an earlier batch did to a network that stays loaded is undone: bytes must not depend on it."""
        if (model := self._model(run)) is not None:
            lay_out(model, CONTIGUOUS)

    def _share(self, share: float) -> Progress:
        done = self.done
        return lambda fraction: self.progress(done + share * fraction)

    def text(self, run: Run) -> Text:
        essentials: dict[str, Any] = {key: getattr(run, key) for key in ("config", "digests", "unit")}
        essentials["run_id"] = run.id
        essentials |= {"versions": provenance.versions(), "weights_digest": self._weights_digest(run)}
        essentials |= {key: self.machine[key] for key in ("device", "threads")}
        essentials |= {"git": provenance.git(), "batch": told(self.part), **self._how(run)}
        return {"Software": f"interpret-runs {__version__}", "interpret-runs": json.dumps(essentials)}

    def file(self, run: Run, outcome: Outcome) -> Outcome:
        ended = {OUTCOME: json.dumps({"score": outcome.score, "unit": outcome.unit or run.unit})}
        files = {name: (file, with_text(content, ended)) for name, (file, content) in outcome.files.items()}
        try:
            artefacts = {name: self.store.write_artefact(run.id, *file) for name, file in files.items()}
        except OSError as error:  # no run's fault
            self.unwritten = error
            raise
        return replace(outcome, files={}, artefacts=artefacts)

    def _write(self, runs: Sequence[Run], outcomes: Sequence[Outcome], seconds: float) -> list[Record]:
        ids = [run.id for run in runs]
        records = []
        for run, outcome in zip(runs, outcomes, strict=True):
            filed = self.file(run, outcome) if outcome.artefacts is None else outcome
            result = {key: getattr(filed, key) for key in ("unit", "score", "metrics", "history", "steps", "artefacts")}
            result |= {"error": filed.error and filed.error.splitlines()[0][:400], "traceback": filed.error}
            result |= {"seconds": seconds, "weights_digest": self._weights_digest(run)}
            result |= self._how(run)
            records.append(record_of(run, ids, self.machine, **result))
        keep(self.store, records)
        return records

    def _weights_digest(self, run: Run) -> str | None:
        model = self._model(run)
        return None if model is None else model.digest

    def _how(self, run: Run) -> dict[str, Any]:
        """How it was computed, of what changes no run id."""
        model = self._model(run)
        return {
            "at_once": self.at_once,
            "memory_format": None if model is None else format_of(model),
            "compile": bool(self.compiled),
            # Whether steps were to be captured; None where there is nothing that could.
            "cuda_graphs": self.cuda_graphs,
        }

    def _model(self, run: Run) -> VisionModel | None:
        """The run's network; None where it has none, or where that cannot be loaded, as its record says."""
        with suppress(Exception):
            return model_of(run, self.device)
        return None


def machine() -> dict[str, Any]:
    """What this process is, for records."""
    return {
        "device": "",
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(),
        "worker": f"{socket.gethostname()}-{os.getpid()}",
    }


def _failure(error: BaseException) -> Outcome:
    said = f"called sys.exit({error})" if isinstance(error, SystemExit) else f"{error}".strip()
    line = said.splitlines()[0] if said else type(error).__name__
    trace = "".join(traceback.format_exception(error))
    return Outcome(None, error=f"{line}\n{trace}")


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
