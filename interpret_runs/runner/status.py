"""How far the sweeps of a store are, told from the store alone: ``task=status``."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from interpret_runs.runner.claims import Claim, live
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.progress import console, say
from interpret_runs.runner.store import Store, existing, read_lines

ROWS = 10
# Seconds before the newest result that count for the present pace.
LATELY = 600.0


@dataclass(frozen=True)
class Count:
    """Runs of one plan, or of several; each is ok, failed, running or left."""

    runs: int
    ok: int
    failed: int
    running: int

    @property
    def left(self) -> int:
        return self.runs - self.ok - self.failed - self.running


def count(runs: Iterable[str], status: dict[str, str], running: set[str]) -> Count:
    """Where each of `runs` stands; one that is being executed is not counted by its earlier result."""
    wanted = set(runs)
    active = wanted & running
    ended = Counter(status.get(name) for name in wanted - active)
    return Count(len(wanted), ended["ok"], ended["failed"], len(active))


def pace(finished: Iterable[str]) -> float:
    """Runs a second over the last ten minutes before the newest of these times; 0 where one moment says nothing.

    The runs of the first moment count as the start: their own time lies before it.
    """
    times = []
    for text in finished:
        try:
            times.append(datetime.fromisoformat(text).timestamp())
        except ValueError:
            continue
    late = [time for time in times if time >= max(times) - LATELY] if times else []
    span = max(late) - min(late) if late else 0.0
    return sum(time > min(late) for time in late) / span if span > 0 else 0.0


def show(config: Mapping[str, Any]) -> None:
    """Print plans, pace, who executes what, and the last failures of a store. Writes nothing, imports no torch.

    Raises:
        FileNotFoundError: no such store.
    """
    store = existing(config["outputs"], config["name"])
    status, claims = store.status(), live(store)
    running = {claim.run_id for claim in claims}
    plans = {file.stem: [str(line["id"]) for line in read_lines(file) if "id" in line] for file in _plans(store)}
    total = count([*(run for runs in plans.values() for run in runs), *status, *running], status, running)
    _show_counts({plan: count(runs, status, running) for plan, runs in plans.items()}, total, store)
    _show_pace(store, total, bool(claims))
    _show_claims(claims)
    _show_failures(store, status)
    lines, runs = store.damage()
    if lines or runs:
        wrong = f"{number_of(runs, 'run', 'has')} files that are not what their records say"
        say(f"{number_of(lines, 'record', 'is')} damaged, {wrong}: task=verify")


def _plans(store: Store) -> list[Path]:
    return sorted((store.root / "plan").glob("*.jsonl"), key=lambda file: (file.stat().st_mtime_ns, file.name))


def _show_counts(plans: dict[str, Count], total: Count, store: Store) -> None:
    table = Table(title=escape(str(store.root)), title_justify="left", box=None)
    for column in ("plan", "runs", "ok", "failed", "running", "left"):
        table.add_column(column, justify="left" if column == "plan" else "right")
    for plan, found in [*list(plans.items())[-ROWS:], ("all", total)]:
        table.add_row(plan, *map(str, (found.runs, found.ok, found.failed, found.running, found.left)))
    console.print(table)
    if len(plans) > ROWS:
        console.print(f"(the newest {ROWS} of {len(plans)} plans)")


def _show_pace(store: Store, total: Count, active: bool) -> None:
    todo = total.left + total.running
    if not todo:
        return
    if not active:
        say(f"nothing is being executed; {number_of(todo, 'run', 'is')} left, and the same command goes on")
    elif rate := pace(finished for _, finished in store.finished().values()):
        say(f"{rate:.3g} runs a second lately, about {duration(todo / rate)} left")


def duration(seconds: float) -> str:
    """Seconds as people say them, in two units."""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 1 else f"{hours:.0f} h {minutes % 60:.0f} min"


def _show_claims(claims: Sequence[Claim]) -> None:
    if not claims:
        return
    table = Table(box=None)
    for column in ("host", "process", "runs", "since", "heartbeat"):
        table.add_column(column)
    owners: dict[tuple[str, int, str], list[Claim]] = {}
    for claim in claims:
        owners.setdefault((claim.host, claim.pid, claim.since), []).append(claim)
    for (host, pid, since), held in owners.items():
        age = f"{min(claim.age for claim in held):.0f} s ago"
        table.add_row(escape(host), str(pid), str(len(held)), since[:19].replace("T", " "), age)
    console.print(table)


def _show_failures(store: Store, status: dict[str, str]) -> None:
    finished = store.finished()
    failed = sorted((name for name in status if status[name] == "failed"), key=lambda name: finished[name][1])
    if not failed:
        return
    shown = failed[: -ROWS - 1 : -1]
    records = store.newest(shown)
    table = Table(title=f"last failures, of {len(failed)}", title_justify="left", box=None)
    for column in ("run id", "finished", "reason"):
        table.add_column(column, overflow="fold")
    for name in shown:
        if name in records:
            reason = str(records[name].get("error") or "")
            table.add_row(name, finished[name][1][:19].replace("T", " "), escape(reason))
    console.print(table)
