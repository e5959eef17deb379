"""A bar that tells how much is done: in notebooks and in terminals, nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from html import escape
from importlib import import_module
from time import monotonic
from typing import Any

EVERY = 0.1  # the least seconds between two pictures of the bar in a notebook


def bar(text: str, total: int) -> AbstractContextManager[Callable[[int], None] | None]:
    """A bar for the length of a ``with``, moved by calling what it yields with how much of `total` is done.

    With a `total` of 1 it only shows that something goes on. Afterwards it is gone. It yields None where no one looks:
    neither in a notebook nor in a terminal.
    """
    if in_notebook():
        return _notebook_bar(text, total)
    return _terminal_bar(text, total) if sys.stderr.isatty() else nullcontext()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def _notebook_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    # Not rich's, which needs ipywidgets and warns where they are not installed.
    notebook: Any = import_module("IPython.display")
    begun = shown = monotonic()

    def drawn(done: int) -> Any:
        value = f'value="{done}" max="{total}"' if total > 1 else ""
        count = f"{done} of {total}, " if total > 1 else ""
        return notebook.HTML(f"<progress {value}></progress> {escape(text)}, {count}{monotonic() - begun:.0f} s")

    def tell(done: int) -> None:
        nonlocal shown
        if monotonic() - shown >= EVERY:
            shown = monotonic()
            handle.update(drawn(done))

    handle = notebook.display(drawn(0), display_id=True)
    try:
        yield tell
    finally:
        handle.update(notebook.HTML(""))


@contextmanager
def _terminal_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total if total > 1 else None)
        yield lambda done: progress.update(task, completed=done)
