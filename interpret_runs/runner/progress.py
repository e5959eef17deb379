"""One progress bar over all runs of a sweep, fed from wherever batches execute in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

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

# A pipe has no width: nothing is cut there.
console = Console() if sys.stdout.isatty() else Console(width=200)


# Where there is no terminal to draw a bar on: the least seconds from one line to the next.
EVERY = 10.0


@dataclass
class _Bar:
    progress: Progress
    task: TaskID
    total: int
    before: float = 0.0
    told: float = field(default_factory=monotonic)

    def tell(self) -> None:
        """A line for a log file, as a bar is drawn in a terminal only."""
        if not console.is_terminal and self.before < self.total and monotonic() - self.told >= EVERY:
            self.told = monotonic()
            seconds = self.progress.tasks[0].elapsed or 0.0
            left = seconds * (self.total - self.before) / max(self.before, 1)
            console.print(f"{self.before:.0f} of {self.total} runs, {seconds:.0f} s, about {left:.0f} s left")


_bars: list[_Bar] = []


@contextmanager
def bar(total: int) -> Iterator[None]:
    """Show a bar over `total` runs for the length of a ``with``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("of {task.total:.0f} runs,"),
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


@contextmanager
def batch(runs: int) -> Iterator[_Batch]:
    """A batch of `runs` on the current bar, if there is one."""
    shown = _Batch(runs)
    yield shown
    if _bars:
        _bars[-1].before += runs
        _bars[-1].tell()


@dataclass(frozen=True)
class _Batch:
    runs: int

    def __call__(self, fraction: float) -> None:
        """Show that `fraction` of the batch, 0 to 1, is done."""
        if _bars:
            current = _bars[-1]
            current.progress.update(current.task, completed=current.before + fraction * self.runs)
