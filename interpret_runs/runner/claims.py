"""Claims: two sweeps at once, overlapping or equal, never execute one run twice."""

import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from time import time
from types import TracebackType

from interpret_runs.runner.store import Store

HEARTBEAT = 10.0
STALE = 60.0


class Claims:
    """Run ids held by this process for the length of a ``with``.

    A claim is a file made exclusively and touched every `HEARTBEAT` seconds. One that was not touched
    for `STALE` seconds, or whose process on this machine is gone, is taken over.
    """

    def __init__(self, store: Store, run_ids: Iterable[str]) -> None:
        self._store = store
        self._wanted = list(run_ids)
        self._stop = Event()
        self.held: list[str] = []

    def __enter__(self) -> list[str]:
        """The ids that were claimed; the others are being executed elsewhere."""
        try:
            for run_id in self._wanted:
                if _claim(self._store.make_room(self._store.claim_file(run_id))):
                    self.held.append(run_id)
        except BaseException:
            self._release()
            raise
        self._beat = Thread(target=self._keep, daemon=True)
        self._beat.start()
        return self.held

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join()
        self._release()

    def _release(self) -> None:
        for file in map(self._store.claim_file, self.held):
            found = _look(file)
            if found and found[1] == _owner():  # else it was taken over from a process that slept too long
                file.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            for run_id in self.held:
                with suppress(FileNotFoundError):
                    os.utime(self._store.claim_file(run_id))


def _claim(file: Path) -> bool:
    return _make(file) or (_clear(file) and _make(file))


def _make(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as stream:
        stream.write(_owner())
    return True


def _owner() -> str:
    return json.dumps({"host": _here(), "pid": os.getpid()})


def _clear(file: Path) -> bool:
    """Remove a claim if it is stale; whether there is none any more.

    Several processes may find one stale claim, and a slow one may act when another's new claim is there
    already. So who removes it has to claim just this state of it, and to find it unchanged.
    """
    found = _look(file)
    if found is None:
        return True
    if not _is_stale(*found):
        return False
    mark = file.with_name(f".{file.name}-{found[0]}")
    if not _claim(mark):
        return False
    try:
        if unchanged := _look(file) == found:
            file.unlink(missing_ok=True)
    finally:
        mark.unlink(missing_ok=True)
    return unchanged


def _look(file: Path) -> tuple[int, str] | None:
    """When a claim was last touched, in nanoseconds, and what it says; None where there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return os.fstat(stream.fileno()).st_mtime_ns, stream.read()
    except FileNotFoundError:
        return None


def _is_stale(touched: int, text: str) -> bool:
    if time() - touched / 1e9 > STALE:
        return True
    try:
        owner = json.loads(text)
        return owner["host"] == _here() and not _lives(owner["pid"])
    except (ValueError, LookupError, TypeError):
        return False  # being written just now, or damaged: it has to age


@cache
def _here() -> str:
    """Where a process number means something: host and, in containers, the namespace of process numbers."""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {namespace}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
