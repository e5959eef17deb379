"""Sweeps on a SLURM of one node with two fake GPUs, which start.sh installs and starts: `pytest -m slurm`."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import NO_SHEET, PROJECT, QUICK, apart, ids, records, said, store

from interpret_runs.runner.slurm_queue import states

HERE = Path(__file__).parent
pytest.importorskip("submitit", reason="needs submitit: pip install 'interpret-runs[slurm]'")
pytestmark = pytest.mark.slurm

POINTS = (*QUICK, "layer=early", "objective._target_=unsteady.Unsteady", "compute.device=cpu", "compute.batch_size=1")
OURS = ("hydra/launcher=slurm", "hydra.launcher.timeout_min=5")
STOCK = ("hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.timeout_min=5")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(place / "slurm.conf"))
        started = subprocess.run([HERE / "start.sh", place], stderr=subprocess.PIPE, text=True)
        if started.returncode == 3:
            pytest.skip(started.stderr.splitlines()[-1])
        assert started.returncode == 0, started.stderr
        yield
        subprocess.run([HERE / "stop.sh", place], check=True)


class Command:
    """Sweeps over channels, in a folder, with the ways in which some of them misbehave."""

    def __init__(self, folder: Path, **ways: str) -> None:
        self.folder, self.notes = folder, folder / "notes"
        self.notes.mkdir()
        self.environment = {
            "PYTHONPATH": os.pathsep.join(map(str, (PROJECT, HERE.parent, HERE))),
            "UNSTEADY_NOTES": str(self.notes),
            "UNSTEADY_WAYS": json.dumps({name.removeprefix("channel_"): way for name, way in ways.items()}),
        }

    def start(self, channels: int, *overrides: str) -> subprocess.Popen[str]:
        grid = f"objective.channel=range(0,{channels})"
        return apart(self.folder, "-m", *POINTS, NO_SHEET, grid, *overrides, environment=self.environment)

    def executed(self) -> Counter[int]:
        """How many processes began to execute each channel."""
        return Counter(int(note.name.partition("-")[0]) for note in self.notes.glob("*-*"))

    def jobs(self) -> list[str]:
        """The jobs that the store's sweeps submitted."""
        return [
            job
            for file in sorted((store().root / "logs/slurm").glob("*.json"))
            for job in json.loads(file.read_text())["jobs"]
        ]


@pytest.fixture
def command(slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Command]:
    monkeypatch.chdir(tmp_path)
    return lambda **ways: Command(tmp_path, **ways)


def runs(channels: int) -> list[str]:
    return ids(*POINTS, f"objective.channel=range(0,{channels})")


def await_(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.1)


def ended(jobs: list[str]) -> list[str]:
    """The states of `jobs`, once all have ended."""
    await_(lambda: not {"PENDING", "RUNNING", "COMPLETING"} & set(states(jobs).values()))
    return [states(jobs)[job] for job in jobs]


def test_more_batches_than_an_array_may_have_run_on_both_gpus(command):
    on = command()
    done = said(on.start(5, *OURS))
    assert done.status == 0, done.out + done.err
    assert len({job.partition("_")[0] for job in on.jobs()}) == 2
    assert ended(on.jobs()) == ["COMPLETED"] * 5
    assert {note.read_text() for note in on.notes.glob("*-*")} == {"0", "1"}
    assert sorted(record["run_id"] for record in records()) == sorted(runs(5))


def test_a_job_executes_several_batches_and_fails_if_a_run_of_it_does(command):
    on = command(channel_0="raise")
    done = said(on.start(4, *OURS, "hydra.launcher.batches_per_job=2"))
    assert done.status == 1 and "1 failed" in done.out and "Traceback" not in done.out + done.err
    assert ended(on.jobs()) == ["FAILED", "COMPLETED"]
    assert Counter(store().status().values()) == {"ok": 3, "failed": 1}


def test_a_job_of_the_stock_launcher_fails_if_a_run_of_it_does(command):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")
    on = command(channel_0="raise")
    folder = on.folder / "submitit"
    done = said(on.start(2, *STOCK, f"hydra.launcher.submitit_folder={folder}"))
    assert done.status == 1 and "1 failed" in done.out, done.out + done.err
    jobs = sorted(file.name.removesuffix("_submitted.pkl") for file in folder.glob("*_submitted.pkl"))
    assert ended(jobs) == ["FAILED", "COMPLETED"]
    assert Counter(store().status().values()) == {"ok": 1, "failed": 1}


def test_a_job_that_is_killed_is_noticed(command):
    on = command(channel_0="kill")
    done = said(on.start(2, *OURS))
    assert done.status == 1
    (run, _) = runs(2)
    assert f"ended as FAILED and left 1 run without a result ({run})" in done.out + done.err
    assert "1 run ended without a result; the same command tries again" in done.out
    assert set(store().status()) == set(runs(2)) - {run}


def test_a_job_that_runs_out_of_time_is_requeued_and_does_what_is_left(command):
    """SLURM tells jobs up to a minute early: here between 15 and 75 seconds after they start."""
    on = command(channel_1="late")
    limits = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=45")
    sweep = on.start(2, "hydra/launcher=slurm", *limits, "hydra.launcher.batches_per_job=2")
    sweep.wait(timeout=240)
    done = said(sweep)
    assert done.status == 0, done.out + done.err
    assert on.executed() == {0: 1, 1: 2}  # the second was interrupted
    assert Counter(record["status"] for record in records()) == {"ok": 2}


def test_a_job_that_runs_out_of_time_for_good_fails_and_leaves_no_record(command):
    """Told by hand, with the signal that SLURM sends when time runs out."""
    on = command(channel_0="late")
    sweep = on.start(2, *OURS, "hydra.launcher.batches_per_job=2", "hydra.launcher.max_num_timeout=0")
    await_(lambda: on.executed() == {0: 1})
    subprocess.run(["scancel", "--signal=USR2", *on.jobs()], check=True)
    done = said(sweep)
    assert done.status == 1 and "left 2 runs without a result" in done.out + done.err
    assert ended(on.jobs()) == ["FAILED"]
    assert records() == [] and on.executed() == {0: 1}


def test_after_an_interrupt_the_same_command_waits_for_the_same_jobs(command):
    on = command(channel_0="wait", channel_1="wait")
    first = on.start(3, *OURS)
    await_(lambda: on.executed() == {0: 1, 1: 1})
    first.send_signal(signal.SIGINT)
    stopped = said(first)
    assert stopped.status == 130 and "without a result" not in stopped.out
    assert "still in the queue of SLURM: job" in stopped.out and "3 runs are in the queue of SLURM" in stopped.out
    jobs = on.jobs()
    second = on.start(3, *OURS)
    assert second.stdout is not None
    assert any("3 runs are in the queue already" in line for line in second.stdout)
    (on.notes / "go").touch()
    done = said(second)
    assert done.status == 0, done.out + done.err
    assert on.jobs() == jobs and ended(jobs) == ["COMPLETED"] * 3
    assert on.executed() == {0: 1, 1: 1, 2: 1} and len(records()) == 3


def test_a_sweep_that_does_not_wait_is_shown_by_one_that_does(command):
    on = command()
    left = said(on.start(2, *OURS, "sweep.wait=false", "hydra.launcher.batches_per_job=2"))
    assert left.status == 0 and "still in the queue of SLURM: job" in left.out
    done = said(on.start(2, *OURS))
    assert done.status == 0 and "without a result" not in done.out
    assert on.executed() == {0: 1, 1: 1} and len(records()) == 2
