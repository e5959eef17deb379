"""One progress bar over all runs of a sweep, fed by the batches that this process or its workers execute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from interpret_runs.progress_bar import in_notebook
from interpret_runs.runner.counts import number_of

# A pipe has no width: nothing is cut there. In a notebook it is plain text: rich's bar needs ipywidgets there.
_rich = False if in_notebook() else None
console = Console() if sys.stdout.isatty() else Console(width=200, force_jupyter=_rich, force_terminal=_rich)


def program() -> str:
    """How this program was called, for commands that people copy."""
    name = Path(sys.argv[0]).name
    return f"python {sys.argv[0]}" if name.endswith(".py") and not name.startswith("__") else "interpret-runs"


def say(text: str, **style: Any) -> None:
    """One line as it is, in full: what it quotes may hold anything."""
    console.print(text, highlight=False, soft_wrap=True, markup=False, **style)


def warn(text: str, kind: str = "warning") -> None:
    """One line on stderr."""
    print(f"{kind}: {text}", file=sys.stderr)


# Where there is no terminal to draw a bar on: the least seconds from one line to the next.
EVERY = 10.0


@dataclass
class _Bar:
    progress: Progress
    task: TaskID
    total: int
    done: int = 0
    parts: dict[int, float] = field(default_factory=dict)
    told: float = field(default_factory=monotonic)

    def show(self) -> None:
        self.progress.update(self.task, completed=self.done + sum(self.parts.values()))

    def tell(self) -> None:
        """A line for a log file, as a bar is drawn in a terminal only."""
        if not console.is_terminal and self.done < self.total and monotonic() - self.told >= EVERY:
            self.told = monotonic()
            seconds = self.progress.tasks[0].elapsed or 0.0
            left = seconds * (self.total - self.done) / max(self.done, 1)
            console.print(f"{self.done} of {number_of(self.total, 'run')}, {seconds:.0f} s, about {left:.0f} s left")


_bars: list[_Bar] = []


@contextmanager
def bar(total: int) -> Iterator[None]:
    """Show a bar over `total` runs for the length of a ``with``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"of {number_of(total, 'run')},"),
        TimeElapsedColumn(),
        TextColumn("elapsed, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        _bars.append(_Bar(progress, progress.add_task("running", total=total), total))
        try:
            yield
        finally:
            _bars.pop()


class Batch:
    """A batch of `runs` on the current bar, if there is one; several may be under way."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.bar = _bars[-1] if _bars else None

    def __call__(self, fraction: float) -> None:
        """Show that `fraction` of the batch, 0 to 1, is done."""
        if self.bar is not None:
            self.bar.parts[id(self)] = fraction * self.runs
            self.bar.show()

    def end(self, runs: int | None = None) -> None:
        """Show that the batch is over, and that `runs` of it are done: all, unless told."""
        if self.bar is not None:
            self.bar.parts.pop(id(self), None)
            self.bar.done += self.runs if runs is None else runs
            self.bar.show()
            self.bar.tell()


@contextmanager
def batch(runs: int) -> Iterator[Batch]:
    """A batch that is executed within a ``with``."""
    shown = Batch(runs)
    yield shown
    shown.end()
