"""Inside a job of SLURM that submitit started: what it executes, and how it ends. Imports submitit only there."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Batch = tuple[str, list[str], str]


class Batches:
    """The work of one job: batches, each a plan file, run ids and a device, one after the other.

    Out of time, it is submitted again as it is: the store knows what is finished.
    """

    def __call__(self, batches: Sequence[Batch]) -> None:
        from submitit.core.utils import UncompletedJobError

        from interpret_runs.runner.planned_batch import run_batch
        from interpret_runs.runner.store import StoreError

        for file, ids, device in batches:
            try:
                run_batch(file, ids, device)
            except (UncompletedJobError, StoreError):  # out of time for good; no place to write
                raise
            except Exception:  # the others may go well; that this one did not is in the job's exit status
                traceback.print_exc()

    def checkpoint(self, batches: Sequence[Batch]) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, batches)


class _EndedError(BaseException):
    """What submitit raised as time ran out; nothing on its way up may take it for the failure of a run."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


_failed: list[bool] = []


@contextmanager
def in_job() -> Iterator[Callable[[], None]]:
    """Around the execution of a batch, wherever it is executed; yields what to call when one of its runs failed.

    In a job of SLURM that submitit started, SLURM then says FAILED: else it would say COMPLETED, as submitit, and
    Hydra's launcher for it, keep errors as results. And when time runs out, the batch ends at once.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        yield lambda: None
        return
    number, before = _time_out()
    try:
        yield _fail
    except _EndedError as ended:
        if isinstance(ended.error, Exception):  # else it is requeued
            _fail()
        raise ended.error from None
    except BaseException:
        _fail()
        raise
    finally:
        if callable(before):
            signal.signal(number, before)


def _time_out() -> tuple[int, Any]:
    """Take over submitit's handler of the signal that announces the end; returns the signal and that handler."""
    from submitit import JobEnvironment

    number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
    before = signal.getsignal(number)

    def end(*arguments: Any) -> None:
        try:
            before(*arguments)  # type: ignore[operator,misc]
        except (Exception, SystemExit) as error:
            raise _EndedError(error) from None

    if callable(before):
        signal.signal(number, end)
    return number, before


def _fail() -> None:
    """Make 1 the exit status of this process, which ends after submitit has written the result."""
    if not _failed:
        _failed.append(True)
        atexit.register(_exit)


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)  # the only way from here to change the status
