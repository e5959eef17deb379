"""Where benchmarks of a task alone put the files of its runs."""

from dataclasses import dataclass

from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store
from interpret_runs.runner.tasks.task import Filing, Outcome, Text


class Nowhere(Filing):
    """Files are made and forgotten."""

    def text(self, run: Run) -> Text:
        return {}

    def file(self, run: Run, outcome: Outcome) -> Outcome:
        return outcome


@dataclass(frozen=True)
class InStore(Filing):
    """Files are written as the runner writes them."""

    store: Store

    def text(self, run: Run) -> Text:
        return {}

    def file(self, run: Run, outcome: Outcome) -> Outcome:
        for name, content in outcome.files.values():
            self.store.write_artefact(run.id, name, content)
        return outcome
