import json
import os
from pathlib import Path

import pytest

from interpret_runs.runner import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("INTERPRET_RUNS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_seen", {})
    return tmp_path / "cache"


def forget() -> None:
    """What a new process knows."""
    cache._seen.clear()


def test_equal_values_give_equal_text_in_any_order():
    assert cache.canonical({"a": 1, "b": [None, "é"]}) == cache.canonical({"b": [None, "é"], "a": 1})
    assert cache.canonical({"a": 1}) != cache.canonical({"a": "1"})


def test_a_value_is_computed_once_and_kept_between_processes():
    calls = []
    for _ in range(2):
        assert cache.remember("kind", "key", lambda: calls.append(1) or {"found": [1]}) == {"found": [1]}
    forget()
    assert cache.remember("kind", "key", lambda: 1 / 0) == {"found": [1]}
    assert len(calls) == 1


def test_kinds_and_keys_are_apart():
    assert [cache.remember(kind, key, lambda: kind + key) for kind, key in ("ab", "ac", "bb")] == ["ab", "ac", "bb"]  # noqa: B023


def test_of_two_processes_that_find_different_values_the_first_counts(folder):
    def slow() -> int:
        cache.remember("kind", "key", lambda: 1)  # another process, meanwhile
        forget()
        return 2

    assert cache.remember("kind", "key", slow) == 1
    forget()
    assert cache.remember("kind", "key", lambda: 3) == 1
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


def test_what_is_kept_elsewhere_is_known_there_alone(folder, tmp_path):
    for name in ("one", "other"):
        for _ in range(2):
            assert cache.remember("kind", "key", lambda: name, tmp_path / name) == name  # noqa: B023
            forget()
        assert len(list((tmp_path / name / "kind").iterdir())) == 1
    assert cache.remember("kind", "key", lambda: "usual") == "usual"


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"value": 3}', '{"key": "other", "value": 3}'])
def test_a_damaged_entry_is_computed_again(folder, damage):
    cache.remember("kind", "key", lambda: 1)
    (file,) = folder.rglob("*.json")
    file.write_text(damage)
    forget()
    assert cache.remember("kind", "key", lambda: 2) == 2
    assert json.loads(file.read_text())["value"] == 2


def test_a_cache_that_cannot_be_written_costs_no_result(folder, monkeypatch):
    folder.write_text("a file where the folder should be")
    assert cache.remember("kind", "key", lambda: 7) == 7


def test_nothing_but_the_entry_is_left_behind(folder):
    cache.remember("kind", "key", lambda: 1)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


def test_without_a_folder_of_its_own_the_users_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("INTERPRET_RUNS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "interpret-runs"


def test_a_digest_is_of_the_content(tmp_path):
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (cache.file_digest(str(tmp_path / name), "images.path") for name in "abc")
    assert one == same != other
    assert len(one) == 16


def test_a_digest_is_read_once_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"x" * 10)
    before = cache.file_digest(str(file), "key")
    monkeypatch.setattr(Path, "open", lambda *_: 1 / 0)
    assert cache.file_digest(str(file), "key") == before
    monkeypatch.undo()
    file.write_bytes(b"y" * 10)
    os.utime(file, ns=(1, 1))
    assert cache.file_digest(str(file), "key") != before


def test_relative_absolute_and_home_paths_are_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_bytes(b"x")
    assert len({cache.file_digest(path, "key") for path in ("a", "./a", "~/a", str(tmp_path / "a"))}) == 1


def test_what_is_no_file_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model.weights=.*nothing.pth: no such file"):
        cache.file_digest(str(tmp_path / "nothing.pth"), "model.weights")
    with pytest.raises(IsADirectoryError, match="images.path=.* is a folder"):
        cache.file_digest(str(tmp_path), "images.path")
