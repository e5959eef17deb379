"""Lines of record files: which of them are records, and which are damaged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]
STATUS = ("ok", "failed")
# What a record has to have, and of what kind the other things are that it may have.
NEEDED: dict[str, type] = {"run_id": str, "status": str, "finished": str, "artefacts": dict}
NONE = type(None)
MAYBE: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("config", "choices", "metrics", "versions", "git"), (dict, NONE)),
    **dict.fromkeys(("task", "unit", "error"), (str, NONE)),
    **dict.fromkeys(("score", "seconds"), (int, float, NONE)),
    "batch": (list, NONE),
}


class Line(NamedTuple):
    """A record and where its line is in its file, in bytes."""

    record: Record
    start: int
    length: int


class RecordFile(NamedTuple):
    """The records of one file, and how many of its lines are none."""

    lines: list[Line]
    damaged: int


def read_records(file: Path) -> RecordFile:
    """The records in `file`; a damaged line costs none of the others.

    Raises:
        FileNotFoundError: the file is gone.
    """
    lines, damaged, start = [], 0, 0
    for text in file.read_bytes().split(b"\n"):
        if text.strip():
            record = parse(text)
            if record is None:
                damaged += 1
            else:
                lines.append(Line(record, start, len(text)))
        start += len(text) + 1
    return RecordFile(lines, damaged)


def parse(text: bytes) -> Record | None:
    """The record that a line holds; None where the line is damaged."""
    try:
        record = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_record(record) else None


def _is_record(record: Record) -> bool:
    for key, kind in NEEDED.items():
        if not isinstance(record.get(key), kind):
            return False
    for key, kinds in MAYBE.items():
        if not isinstance(record.get(key), kinds):
            return False
    artefacts = record["artefacts"].values()
    return record["status"] in STATUS and is_name(record["run_id"]) and all(map(_is_artefact, artefacts))


def _is_artefact(artefact: Any) -> bool:
    """Whether what a record says of a file is complete, and the file is one of the store."""
    if not isinstance(artefact, dict) or not isinstance(path := artefact.get("path"), str):
        return False
    inside = path and path[0] != "/" and "\0" not in path and ".." not in path.split("/")
    return bool(inside) and type(artefact.get("bytes")) is int and isinstance(artefact.get("sha256"), str)


def is_name(run_id: str) -> bool:
    """Whether a run id can be the name of a folder of its own."""
    return bool(run_id) and "/" not in run_id and "\0" not in run_id and run_id not in (".", "..")


def read_lines(file: Path) -> Iterator[Record]:
    """The JSON objects of a file with one a line; what is damaged is passed over."""
    try:
        content = file.read_bytes()
    except OSError:
        return
    for text in content.split(b"\n"):  # JSON text may hold what splitlines() takes for the end of a line
        try:
            record = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record
