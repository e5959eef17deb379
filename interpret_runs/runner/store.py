"""One folder with everything that the sweeps of one name wrote; it names every file and writes it whole."""

import json
import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from interpret_runs.runner.catalogue import Entry, State
from interpret_runs.runner.durable import StoreError as StoreError  # what writing a store may raise
from interpret_runs.runner.durable import saying, settle, write_whole
from interpret_runs.runner.known import Known
from interpret_runs.runner.record_files import Record as Record
from interpret_runs.runner.record_files import parse
from interpret_runs.runner.record_files import read_lines as read_lines
from interpret_runs.summary import nearest


class Store:
    """``outputs/<name>/``. Reading never creates anything; the first write makes the folders it needs.

    Files are written aside and renamed, artefacts before the record that lists them: what has a record
    is complete, also after a power failure. No two processes write one file. Whatever is written raises
    `StoreError` where the disk is full or not to be written.
    """

    def __init__(self, outputs: str | Path, name: str) -> None:
        name = str(name)
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"name={name!r} is not the name of a folder")
        self.root = Path(outputs).expanduser() / name
        # Unique among the processes of all machines that share the folder.
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._numbers = count()
        self._known = Known(self.root)
        self._unsettled: dict[Path, None] = {}

    @classmethod
    def at(cls, root: Path) -> "Store":
        """The store whose folder `root` is."""
        return cls(root.parent, root.name)

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def claim_file(self, run_id: str) -> Path:
        return self.root / "claims" / run_id

    def plan_file(self, sweep_id: str) -> Path:
        return self.root / "plan" / f"{sweep_id}.jsonl"

    def figure_file(self, sweep_id: str) -> Path:
        return self.root / "figures" / f"{sweep_id}.png"

    def log_file(self, run_id: str) -> Path:
        return self.root / "logs" / f"{run_id}.log"

    def index_file(self, suffix: str) -> Path:
        return self.root / f"index.{suffix}"

    @property
    def catalogue_file(self) -> Path:
        """Where what the record files say is kept by column: derived, like the index."""
        return self._known.catalogue_file

    @property
    def measured_folder(self) -> Path:
        """Where is kept what was measured for all processes that share the store: derived, like the index."""
        return self.root / "measured"

    @property
    def damaged_folder(self) -> Path:
        """Where damaged files are set aside."""
        return self.root / "damaged"

    def check_writable(self) -> None:
        """Raises StoreError where the folder could not be made or written, without making it."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise StoreError(f"cannot write to {self.root}: {place} is not a folder to write in; set outputs=")

    def write(self, path: Path, content: bytes, modified: int | None = None) -> None:
        """Write a file aside, then rename: readers see it whole or not at all, also after a power failure.

        `modified` is its modification time in nanoseconds, where it is not to be now.
        """
        with saying(self.root):
            write_whole(self.make_room(path), content, self._worker, modified)

    def make_room(self, path: Path) -> Path:
        """`path` itself, once its folder exists: for what others write there, aside and renamed."""
        with saying(self.root):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
                raise StoreError(f"cannot write to {self.root}: {error.strerror}; set outputs=") from error
        return path

    def write_artefact(self, run_id: str, name: str, content: bytes) -> dict[str, Any]:
        """Write one file of a run; returns what its record says of it: path in the store, size, digest.

        It outlives a power failure from the next `write_records` on.
        """
        path = self.run_folder(run_id) / name
        with saying(self.root):
            write_whole(self.make_room(path), content, self._worker, settled=False)
        self._unsettled |= dict.fromkeys((path, path.parent, path.parent.parent, self.root))
        return {
            "path": path.relative_to(self.root).as_posix(),
            "bytes": len(content),
            "sha256": sha256(content).hexdigest()[:16],
        }

    def write_records(self, records: Sequence[Record]) -> None:
        """Write the records of one batch, one JSON line each, in a file of their own, once their artefacts are safe."""
        unsettled, self._unsettled = self._unsettled, {}
        with saying(self.root):
            settle(unsettled)
        self.write(self.root / "records" / f"{self._worker}-{next(self._numbers)}.jsonl", _lines(records))

    def write_plan(self, sweep_id: str, runs: Sequence[Mapping[str, Any]]) -> Path:
        path = self.plan_file(sweep_id)
        self.write(path, _lines(runs))
        return path

    def record_files(self) -> list[Path]:
        return [self.root / "records" / name for name in sorted(self.record_states())]

    def record_states(self) -> dict[str, State]:
        """Size and modification time of every record file, by name."""
        return self._known.present()

    def newest(self, run_ids: Collection[str] | None = None) -> dict[str, Record]:
        """The newest record of every run, or of those in `run_ids`, by run id.

        Only the lines asked for are read: where a store is large, ask for few.
        """
        entries = self._known.refreshed()
        wanted = entries.values() if run_ids is None else [entries[name] for name in run_ids if name in entries]
        return {record["run_id"]: record for record in self._records(wanted)}

    def records(self) -> Iterator[Record]:
        """The newest record of every run, one after the other, however many there are."""
        return self._records(list(self._known.refreshed().values()))

    def _records(self, entries: Iterable[Entry]) -> Iterator[Record]:
        name, content = "", b""
        for entry in sorted(entries, key=lambda entry: (entry.file, entry.start)):
            if entry.file != name:
                name, content = entry.file, _content(self.root / "records" / entry.file)
            record = parse(content[entry.start : entry.start + entry.length])
            if record is not None and record["run_id"] == entry.run_id:
                yield record

    def finished(self) -> dict[str, tuple[str, str]]:
        """Run id to the status and finish time of its newest record, whatever became of its files."""
        return {name: (entry.status, entry.finished) for name, entry in self._known.refreshed().items()}

    def finished_since(self, planned: str) -> set[str]:
        """Runs that another process finished after the time `planned`, well or not. Reads each record file once."""
        entries = self._known.refreshed(recheck=False).values()
        since = (entry for entry in entries if entry.finished > planned)
        return {entry.run_id for entry in since if not entry.file.startswith(self._worker)}

    def status(self) -> dict[str, str]:
        """Run id to "ok" or "failed"; a run of which an artefact is not what its record says counts as not done."""
        entries, wrong = self._known.refreshed(), self._known.wrong()
        return {name: entry.status for name, entry in entries.items() if name not in wrong}

    def made(self) -> dict[str, str]:
        """Run id to the versions and git state that its newest record tells, as JSON."""
        return {name: entry.made for name, entry in self._known.refreshed().items()}

    def damage(self) -> tuple[int, int]:
        """How many lines of record files are no records, and of how many runs a file is not what the record says."""
        self._known.refreshed()
        return sum(self._known.damaged.values()), len(self._known.wrong())

    def set_aside(self, run_id: str, path: str) -> bool:
        """Move a file of a run to ``damaged/<run id>/``, so that the run counts as not done; whether it was there."""
        file = self.root / path
        if not file.exists():
            return False
        with saying(self.root):
            file.replace(self.make_room(self.damaged_folder / run_id / file.name))
        return True

    def set_aside_damage(self) -> int:
        """Move lines that are no records out of the record files; a whole copy of such a file is kept in ``damaged/``.

        Returns how many lines there were. For commands that write; reading passes damaged lines over.
        """
        self._known.refreshed()
        damaged = dict(self._known.damaged)
        for name in damaged:
            file = self.root / "records" / name
            content = _content(file)
            if not content:
                continue
            self.write(self.damaged_folder / name, content)
            whole = [line + b"\n" for line in content.split(b"\n") if parse(line) is not None]
            if whole:
                self.write(file, b"".join(whole))
            else:
                file.unlink(missing_ok=True)
        return sum(damaged.values())


def existing(outputs: str | Path, name: str) -> Store:
    """The store of that name.

    Raises:
        FileNotFoundError: there is none; names those nearest.
    """
    store = Store(outputs, name)
    if not (store.root / "records").is_dir() and not (store.root / "plan").is_dir():
        try:
            others = sorted(place.name for place in store.root.parent.iterdir() if (place / "records").is_dir())
        except OSError:
            others = []
        raise FileNotFoundError(
            f"no store {name!r} in {outputs}; closest: {nearest(str(name), others)} (name=, outputs=)"
        )
    return store


def now() -> str:
    """The time as records note it, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _lines(values: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON text a line; half a character, as in the names of some files, is written as JSON escapes it."""
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    return text.encode("utf-8", "backslashreplace")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
