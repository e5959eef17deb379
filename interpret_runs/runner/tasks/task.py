"""What a task is, and what one run of it comes to."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpret_runs.images import to_pil
from interpret_runs.png import png_bytes
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tuning import tuning
from interpret_runs.schedule import Schedule

Progress = Callable[[float], None]
Text = dict[str, str]
Files = dict[str, tuple[str, bytes]]
# Of those in which files are made: more find nothing to do, as Python does one thing at a time.
MOST_THREADS = 8
# Of a schedule: what is told by the settings compute, not by a task.
COMPUTED = ("precision", "compile", "cuda_graphs")


@dataclass(frozen=True)
class Outcome:
    """What one run came to: a score, numbers for the index, and files by artefact name."""

    score: float | None
    metrics: dict[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    steps: int | None = None
    unit: str | None = None
    history: dict[str, list[float]] | None = None
    error: str | None = None
    artefacts: dict[str, Any] | None = None  # what a record says of the files, once they are written


class Filing(ABC):
    """Where the files of runs go, and what their images say of themselves."""

    @abstractmethod
    def text(self, run: Run) -> Text:
        """The metadata of a run's images."""

    @abstractmethod
    def file(self, run: Run, outcome: Outcome) -> Outcome:
        """Write the files of an outcome, in whichever thread; those that a task leaves are written when it has ended.

        Raises:
            OSError: they cannot be written.
        """


class Task(ABC):
    """Settings of a kind of run; a batch of runs is checked, then executed together."""

    @property
    def refills(self) -> bool:
        """Whether a batch may be larger than what is executed at once, as runs take the places of those that end."""
        return False

    @abstractmethod
    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        """Build what `runs` need, without computing; returns how many of them fit into memory together.

        Raises:
            LookupError, ValueError, TypeError, OSError: a setting is wrong.
        """

    @abstractmethod
    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        """The outcomes of `runs`, in order; `progress` takes 0 to 1."""


def schedule_of(run: Run, **own: Any) -> Schedule:
    """That of a run's optimisation: what its task says, and how it is computed."""
    how = {**run.config["compute"], **tuning().to_json()}
    return Schedule(**own, **{name: how[name] for name in COMPUTED})


def in_threads(outcome: Callable[[int], Outcome], count: int) -> list[Outcome]:
    """Outcomes number 0 to `count` - 1; several are drawn and compressed at once, as the next batch waits for them."""
    with drawers() as threads:
        return list(threads.map(outcome, range(count)))


@contextmanager
def drawers() -> Iterator[ThreadPoolExecutor]:
    """Threads that make the files of runs, at most one a core; they begin no more of them after an error within."""
    threads = ThreadPoolExecutor(min(MOST_THREADS, torch.get_num_threads()))
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def picture(images: Tensor, text: Text) -> bytes:
    """One PNG of a run's images, (N, 3 or 4, H, W), side by side."""
    return png_bytes(to_pil(torch.cat(list(images), 2)), text)


def npy(values: Tensor) -> bytes:
    """A tensor as the bytes of an ``.npy`` file."""
    raw = io.BytesIO()
    np.save(raw, values.numpy())
    return raw.getvalue()
