"""What is derived equals what it is derived from, however it grew."""

import os
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import again, record, write

from interpret_runs import load_index
from interpret_runs.runner import catalogue as catalogues
from interpret_runs.runner import index, known
from interpret_runs.runner.catalogue import VERSION, Catalogue
from interpret_runs.runner.index import build, write_index
from interpret_runs.runner.store import Store

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_infinity=False),
    st.sampled_from(["", "1", "text", "\udcff", "Löwe\u2028", "null"]),
    st.lists(st.integers(0, 2), max_size=2),
)
LEAVES = st.dictionaries(st.sampled_from(["x", "size", "_partial_"]), VALUES, max_size=3)
RECORDS = st.builds(
    record,
    run_id=st.sampled_from("abcde"),
    status=st.sampled_from(["ok", "failed"]),
    finished=st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
    config=st.dictionaries(st.sampled_from(["objective", "task"]), LEAVES, max_size=2),
    metrics=st.dictionaries(st.sampled_from(["image_std", "x", "seed"]), VALUES, max_size=2),
    score=st.one_of(st.none(), st.integers(0, 3), st.floats()),
    seed=st.one_of(st.none(), st.integers(0, 2**62)),
)
# A batch of records, or: keep what is derived, damage a record file, remove one.
STEPS = st.lists(
    st.one_of(st.lists(RECORDS, min_size=1, max_size=3), st.sampled_from(["keep", "damage", "remove"])), max_size=8
)


def apply(store: Store, step: Any) -> None:
    files = store.record_files()
    if isinstance(step, list):
        store.write_records(step)
    elif step == "keep":
        write_index(store)
    elif files and step == "damage":
        content = files[0].read_bytes()
        files[0].write_bytes(content[: len(content) // 2])
    elif files:
        files[-1].unlink()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_what_grew_step_by_step_equals_what_is_made_at_once(steps):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogues, "CHUNK", 2)  # so that columns meet in several parts
        store = Store(folder, "some")
        for step in steps:
            apply(store, step)
        grown = build(again(store)), store.status(), again(store).status(), again(store).newest(), store.finished()
        store.catalogue_file.unlink(missing_ok=True)
        made = build(again(store)), *[again(store).status()] * 2, again(store).newest(), again(store).finished()
        pd.testing.assert_frame_equal(grown[0], made[0], check_exact=True)
        assert repr(grown[1:]) == repr(made[1:])
        if store.record_files() and len(made[0]):
            write_index(store)
            pd.testing.assert_frame_equal(load_index(store.root), made[0], check_exact=True)


def test_only_new_record_files_are_read(tmp_path, monkeypatch):
    store = Store(tmp_path, "some")
    write(store, "a", "b")
    write_index(store)
    write(store, "c")
    read: list[str] = []
    for module in (catalogues, known):
        monkeypatch.setattr(
            module, "read_records", lambda file, f=module.read_records: (read.append(file.name), f(file))[1]
        )
    new = again(store)
    assert set(new.status()) == {"a", "b", "c"} and len(read) == 1
    assert len(build(new)) == 3 and len(read) == 2
    write_index(new)
    assert len(read) == 3
    write_index(new)
    assert set(again(store).status()) == {"a", "b", "c"} and len(read) == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "bit", "version", "folder"])
def test_a_damaged_catalogue_is_not_trusted_and_comes_back(tmp_path, damage):
    store = Store(tmp_path, "some")
    write(store, "a", "b")
    before = write_index(store)
    file = store.catalogue_file
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        other = whole.replace(f"catalogue {VERSION}".encode(), b"catalogue 1")
        file.write_bytes(
            {"cut": whole[:-9], "empty": b"", "junk": b"\0" * 999, "bit": flipped, "version": other}[damage]
        )
    assert Catalogue.read(file) == Catalogue()
    assert again(store).status() == {"a": "ok", "b": "ok"}
    pd.testing.assert_frame_equal(build(again(store)), before)
    if damage != "folder":
        write_index(store)
        assert Catalogue.read(file).files == store.record_states()


def test_a_table_that_is_damaged_inside_is_made_anew(tmp_path):
    store = Store(tmp_path, "some")
    write(store, *(f"run {number}" for number in range(200)))
    before = write_index(store)
    file = store.index_file("parquet")
    content, state = bytearray(file.read_bytes()), file.stat()
    content[100] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert index.is_fresh(store), "its footer is whole"
    pd.testing.assert_frame_equal(load_index(store.root), before)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_damaged_or_foreign_index_is_made_anew(tmp_path, suffix):
    store = Store(tmp_path, "some")
    write(store, "a")
    before = write_index(store)
    file = store.index_file(suffix)
    content = file.read_bytes()
    state = file.stat()
    file.write_bytes(content[:40] + b"\0" * (len(content) - 40))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    pd.testing.assert_frame_equal(load_index(store.root), before)
    os.utime(file, (1, 1))
    assert not index.is_fresh(store), "two files of other dates were not made together"


def test_the_clock_of_this_machine_does_not_matter(tmp_path, monkeypatch):
    store = Store(tmp_path, "some")
    write(store, "a")
    monkeypatch.setattr(index, "time_ns", lambda: 2**61)
    write_index(store)
    monkeypatch.undo()
    assert index.is_fresh(store)
    write(store, "b")
    assert not index.is_fresh(store)
    assert set(load_index(store.root).run_id) == {"a", "b"}


def test_indices_may_be_written_while_others_write(tmp_path):
    store = Store(tmp_path, "some")
    write(store, "first")

    def work(number: int) -> None:
        mine = again(store)
        for batch in range(6):
            write(mine, f"{number}-{batch}-a", f"{number}-{batch}-b")
            write_index(mine)

    threads = [Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert load_index(store.root).run_id.is_unique
        assert set(again(store).status().values()) == {"ok"}
    for thread in threads:
        thread.join()
    assert len(load_index(store.root)) == len(again(store).status()) == 3 * 6 * 2 + 1
    assert not list(tmp_path.rglob(".*"))
