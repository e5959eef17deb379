"""``task=export``: a store, or the runs of it that a query selects, as one archive."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpret_runs.runner.archive import pack
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_labels import queried
from interpret_runs.runner.index import load_index
from interpret_runs.runner.progress import console, program, say
from interpret_runs.runner.store import existing
from interpret_runs.whole_files import written_whole


def show(config: Mapping[str, Any]) -> None:
    """Write ``task.archive``; runs that were executed together with a selected one come along.

    Raises:
        FileNotFoundError: no such store.
        FileExistsError: there is such a file already.
        ValueError: no query, a query that selects nothing, another suffix than .zip, or a file that a run read is gone.
    """
    task, store = config["task"], existing(config["outputs"], config["name"])
    archive = Path(task["archive"]).expanduser()
    if archive.suffix != ".zip":
        raise ValueError(f"task.archive is {task['archive']!r}; it is the name of a .zip file to write")
    if archive.exists():
        raise FileExistsError(f"{archive} exists; remove it, or choose another task.archive")
    table = load_index(store.root)
    selected = table if task["select"] is None else queried(table, task["select"], "task.select")
    chosen = set(selected.run_id[selected.status == "ok"])
    if not chosen:
        raise ValueError(f"task.select={task['select']!r} selects no run of {store.root} that ended well")
    found = store.newest(chosen)
    whole = {name for record in found.values() for name in record["batch"]}
    records = [one for one in store.newest(whole | chosen).values() if one["status"] == "ok"]
    rows = table[table.run_id.isin([record["run_id"] for record in records])]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(archive) as aside:
        left_out = pack(store, records, rows, aside, task["weights"])
    beside = len(records) - len(chosen)
    along = f" ({beside} of them only because they were executed together with one that is selected)" * bool(beside)
    say(f"{archive}: {number_of(len(records), 'run')}{along}, {archive.stat().st_size / 1e6:.1f} MB")
    for line in left_out:
        say(f"left out: {line}", style="yellow")
    console.print(f"anyone reproduces it with: {program()} task=reproduce task.source={archive}", highlight=False)
