"""Every record against its files: ``task=verify``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from interpret_runs.runner.claims import is_held
from interpret_runs.runner.counts import agreeing, number_of
from interpret_runs.runner.progress import console, say
from interpret_runs.runner.results import RunsFailedError
from interpret_runs.runner.store import Store, existing

ROWS = 50
BLOCK = 1 << 20


@dataclass(frozen=True)
class Fault:
    """A file of a run that is not what its newest record says."""

    run_id: str
    path: str
    what: str


def verify(store: Store) -> Iterator[Fault]:
    """Every file that is gone, or has another size or content than its newest record tells. Writes nothing."""
    for record in store.records():
        for artefact in record["artefacts"].values():
            if what := _fault(store.root / artefact["path"], artefact):
                yield Fault(record["run_id"], artefact["path"], what)


def _fault(file: Path, artefact: dict[str, Any]) -> str:
    try:
        size = file.stat().st_size
        if size != artefact["bytes"]:
            return f"{size} bytes instead of {artefact['bytes']}"
        return "" if _digest(file) == artefact["sha256"] else "other content"
    except FileNotFoundError:
        return "gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _digest(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()[:16]


def _changes(fault: Fault, store: Store) -> bool:
    """Whether a sweep writes the run just now, or has since: records come after files."""
    if is_held(store, fault.run_id):
        return True
    record = store.newest([fault.run_id]).get(fault.run_id)
    known = {} if record is None else {one["path"]: one for one in record["artefacts"].values()}
    return fault.path not in known or not _fault(store.root / fault.path, known[fault.path])


def show(config: Mapping[str, Any]) -> None:
    """Verify a store, set aside what is wrong, and print it.

    Raises:
        RunsFailedError: something was wrong; the same sweep runs it again.
    """
    store = existing(config["outputs"], config["name"])
    faults = [fault for fault in verify(store) if not _changes(fault, store)]
    damaged = store.set_aside_damage()
    moved = [store.set_aside(fault.run_id, fault.path) for fault in faults]
    runs = len(store.finished())
    wrong = len({fault.run_id for fault in faults})
    say(
        f"verified {number_of(runs, 'run')} of {store.root}: {runs - wrong} {agreeing(runs - wrong, 'is')} whole, "
        f"{wrong} {agreeing(wrong, 'has')} files that are not what their records say, "
        f"{number_of(damaged, 'record', 'is')} damaged",
    )
    if faults:
        table = Table(box=None)
        for column in ("run id", "file", "what"):
            table.add_column(column, overflow="fold")
        for fault in faults[:ROWS]:
            table.add_row(fault.run_id, escape(fault.path), escape(fault.what))
        console.print(table)
        if len(faults) > ROWS:
            console.print(f"... and {number_of(len(faults) - ROWS, 'more file')}")
    if damaged or any(moved):
        say(f"set aside in {store.damaged_folder}")
    if damaged or faults:
        console.print("the same sweep runs these again")
        raise RunsFailedError
