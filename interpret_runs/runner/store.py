"""One folder with everything that the sweeps of one name wrote; it names every file and writes it whole."""

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

Record = dict[str, Any]
NEEDED = {"run_id", "status", "finished", "artefacts"}


class Store:
    """``outputs/<name>/``. Reading never creates anything; the first write makes the folders it needs.

    Files are written aside and renamed, artefacts before the record that lists them: what has a record
    is complete. No two processes write one file.
    """

    def __init__(self, outputs: str | Path, name: str) -> None:
        name = str(name)
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"name={name!r} is not the name of a folder")
        self.root = Path(outputs).expanduser() / name
        # Unique among the processes of all machines that share the folder.
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._numbers = count()
        self._read: set[Path] = set()
        self._elsewhere: dict[str, str] = {}

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def claim_file(self, run_id: str) -> Path:
        return self.root / "claims" / run_id

    def plan_file(self, sweep_id: str) -> Path:
        return self.root / "plan" / f"{sweep_id}.jsonl"

    def figure_file(self, sweep_id: str) -> Path:
        return self.root / "figures" / f"{sweep_id}.png"

    def index_file(self, suffix: str) -> Path:
        return self.root / f"index.{suffix}"

    def check_writable(self) -> None:
        """Raises PermissionError where the folder could not be made or written, without making it."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"cannot write to {self.root}: {place} is not a folder to write in; set outputs=")

    def write(self, path: Path, content: bytes, modified: int | None = None) -> None:
        """Write a file aside, then rename: readers see it whole or not at all.

        `modified` is its modification time in nanoseconds, where it is not to be now.
        """
        self.make_room(path)
        aside = path.with_name(f".{path.name}.{self._worker}")
        try:
            with aside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if modified is not None:
                os.utime(aside, ns=(modified, modified))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def make_room(self, path: Path) -> Path:
        """`path` itself, once its folder exists: for what others write there, aside and renamed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PermissionError(f"cannot write to {self.root}: {error.strerror}; set outputs=") from error
        return path

    def write_artefact(self, run_id: str, name: str, content: bytes) -> dict[str, Any]:
        """Write one file of a run; returns what its record says of it: path in the store, size, digest."""
        path = self.run_folder(run_id) / name
        self.write(path, content)
        return {
            "path": path.relative_to(self.root).as_posix(),
            "bytes": len(content),
            "sha256": sha256(content).hexdigest()[:16],
        }

    def write_records(self, records: Sequence[Record]) -> None:
        """Write the records of one batch, one JSON line each, in a file of their own."""
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        self.write(self.root / "records" / f"{self._worker}-{next(self._numbers)}.jsonl", lines.encode())

    def write_plan(self, sweep_id: str, runs: Sequence[Mapping[str, Any]]) -> Path:
        path = self.plan_file(sweep_id)
        self.write(path, "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs).encode())
        return path

    def record_files(self) -> list[Path]:
        return sorted((self.root / "records").glob("*.jsonl"))

    def newest(self) -> dict[str, Record]:
        """The newest record of every run, by run id."""
        found: dict[str, Record] = {}
        self._read.update(files := self.record_files())
        for record in _records(files):
            before = found.get(record["run_id"])
            if before is None or record["finished"] >= before["finished"]:
                found[record["run_id"]] = record
        return found

    def finished_since(self, planned: str) -> set[str]:
        """Runs that another process finished well after the time `planned`. Reads each record file once."""
        files = [file for file in self.record_files() if file not in self._read and self._worker not in file.name]
        self._read.update(files)
        ok = (record for record in _records(files) if record["status"] == "ok")
        self._elsewhere.update({record["run_id"]: record["finished"] for record in ok})
        return {run_id for run_id, finished in self._elsewhere.items() if finished > planned}

    def status(self) -> dict[str, str]:
        """Run id to "ok" or "failed"; a run of which an artefact is gone counts as not done."""
        status = {}
        for run_id, record in self.newest().items():
            present = all((self.root / artefact["path"]).is_file() for artefact in record["artefacts"].values())
            if present:
                status[run_id] = record["status"]
        return status


def now() -> str:
    """The time as records note it, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _records(files: Iterable[Path]) -> Iterator[Record]:
    """The records in `files`; what a damaged line holds is none."""
    return (line for file in files for line in read_lines(file) if line.keys() >= NEEDED)


def read_lines(file: Path) -> Iterator[Record]:
    """The JSON objects of a file with one a line."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for line in text.split("\n"):  # splitlines() knows other ends of lines, which JSON text may hold
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
