"""What can be reproduced: a picture that this project wrote, a figure, a record, a run, a store, an archive."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from interpret_runs.runner.archive import unpacked
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.inputs import import_from, relocated
from interpret_runs.runner.members import members
from interpret_runs.runner.record import OUTCOME, run_of
from interpret_runs.runner.record_files import read_lines
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Record, Store
from interpret_runs.summary import nearest

FIGURES = (".pdf", ".svg")
TAKEN = "a PNG that interpret-runs wrote, a figure (PNG, PDF, SVG), a record, a run's folder, a store or an archive"


@dataclass(frozen=True)
class Panel:
    """One run to reproduce, with what it was executed with, where, and the files it left.

    `machine` tells device, threads, versions, git and weights_digest, as far as they are known; `files` are what to
    compare, by artefact, "" where the artefact is not known. `score` is None where it is not known.
    """

    run: Run
    batch: tuple[Run, ...]
    machine: Mapping[str, Any]
    files: Mapping[str, Path]
    score: float | None = None
    missing: int = 0  # members of the batch of which nothing is known


def panels(source: str | Path, outputs: str, open_until: ExitStack) -> list[Panel]:
    """The runs behind `source`; what is unpacked for them goes when `open_until` closes.

    Args:
        outputs: where to look for the store of a figure that was moved elsewhere.

    Raises:
        FileNotFoundError: there is no such file, or the store of a figure is not found.
        ValueError, LookupError: not one of ours, or damaged.
    """
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"task.source={str(source)!r} does not exist; it is {TAKEN}")
    if path.suffix == ".zip" and path.is_file():
        path = unpacked(path, Path(open_until.enter_context(TemporaryDirectory())))
    if path.is_dir():
        return _of_store(*_in_folder(path), open_until)
    if path.suffix == ".jsonl":
        return _of_store(Store.at(path.parents[1]), [line["run_id"] for line in _lines(path)], open_until)
    told = _told(path)
    return _of_store(*_in_figure(path, told, outputs), open_until) if "figure" in told else [_of_picture(path, told)]


def _told(path: Path) -> Mapping[str, Any]:
    """What a picture or figure says of itself."""
    from interpret_runs.png import png_text

    if path.suffix in FIGURES:
        from interpret_runs.runner.figure_essentials import read_figure

        return read_figure(path)
    foreign = f"{path.name} was not written by interpret-runs; task.source is {TAKEN}"
    try:
        text = png_text(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{foreign} ({error})") from None
    try:
        told: dict[str, Any] = json.loads(text["interpret-runs"])
        return {**told, "outcome": json.loads(text.get(OUTCOME, "{}"))}
    except (LookupError, TypeError, ValueError):
        raise ValueError(foreign) from None


def _of_picture(path: Path, told: Mapping[str, Any]) -> Panel:
    """From the text in the PNG alone, wherever it lies."""
    try:
        run = Run(told["run_id"], told["config"], told["digests"], unit=told.get("unit", ""))
        batch = tuple(members(run, told["batch"])) if "batch" in told else (run,)
        machine = {key: told.get(key) for key in MACHINE}
        score = told["outcome"].get("score")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} says too little of its run: {error!r}; was it changed by another program?") from None
    return Panel(run, batch, machine, {"": path}, score, missing=0 if "batch" in told else -1)


MACHINE = (
    *("device", "threads", "versions", "git", "weights_digest"),
    *("memory_format", "compile", "cuda_graphs", "at_once"),
)


def _in_figure(path: Path, told: Mapping[str, Any], outputs: str) -> tuple[Store, Collection[str]]:
    """The runs that a figure shows, in the store that it lies in, or of the name that it tells."""
    for root in (path.resolve().parents[1], Path(outputs).expanduser() / str(told.get("store"))):
        if (root / "records").is_dir():
            return Store.at(root), told["runs"]
    raise FileNotFoundError(f"{path} shows runs of store {told.get('store')!r}, which is not in {outputs}: outputs=")


def _in_folder(path: Path) -> tuple[Store, Collection[str]]:
    """The runs of a store, or the one whose folder it is."""
    if (path / "records").is_dir():
        store = Store.at(path.resolve())
        return store, list(store.finished())
    root = path.resolve().parents[1]
    if path.resolve().parent.name == "runs" and (root / "records").is_dir():
        return Store.at(root), [path.resolve().name]
    raise ValueError(f"{path} is not the folder of a store or of a run in one; task.source is {TAKEN}")


def _of_store(store: Store, ids: Collection[str], open_until: ExitStack) -> list[Panel]:
    """From the records of a store; those of an unpacked archive read what is in it."""
    records = relocated(store.newest(ids), store.root)
    if missing := [name for name in ids if name not in records]:
        raise LookupError(
            f"no record of run {missing[0]} in {store.root}; closest: {nearest(missing[0], list(store.finished()))}"
        )
    together = {member for record in records.values() for member in record.get("batch", ())}
    around = relocated(store.newest(together), store.root)
    import_from(store.root, open_until)
    ok = [records[name] for name in ids if records[name]["status"] == "ok"]
    if not ok:
        raise ValueError(f"none of {number_of(len(records), 'run')} ended well; there is nothing to reproduce")
    return [_of_record(store, record, around) for record in ok]


def _of_record(store: Store, record: Record, around: Mapping[str, Record]) -> Panel:
    ids = list(record.get("batch") or [record["run_id"]])
    known = tuple(run_of(around[name]) for name in ids if name in around)
    files = {name: store.root / artefact["path"] for name, artefact in record["artefacts"].items()}
    machine = {key: record.get(key) for key in MACHINE}
    return Panel(run_of(record), known, machine, files, record["score"], len(ids) - len(known))


def _lines(path: Path) -> list[Record]:
    found = [line for line in read_lines(path) if "run_id" in line]
    if not found:
        raise ValueError(f"{path} holds no record; task.source is {TAKEN}")
    return found
