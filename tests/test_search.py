"""A sweeper that searches gets a number from each run."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import yaml
from command_line import QUICK, apart, here, hydra, records, said, tree

from interpret_runs.runner.alone import run_alone
from interpret_runs.runner.compose import Composer
from interpret_runs.runner.grid import points

SEARCH = ("+experiment=search", "hydra.sweeper.n_trials=3", *QUICK)
INSTALLED = importlib.util.find_spec("optuna") is not None
SAME_PACKAGES = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(not INSTALLED, reason="needs hydra-optuna-sweeper: pip install 'interpret-runs[optuna]'")
def test_three_trials_are_three_runs_and_the_best_is_kept(folder):
    done = said(apart(folder, *SEARCH, environment=SAME_PACKAGES))
    assert done.status == 0, done.err
    assert {one.partition("/")[0] for one in tree(folder)} == {"outputs"}
    found = {record["run_id"]: record for record in records("search")}
    assert len(found) == 3 and {record["status"] for record in found.values()} == {"ok"}
    for record in found.values():
        assert 0.5 <= record["config"]["parameterisation"]["decay"] <= 2
        assert 0.005 <= record["config"]["optimizer"]["lr"] <= 0.5
    best = yaml.safe_load((folder / "outputs" / "search" / "optimization_results.yaml").read_text())
    top = max(found.values(), key=lambda record: record["metrics"]["robust_score"])
    assert best["best_value"] == top["metrics"]["robust_score"]
    assert best["best_params"]["optimizer.lr"] == top["config"]["optimizer"]["lr"]


@pytest.mark.skipif(not INSTALLED, reason="needs hydra-optuna-sweeper: pip install 'interpret-runs[optuna]'")
def test_a_trial_that_cannot_be_ends_the_search_in_one_line(folder):
    done = said(apart(folder, *SEARCH, "sweep.score=robust_scor", environment=SAME_PACKAGES))
    assert done.status != 0 and "Traceback" not in done.out + done.err
    assert "sweep.score is 'robust_scor', which this run does not have; closest: robust_score" in done.err


@pytest.mark.skipif(INSTALLED, reason="hydra-optuna-sweeper is installed")
def test_without_the_package_a_search_says_what_to_install(folder):
    assert here(*SEARCH).error == (
        "hydra/sweeper=optuna needs a package that is not installed: pip install 'interpret-runs[optuna]'"
    )
    assert tree(folder) == set()


def test_a_run_returns_the_number_that_is_asked_for():
    def returned(*lines: str) -> float | None:
        with hydra() as (loader, master):
            (point,) = points([*QUICK, "layer=early", *lines], None, [], loader)
            return run_alone(*Composer(loader, master).compose(point))

    score, robust = returned(), returned("sweep.score=robust_score")
    (record,) = records()
    assert score == record["score"] and robust == record["metrics"]["robust_score"] != score
    with pytest.raises(LookupError, match="sweep.score is 'nothing', which this run does not have; closest: "):
        returned("sweep.score=nothing")


def test_plugins_of_others_are_found(folder):
    (folder / "hydra_plugins").mkdir()
    (folder / "hydra_plugins" / "other.py").write_text(
        "from hydra.plugins.search_path_plugin import SearchPathPlugin\n\n\n"
        "class Other(SearchPathPlugin):\n    def manipulate_search_path(self, search_path):\n        pass\n"
    )
    done = said(apart(folder, "--info", "plugins", environment={"PYTHONPATH": str(folder)}))
    assert "Other" in done.out and "GridSweeper" in done.out
