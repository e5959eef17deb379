"""Tasks whose runs take other times by how many are executed together."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.task import Task


class Tried(Task):
    """A task of which a trial tells how many runs are best executed together; see `interpret_runs.runner.throughput`.

    Attributes:
        steps: of each run.
    """

    steps: int

    @abstractmethod
    def alike(self, run: Run, device: torch.device) -> list[Any]:
        """Plain values: runs of which these are equal take equally long; no weights among them, nor units or seeds."""

    @abstractmethod
    def trial(self, run: Run, device: torch.device, count: int) -> float:
        """Seconds that a step of `count` runs like `run` takes on a CPU, undisturbed; nothing is kept of it."""
