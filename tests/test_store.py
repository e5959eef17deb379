import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from interpret_runs.runner.store import Record, Store, StoreError, read_lines


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs", "some")


def record(run_id: str, status: str = "ok", finished: str = "2026-01-01T00:00:00", **more: Any) -> Record:
    return {"run_id": run_id, "status": status, "finished": finished, "artefacts": {}, **more}


def visible(store: Store) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def test_reading_creates_nothing(store, tmp_path):
    assert store.record_files() == []
    assert store.newest() == store.status() == {}
    assert store.finished_since("") == set()
    store.check_writable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b"])
def test_a_name_is_that_of_a_folder(name):
    with pytest.raises(ValueError, match="is not the name of a folder"):
        Store("outputs", name)


def test_what_is_written_is_there_whole(store):
    said = store.write_artefact("0123", "image.png", b"content")
    assert said["path"] == "runs/0123/image.png" and said["bytes"] == 7
    assert (store.root / said["path"]).read_bytes() == b"content"
    assert visible(store) == ["runs/0123/image.png"]


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_nothing(store, monkeypatch, broken):
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if broken == "write":
        opened = Path.open

        def full(path: Path, *how: Any, **more: Any) -> Any:
            stream = opened(path, *how, **more)
            return type(
                "Full", (), {"__enter__": lambda s: s, "__exit__": lambda s, *e: stream.close(), "write": fails}
            )()

        monkeypatch.setattr(Path, "open", full)
    else:
        monkeypatch.setattr(os if broken == "fsync" else Path, broken, fails)
    with pytest.raises(StoreError, match="cannot write to .*some: no space left on device; what is done is kept"):
        store.write(store.run_folder("0123") / "image.png", b"content")
    assert visible(store) == []


def test_a_killed_write_leaves_nothing_visible(store, monkeypatch):
    """What a SIGKILL between writing and renaming leaves is no record, no artefact and no index."""
    store.write_records([record("a")])
    monkeypatch.setattr(Path, "replace", lambda *_: None)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    store.write_records([record("b")])
    store.write(store.index_file("csv"), b"half")
    monkeypatch.undo()
    assert len(visible(store)) == 3, "the two files aside are there"
    fresh = Store(store.root.parent, "some")
    assert set(fresh.newest()) == {"a"}
    assert not store.index_file("csv").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        '{"run_id": "b", "sta',
        "{}",
        '{"run_id": "b"}',
        '{"status": "ok", "finished": "2030"}',
        "\x00\x00",
    ],
)
def test_a_damaged_line_is_passed_over(store, damage):
    store.write_records([record("a"), record("c")])
    (file,) = store.record_files()
    first, second = file.read_text().splitlines()
    file.write_text("\n".join([first, damage, second]))
    assert set(store.newest()) == set(store.status()) == {"a", "c"}
    assert store.finished_since("2025") == set(), "these are its own"
    assert Store(store.root.parent, "some").finished_since("2025") == {"a", "c"}


def test_a_file_that_is_no_text_is_passed_over(store):
    store.write_records([record("a")])
    (store.root / "records" / "other.jsonl").write_bytes(b"\xff\xfe\x00")
    assert set(store.newest()) == {"a"}


def test_lines_may_hold_any_text(store):
    store.write_records([record("a", unit="Löwe\u2028“x”\n")])
    assert store.newest()["a"]["unit"] == "Löwe\u2028“x”\n"


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_record_wins(store, order):
    records = [record("a", "failed", "2026-01-01T00:00:01"), record("a", "ok", "2026-01-01T00:00:02")]
    for one in records[::order]:
        Store(store.root.parent, "some").write_records([one])
    assert store.status() == {"a": "ok"}


def test_records_of_two_processes_never_share_a_file(tmp_path):
    stores = [Store(tmp_path, "some") for _ in range(2)]
    for number, one in enumerate(stores * 2):
        one.write_records([record(f"run {number}")])
    assert len(stores[0].record_files()) == 4
    assert len(stores[0].newest()) == 4


def test_a_run_whose_artefact_is_gone_is_not_done(store):
    said = {"image": store.write_artefact("a", "image.png", b"1"), "more": store.write_artefact("a", "map.npy", b"2")}
    store.write_records([record("a", artefacts=said), record("b")])
    assert store.status() == {"a": "ok", "b": "ok"}
    (store.root / said["more"]["path"]).unlink()
    assert store.status() == {"b": "ok"}
    assert set(store.newest()) == {"a", "b"}, "the index still knows of it"


def test_what_others_finished_since_stays_known(store, tmp_path):
    other = Store(tmp_path / "outputs", "some")
    other.write_records([record("early", finished="2026-01-01")])
    store.newest()
    other.write_records(
        [record("a", finished="2026-01-03"), record("b", "failed", "2026-01-03"), record("c", finished="2026-01-01")]
    )
    store.write_records([record("mine", finished="2026-01-04")])
    assert store.finished_since("2026-01-02") == {"a", "b"}
    assert store.finished_since("2026-01-02") == {"a", "b"}, "a later batch must know it too"
    assert store.finished_since("2026-01-04") == set()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc", "/proc/self/below"])
def test_an_unwritable_store_says_so_and_what_to_set(tmp_path, place):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / place if not place.startswith("/") else place, "some")
    with pytest.raises(StoreError, match=r"cannot write to .*some.*; set outputs="):
        store.check_writable()
        store.write_records([record("a")])  # where only trying tells, as for root
    assert (tmp_path / "file").read_text() == ""


def test_the_home_folder_may_be_named_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/outputs", "some").root == tmp_path / "outputs" / "some"


def test_a_plan_is_read_back_line_by_line(store):
    runs = [{"id": "a", "config": {"x": [1, None]}}, {"id": "b", "config": {}}]
    file = store.write_plan("0123", runs)
    assert file == store.plan_file("0123")
    assert list(read_lines(file)) == runs == [json.loads(line) for line in file.read_text().splitlines()]
