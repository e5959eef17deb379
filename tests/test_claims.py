import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from time import sleep, time

import pytest

from interpret_runs.runner import claims
from interpret_runs.runner.claims import STALE, Claims, _here
from interpret_runs.runner.store import Store

# Claims what it can, says what, and holds it until told to stop. Waits between looking at a claim and acting on it.
CLAIMANT = """
import random, sys, time
from interpret_runs.runner import claims
from interpret_runs.runner.store import Store
judge = claims._is_stale
def slow(*args):
    verdict = judge(*args)
    time.sleep(random.random() / 50)
    return verdict
claims._is_stale = slow
store = Store(sys.argv[1], "some")
sys.stdin.readline()
with claims.Claims(store, sys.argv[2:]) as held:
    print(*held, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "some")


def leave(store: Store, run_id: str, age: float = 0, pid: int | None = None, host: str | None = None) -> Path:
    """A claim that another process left behind `age` seconds ago."""
    file = store.make_room(store.claim_file(run_id))
    owner = {"host": host or _here(), "pid": os.getpid() if pid is None else pid}
    file.write_text(json.dumps(owner))
    os.utime(file, (time() - age,) * 2)
    return file


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def there(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "claims").iterdir())


def until(true: Callable[[], bool]) -> bool:
    end = time() + 5
    while not true() and time() < end:
        sleep(0.01)
    return true()


def test_a_claim_is_held_for_the_length_of_a_with_and_by_one(store):
    with Claims(store, ["a", "b"]) as held:
        assert held == there(store) == ["a", "b"]
        with Claims(store, ["b", "c"]) as others:
            assert others == ["c"]
        assert there(store) == ["a", "b"]
    assert there(store) == []
    with Claims(store, ["a"]) as again:
        assert again == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_claims_are_released_whatever_happens(store, error):
    with pytest.raises(error), Claims(store, ["a", "b"]):
        raise error
    assert there(store) == []


def test_claims_are_released_where_claiming_itself_fails(store, monkeypatch):
    claim = claims._claim

    def fails(file: Path) -> bool:
        if file.name == "b":
            raise KeyboardInterrupt
        return claim(file)

    monkeypatch.setattr(claims, "_claim", fails)
    with pytest.raises(KeyboardInterrupt), Claims(store, ["a", "b"]):
        pass
    assert there(store) == []


def test_threads_that_race_hold_each_run_once(store):
    names = [f"run{number}" for number in range(50)]
    held: list[list[str]] = []
    start, end = Barrier(8), Barrier(8)

    def race() -> None:
        start.wait()
        with Claims(store, names) as mine:
            held.append(list(mine))
            end.wait()

    threads = [Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sum(held, [])) == sorted(names)


@pytest.mark.parametrize("stale", [False, True])
def test_processes_that_race_hold_each_run_once(store, stale):
    names = [f"run{number}" for number in range(25)]
    if stale:
        dead = gone()
        for name in names:
            leave(store, name, pid=dead)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, str(store.root.parent), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    pipes = [(racer.stdin, racer.stdout) for racer in racers if racer.stdin and racer.stdout]
    for stdin, _ in pipes:
        stdin.write("go\n")
        stdin.flush()
    held = [stdout.readline().split() for _, stdout in pipes]
    for racer in racers:
        racer.communicate("stop\n", timeout=20)
    assert sorted(sum(held, [])) == sorted(names)
    assert there(store) == []


def test_a_claim_of_a_living_process_is_respected(store):
    leave(store, "a", age=STALE / 2)
    leave(store, "b", age=STALE / 2, pid=gone(), host="elsewhere")
    with Claims(store, ["a", "b"]) as held:
        assert held == []
    assert there(store) == ["a", "b"]


def test_a_claim_whose_process_is_gone_is_taken_over(store):
    leave(store, "a", pid=gone())
    with Claims(store, ["a"]) as held:
        assert held == ["a"]
        assert json.loads(store.claim_file("a").read_text())["pid"] == os.getpid()
    assert there(store) == []


def test_claims_of_the_dead_are_cleared_away_and_no_others(store):
    claims.clear_stale(store)  # none yet
    left = [leave(store, "a", pid=gone()), leave(store, "b", age=STALE + 1, host="elsewhere")]
    kept = [leave(store, "c"), leave(store, "d", age=1, host="elsewhere")]
    claims.clear_stale(store)
    assert [file.exists() for file in (*left, *kept)] == [False, False, True, True]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "null"])
def test_a_claim_that_was_not_touched_for_long_is_taken_over_whatever_it_says(store, content):
    file = leave(store, "a", host="elsewhere")
    if content is not None:
        file.write_text(content)
    with Claims(store, ["a"]) as held:
        assert held == [], "it may be in the writing"
    os.utime(file, (time() - STALE - 1,) * 2)
    with Claims(store, ["a"]) as held:
        assert held == ["a"]


def test_a_heart_beats_while_a_claim_is_held(store, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    with Claims(store, ["a", "b"]):
        for name in "ab":
            os.utime(store.claim_file(name), (1, 1))
        assert until(lambda: min(store.claim_file(name).stat().st_mtime for name in "ab") > time() - 60)
        store.claim_file("a").unlink()
        os.utime(store.claim_file("b"), (1, 1))
        assert until(lambda: store.claim_file("b").stat().st_mtime > time() - 60), "a claim that is gone stops nothing"
    assert there(store) == []


def test_a_claim_that_was_taken_over_meanwhile_is_not_released(store):
    """A process that slept longer than a claim lasts must not free what another holds by now."""
    with Claims(store, ["a"]):
        store.claim_file("a").unlink()
        leave(store, "a", host="elsewhere")
    assert there(store) == ["a"]


def test_a_process_that_ended_and_was_not_reaped_holds_nothing(store):
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    leave(store, "a", pid=process.pid)
    assert claims.live(store) == []
    with Claims(store, ["a"]) as held:
        assert held == ["a"]
    process.wait()


def test_claims_of_the_living_are_listed_with_owner_and_heartbeat(store):
    assert claims.live(store) == [] and not store.root.exists()
    leave(store, "dead", pid=gone())
    leave(store, "old", age=STALE + 1, host="elsewhere")
    leave(store, "far", age=STALE / 2, host="elsewhere 4")
    leave(store, "new", host="elsewhere").write_text("")
    with Claims(store, ["a"]):
        found = {claim.run_id: claim for claim in claims.live(store)}
    assert list(found) == ["a", "far", "new"]
    assert (found["a"].pid, found["a"].host) == (os.getpid(), _here().split()[0]) and found["a"].since
    assert found["far"].host == "elsewhere" and STALE / 2 <= found["far"].age < STALE
    assert (found["new"].host, found["new"].pid) == ("unknown", 0), "it may be in the writing"
    assert claims.is_held(store, "far") and not claims.is_held(store, "a")


def test_a_clock_that_runs_ahead_takes_nothing_over(store, monkeypatch):
    leave(store, "a", host="elsewhere")
    monkeypatch.setattr(claims, "time", lambda: time() + 10 * STALE)
    with Claims(store, ["a"]) as held:
        assert held == []
    assert there(store) == ["a"]


def test_a_heart_outlives_a_beat_that_fails(store, monkeypatch):
    beats = []

    def fails(*_: object) -> None:
        beats.append(1)
        raise OSError("the file system is busy")

    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    monkeypatch.setattr(os, "utime", fails)
    with Claims(store, ["a"]):
        assert until(lambda: len(beats) > 2)
