"""A sweep from grid points to results. Imports torch only to execute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from interpret_runs.runner import report, staleness
from interpret_runs.runner.backend import Backend
from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.claims import clear_stale
from interpret_runs.runner.estimate import estimate
from interpret_runs.runner.index import keep_catalogue, load_index
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.others import wait_for_others
from interpret_runs.runner.plan import Plan, plan
from interpret_runs.runner.progress import bar, say
from interpret_runs.runner.results import (
    RunsFailedError,
    figure,
    figure_files,
    figure_of,
    finish,
    prints_table,
    restore_index,
)
from interpret_runs.runner.runs import Run
from interpret_runs.runner.slots import limit_of, workers_of
from interpret_runs.runner.store import Store, StoreError, now
from interpret_runs.runner.tuning import Tuning


def sweep(
    runs: Sequence[Run], settings: Config, backend: Callable[[], Backend], notes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Plan `runs`, check them, execute what is to do, and report; returns the ids of the distinct ones, in order.

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
    planned = replace(plan_of(runs, settings, store), notes=tuple(notes))
    report.show_plan(planned, store)
    ids = tuple(run.id for run in planned.runs)
    if settings["sweep"]["dry_run"]:
        report.show_batches(planned, estimate(planned, store, settings["compute"]))
        return ids
    clear_stale(store)
    if not planned.batches:
        _show_again(planned, store, settings)
        if planned.failed_before:
            raise RunsFailedError(ids)
    else:
        started = perf_counter()
        file = store.plan_file(short_digest(canonical([*ids, begun])))
        try:
            with backend() as executing:
                check(planned, settings, store, executing)
                started = perf_counter()
                _execute(planned, settings, store, executing, begun, file)
        except StoreError:
            raise  # nor can the index be written
        except BaseException:
            clear_stale(store)  # of workers that were killed, as they did not end in time
            if file.exists():  # else nothing was begun
                finish(planned, store, settings, begun, perf_counter() - started)
            raise
        if not finish(planned, store, settings, begun, perf_counter() - started):
            raise RunsFailedError(ids)
    return ids


def plan_of(runs: Sequence[Run], settings: Config, store: Store) -> Plan:
    compute = settings["compute"]
    # It is not too late to refuse these.
    Tuning.of(compute)
    per_device = workers_of(compute["per_device"])
    limit_of(compute["time_limit"])
    return plan(
        runs,
        store.status,
        settings["sweep"]["rerun"],
        compute["batch_size"],
        compute["device"],
        lambda: staleness.stale(store),
        per_device,
    )


def check(planned: Plan, settings: Config, store: Store, backend: Backend) -> None:
    """Raise what is wrong with any batch before anything is written."""
    store.check_writable()
    figure_of(settings)
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


def _show_again(planned: Plan, store: Store, settings: Config) -> None:
    """Where everything is, of a sweep that has nothing to do."""
    restore_index(store)
    well = f"{len(planned.failed_before)} failed before" if planned.failed_before else "every run has its result"
    where = f"nothing to do: {well}; index: {store.index_file('csv')}"
    # Other sections may be asked for this time.
    files = figure_files([run.id for run in planned.runs], store, settings)
    if prints_table(settings) or not all(file.exists() for file in files):
        where += f", figure: {figure(load_index(store.root), planned, store, settings)}"
    say(where)


def _execute(planned: Plan, settings: Config, store: Store, executing: Backend, begun: str, file: Path) -> None:
    """Write the plan to `file`, and execute it, or see others do it.

    Raises:
        StoreError: results could not be kept any more.
    """
    store.set_aside_damage()
    if planned.done:
        keep_catalogue(store)  # else every worker reads all records
    how = {"planned": begun, "tuning": Tuning.of(settings["compute"]).to_json()}
    lines = [{**run.to_json(), **how} for group in planned.batches for run in group]
    # An equal sweep that starts meanwhile has a file of its own: less may be left to do in it.
    store.write_plan(file.stem, lines)
    with bar(planned.todo):
        executing.execute(file, planned.batches)
        if settings["sweep"]["wait"]:
            wait_for_others(planned, store, begun, lambda batches: executing.execute(file, batches), executing.again)
