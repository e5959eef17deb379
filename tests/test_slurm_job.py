"""How a process that submitit started in a job of SLURM ends; tests/slurm has real jobs."""

import signal

import pytest
from command_line import Said, python

from interpret_runs.runner.slurm_job import in_job

pytest.importorskip("submitit", reason="needs 'interpret-runs[slurm]'")

# A job whose batch is `work`, within what submitit does; it writes the result last.
JOB = """
import os, signal, sys
from submitit.core.utils import UncompletedJobError
from interpret_runs.runner.slurm_job import in_job

def out_of_time(*_):
    {end}

signal.signal(signal.SIGUSR2, out_of_time)
before = signal.getsignal(signal.SIGUSR2)

def work(fail):
    try:
        {work}
    except Exception as error:  # as the failure of one run is kept from the others
        print("a run failed:", error)

try:
    with in_job() as fail:
        work(fail)
except UncompletedJobError as error:
    print("no result:", error)
assert signal.getsignal(signal.SIGUSR2) is before
print("result written")
"""
TIME_OUT = "os.kill(os.getpid(), signal.SIGUSR2)"


@pytest.fixture(autouse=True)
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")


def job(work: str, end: str = "sys.exit(-1)") -> Said:
    return python(JOB.format(work=work, end=end))


def test_a_job_whose_runs_end_well_does():
    assert job("pass") == Said(0, "result written\n", "")


def test_a_job_in_which_a_run_failed_fails_after_its_result_was_written():
    assert job("fail(); fail()") == Said(1, "result written\n", "")


def test_a_job_whose_batch_cannot_be_executed_fails():
    done = python(JOB.format(work="pass", end="pass").replace("work(fail)\nexcept", "raise OSError('full')\nexcept"))
    assert done.status == 1 and "OSError: full" in done.err


def test_no_time_left_is_not_the_failure_of_a_run():
    """submitit tells by an exception in the middle of whatever is executed."""
    done = job(TIME_OUT, "raise UncompletedJobError('timed-out too many times')")
    assert done == Said(1, "no result: timed-out too many times\nresult written\n", "")


def test_a_job_that_is_requeued_ends_at_once():
    assert job(TIME_OUT, "sys.exit(7)") == Said(7, "", "")


def test_other_processes_end_as_they_did(monkeypatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR")
    assert job("fail()") == Said(0, "result written\n", "")


def test_without_a_handler_of_submitit_none_is_set():
    before = signal.getsignal(signal.SIGUSR2)
    with in_job():
        assert signal.getsignal(signal.SIGUSR2) in (before, signal.SIG_DFL)
