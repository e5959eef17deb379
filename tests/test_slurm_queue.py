"""What SLURM's commands answer, here from stand-ins for them; tests/slurm has the real ones."""

import json
import os
from pathlib import Path

import pytest
from command_line import store

from interpret_runs.runner.slurm_queue import Submitted, alive, max_array, states
from interpret_runs.runner.slurm_wait import Wait

EARLY, LATE = "2026-01-01T00:00:00", "2026-01-02T00:00:00"


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where commands are looked for."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def command(folder: Path, name: str, *lines: str, error: str = "", status: int = 0) -> None:
    """A command that prints `lines`, and what it was asked into a file."""
    printed = "\n".join(f"echo '{line}'" for line in lines)
    script = f'#!/bin/sh\necho "$@" >>{folder}/{name}.asked\n{printed}\n'
    file = folder / name
    file.write_text(script + (f"echo '{error}' >&2\n" if error else "") + f"exit {status}\n")
    file.chmod(0o755)


def record(run_id: str, finished: str, status: str = "ok") -> None:
    store().write_records([{"run_id": run_id, "status": status, "finished": finished, "artefacts": {}}])


def test_jobs_that_live_are_those_in_the_queue(commands):
    command(commands, "squeue", "12_0|a", "12_1|a", "14|b|c", "15|d")
    assert alive(["12_1", "12_2", "13", "14"]) == {"12_1": "a", "14": "b|c"}
    assert "--jobs=12,13,14" in (commands / "squeue.asked").read_text()


def test_nothing_is_asked_about_no_jobs(commands):
    assert alive([]) == {}


def test_jobs_that_slurm_forgot_do_not_live(commands):
    command(commands, "squeue", error="slurm_load_jobs error: Invalid job id specified", status=1)
    assert alive(["12"]) == {}


def test_a_queue_that_does_not_answer_says_nothing_of_jobs(commands):
    command(commands, "squeue", error="slurm_load_jobs error: Unable to contact slurm controller", status=1)
    with pytest.raises(OSError, match="squeue says: slurm_load_jobs error: Unable to contact"):
        alive(["12"])


def test_what_the_queue_forgot_accounting_may_know(commands):
    command(commands, "squeue", "12_0|FAILED", "12_9|RUNNING")
    command(commands, "sacct", "12_0|COMPLETED", "12_1|CANCELLED by 1000", "12_2|TIMEOUT")
    assert states(["12_0", "12_1", "12_3"]) == {"12_0": "FAILED", "12_1": "CANCELLED"}


def test_without_accounting_a_state_may_be_unknown(commands):
    command(commands, "squeue", error="slurm_load_jobs error: Invalid job id specified", status=1)
    command(commands, "sacct", error="Slurm accounting storage is disabled", status=1)
    assert states(["12"]) == {}


@pytest.mark.parametrize(("lines", "most"), [(["A = 3", "MaxArraySize            = 17"], 17), (["A = 3"], 1001)])
def test_the_most_jobs_in_an_array(commands, lines, most):
    command(commands, "scontrol", *lines)
    assert max_array() == most


def test_runs_that_a_living_job_will_execute_are_queued(commands):
    """Not those of jobs that are gone, nor those that it executed, well or not."""
    submitted = Submitted(store())
    submitted.note({"12_0": ["a", "b", "c"], "12_1": ["d"]}, "this", LATE)
    submitted.note({"13": ["e"]}, "other", LATE)
    record("a", EARLY)
    record("b", LATE)
    record("c", LATE, "failed")
    command(commands, "squeue", "12_0|this")
    assert submitted.waiting() == {"12_0": ["a"]} and submitted.queued() == {"a"}


def test_a_job_of_another_name_has_only_the_number_of_ours(commands):
    submitted = Submitted(store())
    submitted.note({"12": ["a"]}, "this", LATE)
    command(commands, "squeue", "12|that")
    assert submitted.waiting() == {}


def test_where_there_is_no_slurm_nothing_is_queued(commands):
    submitted = Submitted(store())
    submitted.note({"12": ["a"]}, "this", LATE)
    assert submitted.waiting() == {}


def test_where_slurm_does_not_answer_nothing_is_known_to_be_queued(commands):
    submitted = Submitted(store())
    submitted.note({"12": ["a"]}, "this", LATE)
    command(commands, "squeue", error="no", status=1)
    assert submitted.queued() == set()
    with pytest.raises(OSError, match="squeue says: no"):
        submitted.waiting()


def test_a_damaged_note_is_none(commands):
    submitted = Submitted(store())
    submitted.note({"12": ["a"]}, "this", LATE)
    (submitted.folder / "13.json").write_text('{"jobs": {"13"')
    command(commands, "squeue", "12|this", "13|this")
    assert submitted.waiting() == {"12": ["a"]}


def test_what_has_a_record_is_waited_for_no_more(commands):
    waiting = Wait(Submitted(store()), {"12": ["a", "b"]}, LATE)
    record("a", LATE)
    record("b", LATE, "failed")
    waiting.until_done()  # asks no command
    assert waiting.left == {} and waiting.lost == {}


def test_waiting_goes_on_where_slurm_does_not_answer(commands, monkeypatch, capsys):
    command(commands, "squeue", error="no", status=1)
    pauses = iter([lambda: None, lambda: record("a", LATE)])
    monkeypatch.setattr("interpret_runs.runner.slurm_wait.sleep", lambda _: next(pauses)())
    waiting = Wait(Submitted(store()), {"12": ["a"]}, LATE)
    waiting.until_done()
    assert waiting.lost == {}
    assert capsys.readouterr().out.count("squeue says: no; waiting on") == 1


def test_a_job_that_is_gone_gets_a_second_look(commands, monkeypatch):
    """Its last record may be seen late where folders are shared."""
    command(commands, "squeue")
    pauses = iter([lambda: record("a", LATE), lambda: None])
    monkeypatch.setattr("interpret_runs.runner.slurm_wait.sleep", lambda _: next(pauses)())
    waiting = Wait(Submitted(store()), {"12_0": ["a"], "12_1": ["b"]}, LATE)
    waiting.until_done()
    assert set(waiting.lost) == {"b"}
    assert waiting.lost["b"].startswith("job 12_1 of SLURM ended as unknown and left 1 run without a result (b)")
    assert waiting.lost["b"].endswith(f"{os.sep}12_1_0_log.err")


def test_runs_that_another_process_took_over_are_waited_for(commands, monkeypatch):
    from interpret_runs.runner.claims import Claims

    command(commands, "squeue")
    claims = Claims(store(), ["a"])
    claims.__enter__()

    def end() -> None:
        record("a", LATE)
        claims.__exit__(None, None, None)

    pauses = iter([lambda: None, lambda: None, end])
    monkeypatch.setattr("interpret_runs.runner.slurm_wait.sleep", lambda _: next(pauses)())
    waiting = Wait(Submitted(store()), {"12": ["a"]}, LATE)
    waiting.until_done()
    assert waiting.lost == {}


def test_what_was_noted_can_be_read(commands):
    submitted = Submitted(store())
    submitted.note({"12_0": ["a"], "12_1": ["b"]}, "this", LATE)
    said = json.loads((store().root / "logs/slurm/12.json").read_text())
    assert said["jobs"] == {"12_0": ["a"], "12_1": ["b"]} and said["planned"] == LATE
