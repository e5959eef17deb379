"""What a sweep comes to in the end: index, figure, and what is said of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interpret_runs.runner import report
from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.claims import is_held
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.index import is_fresh, write_index
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.plan import Plan
from interpret_runs.runner.print_style import files_of
from interpret_runs.runner.progress import console
from interpret_runs.runner.sheet_sections import check_sections
from interpret_runs.runner.slurm_queue import Submitted
from interpret_runs.runner.store import Store

# Figures that print a table too, which is shown again where nothing is left to do.
TABLES = "interpret_runs.runner.truth_table."


class RunsFailedError(Exception):
    """Some runs failed; what and why is on screen already. `run_ids` are all runs that were asked for."""

    def __init__(self, run_ids: Sequence[str] = ()) -> None:
        super().__init__(run_ids)
        self.run_ids = tuple(run_ids)


def finish(planned: Plan, store: Store, settings: Config, begun: str, seconds: float) -> bool:
    """Index, figure and report, from what the store holds by now; returns whether all went well."""
    todo = {run.id for group in planned.batches for run in group}
    # Looked at before the records, which come before a claim is released and a job ends.
    queued = Submitted(store).queued() & todo
    held = {name for name in todo - queued if is_held(store, name)}
    records = store.newest([run.id for run in planned.runs])
    fresh = {name for name, record in records.items() if record["finished"] >= begun}
    lost = todo - held - queued - fresh
    mine = {run.id: records[run.id] for run in planned.runs if run.id in records}
    if mine:
        table = write_index(store)
        paths = [f"index: {store.index_file('csv')}", f"figure: {figure(table, planned, store, settings)}"]
        report.show_results(planned, store, mine, paths, seconds, len(fresh & todo), len(held - records.keys()))
    if left := queued - mine.keys():
        console.print(f"{number_of(len(left), 'run', 'is')} in the queue of SLURM; the same command waits")
    if lost:
        console.print(f"{number_of(len(lost), 'run')} ended without a result; the same command tries again")
    return not lost and all(record["status"] == "ok" for record in mine.values())


def restore_index(store: Store) -> None:
    """The index comes back where it was deleted, or where a sweep was killed before it was written."""
    if not is_fresh(store):
        write_index(store)


def figure_of(settings: Config) -> Any:
    from interpret_runs.runner.build import build

    if not settings.get("figure"):
        raise ValueError("a sweep needs a figure: figure=contact_sheet")
    if settings["figure"].get("sections"):
        check_sections(settings["figure"]["sections"])
    files_of(Path("figure"), settings["figure"].get("formats") or ())
    return build(settings["figure"])


def prints_table(settings: Config) -> bool:
    return str((settings.get("figure") or {}).get("_target_")).startswith(TABLES)


def figure_files(run_ids: Sequence[str], store: Store, settings: Mapping[str, Any]) -> list[Path]:
    """The files of a figure of some runs, one for each of its formats."""
    drawn = dict(settings["figure"])
    file = store.figure_file(short_digest(canonical([list(run_ids), drawn])))
    return files_of(file, drawn.get("formats") or ())


def figure(table: Any, planned: Plan, store: Store, settings: Config) -> str:
    """Draw the sweep; returns where, or why not."""
    rows = table.set_index("run_id", drop=False)
    mine = rows.loc[[run.id for run in planned.runs if run.id in rows.index]]
    try:
        files = figure_files([run.id for run in planned.runs], store, settings)
        place = store.make_room(files[0])
        made = figure_of(settings)(mine.reset_index(drop=True), store.root, place, str(settings["name"]))
        return ", ".join(map(str, [made, *(file for file in files[1:] if file.exists())]))
    except Exception as error:  # a figure that cannot be drawn must not hide the results
        return f"none ({error})"
