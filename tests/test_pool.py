"""Worker processes: what dies is replaced, what kills is found, nothing is left behind."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import NO_SHEET, QUICK, Said, apart, here, planned, python, records, said, store
from trouble import DIARY, OPTION

from interpret_runs import load_index
from interpret_runs.runner.pool import Pool
from interpret_runs.runner.record import record_of
from interpret_runs.runner.store import now

NETWORK = ("model=custom", "model.factory=trouble:network", "model.weights=null", "layer.path='0'")
TWO = ("compute.device=cpu", "compute.per_device=2")


@pytest.fixture(autouse=True)
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder to work in is new; what runs do is noted in a file there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DIARY, str(tmp_path / "diary"))
    return tmp_path / "diary"


def sweep(*arguments: str) -> Said:
    return here("-m", *OPTION, NO_SHEET, *arguments)


def noted(diary: Path, what: str) -> list[list[str]]:
    """The entries of one kind in a diary: process, kind, and what follows."""
    return [words for line in diary.read_text().splitlines() if (words := line.split())[1] == what]


def until(happens: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_runs_that_raise_kill_or_exit_cost_nothing_but_themselves(diary):
    hundred = ("objective.channel=range(0,100)", *NETWORK, *TWO, "compute.batch_size=16")
    deeds = "+task.deeds={raise:[3,50,99],kill:[20],exit:[77]}"
    done = sweep(*hundred, deeds)
    assert done.status == 1
    table = load_index("outputs/default").set_index("objective.channel")
    assert len(table) == 100
    assert Counter(table.status) == {"ok": 95, "failed": 5}
    assert set(table.index[table.status == "failed"]) == {3, 20, 50, 77, 99}
    assert table.error[20] == "its process died (SIGKILL, perhaps for want of memory)"
    assert table.error[77] == "called sys.exit(3)" and table.error[3] == "channel 3 is no good"
    assert (store().root / "logs" / f"{table.run_id[3]}.log").read_text().count("Traceback") == 1
    for name in table.run_id[table.status == "failed"]:
        assert f"\"batch.ids=['{name}']\"" in done.out
    diary.unlink()
    assert sweep(*hundred, deeds).status == 1
    assert {int(words[2]) for words in noted(diary, "run")} == {3, 20, 50, 77, 99}


def test_a_worker_that_dies_once_is_bad_luck(tmp_path):
    """Its batch is executed again, by another process."""
    start = apart(tmp_path, "-m", *OPTION, NO_SHEET, "objective.channel=range(0,4)", "task.seconds=1", *NETWORK)
    diary = tmp_path / "diary"
    until(lambda: diary.exists() and len(noted(diary, "run")) > 0)
    victim = int(noted(diary, "run")[0][0])
    assert victim != start.pid
    os.kill(victim, signal.SIGKILL)
    assert said(start).status == 0
    assert Counter(record["status"] for record in records()) == {"ok": 4}
    assert len({words[0] for words in noted(diary, "run")}) == 2


def test_what_a_process_said_before_it_died_is_in_the_log():
    assert sweep("objective.channel=7", "+task.deeds={print:[7]}", *NETWORK, *TWO).status == 1
    (record,) = records()
    assert record["error"] == "its process died (SIGSEGV)"
    assert "last words of channel 7" in (store().root / "logs" / f"{record['run_id']}.log").read_text()


def test_a_run_that_takes_too_long_fails_and_the_others_do_not():
    limit = ("compute.time_limit=5", "+task.deeds={hang:[2]}", "objective.channel=range(0,4)", "compute.batch_size=1")
    assert sweep(*limit, *NETWORK, *TWO).status == 1
    found = {record["config"]["objective"]["channel"]: record["error"] for record in records()}
    assert found.pop(2) == "took longer than compute.time_limit=5 s a run"
    assert found == {0: None, 1: None, 3: None}


def test_a_slot_has_one_batch_at_a_time_and_loads_each_model_once(diary):
    """Four workers, batches that take unequal times, two networks."""
    networks = "model.factory=trouble:network,trouble:other_network"
    command = ("objective.channel=range(0,17)", "task.seconds=0.05", "compute.batch_size=3", "seed=0,1")
    done = sweep(*command, *NETWORK[:1], *NETWORK[2:], networks, "compute.device=cpu", "compute.per_device=4")
    assert done.status == 0
    slots: dict[str, list[tuple[str, str]]] = {}
    for record in {tuple(record["batch"]): record for record in records()}.values():
        slots.setdefault(record["slot"], []).append((record["started"], record["finished"]))
    assert set(slots) == {f"cpu#{number}" for number in range(4)}
    for spans in slots.values():
        spans.sort()
        assert all(ended <= started for (_, ended), (started, _) in zip(spans, spans[1:], strict=False))
    processes = {words[0] for words in noted(diary, "run")}
    loads = Counter(words[0] for words in noted(diary, "load"))
    assert len(processes) == 4 and max(loads[process] for process in processes) <= 2


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_sweep(blow, tmp_path):
    command = ("objective.channel=range(0,24)", "task.seconds=0.2", "compute.batch_size=2", *NETWORK, *TWO)
    driver = apart(tmp_path, "-m", *OPTION, NO_SHEET, *command)
    diary = tmp_path / "diary"
    until(lambda: len(store().record_files()) >= 2)
    driver.send_signal(blow)
    ended = said(driver)
    assert ended.status == (130 if blow != signal.SIGKILL else -signal.SIGKILL)
    until(lambda: all(is_gone(int(words[0])) for words in noted(diary, "run")), 10)
    if blow != signal.SIGKILL:
        assert "interrupted; what is done is kept" in ended.err and "Traceback" not in ended.err
        assert not list((store().root / "claims").iterdir())
    assert 4 <= len(records()) < 24
    assert sweep(*command).status == 0
    assert Counter(record["run_id"] for record in records()) == Counter(load_index("outputs/default").run_id)
    assert len(records()) == 24


def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path):
    wrong = here("-m", *QUICK, "objective.channel=range(0,4)", "optimizer.lr=-1", *TWO)
    assert "-1" in wrong.error and not (tmp_path / "outputs").exists()


def test_warnings_of_workers_are_told_once():
    four = ("objective.channel=range(0,4)", "compute.batch_size=1")
    done = here("-m", *QUICK, NO_SHEET, "model.weights=null", *four, *TWO)
    assert done.status == 0
    assert done.err.count("random weights") == 1


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("compute.per_device=-1", "compute.per_device is -1; it is a number of worker processes"),
        ("compute.device=[cpu,cpu]", "it is auto, a device, or a list of different devices"),
        ("compute.device=[]", "it is auto, a device, or a list of different devices"),
        ("compute.time_limit=0", "compute.time_limit is 0; it is seconds above 0, or null"),
        ("compute.device=cuda:99", "no device 'cuda:99'"),
    ],
)
def test_wrong_settings_are_one_line(setting, says, tmp_path):
    given = [setting, *(["compute.per_device=1"] if "per_device" not in setting else [])]
    assert says in here("-m", *QUICK, "objective.channel=0,1", *given).error
    assert not (tmp_path / "outputs").exists()


def test_the_driver_of_a_sweep_does_without_torch(tmp_path):
    code = (
        "import sys; from interpret_runs.runner.app import main; sys.argv = ['run.py', *sys.argv[1:]];"
        "\ntry: main()\nfinally: print('torch' in sys.modules)"
    )
    here("-m", *QUICK, "objective.channel=0,1", "sweep.dry_run=true")  # what the network is like is remembered
    done = python(code, "-m", *QUICK, "objective.channel=0,1")
    assert done.status == 0 and done.out.endswith("False\n")


def test_an_interrupted_worker_puts_things_in_order(diary, tmp_path):
    command = ("objective.channel=0,1", "task.seconds=60", "compute.batch_size=1", *NETWORK, *TWO)
    driver = apart(tmp_path, "-m", *OPTION, NO_SHEET, *command)
    until(lambda: diary.exists() and len(noted(diary, "run")) == 2)
    assert len(list((store().root / "claims").iterdir())) == 2
    os.kill(driver.pid, signal.SIGINT)
    ended = said(driver)
    assert ended.status == 130 and "elsewhere" not in ended.out
    assert "2 runs ended without a result" in ended.out
    assert not list((store().root / "claims").iterdir()), "not left to grow stale"


def test_modules_of_the_current_folder_do_not_stand_for_pythons_own(tmp_path):
    (tmp_path / "queue.py").write_text("raise RuntimeError('this is no queue')")
    assert sweep("objective.channel=0,1", *NETWORK, *TWO).status == 0


def test_a_worker_that_cannot_start_is_one_error_and_blames_no_run(monkeypatch, tmp_path):
    monkeypatch.setattr("interpret_runs.runner.worker_process.sys.executable", shutil.which("false"))
    failed = sweep("objective.channel=0,1", *NETWORK, *TWO)
    assert failed.error == "a worker process cannot start (exit status 1);"
    assert not (tmp_path / "outputs").exists()


def test_a_run_that_ended_before_its_worker_did_is_not_given_up():
    """Its record is there, though the worker did not live to say so."""
    (run,) = planned(*QUICK, "layer=early", "objective.channel=0")
    pool, there = Pool("cpu", 1), store()
    pool._begun = now()
    machine = {"device": "cpu", "threads": 1, "versions": {}}
    there.write_records([record_of(run, [run.id], machine, score=1.0)])
    pool._give_up(run, there, machine, {"error": "its process died"})
    assert there.newest()[run.id]["status"] == "ok"
    pool._begun = now()
    pool._give_up(run, there, machine, {"error": "its process died"})
    assert there.newest()[run.id]["status"] == "failed"


def test_a_worker_that_has_started_others_is_known_to_be_dead(diary):
    """A process that a worker has forked holds the worker's line to the pool open."""
    done = sweep("objective.channel=3,4", "+task.deeds={fork:[3]}", *NETWORK, *TWO, "compute.batch_size=1")
    assert done.status == 1
    errors = {record["config"]["objective"]["channel"]: record["error"] for record in records()}
    assert errors[4] is None and "its process died" in errors[3]
    until(lambda: all(is_gone(int(words[0])) for words in noted(diary, "child")), 10)
