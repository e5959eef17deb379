"""A process that checks and executes batches for a pool: ``python -m interpret_runs.runner.worker DESCRIPTOR``."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from queue import Queue
from threading import Thread
from time import monotonic
from typing import Any

# What a pool sends, and what it gets back; each is a tuple that begins with one of these.
SETUP, CHECK, BATCH = "setup", "check", "batch"
READY, DONE, WRONG, STOP, PROGRESS, WARNING = "ready", "done", "wrong", "stop", "progress", "warning"
# How long OpenMP's threads spin before they sleep: by its own default, for so long that on a machine with other busy
# processes all is several times slower; a short spin costs nothing on an idle one. Read when torch is loaded.
SPINS = "3000"
# Tensors of a CPU come and go with every layer. Memory that is kept rather than mapped afresh, and in pages of 2 MB,
# saves up to a third of the time, and takes up to a tenth more memory.
KEPT_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
# The least seconds from one message about progress to the next.
EVERY = 0.1

Message = tuple[Any, ...]


class Worker:
    """Answers the messages of a pool one after the other; ends when the pool does, however that ends."""

    def __init__(self, pool: Connection) -> None:
        self.pool = pool
        self.messages: Queue[Message] = Queue()
        self.told = 0.0
        self.answers: dict[str, Callable[..., Message]] = {}
        self.answers |= {SETUP: self._setup, CHECK: self._check, BATCH: self._batch}

    def serve(self) -> None:
        """Answer until the pool goes or asks to stop.

        A batch ends with ("done",), with ("wrong", line, traceback, kind of error), or with ("stop", line), after which
        nothing can be written any more.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the pool decides
        signal.signal(signal.SIGTERM, _interrupt)
        Thread(target=self._read, daemon=True).start()
        while True:
            kind, *rest = self.messages.get()
            self.pool.send(self.answers[kind](*rest))

    def _read(self) -> None:
        """Keep what comes; a pool that was killed takes its workers with it, whatever they are doing."""
        try:
            while True:
                self.messages.put(self.pool.recv())
        except (EOFError, OSError):
            os._exit(1)

    def _setup(self, path: Sequence[str], threads: int | None) -> Message:
        sys.path[:] = path
        from interpret_runs.runner.app import show_own_warnings

        show_own_warnings(lambda text: self.pool.send((WARNING, text)))
        import torch
        import torchvision  # noqa: F401  # it takes as long

        from interpret_runs.runner import execute
        from interpret_runs.runner.devices import present

        if threads is not None:
            torch.set_num_threads(threads)
        return READY, present(), execute.machine()

    def _check(self, runs: Sequence[Any], device: str) -> Message:
        from interpret_runs.runner.execute import check

        return _answer(lambda: check(runs, device))

    def _batch(self, file: str, ids: Sequence[str], device: str, slot: str) -> Message:
        from interpret_runs.runner.planned_batch import run_batch

        self.told = monotonic()
        return _answer(lambda: run_batch(file, ids, device, self._tell, slot))

    def _tell(self, fraction: float) -> None:
        if monotonic() - self.told >= EVERY:
            self.told = monotonic()
            self.pool.send((PROGRESS, fraction))


def _answer(work: Callable[[], object]) -> Message:
    from interpret_runs.runner.errors import one_line
    from interpret_runs.runner.store import StoreError

    try:
        work()
    except StoreError as error:
        return STOP, str(error)
    except (Exception, SystemExit) as error:
        kinds = [kind.__name__ for kind in (LookupError, TypeError, OSError) if isinstance(error, kind)]
        return WRONG, one_line(error, []), traceback.format_exc(), (*kinds, "ValueError")[0]
    return (DONE,)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what is being put in order stays undisturbed
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        Worker(Connection(int(sys.argv[1]))).serve()
    except KeyboardInterrupt:
        sys.exit(130)
