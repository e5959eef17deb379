"""What is told of a sweep that runs where no bar can be drawn."""

import io

import pytest
from rich.console import Console

from interpret_runs.runner import progress


@pytest.mark.parametrize(("every", "lines"), [(0.0, ["2 of 6 runs", "4 of 6 runs"]), (1e6, [])])
def test_a_log_file_gets_a_line_for_a_batch_but_not_too_often(every, lines, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=stream, width=200))
    monkeypatch.setattr(progress, "EVERY", every)
    with progress.bar(6):
        for _ in range(3):
            with progress.batch(2) as batch:
                batch(0.5)
    told = [line for line in stream.getvalue().splitlines() if "left" in line and "elapsed" not in line]
    assert [line.partition(",")[0] for line in told] == lines


def test_a_batch_counts_without_a_bar():
    with progress.batch(2) as batch:
        batch(1.0)
