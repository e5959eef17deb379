"""The pool's end of a worker: its process, and the line to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from interpret_runs.runner.worker import KEPT_MEMORY, READY, SETUP, SPINS

# Seconds that an interrupted worker has to put things in order.
PATIENCE = 5.0
# Bytes of what a dead worker printed last that are kept.
LAST_WORDS = 4000


class WorkerProcess:
    """A new process. It loads torch at once, while others plan.

    Args:
        threads: how many torch may use; None leaves it to torch.

    Attributes:
        link: readable when the worker has said something, or has died.
        death: what else is readable when it has died, where there is such a thing.
        machine: what it says of itself, for records; empty before.
        present: the devices that it finds; empty before.
        last_words: the end of what it printed, once it has ended.
    """

    def __init__(self, threads: int | None) -> None:
        self.machine: dict[str, Any] = {}
        self.present: list[str] = []
        self.last_words = ""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Nothing that lies where the command is typed stands for a module of Python's, nor for this package.
                [sys.executable, "-P", "-m", "interpret_runs.runner.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=_environment(threads),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # what it starts itself goes with it
            )
        self.link = Connection(ours.detach())
        # Tells a death also where a process that the worker has started keeps the line open.
        self.death = [os.pidfd_open(self._process.pid)] if hasattr(os, "pidfd_open") else []
        self.send((SETUP, sys.path, threads))

    def send(self, message: tuple[Any, ...]) -> None:
        with suppress(OSError):  # it died: `receive` tells
            self.link.send(message)

    def receive(self) -> tuple[Any, ...] | None:
        """The next message, waited for; None where the worker has died."""
        if self.link not in wait([self.link, *self.death]):
            return None
        try:
            message: tuple[Any, ...] = self.link.recv()
        except (EOFError, OSError):
            return None
        if message[0] == READY:
            self.present, self.machine = message[1:]
        return message

    def interrupt(self) -> None:
        """Ask it to end, leaving nothing half done."""
        self._process.terminate()

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Wait until the process is gone, but not for long; says how it ended."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        self.link.close()  # not before: without a pool a worker ends at once, leaving claims
        for descriptor in self.death:
            os.close(descriptor)
        with self._output:
            size = self._output.seek(0, os.SEEK_END)
            self._output.seek(max(0, size - LAST_WORDS))
            self.last_words = self._output.read().decode(errors="replace")
        if status >= 0:
            return f"exit status {status}"
        name = signal.Signals(-status).name
        return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name


def _environment(threads: int | None) -> dict[str, str]:
    """What libraries read when they are loaded, and where this package is."""
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    counts = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {"GOMP_SPINCOUNT": SPINS, "GLIBC_TUNABLES": KEPT_MEMORY, **os.environ, "PYTHONPATH": path, **counts}
