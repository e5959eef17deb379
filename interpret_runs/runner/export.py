"""``task=export``: a store, or the runs of it that a query selects, as one archive."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpret_runs.runner.archive import pack
from interpret_runs.runner.index import load_index
from interpret_runs.runner.progress import console, program, say
from interpret_runs.runner.store import existing
from interpret_runs.whole_files import written_whole


def show(config: Mapping[str, Any]) -> None:
    """Write ``task.archive``; runs that were executed together with a selected one come along.

    Raises:
        FileNotFoundError: no such store.
        FileExistsError: there is such a file already.
        ValueError: no query, a query that selects nothing, or another suffix than .zip.
    """
    task, store = config["task"], existing(config["outputs"], config["name"])
    archive = Path(task["archive"]).expanduser()
    if archive.suffix != ".zip":
        raise ValueError(f"task.archive is {task['archive']!r}; it is the name of a .zip file to write")
    if archive.exists():
        raise FileExistsError(f"{archive} exists; remove it, or choose another task.archive")
    table = load_index(store.root)
    if task["select"] is not None:
        try:
            table = table.query(task["select"])
        except Exception as error:  # pandas raises whatever Python, numpy or itself does
            raise ValueError(f"task.select={task['select']!r} is no query over the index: {error}") from None
    chosen = set(table.run_id[table.status == "ok"])
    if not chosen:
        raise ValueError(f"task.select={task['select']!r} selects no run of {store.root} that ended well")
    found = store.newest(chosen)
    whole = {name for record in found.values() for name in record["batch"]}
    records = [one for one in store.newest(whole | chosen).values() if one["status"] == "ok"]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(archive) as aside:
        pack(store, records, aside, task["weights"])
    size = archive.stat().st_size / 1e6
    say(f"{archive}: {len(records)} runs, {size:.1f} MB")
    console.print(f"anyone reproduces it with: {program()} task=reproduce task.source={archive}", highlight=False)
