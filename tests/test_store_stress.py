"""Full disks, foreign users, odd names and damage: what is done is kept, and what is wrong is never trusted."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from disks import fill, remount, small_disk
from stored import again, record, write

from interpret_runs import load_index
from interpret_runs.runner.claims import Claims
from interpret_runs.runner.index import write_index
from interpret_runs.runner.store import Store, StoreError, existing

FULL = "cannot write to .*: no space left on device; what is done is kept, and the same command does the rest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs", "some")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    with small_disk(tmp_path / "disk", 512) as place:
        yield place


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def test_a_full_disk_keeps_what_is_done_and_leaves_no_halves(disk):
    store = Store(disk, "some")
    write(store, "a", "b")
    with pytest.raises(StoreError, match=FULL):
        for number in range(100):
            write(store, f"large {number}", content=bytes(100_000))
    assert hidden(disk) == []
    done = again(store).status()
    assert {"a", "b"} < done.keys() and set(done.values()) == {"ok"}
    for folder in (store.run_folder(name) for name in done if name.startswith("large")):
        shutil.rmtree(folder)
    write(store, "c")
    assert {"a", "b", "c"} == again(store).status().keys(), "with room again, all goes on"


def test_a_claim_that_a_full_disk_cuts_short_is_not_held(disk):
    store = Store(disk, "some")
    write(store, "a")
    fill(disk)
    with pytest.raises(StoreError, match=FULL), Claims(store, ["b"]):
        pass
    assert not store.claim_file("b").exists()


def test_a_store_that_became_read_only_can_be_read_and_says_so_when_written(disk):
    store = Store(disk, "some")
    write(store, "a")
    remount(disk, "ro")
    assert again(store).status() == {"a": "ok"}
    assert list(load_index(store.root).run_id) == ["a"]
    with pytest.raises(StoreError, match="read-only file system; what is done is kept; set outputs="):
        write(store, "b")
    with pytest.raises(StoreError), Claims(store, ["b"]):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [("ENOSPC", "same command"), ("EDQUOT", "same command"), ("EROFS", "outputs="), ("EACCES", "outputs=")],
)
@pytest.mark.parametrize("where", ["fsync", "settle", "mkdir"])
def test_what_no_run_is_at_fault_for_is_an_error_of_its_own(store, monkeypatch, number, words, where):
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(getattr(errno, number), "Some reason")

    if where == "settle":
        store.write_artefact("a", "image.png", b"image")
    monkeypatch.setattr(*{"mkdir": (Path, "mkdir", fails)}.get(where, (os, "fsync", fails)))
    with pytest.raises(StoreError, match=f"cannot write to .*some: some reason; .*{words}"):
        store.write_records([record("a")])
    monkeypatch.undo()
    assert again(store).status() == {} and hidden(store.root.parent) == []


def test_other_errors_stay_what_they_are(store, monkeypatch):
    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="broken disk") as error:
        store.write_records([record("a")])
    assert not isinstance(error.value, StoreError)


def test_folders_that_cannot_be_settled_are_no_reason_to_fail(store, monkeypatch):
    synced = os.fsync

    def knows_no_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", knows_no_folders)
    write(store, "a")
    assert again(store).status() == {"a": "ok"}


def test_artefacts_are_safe_before_their_record_is_and_both_with_their_folders(store, monkeypatch):
    order: list[str] = []
    synced, replace = os.fsync, Path.replace

    def notes_sync(descriptor: int) -> None:
        order.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        synced(descriptor)

    def notes_rename(path: Path, target: Path) -> Path:
        order.append(f"rename {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", notes_sync)
    monkeypatch.setattr(Path, "replace", notes_rename)
    write(store, "a", "b")
    (file,) = store.record_files()
    named = order.index(f"rename {file.name}")
    for path in ("runs/a/image.png", "runs/b/image.png", "runs/a", "runs/b", "runs", ""):
        assert str(store.root / path).rstrip("/") in order[:named], path
    assert str(store.root / "records") in order[named:]


@pytest.mark.parametrize("name", ["with spaces and 'quotes'", "Größe\u2028ж", "[red]%s{}"])
def test_a_store_may_have_any_name(tmp_path, name):
    store = Store(tmp_path / name, name)
    write(store, "a")
    write_index(store)
    assert again(store).status() == {"a": "ok"}
    (path,) = load_index(store.root).image
    assert (store.root / path).read_bytes() == b"an image"
    with Claims(store, ["a"]) as held:
        assert held == ["a"]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path, kind: Callable[[Path], bool]) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if kind(path)}


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_and_folders_are_open_to_whom_the_umask_says(store, mask):
    with umask(mask), Claims(store, ["a"]):
        write(store, "a")
        store.write_plan("0123", [{"id": "a"}])
        write_index(store)
        assert modes(store.root, Path.is_file) == {0o666 & ~mask}
        assert modes(store.root, Path.is_dir) == {0o777 & ~mask}


@contextmanager
def acting_as(user: int, group: int) -> Iterator[None]:
    os.setegid(group)
    os.seteuid(user)
    try:
        with umask(0o002):
            yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_two_users_of_one_group_share_a_store():
    if os.geteuid() != 0:
        pytest.skip("needs the right to act as other users")
    import pandas  # noqa: F401  # what others may not read is to be loaded before
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    home = Path(mkdtemp())
    try:
        warm = Store(home, "warm")
        write(warm, "a")
        write_index(warm)
        os.chown(home, 0, 50_000)
        home.chmod(0o2770)
        store = Store(home, "some")
        with acting_as(40_001, 50_000):
            write(store, "a")
            write_index(store)
            store.make_room(store.claim_file("b")).write_text("")
            os.utime(store.claim_file("b"), (1, 1))
        with acting_as(40_002, 50_000):
            other = again(store)
            with Claims(other, ["b"]) as held:
                assert held == ["b"], "a claim that another user left is taken over"
                write(other, "a", "b", finished="2027")
            write_index(other)
        with acting_as(40_001, 50_000):
            assert again(store).status() == {"a": "ok", "b": "ok"}
            assert set(load_index(store.root).run_id) == {"a", "b"}
    finally:
        shutil.rmtree(home)


def damaged_store(store: Store, damage: bytes) -> Path:
    write(store, "a", "b", "c")
    (file,) = store.record_files()
    first, second, third = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([first, damage or second[: len(second) // 2], third]) + b"\n")
    return file


BAD = [
    {"run_id": "../b"},
    {"run_id": 3},
    {"status": "fine"},
    {"finished": None},
    {"artefacts": []},
    {"artefacts": {"image": {"path": "/etc/passwd", "bytes": 1, "sha256": ""}}},
    {"artefacts": {"image": {"path": "runs/../../b", "bytes": 1, "sha256": ""}}},
    {"artefacts": {"image": {"path": "runs/b", "bytes": "1", "sha256": ""}}},
    {"artefacts": {"image": {"path": "runs/b"}}},
    {"artefacts": {"image": "runs/b"}},
    {"config": []},
    {"metrics": "none"},
    {"batch": "b"},
    {"score": "high"},
]
JUNK = [b"", b"\0" * 300, b"\xff\xfe", b"{}", b"null", b"[" * 100_000]


@pytest.mark.parametrize("damage", [*JUNK, *BAD], ids=str)
def test_a_damaged_record_is_reported_set_aside_and_run_again(store, damage):
    line = json.dumps({**record("b"), **damage}).encode() if isinstance(damage, dict) else damage
    file = damaged_store(store, line)
    content = file.read_bytes()
    for _ in range(2):
        seen = again(store)
        assert seen.status() == {"a": "ok", "c": "ok"}
        assert seen.damage() == (1, 0)
        assert list(load_index(store.root).run_id) == ["a", "c"]
        assert file.read_bytes() == content and not store.damaged_folder.exists(), "reading changes nothing"
        write_index(seen)  # from here on the catalogue tells it
    seen = again(store)
    assert seen.set_aside_damage() == 1
    assert (store.damaged_folder / file.name).read_bytes() == content
    assert seen.damage() == again(store).damage() == (0, 0)
    assert seen.status() == again(store).status() == {"a": "ok", "c": "ok"}
    assert set(seen.newest()) == {"a", "c"}
    assert seen.set_aside_damage() == 0


def test_a_file_without_any_record_goes_as_a_whole(store):
    write(store, "a")
    file = store.root / "records" / "other.jsonl"
    file.write_bytes(b"\0\0\n\0")
    assert again(store).set_aside_damage() == 2
    assert not file.exists() and (store.damaged_folder / file.name).read_bytes() == b"\0\0\n\0"
    assert again(store).status() == {"a": "ok"}


@pytest.mark.parametrize("content", [b"", b"other", b"longer than it was"])
def test_an_image_of_another_size_is_not_done(store, content):
    write(store, "a", "b")
    (store.run_folder("a") / "image.png").write_bytes(content)
    assert store.status() == again(store).status() == {"b": "ok"}
    assert store.damage() == (0, 1)
    write(store, "a", finished="2027")
    assert store.status() == {"a": "ok", "b": "ok"} and store.damage() == (0, 0)


def test_names_that_are_half_a_character_are_kept(store):
    odd = os.fsdecode(b"image\xff.png")
    store.write_records(
        [record("a", config={"images": {"path": odd}}), record("b", config={"images": {"path": "plain"}})]
    )
    assert again(store).newest()["a"]["config"]["images"]["path"] == odd
    write_index(store)
    assert list(load_index(store.root)["images.path"]) == ["image\\udcff.png", "plain"]


def test_an_unknown_store_names_those_nearest(store, tmp_path):
    write(store, "a")
    assert existing(tmp_path / "outputs", "some").root == store.root
    with pytest.raises(FileNotFoundError, match=r"no store 'sone' in .*; closest: some \(name=, outputs=\)"):
        existing(tmp_path / "outputs", "sone")
    with pytest.raises(FileNotFoundError, match="closest: none"):
        existing(tmp_path / "nowhere", "some")
