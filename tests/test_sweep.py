"""Sweeps from the command line to the store: what is run, what is not, and what is said of it."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import NO_SHEET, QUICK, apart, here, ids, planned, records, said, store, the_run, tree
from PIL import Image

from interpret_runs import load_index
from interpret_runs.runner import claims, others
from interpret_runs.runner import sweep as sweep_module
from interpret_runs.runner.execute import execute, now
from interpret_runs.runner.figure_essentials import read_figure
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store
from interpret_runs.runner.tasks.task import Outcome
from interpret_runs.runner.tasks.visualise import Visualise

SWEEP = ("-m", *QUICK, NO_SHEET, "layer=early")
FOUR = (*SWEEP, "objective.channel=range(0,4)")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """The units that were executed, in order."""
    seen: list[str] = []
    execute = Visualise.execute

    def note(self: Visualise, runs: Sequence[Run], *arguments: Any) -> list[Outcome]:
        seen.extend(run.unit for run in runs)
        return execute(self, runs, *arguments)

    monkeypatch.setattr(Visualise, "execute", note)
    return seen


def fail(monkeypatch: pytest.MonkeyPatch, unit: str, error: BaseException) -> None:
    execute = Visualise.execute

    def ill(self: Visualise, runs: Sequence[Run], *arguments: Any) -> list[Outcome]:
        if unit in [run.unit for run in runs]:
            raise error
        return execute(self, runs, *arguments)

    monkeypatch.setattr(Visualise, "execute", ill)


def test_a_sweep_runs_each_point_once_and_ends_well(executed):
    done = here(*FOUR)
    assert done.status == 0 and done.err == ""
    assert executed == [f"channel {number}" for number in range(4)]
    assert "plan: 4 runs, 4 to do in 1 batch (outputs/default)" in done.out
    assert "index: outputs/default/index.csv" in done.out
    assert {record["run_id"] for record in records()} == set(ids(*FOUR[1:]))


def test_the_same_command_again_does_nothing(folder, executed):
    here(*FOUR)
    before = tree(folder)
    again = here(*FOUR)
    assert (
        again.status == 0 and "nothing to do: every run has its result; index: outputs/default/index.csv" in again.out
    )
    assert "4 already done" in again.out
    assert len(executed) == 4 and tree(folder) == before


def test_a_claim_that_a_killed_sweep_left_on_a_finished_run_goes_with_the_next_sweep():
    here(*FOUR)
    claim = store().make_room(store().claim_file(records()[0]["run_id"]))
    claim.touch()
    os.utime(claim, (0, 0))
    here(*FOUR)
    assert not claim.exists()


def test_a_larger_sweep_does_what_is_missing(executed):
    here(*FOUR)
    executed.clear()
    assert here(*SWEEP, "objective.channel=range(2,6)").status == 0
    assert executed == ["channel 4", "channel 5"]
    assert len(load_index("outputs/default")) == 6


def test_a_run_whose_image_was_deleted_is_done_again(executed):
    here(*FOUR)
    record = records()[2]
    (store().root / record["artefacts"]["image"]["path"]).unlink()
    executed.clear()
    assert here(*FOUR).status == 0
    assert executed == ["channel 2"]


def test_a_dry_run_plans_and_writes_nothing(folder):
    planned = here(*FOUR, "sweep.dry_run=true", "compute.batch_size=3")
    assert planned.status == 0 and "4 runs, 4 to do in 2 batches" in planned.out
    assert "channel 0 ... channel 2" in planned.out
    assert tree(folder) == set()


def test_a_key_that_the_task_does_not_use_gives_duplicates():
    planned = here(*SWEEP, "attribution=saliency,grad_cam", "images.item=range(0,3)", "sweep.dry_run=true")
    assert "plan: 1 run, 5 duplicates left out, 1 to do in 1 batch " in planned.out


@pytest.mark.parametrize(
    ("policy", "again"),
    [("failed", ["channel 2"]), ("none", []), ("all", [f"channel {number}" for number in range(4)])],
)
def test_what_runs_again_is_what_the_policy_says(monkeypatch, request, policy, again):
    with monkeypatch.context() as patch:
        fail(patch, "channel 2", RuntimeError("no good"))
        assert here(*FOUR).status == 1
    executed = request.getfixturevalue("executed")
    done = here(*FOUR, f"sweep.rerun={policy}")
    assert executed == again
    assert done.status == (1 if policy == "none" else 0)
    assert set(store().status().values()) == ({"ok", "failed"} if policy == "none" else {"ok"})


def test_a_failed_run_is_a_row_in_the_report_and_the_status(monkeypatch):
    fail(monkeypatch, "channel 2", RuntimeError("this [bold] network refuses"))
    done = here(*FOUR)
    assert done.status == 1 and done.err == ""
    assert "1 failed (the same command runs them again)" in done.out
    assert "channel 2" in done.out and "this [bold]" in " ".join(done.out.split())
    assert "Traceback" not in done.out
    assert Counter(load_index("outputs/default").status) == {"ok": 3, "failed": 1}


def test_failures_of_one_batch_do_not_stop_the_next(monkeypatch):
    fail(monkeypatch, "channel 0", RuntimeError("no good"))
    assert here(*FOUR, "compute.batch_size=1").status == 1
    assert Counter(store().status().values()) == {"ok": 3, "failed": 1}


def test_a_batch_that_leaves_no_record_is_a_failure_too(monkeypatch):
    """A full disk, a killed worker: the outcome is read from the store, where these runs are missing."""
    write = Store.write_artefact

    def full(self: Store, run_id: str, *arguments: Any) -> Any:
        if run_id == broken:
            raise OSError(28, "No space left on device")
        return write(self, run_id, *arguments)

    broken = ids(*FOUR[1:])[1]
    monkeypatch.setattr(Store, "write_artefact", full)
    done = here(*FOUR, "compute.batch_size=1")
    assert done.status == 1
    assert "No space left on device" in done.out + done.err
    assert "elsewhere" not in done.out
    assert len(records()) == 3


def test_a_sweep_of_which_nothing_was_recorded_is_a_failure(monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_records", full)
    done = here(*FOUR)
    assert done.status == 1 and "No space left on device" in done.out + done.err


def test_runs_that_another_sweep_holds_are_no_failures(monkeypatch):
    from interpret_runs.runner.claims import Claims

    with Claims(store(), ids(*FOUR[1:])[:1]):
        done = here(*FOUR, "sweep.wait=false")
    assert done.status == 0
    assert "1 run is being executed elsewhere" in done.out
    assert len(records()) == 3


@pytest.mark.parametrize("finishes", [True, False], ids=["done elsewhere", "left undone"])
def test_a_sweep_waits_for_runs_that_another_holds_and_executes_what_that_leaves(monkeypatch, executed, finishes):
    from interpret_runs.runner.claims import Claims

    theirs = planned(*FOUR[1:])[1:3]
    mine = Claims(store(), [run.id for run in theirs])
    mine.__enter__()

    def meanwhile(_: float) -> None:
        mine.__exit__(None, None, None)
        if finishes:
            execute(theirs, Store("outputs", "default"), "cpu", now())
        monkeypatch.setattr(others, "sleep", lambda _: None)

    monkeypatch.setattr(others, "sleep", meanwhile)
    done = here(*FOUR)
    assert done.status == 0 and "waiting for 2 runs that another process executes" in done.out
    assert sorted(executed) == [f"channel {number}" for number in range(4)]
    assert len(load_index("outputs/default")) == len(records()) == 4


def test_runs_that_another_held_and_left_while_this_sweep_was_busy_are_executed(monkeypatch, executed):
    from interpret_runs.runner.claims import Claims

    mine = Claims(store(), [run.id for run in planned(*FOUR[1:])[:1]])
    mine.__enter__()
    well = Visualise.execute

    def leave(self: Visualise, *arguments: Any) -> list[Outcome]:
        mine._release()
        return well(self, *arguments)

    monkeypatch.setattr(Visualise, "execute", leave)
    assert here(*FOUR, "compute.batch_size=2").status == 0
    assert sorted(executed) == [f"channel {number}" for number in range(4)]
    mine.__exit__(None, None, None)


def test_an_interrupt_keeps_what_is_done_and_the_same_command_does_the_rest(monkeypatch, request):
    with monkeypatch.context() as patch:
        fail(patch, "channel 2", KeyboardInterrupt())
        stopped = here(*FOUR, "compute.batch_size=1")
    assert stopped.status == 130
    assert "interrupted; what is done is kept" in stopped.err and "Traceback" not in stopped.err
    assert {record["unit"] for record in records()} == {"channel 0", "channel 1"}
    assert not list((store().root / "claims").iterdir())
    executed = request.getfixturevalue("executed")
    assert here(*FOUR, "compute.batch_size=1").status == 0
    assert executed == ["channel 2", "channel 3"]


def test_an_interrupt_clears_away_what_a_killed_worker_held(monkeypatch):
    """One that does not end in time is killed, and lets go of nothing by itself."""
    worker = subprocess.Popen(["true"])
    worker.wait()
    owner = {"host": claims._here(), "pid": worker.pid, "since": ""}
    well = Visualise.execute

    def held(self: Visualise, runs: Sequence[Run], *arguments: Any) -> list[Outcome]:
        store().claim_file("0123456789abcdef").write_text(json.dumps(owner))
        if runs[0].unit == "channel 2":
            raise KeyboardInterrupt
        return well(self, runs, *arguments)

    monkeypatch.setattr(Visualise, "execute", held)
    assert here(*FOUR, "compute.batch_size=1").status == 130
    assert not list((store().root / "claims").iterdir())


def test_an_interrupt_after_a_failure_is_still_an_interrupt(monkeypatch):
    fail(monkeypatch, "channel 1", KeyboardInterrupt())
    with monkeypatch.context() as patch:
        fail(patch, "channel 0", RuntimeError("no good"))
        assert here(*FOUR, "compute.batch_size=1").status == 130


def test_a_sweep_that_is_killed_is_completed_by_the_same_command(folder):
    """SIGKILL, no chance to clean up; claims of the dead process are taken over at once."""
    command = (
        "-m",
        "task.steps=20",
        "parameterisation.size=32",
        "compute.batch_size=2",
        "objective.channel=range(0,24)",
    )
    process = apart(folder, *command)
    end = time.time() + 60
    while len(store().record_files()) < 2 and process.poll() is None and time.time() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {record["run_id"] for record in records()}
    assert 2 <= len(before) < 24, "it was killed on the way"
    done = here(*command, NO_SHEET)
    assert done.status == 0 and f"{len(before)} already done" in done.out
    assert Counter(record["run_id"] for record in records()) == Counter(ids(*command[1:]))
    assert not list((store().root / "claims").iterdir())


def test_two_sweeps_at_once_execute_each_run_once(folder):
    """Overlapping and started together, on one store; both end well and all is done."""
    common = ("-m", "task.steps=8", "parameterisation.size=32", "compute.batch_size=3", NO_SHEET)
    ranges = ("objective.channel=range(0,15)", "objective.channel=range(6,21)")
    ended = [said(process) for process in [apart(folder, *common, each) for each in ranges]]
    assert [one.status for one in ended] == [0, 0], ended
    counts = Counter(record["run_id"] for record in records())
    assert set(counts.values()) == {1}
    assert len(counts) == 21
    assert len(load_index("outputs/default")) == 21


def test_what_another_sweep_finishes_while_this_one_gets_ready_is_not_done_again(monkeypatch, executed):
    """Between reading the store and the first batch lies the loading of the model."""
    ready = sweep_module.check

    def slowly(*arguments: Any) -> None:
        monkeypatch.setattr(sweep_module, "check", ready)
        execute([the_run(*FOUR[1:-1], "objective.channel=1")], store(), "cpu", now())
        ready(*arguments)

    monkeypatch.setattr(sweep_module, "check", slowly)
    assert here(*FOUR).status == 0
    assert sorted(executed) == [f"channel {number}" for number in range(4)]
    assert len(records()) == 4


def test_equal_sweeps_do_not_share_a_plan_file():
    here(*FOUR)
    here(*FOUR, "sweep.rerun=all")
    assert len(list((store().root / "plan").iterdir())) == 2


@pytest.mark.parametrize("what", ["task=attribute", "task=visualise"])
def test_a_sweep_over_all_images_or_units(what, folder):
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (8, 8), colour).save(folder / f"{number}.png")
    attribute = (
        "attribution=saliency",
        "images=folder",
        "images.path=.",
        "images.item=all",
        "objective=logit",
        "objective.target=top1",
    )
    visualise = ("objective=logit", "objective.target=all", "layer=early")
    done = here("-m", what, NO_SHEET, *(attribute if what == "task=attribute" else (*QUICK, *visualise)))
    assert done.status == 0, done.out
    table = load_index("outputs/default")
    assert len(table) == (2 if what == "task=attribute" else 12)
    assert table.run_id.is_unique


def test_params_of_the_sweeper_are_swept():
    params = "hydra.sweeper.params={objective.channel: 'range(0,3)', seed: '1,2'}"
    planned = here(*SWEEP, params, "sweep.dry_run=true")
    assert "plan: 6 runs" in planned.out, planned.err
    assert "plan: 3 runs" in here(*SWEEP, params, "seed=5", "sweep.dry_run=true").out


def test_grids_hold_visualisations_and_attributions():
    attribute = "{task: attribute, objective: logit, attribution: 'saliency,grad_cam'}"
    grids = f"sweep.grids=[{attribute}, {{objective.channel: [1, 2, 3], task.steps: 2}}]"
    planned = here("-m", grids, "seed=0,1", "sweep.dry_run=true")
    assert "plan: 8 runs, 2 duplicates left out" in planned.out, planned.err
    partly = here("-m", grids, "sweep.dry_run=true", "task.rescue=false")
    assert "plan: 5 runs, task.rescue applies to 3 of 5 points" in partly.out


def test_the_basic_launcher_works_too():
    done = here(*FOUR, "hydra/launcher=basic", "compute.batch_size=2")
    assert done.status == 0, done.err
    assert Counter(store().status().values()) == {"ok": 4}
    assert tree(Path()) == {path for path in tree(Path()) if path.startswith("outputs")}


def test_an_overview_is_drawn_of_what_was_swept():
    done = here(*(override for override in FOUR if override != NO_SHEET))
    assert done.status == 0
    document, figure = sorted(Path("outputs/default/figures").iterdir())
    assert f"figure: {figure}, {document}" in done.out
    assert [file.suffix for file in (figure, document)] == [".png", ".pdf"]
    for file in (figure, document):
        assert sorted(read_figure(file)["runs"]) == sorted(load_index("outputs/default")["run_id"])
    with Image.open(figure) as sheet:
        assert min(sheet.size) > 100


def test_runs_that_cannot_be_do_not_keep_others_from_running():
    done = here("-m", "task.steps=2", NO_SHEET, "parameterisation.size=16,4")
    assert done.status == 1, done.out + done.err
    status = {record["config"]["parameterisation"]["size"][0]: record["status"] for record in records()}
    assert status == {16: "ok", 4: "failed"}
    assert "shapes refuses images of 4x4" in done.out


def test_a_sweep_of_which_nothing_can_be_writes_nothing(folder):
    assert "shapes refuses images of 4x4" in here("-m", "parameterisation.size=4", "objective.channel=1,2").error
    assert tree(folder) == set()


def test_a_figure_that_cannot_be_drawn_hides_no_result():
    done = here("-m", *QUICK, "objective.channel=1,2", "figure.most=0")
    assert done.status == 0 and "figure: none" in done.out and len(records()) == 2


def test_runs_again_that_are_lost_are_not_called_done(monkeypatch):
    assert here(*FOUR).status == 0
    monkeypatch.setattr("interpret_runs.runner.planned_batch.run_batch", lambda *_: None)
    again = here(*FOUR, "sweep.rerun=all")
    assert again.status == 1 and "4 runs ended without a result" in again.out
