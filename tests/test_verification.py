from pathlib import Path

import pytest
from command_line import here, python
from stored import again, record, write

from interpret_runs.runner.claims import Claims
from interpret_runs.runner.store import Store
from interpret_runs.runner.verification import Fault, verify


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four finished runs, and one that failed."""
    monkeypatch.chdir(tmp_path)
    made = Store("outputs", "some")
    write(made, "a", "b", "c", "d")
    made.write_records([record("e", "failed", error="of a kind")])
    return made


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_whole_store_is_said_to_be_whole_and_left_alone(store):
    before = files(store.root)
    done = here("task=verify", "name=some")
    assert (done.status, done.err) == (0, "")
    assert (
        "verified 5 runs" in done.out
        and "5 are whole, 0 have files" in done.out
        and "0 records are damaged" in done.out
    )
    assert files(store.root) == before


def spoil(store: Store) -> None:
    (store.run_folder("a") / "image.png").write_bytes(b"an omage")
    (store.run_folder("b") / "image.png").write_bytes(b"longer than an image")
    (store.run_folder("c") / "image.png").unlink()


def test_each_kind_of_fault_is_told(store):
    spoil(store)
    assert list(verify(store)) == [
        Fault("a", "runs/a/image.png", "other content"),
        Fault("b", "runs/b/image.png", "20 bytes instead of 8"),
        Fault("c", "runs/c/image.png", "gone"),
    ]


def test_what_is_gone_cannot_be_set_aside(store):
    (store.run_folder("c") / "image.png").unlink()
    done = here("task=verify", "name=some")
    assert done.status == 1 and "gone" in done.out and "set aside" not in done.out
    assert not store.damaged_folder.exists()


def test_a_file_that_is_a_folder_by_now_is_told_too(store):
    file = store.run_folder("a") / "image.png"
    file.unlink()
    file.mkdir()
    assert [fault.run_id for fault in verify(store)] == ["a"]


def test_what_is_wrong_is_listed_set_aside_and_run_again(store):
    spoil(store)
    (file,) = [path for path in store.record_files() if b'"e"' in path.read_bytes()]
    file.write_bytes(b'{"run_id": "e", "st')
    assert again(store).status().keys() == {"a", "d"}, "only verify reads contents"
    done = here("task=verify", "name=some")
    assert done.status == 1 and done.err == ""
    assert "1 is whole, 3 have files" in done.out and "1 record is damaged" in done.out
    for text in ("runs/a/image.png", "other content", "20 bytes instead of 8", "gone", "outputs/some/damaged"):
        assert text in done.out
    assert (store.damaged_folder / "a" / "image.png").read_bytes() == b"an omage"
    assert (store.damaged_folder / "b" / "image.png").read_bytes() == b"longer than an image"
    assert again(store).status() == {"d": "ok"}
    write(store, "a", "b", "c", finished="2027")
    store.write_records([record("e", "failed", error="of a kind")])
    assert here("task=verify", "name=some").status == 0


def test_only_the_newest_record_of_a_run_counts(store):
    write(store, "a", content=b"another image", finished="2027")
    assert list(verify(again(store))) == []


@pytest.mark.parametrize("task", ["verify", "status"])
def test_a_store_that_is_none_names_those_nearest(store, task):
    said = here(f"task={task}", "name=sone")
    assert said.error == "no store 'sone' in outputs; closest: some (name=, outputs=)"


@pytest.mark.parametrize("task", ["verify", "status"])
def test_what_is_told_of_a_store_needs_no_torch(store, task):
    code = "import sys; sys.argv[1:] = [{!r}, 'name=some']; from interpret_runs.runner.app import main; main(); "
    done = python(code.format(f"task={task}") + "sys.exit('torch' in sys.modules)")
    assert (done.status, done.err) == (0, "")


def test_a_run_that_a_sweep_executes_just_now_is_left_to_it(store):
    """New files come before their record."""
    spoil(store)
    with Claims(store, ["a", "b", "c"]):
        done = here("task=verify", "name=some")
    assert done.status == 0 and (store.run_folder("a") / "image.png").read_bytes() == b"an omage"
    assert here("task=verify", "name=some").status == 1
