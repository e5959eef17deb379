"""A sweep from grid points to results; one run alone is a sweep of one. Imports torch only to execute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from interpret_runs.runner import report
from interpret_runs.runner.backend import Backend, Here
from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.claims import is_held
from interpret_runs.runner.index import is_fresh, load_index, write_index
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.plan import Plan, plan
from interpret_runs.runner.progress import bar, batch, console
from interpret_runs.runner.runs import Run, close
from interpret_runs.runner.sheet_sections import check_sections
from interpret_runs.runner.slots import named
from interpret_runs.runner.slurm_job import in_job
from interpret_runs.runner.slurm_queue import Submitted
from interpret_runs.runner.store import Record, Store, StoreError, now, read_lines
from interpret_runs.summary import nearest

# Figures that print a table too, which is shown again where nothing is left to do.
TABLES = "interpret_runs.runner.truth_table."
# Seconds from one look at what other processes execute to the next.
LOOK_AGAIN = 1.0
# The artefact that a run is about, whichever it has first.
MAIN = ("statistics", "animation", "image", "overlay", "values")


class RunsFailedError(Exception):
    """Some runs failed; what and why is on screen already."""


def sweep(runs: Sequence[Run], settings: Config, backend: Callable[[], Backend], notes: Sequence[str] = ()) -> None:
    """Plan `runs`, check them, launch what is to do, and report.

    Args:
        settings: the composed config, for what is no run's own: store, policies, device, figure.
        backend: makes what executes the batches, if there are any.
        notes: what the plan says of runs that are not among these.

    Raises:
        RunsFailedError: after all others were executed.
        StoreError: results could not be kept any more.
    """
    store = Store(settings["outputs"], settings["name"])
    begun = now()  # before the store is read: what others finish from here on is not done again
    planned = replace(_plan(runs, settings, store), notes=tuple(notes))
    report.show_plan(planned, store)
    if settings["sweep"]["dry_run"]:
        report.show_batches(planned)
        return
    if not planned.batches:
        _restore_index(store)
        where = f"nothing to do: every run has its result; index: {store.index_file('csv')}"
        # Other sections may be asked for this time.
        if _prints_table(settings) or not _figure_file(planned, store, settings).exists():
            where += f", figure: {_figure(load_index(store.root), planned, store, settings)}"
        console.print(where, highlight=False, soft_wrap=True, markup=False)
        if planned.failed_before:
            raise RunsFailedError
        return
    with backend() as executing:
        _check(planned, settings, store, executing)
        lines = [{**run.to_json(), "planned": begun} for group in planned.batches for run in group]
        # An equal sweep that starts meanwhile has a file of its own: less may be left to do in it.
        file = store.write_plan(short_digest(canonical([*(run.id for run in planned.runs), begun])), lines)
        started = perf_counter()
        try:
            with bar(planned.todo):
                executing.execute(file, planned.batches)
                if settings["sweep"]["wait"]:
                    _wait_for_others(planned, store, begun, lambda batches: executing.execute(file, batches))
        except StoreError:
            raise  # nor can the index be written
        except BaseException:
            _finish(planned, store, settings, begun, perf_counter() - started)
            raise
    if not _finish(planned, store, settings, begun, perf_counter() - started):
        raise RunsFailedError


def run_alone(config: Config, choices: Mapping[str, str]) -> float | None:
    """Execute one composed config, or print where its result is; returns its score.

    Raises:
        ValueError, LookupError, OSError: a setting is wrong; nothing was written.
        RunsFailedError: the run failed; its record says why.
    """
    runs = close(config, choices)
    if len(runs) != 1:
        raise ValueError(f"this is {len(runs)} runs: add -m to sweep")
    store = Store(config["outputs"], config["name"])
    begun = now()
    planned = _plan(runs, config, store)
    if config["sweep"]["dry_run"]:
        report.show_plan(planned, store)
        return None
    if planned.batches:
        device = named(config["compute"]["device"])[0]
        _check(planned, config, store, Here(device))
        from interpret_runs.runner.execute import execute

        with bar(1), batch(1) as progress:
            done = execute(planned.batches[0], store, device, begun, progress, strict=True)
        if not done and runs[0].id not in store.newest():
            raise ValueError(f"run {runs[0].id} is being executed by another process; try again when it is done")
        write_index(store)
    else:
        _restore_index(store)
    record = store.newest()[runs[0].id]
    _show(record, store, again=not planned.batches)
    return _returned(record, config["sweep"]["score"])


def _returned(record: Record, name: str) -> float | None:
    """What a sweeper that searches gets of a run: its score, or a number among its metrics."""
    numbers = {"score": record["score"], **record["metrics"]}
    if name not in numbers:
        raise LookupError(
            f"sweep.score is {name!r}, which this run does not have; closest: {nearest(name, list(numbers))}"
        )
    return None if numbers[name] is None else float(numbers[name])


def run_again(config: Config, ids: Sequence[str]) -> None:
    """Execute runs of a store once more, one by one, whatever came of them.

    Raises:
        LookupError: the store has no record of a run.
        RunsFailedError: a run failed again; its record says why.
    """
    from interpret_runs.runner.execute import execute

    store = Store(config["outputs"], config["name"])
    records = store.newest()
    if missing := [name for name in ids if name not in records]:
        raise LookupError(f"no run {missing[0]!r} in {store.root}; closest: {nearest(missing[0], list(records))}")
    for name in ids:
        run = Run.from_json({**records[name], "id": name})
        with bar(1), batch(1) as progress:
            execute([run], store, named(config["compute"]["device"])[0], now(), progress)
    write_index(store)
    for name in ids:
        _show(store.newest()[name], store, again=False)


def run_batch(
    file: str, ids: Sequence[str], device: str, progress: Callable[[float], None] | None = None, slot: str = ""
) -> bool:
    """Execute some runs of a plan: what a launcher's job does; returns whether none of them failed."""
    from interpret_runs.runner.execute import execute

    path = Path(file)
    store = _store(path.parents[1].resolve())
    lines = {line["id"]: line for line in read_lines(path)}
    missing = [name for name in ids if name not in lines]
    if missing:
        raise LookupError(f"run {missing[0]} is not in plan {file}")
    planned = max(lines[name]["planned"] for name in ids)
    runs = [Run.from_json(lines[name]) for name in ids]
    with in_job() as fail:
        records = execute(runs, store, device, planned, progress, slot=slot)
        well = all(record["status"] == "ok" for record in records)
        if not well:
            fail()
    return well


@cache
def _store(root: Path) -> Store:
    """One store a process: it remembers which records it has read."""
    return Store(root.parent, root.name)


def _plan(runs: Sequence[Run], settings: Config, store: Store) -> Plan:
    compute = settings["compute"]
    return plan(runs, store.status, settings["sweep"]["rerun"], compute["batch_size"], compute["device"])


def _wait_for_others(
    planned: Plan, store: Store, begun: str, execute: Callable[[Sequence[Sequence[Run]]], None]
) -> None:
    """Wait for runs that other processes execute, and execute those which they leave."""
    left = {run.id: run for group in planned.batches for run in group}
    awaited: set[str] = set()
    while True:
        records = store.newest()
        left = {name: run for name, run in left.items() if name not in records or records[name]["finished"] < begun}
        held = {name for name in left if is_held(store, name)}
        if new := held - awaited:
            console.print(f"waiting for {len(new)} runs that another process executes", highlight=False)
        free = [run for name, run in left.items() if name in awaited - held]
        awaited |= held
        if free:
            groups: dict[str, list[Run]] = {}
            for run in free:
                groups.setdefault(run.batch_key(), []).append(run)
            awaited -= {run.id for run in free}  # what is lost now is lost
            execute(list(groups.values()))
        elif not held:
            return
        else:
            sleep(LOOK_AGAIN)


def _check(planned: Plan, settings: Config, store: Store, backend: Backend) -> None:
    """Raise what is wrong with any batch before anything is written."""
    store.check_writable()
    _figure_of(settings)
    kinds: dict[str, list[Run]] = {}
    for group in planned.batches:
        if not group[0].shares_pass:
            kinds.setdefault(group[0].batch_key(), list(group))
            continue
        for run in group:  # each method is checked by itself
            kinds.setdefault(run.batch_key() + canonical(run.config["attribution"]), []).append(run)
    wrong = [error for error in backend.check(list(kinds.values())) if error is not None]
    if len(wrong) == len(kinds):
        raise wrong[0]  # else those that are wrong become failed runs, and the others go on


def _finish(planned: Plan, store: Store, settings: Config, begun: str, seconds: float) -> bool:
    """Index, figure and report, from what the store holds by now; returns whether all went well."""
    todo = {run.id for group in planned.batches for run in group}
    # Looked at before the records, which come before a claim is released and a job ends.
    queued = Submitted(store).queued() & todo
    held = {name for name in todo - queued if is_held(store, name)}
    records = store.newest()
    lost = {name for name in todo - held - queued if name not in records or records[name]["finished"] < begun}
    mine = {run.id: records[run.id] for run in planned.runs if run.id in records}
    if mine:
        table = write_index(store)
        paths = [f"index: {store.index_file('csv')}", f"figure: {_figure(table, planned, store, settings)}"]
        report.show_results(planned, store, mine, paths, seconds, len(held - records.keys()))
    if left := queued - mine.keys():
        console.print(f"{len(left)} runs are in the queue of SLURM; the same command waits for them")
    if lost:
        console.print(f"{len(lost)} runs ended without a result; the same command runs them")
    return not lost and all(record["status"] == "ok" for record in mine.values())


def _restore_index(store: Store) -> None:
    """The index comes back where it was deleted, or where a sweep was killed before it was written."""
    if not is_fresh(store):
        write_index(store)


def _figure_of(settings: Config) -> Any:
    from interpret_runs.runner.build import build

    if not settings.get("figure"):
        raise ValueError("a sweep needs a figure: figure=contact_sheet")
    if settings["figure"].get("sections"):
        check_sections(settings["figure"]["sections"])
    return build(settings["figure"])


def _prints_table(settings: Config) -> bool:
    return str((settings.get("figure") or {}).get("_target_")).startswith(TABLES)


def _figure_file(planned: Plan, store: Store, settings: Config) -> Path:
    return store.figure_file(short_digest(canonical([[run.id for run in planned.runs], settings["figure"]])))


def _figure(table: Any, planned: Plan, store: Store, settings: Config) -> str:
    """Draw the sweep; returns where, or why not."""
    rows = table.set_index("run_id", drop=False)
    mine = rows.loc[[run.id for run in planned.runs if run.id in rows.index]]
    try:
        place = store.make_room(_figure_file(planned, store, settings))
        return str(_figure_of(settings)(mine.reset_index(drop=True), store.root, place, str(settings["name"])))
    except Exception as error:  # a figure that cannot be drawn must not hide the results
        return f"none ({error})"


def _show(record: Record, store: Store, again: bool) -> None:
    if record["status"] == "failed":
        console.print(f"failed: {record['error']}", style="red", highlight=False, soft_wrap=True, markup=False)
        raise RunsFailedError
    metrics = record["metrics"]
    says = ""
    if "predicted" in metrics:  # not where the network refuses images of this size
        says = f"; the network says {metrics['predicted']} ({metrics['predicted_probability']:.2f})"
    score = "" if record["score"] is None else f": score {record['score']:.4g}"
    console.print(
        f"{record['task']} {record['unit']}".rstrip()
        + f"{score}{says}, {record['seconds']:.1f} s"
        + (" (already done; sweep.rerun=all runs it again)" if again else ""),
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    if metrics.get("alive") is False:
        console.print("this image is dead: the score is not above 0, or the image is flat", style="yellow")
    if metrics.get("limit") == 0:
        console.print(
            "this map is zero everywhere: the score does not depend on what the method looks at", style="yellow"
        )
    if skipped := metrics.get("pictures_skipped"):
        console.print(
            f"{skipped} of {skipped + metrics['pictures']} pictures cannot be read, and were left out", style="yellow"
        )
    shown = [record["artefacts"][name] for name in MAIN if name in record["artefacts"]]
    console.print(str(store.root / shown[0]["path"]), highlight=False, soft_wrap=True, markup=False)
