"""A sweep from grid points to results. Imports torch only to execute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

from interpret_runs.runner import report, staleness
from interpret_runs.runner.backend import Backend
from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.estimate import estimate
from interpret_runs.runner.index import keep_catalogue, load_index
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.others import wait_for_others
from interpret_runs.runner.plan import Plan, plan
from interpret_runs.runner.progress import bar, console
from interpret_runs.runner.results import (
    RunsFailedError,
    figure,
    figure_file,
    figure_of,
    finish,
    prints_table,
    restore_index,
)
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store, StoreError, now


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
    elif not planned.batches:
        _show_again(planned, store, settings)
        if planned.failed_before:
            raise RunsFailedError(ids)
    else:
        with backend() as executing:
            check(planned, settings, store, executing)
            seconds = _execute(planned, settings, store, executing, begun)
        if not finish(planned, store, settings, begun, seconds):
            raise RunsFailedError(ids)
    return ids


def plan_of(runs: Sequence[Run], settings: Config, store: Store) -> Plan:
    compute = settings["compute"]
    return plan(
        runs,
        store.status,
        settings["sweep"]["rerun"],
        compute["batch_size"],
        compute["device"],
        lambda: staleness.stale(store),
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
    where = f"nothing to do: every run has its result; index: {store.index_file('csv')}"
    # Other sections may be asked for this time.
    if prints_table(settings) or not figure_file(planned, store, settings).exists():
        where += f", figure: {figure(load_index(store.root), planned, store, settings)}"
    console.print(where, highlight=False, soft_wrap=True, markup=False)


def _execute(planned: Plan, settings: Config, store: Store, executing: Backend, begun: str) -> float:
    """Execute what is planned, or see others do it; returns how many seconds it took.

    Raises:
        StoreError: results could not be kept any more.
    """
    store.set_aside_damage()
    if planned.done:
        keep_catalogue(store)  # else every worker reads all records
    lines = [{**run.to_json(), "planned": begun} for group in planned.batches for run in group]
    # An equal sweep that starts meanwhile has a file of its own: less may be left to do in it.
    file = store.write_plan(short_digest(canonical([*(run.id for run in planned.runs), begun])), lines)
    started = perf_counter()
    try:
        with bar(planned.todo):
            executing.execute(file, planned.batches)
            if settings["sweep"]["wait"]:
                wait_for_others(planned, store, begun, lambda batches: executing.execute(file, batches))
    except StoreError:
        raise  # nor can the index be written
    except BaseException:
        finish(planned, store, settings, begun, perf_counter() - started)
        raise
    return perf_counter() - started
