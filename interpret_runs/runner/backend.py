"""What checks and executes the batches of a sweep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from interpret_runs.runner.progress import batch, warn
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import StoreError

Batches = Sequence[Sequence[Run]]


class Backend(ABC):
    """Batches are executed through their store: what came of them is read there.

    Within a ``with``, whose end leaves no process behind. `again`: runs that ended without a result may be
    given to it once more in the same sweep.
    """

    again = True

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def check(self, kinds: Batches) -> list[Exception | None]:
        """What is wrong with each kind of runs; None where nothing is, or where it cannot be told beforehand."""

    @abstractmethod
    def execute(self, plan: Path, batches: Batches) -> None:
        """Execute `batches`, whose runs stand in the file `plan`; runs that fail have records.

        Raises:
            StoreError: results cannot be kept any more.
        """


class Here(Backend):
    """One batch after the other in this process."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __exit__(self, *_: object) -> None:
        pass

    def check(self, kinds: Batches) -> list[Exception | None]:
        return [wrong_with(runs, self.device) for runs in kinds]

    def execute(self, plan: Path, batches: Batches) -> None:
        from interpret_runs.runner.planned_batch import run_batch

        for runs in batches:
            with batch(len(runs)) as progress:
                try:
                    run_batch(str(plan), [run.id for run in runs], self.device, progress)
                except StoreError:
                    raise
                except Exception as error:  # what is wrong with runs is in their records
                    warn(f"a batch could not be executed: {error!r}", "error")


class Jobs(Backend):
    """One job of one of Hydra's launchers a batch; jobs may run on other machines.

    What they lose is for the next command: a launcher would submit it a second time unasked.
    """

    again = False

    def __init__(self, launch: Callable[[list[list[str]]], Sequence[str]], device: str) -> None:
        self.launch, self.device = launch, device

    def __exit__(self, *_: object) -> None:
        pass

    def check(self, kinds: Batches) -> list[Exception | None]:
        return [wrong_with(runs, self.device) for runs in kinds]

    def execute(self, plan: Path, batches: Batches) -> None:
        # Runs that fail have records; a job that fails has none, and launchers keep its error to themselves.
        for line in dict.fromkeys(self.launch([self._overrides(plan, runs) for runs in batches])):
            warn(f"a batch could not be executed: {line}", "error")

    def _overrides(self, plan: Path, runs: Sequence[Run]) -> list[str]:
        quoted = ",".join(f"'{run.id}'" for run in runs)
        return [f"batch.plan='{_escape(str(plan))}'", f"batch.ids=[{quoted}]", f"compute.device='{self.device}'"]


def wrong_with(runs: Sequence[Run], device: str) -> Exception | None:
    from interpret_runs.runner.execute import check

    try:
        check(runs, device)
    except Exception as error:  # a network may raise anything
        return error
    except SystemExit as stop:
        return ValueError(f"the network called sys.exit({stop})")
    return None


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
