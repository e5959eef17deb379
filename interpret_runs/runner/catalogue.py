"""What all record files say, by column, kept in one file; records stay the truth, this is quicker to read.

Each record is a row, superseded ones too, and each of its plain values a cell, exactly as the record has it:
a column of one kind of values has that type, a column of several kinds holds JSON text (`large_string`). So a
catalogue that grew file by file equals one made from all files at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from interpret_runs.runner.cache import canonical
from interpret_runs.runner.record_files import Record, read_records

if TYPE_CHECKING:
    import pyarrow as pa

# To be raised where rows change: what was kept before is then made anew.
VERSION = 2
MAGIC = f"interpret-runs catalogue {VERSION}\n".encode()
DIGEST = 32
# Records in memory as Python objects at a time.
CHUNK = 2048
# Columns that say where a record is, and what a plan needs to know of it.
PLACE = ("run_id", "status", "finished", "file", "start", "length", "artefacts", "made")

Cells = Callable[[Record], Mapping[str, Any]]


class State(NamedTuple):
    """What tells that a record file is the one that was read."""

    size: int
    modified: int


class Entry(NamedTuple):
    """A record in short: where its line is, its artefacts (see `files_of`), and versions and git state in JSON."""

    run_id: str
    status: str
    finished: str
    file: str
    start: int
    length: int
    artefacts: str
    made: str


@dataclass(frozen=True)
class Catalogue:
    """Rows of the records in `files`; `damaged` counts the lines of a file that are no records."""

    rows: pa.Table | None = None
    files: dict[str, State] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)

    def entries(self) -> Iterator[Entry]:
        if self.rows is not None:
            yield from map(Entry, *(self.rows.column(name).to_pylist() for name in PLACE))

    def extended(self, folder: Path, present: Mapping[str, State], cells: Cells) -> Catalogue:
        """The catalogue of the files that are `present` in `folder`; only those that are new to this one are read.

        Args:
            cells: the plain values of a record, by column; pure.
        """
        known = self if self.files.items() <= present.items() else Catalogue()
        files, damaged, tables = dict(known.files), dict(known.damaged), [known.rows] if known.rows is not None else []
        chunk: list[dict[str, Any]] = []
        for name in sorted(present.keys() - known.files.keys()):
            try:
                found = read_records(folder / name)
            except FileNotFoundError:
                continue
            files[name] = present[name]
            if found.damaged:
                damaged[name] = found.damaged
            for line in found.lines:
                entry = entry_of(line.record, name, line.start, line.length)
                chunk.append({**cells(line.record), **entry._asdict()})
            if len(chunk) >= CHUNK:
                tables.append(_table(chunk))
                chunk = []
        if chunk:
            tables.append(_table(chunk))
        return Catalogue(_merged(tables) if tables else None, files, damaged)

    def to_bytes(self) -> bytes:
        import pyarrow as pa

        rows = pa.table({}) if self.rows is None else self.rows
        about = json.dumps({"files": self.files, "damaged": self.damaged}).encode()
        rows = rows.replace_schema_metadata({b"about": about}).combine_chunks().unify_dictionaries()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(rows)
        content: bytes = sink.getvalue().to_pybytes()
        return MAGIC + sha256(content).digest() + content

    @classmethod
    def read(cls, file: Path, columns: Sequence[str] | None = None) -> Catalogue:
        """The catalogue kept in `file`; an empty one where there is none, or it is damaged or of another version.

        Args:
            columns: those to read; by default all.
        """
        try:
            content = memoryview(file.read_bytes())
        except OSError:
            return cls()
        start = len(MAGIC) + DIGEST
        if content[: len(MAGIC)] != MAGIC or sha256(content[start:]).digest() != content[len(MAGIC) : start]:
            return cls()
        import pyarrow as pa

        held = pa.py_buffer(content[start:])
        with pa.ipc.open_file(held) as reader:
            names = reader.schema.names
        wanted = [place for place, name in enumerate(names) if columns is None or name in columns]
        with pa.ipc.open_file(held, options=pa.ipc.IpcReadOptions(included_fields=wanted)) as reader:
            rows = reader.read_all()
        about = json.loads(rows.schema.metadata[b"about"])
        files = {name: State(*state) for name, state in about["files"].items()}
        return cls(rows if rows.num_columns else None, files, about["damaged"])


def entry_of(record: Record, file: str, start: int, length: int) -> Entry:
    artefacts = "\0".join(f"{artefact['bytes']}/{artefact['path']}" for artefact in record["artefacts"].values())
    made = _made(repr((record.get("versions"), record.get("git"))), record)
    return Entry(record["run_id"], record["status"], record["finished"], file, start, length, artefacts, made)


def files_of(artefacts: str) -> Iterator[tuple[str, int]]:
    """The path and size of each file that an entry lists."""
    for text in artefacts.split("\0") if artefacts else ():
        size, _, path = text.partition("/")
        yield path, int(size)


_makings: dict[str, str] = {}


def _made(text: str, record: Record) -> str:
    """What a record was made with, as JSON; most records of a store tell the same."""
    if text not in _makings:
        _makings[text] = canonical([record.get("versions") or {}, record.get("git") or {}])
    return _makings[text]


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as the records have them; None where they have none."""
    import pyarrow as pa

    if not pa.types.is_large_string(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    return [None if text is None else json.loads(text) for text in column.to_pylist()]


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    names: set[str] = set().union(*rows)
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def _array(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    kinds = {*map(type, values)} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if len(kinds) > 1 or (kind := kinds.pop()) not in types:
        return texts(values)
    try:
        if len({*values}) == 1:  # as most settings are
            array = pa.repeat(pa.scalar(values[0], types[kind]), len(values))
        else:
            array = pa.array(values, types[kind])
    except (OverflowError, UnicodeError):  # a huge number, or half a character
        return texts(values)
    return array.dictionary_encode() if kind is str else array


def texts(values: Iterable[Any]) -> pa.Array:
    """Values of any kind as JSON text."""
    import pyarrow as pa

    return pa.array([None if value is None else json.dumps(value) for value in values], pa.large_string())


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of all `tables`, in order; a column that one of them lacks is empty there."""
    import pyarrow as pa

    names = sorted({name for table in tables for name in table.column_names})
    return pa.table({name: _concatenated(name, tables) for name in names})


def _concatenated(name: str, tables: Sequence[pa.Table]) -> pa.ChunkedArray:
    import pyarrow as pa

    parts = [
        table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(len(table))])
        for table in tables
    ]
    types = {part.type for part in parts} - {pa.null()}
    if not types:
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.null())
    if len(types) == 1:
        (only,) = types
        return pa.chunked_array([chunk.cast(only) for part in parts for chunk in part.chunks], only)
    return pa.chunked_array([texts(values_of(part)) for part in parts], pa.large_string())
