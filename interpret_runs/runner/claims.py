"""Claims: two sweeps at once, overlapping or equal, never execute one run twice."""

import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Thread
from time import time
from types import TracebackType

from interpret_runs.runner.durable import saying
from interpret_runs.runner.store import Store, now

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
                file = self._store.make_room(self._store.claim_file(run_id))
                with saying(self._store.root):
                    if _claim(file):
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
                with suppress(OSError):  # a heart that stops lets others take the run; one beat may fail
                    os.utime(self._store.claim_file(run_id))


@dataclass(frozen=True)
class Claim:
    """A run that is being executed: by which process of which host, since when (UTC), touched `age` seconds ago."""

    run_id: str
    host: str
    pid: int
    since: str
    age: float


def live(store: Store) -> list[Claim]:
    """The claims of live processes, by run id. A process of another machine lives while it touches its claims."""
    try:
        files = sorted(file for file in (store.root / "claims").iterdir() if not file.name.startswith("."))
    except FileNotFoundError:
        return []
    found = []
    for file in files:
        state = _look(file)
        if state is None or _is_stale(*state):
            continue
        try:
            owner = json.loads(state[1])
            host, pid, since = str(owner["host"]).split(" ")[0], int(owner["pid"]), str(owner.get("since", ""))
        except (ValueError, LookupError, TypeError):
            host, pid, since = "unknown", 0, ""  # being written just now, or damaged
        found.append(Claim(file.name, host, pid, since, max(0.0, time() - state[0] / 1e9)))
    return found


def clear_stale(store: Store) -> None:
    """Remove the claims of dead processes, also of runs that will not be claimed again as they were finished."""
    with suppress(OSError):  # no claims yet, or a store that may only be read: they do no harm
        for file in list((store.root / "claims").iterdir()):
            if not file.name.startswith("."):
                _clear(file)


def is_held(store: Store, run_id: str) -> bool:
    """Whether a live process holds a run."""
    found = _look(store.claim_file(run_id))
    return found is not None and not _is_stale(*found)


def _claim(file: Path) -> bool:
    return _make(file) or (_clear(file) and _make(file))


def _make(file: Path) -> bool:
    try:
        stream = file.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(_owner())
    except BaseException:  # a full disk: what cannot be signed is not held
        file.unlink(missing_ok=True)
        raise
    return True


def _owner() -> str:
    return json.dumps({"host": _here(), "pid": os.getpid(), "since": _since(os.getpid())})


@cache
def _since(_: int) -> str:
    """When this process made its first claim: told with its number, it names a process once and for all."""
    return now()


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
        # Age by the clock of the file system: that of this machine may be wrong.
        if unchanged := _look(file) == found and _is_stale(*found, mark.stat().st_mtime):
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
    except PermissionError:  # of a user who lets no others read: it has to age
        with suppress(FileNotFoundError):
            return file.stat().st_mtime_ns, ""
        return None


def _is_stale(touched: int, text: str, at: float | None = None) -> bool:
    """Whether a claim was not touched for long at the time `at` (by default now), or its process is gone."""
    if (time() if at is None else at) - touched / 1e9 > STALE:
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
        pass
    try:
        # After the name in brackets, which may hold anything: the state. Z and X have ended, whether reaped or not.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True
