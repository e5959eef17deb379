"""Claims: two sweeps at once, overlapping or equal, never execute one run twice."""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
        for run_id in self.held:
            self._store.claim_file(run_id).unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            for run_id in self.held:
                with _gone_is_fine():
                    os.utime(self._store.claim_file(run_id))


def _claim(file: Path) -> bool:
    for _ in range(2):
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if not _is_stale(file) or not _clear(file):
                return False
            continue
        with os.fdopen(descriptor, "w") as stream:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, stream)
        return True
    return False


def _is_stale(file: Path) -> bool:
    try:
        age = time() - file.stat().st_mtime
        owner = json.loads(file.read_text(encoding="utf-8") or "{}")
    except (FileNotFoundError, ValueError):
        return False  # released, or being written, just now
    if age > STALE:
        return True
    return owner.get("host") == socket.gethostname() and not _lives(owner.get("pid", 0))


def _clear(file: Path) -> bool:
    """Move a stale claim away. Of several processes that try, the rename lets one win."""
    aside = file.with_name(f".stale-{file.name}-{os.getpid()}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return False
    aside.unlink(missing_ok=True)
    return True


def _lives(pid: int) -> bool:
    if pid <= 0:
        return True  # an owner that is not named has to age
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return
