import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

import pytest
from command_line import here, tree
from stored import record, write

from interpret_runs.runner.claims import Claims
from interpret_runs.runner.status import LATELY, Count, count, duration, pace
from interpret_runs.runner.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("outputs", "some")


def at(seconds: float) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()


def cells(text: str, first: str) -> list[str]:
    """The cells of the row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(first)]
    return line.split()


def test_each_run_is_counted_once_and_nowhere_twice():
    found = count("abcdea", {"a": "ok", "b": "failed", "c": "ok", "z": "ok"}, {"c", "d", "y"})
    assert found == Count(runs=5, ok=1, failed=1, running=2)
    assert found.left == 1


def test_the_pace_is_that_of_late():
    steady = [at(16 * i) for i in range(20) for _ in range(16)]
    assert pace(steady) == pytest.approx(1)
    assert pace([at(-LATELY * 100), *steady]) == pytest.approx(1), "what was long ago does not count"
    assert pace(["never", *steady]) == pytest.approx(1)
    assert pace([]) == pace([at(0)]) == pace([at(0)] * 16) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (7265, "2 h 1 min"), (90_000, "25 h 0 min")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_a_sweep_that_is_going_on_is_told_from_the_store_alone(store):
    store.write_plan("first", [{"id": name} for name in "abcd"])
    store.write_plan("second", [{"id": name} for name in "cdefgh"])
    os.utime(store.plan_file("first"), (1, 1))
    write(store, "a", "b", finished=at(0))
    write(store, "c", "d", finished=at(4))
    store.write_records([record("e", "failed", at(5), error="one [bold] reason")])
    with Claims(store, ["f"]):
        before = tree(store.root)
        done = here("task=status", "name=some")
        assert tree(store.root) == before
    assert (done.status, done.err) == (0, "")
    assert cells(done.out, "first") == ["first", "4", "4", "0", "0", "0"]
    assert cells(done.out, "second") == ["second", "6", "2", "1", "1", "2"]
    assert cells(done.out, "all") == ["all", "8", "4", "1", "1", "2"]
    assert "0.6 runs a second lately, about 5 s left" in done.out
    assert str(os.getpid()) in done.out and "s ago" in done.out
    assert cells(done.out, "e ")[-3:] == ["one", "[bold]", "reason"]


def test_a_sweep_that_was_killed_is_told_as_left(store):
    store.write_plan("first", [{"id": name} for name in "ab"])
    write(store, "a")
    claim = store.make_room(store.claim_file("b"))
    claim.write_text("{}")
    os.utime(claim, (time() - 1000,) * 2)
    done = here("task=status", "name=some")
    assert "nothing is being executed; 1 run is left, and the same command goes on" in done.out


def test_a_finished_store_has_nothing_left_to_tell(store):
    store.write_plan("first", [{"id": "a"}])
    write(store, "a", "single")
    done = here("task=status", "name=some")
    assert cells(done.out, "all") == ["all", "2", "2", "0", "0", "0"]
    assert "left," not in done.out and "damaged" not in done.out and "failures" not in done.out


def test_damage_is_told(store):
    store.write_plan("first", [{"id": "a"}, {"id": "b"}, {"unit": "no id"}])
    write(store, "a", "b")
    (store.run_folder("a") / "image.png").unlink()
    (store.root / "records" / "other.jsonl").write_bytes(b"{")
    done = here("task=status", "name=some")
    assert cells(done.out, "all") == ["all", "2", "1", "0", "0", "1"]
    assert "1 record is damaged, 1 run has files that are not what their records say" in done.out
