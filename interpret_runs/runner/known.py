"""What a process knows of the records of a store: each record file is read once, or taken from the catalogue."""

import os
from collections.abc import Mapping
from pathlib import Path

from interpret_runs.runner.catalogue import PLACE, Catalogue, Entry, State, entry_of, files_of
from interpret_runs.runner.record_files import read_records


class Known:
    """The newest record of every run, in short. Reads, and never writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalogue_file = root / "catalogue.arrow"
        self.damaged: dict[str, int] = {}
        self._files: dict[str, State] = {}
        self._entries: dict[str, Entry] = {}

    def present(self, known: Mapping[str, State] | None = None) -> dict[str, State]:
        """The record files that there are; those in `known` are taken to be as they were."""
        found = {}
        try:
            with os.scandir(self.root / "records") as scan:
                for entry in scan:
                    name = entry.name
                    if known and name in known:
                        found[name] = known[name]
                    elif name.endswith(".jsonl") and not name.startswith("."):
                        state = entry.stat()
                        found[name] = State(state.st_size, state.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found

    def refreshed(self, recheck: bool = True) -> dict[str, Entry]:
        """The newest record of every run by now; of equally new ones that which comes last in the order of files.

        Without `recheck` files that were read are taken to be as they were, which a sweep may do between batches.
        """
        present = self.present(None if recheck else self._files)
        if not self._files or not self._files.items() <= present.items():
            kept = Catalogue.read(self.catalogue_file, PLACE) if present else Catalogue()
            kept = kept if kept.files.items() <= present.items() else Catalogue()
            self._files, self.damaged, self._entries = dict(kept.files), dict(kept.damaged), {}
            for entry in kept.entries():
                self._add(entry)
        for name in sorted(present.keys() - self._files.keys()):
            self._read(name, present[name])
        return self._entries

    def _read(self, name: str, state: State) -> None:
        try:
            found = read_records(self.root / "records" / name)
        except FileNotFoundError:
            return
        self._files[name] = state
        if found.damaged:
            self.damaged[name] = found.damaged
        for line in found.lines:
            self._add(entry_of(line.record, name, line.start, line.length))

    def _add(self, entry: Entry) -> None:
        before = self._entries.get(entry.run_id)
        if before is None or _age(entry) >= _age(before):
            self._entries[entry.run_id] = entry

    def wrong(self) -> set[str]:
        """Runs with a file that is gone, or that has not the size that the record tells."""
        root = f"{self.root}/"
        return {entry.run_id for entry in self._entries.values() if not _is_whole(root, entry.artefacts)}


def _age(entry: Entry) -> tuple[str, str, int]:
    return entry.finished, entry.file, entry.start


def _is_whole(root: str, artefacts: str) -> bool:
    for path, size in files_of(artefacts):
        try:
            if os.stat(root + path).st_size != size:  # noqa: PTH116  # several times as quick as a Path
                return False
        except OSError:
            return False
    return True
