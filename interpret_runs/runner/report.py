"""What a sweep says on screen: its plan before, its results after."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.plan import Plan
from interpret_runs.runner.progress import console, program, say
from interpret_runs.runner.runs import Run, task_name
from interpret_runs.runner.sheet_runs import CHOICES
from interpret_runs.runner.store import Record, Store

ROWS = 20


def show_plan(plan: Plan, store: Store) -> None:
    """One line of counts."""
    parts = [number_of(len(plan.runs), "run"), *map(escape, plan.notes)]
    if plan.duplicates:
        parts.append(f"{number_of(plan.duplicates, 'duplicate')} left out")
    if plan.done:
        old = f" ({len(plan.stale)} stale: made with other versions or code; sweep.rerun=stale runs them again)"
        parts.append(f"{len(plan.done)} already done" + old * bool(plan.stale))
    if plan.failed_before:
        parts.append(f"{len(plan.failed_before)} failed before, left so")
    parts.append(f"{plan.todo} to do in {number_of(len(plan.batches), 'batch')}")
    lines, runs = store.damage()
    if lines:
        parts.append(f"{number_of(lines, 'damaged line')} of records (set aside in {store.damaged_folder.name}/)")
    if runs:
        parts.append(f"{number_of(runs, 'run')} whose files are not what their records say")
    console.print(f"plan: {', '.join(parts)} ({escape(str(store.root))})", highlight=False, soft_wrap=True)


def show_batches(plan: Plan, estimate: str) -> None:
    """The batches of a dry run, and how long they may take."""
    table = Table(box=None)
    for column in ("batch", "runs", "what", "units"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    groups = varying([runs[0] for runs in plan.batches])
    for number, runs in enumerate(plan.batches[:ROWS]):
        units = list(dict.fromkeys(run.unit for run in runs))
        shown = units[0] if len(units) == 1 else f"{units[0]} ... {units[-1]}"
        table.add_row(str(number), str(len(runs)), escape(describe(runs[0], groups)), escape(shown))
    console.print(table)
    if len(plan.batches) > ROWS:
        console.print(f"... and {number_of(len(plan.batches) - ROWS, 'more batch')}")
    console.print(estimate, highlight=False, markup=False)


def varying(runs: Sequence[Run]) -> tuple[str, ...]:
    """The groups whose choice is not the same in all `runs`, or the objective where all are."""
    found = [group for group in CHOICES if len({run.choices[group] for run in runs if group in run.choices}) > 1]
    return tuple(found) or ("attribution", "layer", "objective")


def describe(run: Run, groups: Sequence[str]) -> str:
    """A run's task and its choices in `groups`, in one line."""
    return " ".join([task_name(run.config), *(run.choices[group] for group in groups if group in run.choices)])


def show_results(
    plan: Plan,
    store: Store,
    records: Mapping[str, Record],
    paths: Sequence[str],
    seconds: float,
    ended: int,
    elsewhere: int,
) -> None:
    """Counts and scores by kind of run, then every failure with its reason, then where things are.

    `ended` runs ended in these `seconds`; so many others are being executed `elsewhere`.
    """
    kinds: dict[str, list[Record]] = {}
    groups = varying(plan.runs)
    for run in plan.runs:
        if run.id in records:
            kinds.setdefault(describe(run, groups), []).append(records[run.id])
    table = Table(box=None)
    for column in ("what", "ok", "failed", "mean score", "seconds each"):
        first = column == "what"
        table.add_column(
            column, justify="left" if first else "right", no_wrap=True, min_width=0 if first else len(column)
        )
    for kind, found in list(kinds.items())[:ROWS]:
        status = Counter(record["status"] for record in found)
        scores = [record["score"] for record in found if record["score"] is not None]
        mean = f"{sum(scores) / len(scores):.3g}" if scores else ""
        each = sum(record["seconds"] for record in found) / len(found)
        table.add_row(escape(kind), str(status["ok"]), str(status["failed"]), mean, f"{each:.2f}")
    console.print(table)
    if len(kinds) > ROWS:
        console.print(f"... and {number_of(len(kinds) - ROWS, 'more kind')}")
    dead = sum(record["metrics"].get("alive") is False for record in records.values())
    if dead:
        said = number_of(dead, "image", "is")
        console.print(f"{said} dead: the score is not above 0, or the image is flat (index column alive)")
    if skipped := max((record["metrics"].get("pictures_skipped", 0) for record in records.values()), default=0):
        console.print(
            f"left out: {number_of(skipped, 'picture')} that cannot be read (examples.json of a run names them)"
        )
    failed = [run for run in plan.runs if run.id in records and records[run.id]["status"] == "failed"]
    if failed:
        _show_failures(failed, records, plan, store)
    if elsewhere:
        said = number_of(elsewhere, "run", "is")
        console.print(f"{said} being executed elsewhere; the same command tells when all is done")
    pace = f" ({ended / seconds:.3g} a second)" if seconds > 0 else ""
    console.print(
        f"{number_of(ended, 'run')} in {seconds:.1f} s{pace}; " + ", ".join(paths), highlight=False, soft_wrap=True
    )


def _show_failures(failed: Sequence[Run], records: Mapping[str, Record], plan: Plan, store: Store) -> None:
    """What failed and why; the log of each, and the command that executes it alone."""
    shared = set.intersection(*(set(run.overrides) for run in plan.runs)) if len(plan.runs) > 1 else set()
    table = Table(title=f"{len(failed)} failed (the same command runs them again)", box=None, title_justify="left")
    for column in ("run id", "overrides", "unit", "reason"):
        table.add_column(column, overflow="fold")
    for run in failed[:ROWS]:
        own = " ".join(line for line in run.overrides if line not in shared)
        table.add_row(run.id, escape(own), escape(run.unit), escape(str(records[run.id]["error"])))
    console.print(table)
    where = f"outputs={shlex.quote(str(store.root.parent))} name={shlex.quote(store.root.name)}"
    console.print("logs, and what executes one of them alone:")
    for run in failed[:ROWS]:
        again = f"  {store.log_file(run.id)}  {program()} {where} \"batch.ids=['{run.id}']\""
        say(again)
    if len(failed) > ROWS:
        console.print(f"... and {len(failed) - ROWS} more: load_index(...).query('status == \"failed\"')")
