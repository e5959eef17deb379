import subprocess
from pathlib import Path

import pytest
from command_line import python
from stored import record

from interpret_runs.runner import provenance, staleness
from interpret_runs.runner.staleness import is_other, stale
from interpret_runs.runner.store import Store

CLEAN = {"commit": "a" * 40, "dirty": False, "changes": None}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout at one commit, without changes; its package is as in commit b, and not as in commit c."""
    monkeypatch.setattr(provenance, "git", lambda: CLEAN)
    monkeypatch.setattr(staleness, "_same_code", lambda commit: commit == "b" * 40)


def now() -> dict[str, str | None]:
    return dict(provenance.packages())


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", ["interpret-runs", "torch", "torchvision"])
def test_other_versions_of_what_counts_make_a_run_stale(name):
    assert not is_other(now(), CLEAN)
    assert is_other({**now(), name: "0.0.1"}, CLEAN)
    assert not is_other({**now(), "pillow": "0.0.1", "cuda": "99"}, CLEAN)
    assert not is_other({}, {}), "what tells nothing is not accused"


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("git", "other"),
    [
        (CLEAN, False),
        ({}, False),
        ({**CLEAN, "commit": "b" * 40}, False),
        ({**CLEAN, "commit": "c" * 40}, True),
        ({**CLEAN, "dirty": True}, False),
        ({**CLEAN, "dirty": True, "changes": "0123"}, True),
        ({"commit": "a" * 40, "dirty": True}, True),
        ({"commit": "a" * 40, "dirty": False}, False),
        ({"commit": 3}, True),
    ],
)
def test_other_code_makes_a_run_stale(git, other):
    assert is_other(now(), git) is other


@pytest.mark.usefixtures("clean")
def test_equal_changes_on_top_are_the_same_code(monkeypatch):
    dirty = {**CLEAN, "dirty": True, "changes": "0123"}
    monkeypatch.setattr(provenance, "git", lambda: dirty)
    assert not is_other(now(), dirty)
    assert is_other(now(), CLEAN)


def test_an_installed_package_is_known_by_its_version(monkeypatch):
    monkeypatch.setattr(provenance, "git", lambda: None)
    assert not is_other(now(), CLEAN)


@pytest.mark.usefixtures("clean")
def test_the_newest_record_of_a_run_that_ended_well_is_judged(tmp_path):
    store = Store(tmp_path, "some")
    old, new = {"versions": {"torch": "0.1"}}, {"versions": now(), "git": CLEAN}
    store.write_records([record("a", **old), record("b", **old), record("c", "failed", **old), record("d", **new)])
    store.write_records([record("b", finished="2027", **new), record("e")])
    assert stale(store) == {"a"}


def test_commits_are_compared_by_what_the_package_holds(tmp_path, monkeypatch):
    package = tmp_path / "interpret_runs" / "runner"
    package.mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    code = package / "provenance.py"

    def git(*arguments: str) -> str:
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(file: Path, content: str) -> str:
        file.write_text(content)
        git("add", ".")
        git("commit", "-m", "some")
        return git("rev-parse", "HEAD")

    git("init")
    first = commit(code, "one")
    second = commit(tmp_path / "README", "words")
    monkeypatch.setattr(provenance, "__file__", str(code))
    git_state = provenance.git.__wrapped__
    assert git_state() == {"commit": second, "dirty": False, "changes": None}
    assert provenance.same_code(first) and provenance.same_code(second)
    (tmp_path / "README").write_text("other words")
    assert git_state() == {"commit": second, "dirty": True, "changes": None}, "words change no result"
    code.write_text("two")
    changed = git_state()
    assert changed["changes"] and git_state() == changed
    commit(code, "three")
    assert not provenance.same_code(first)
    assert (
        not provenance.same_code("f" * 40) and not provenance.same_code("--output=x") and not provenance.same_code("")
    )


def test_comparing_needs_no_torch(tmp_path):
    code = (
        "import sys; from interpret_runs.runner.staleness import is_other; "
        "is_other({'torch': '0.1'}, {'commit': '" + "a" * 40 + "'}); sys.exit('torch' in sys.modules)"
    )
    assert python(code).status == 0
