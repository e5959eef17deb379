"""The task of the known-truth suite, its table and its figure."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import here, planned, the_run
from PIL import Image

from interpret_runs import load_index, trained
from interpret_runs.difull import Difull
from interpret_runs.plain_maps import Random
from interpret_runs.runner.execute import execute, task_of
from interpret_runs.runner.plan import plan
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks.known_truth import _maps
from interpret_runs.runner.truth_table import Cell, gathered, interval, known_truth, shown

TRUTH = ("task=known_truth", "figure=known_truth")
DIFULL = (*TRUTH, "problem=difull", "problem.samples=4")
TRAINED = ("problem.samples=2", "problem.confidence=0", "problem.images=200", "problem.epochs=1")


@pytest.fixture(autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with trained.kept_in(tmp_path_factory.getbasetemp() / "known truth"):
        yield


def outcome(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers of one run, and its file."""
    run = the_run(*overrides)
    (found,) = task_of(run).execute([run], torch.device("cpu"), None, lambda fraction: None)
    return found.metrics, json.loads(found.files["values"][1])


# --- the task ---------------------------------------------------------------------------------------------------


def test_a_record_holds_means_and_the_file_all_samples():
    metrics, said = outcome(*DIFULL, "attribution=saliency")
    entry = said["measures"]["cell_mass"]
    assert len(entry["values"]) == metrics["cell_mass_samples"] == 4
    assert metrics["cell_mass"] == pytest.approx(np.mean(entry["values"])) == pytest.approx(1)
    assert (entry["chance"], entry["higher"], said["networks"]) == (0.25, True, {})
    assert "accuracy" not in metrics and metrics["attribution_seconds"] > 0


def test_a_trained_network_says_what_its_training_took():
    metrics, said = outcome(*TRUTH, "problem=planted", *TRAINED, "attribution=sobel")
    assert len(said["networks"]) == 2
    assert metrics["training_seconds"] == pytest.approx(
        sum(one["seconds"] for one in said["networks"].values()), abs=2e-3
    )
    assert set(said["measures"]) == {"causal_share_shape", "causal_share_marker"}
    asked = {name: entry["networks"] for name, entry in said["measures"].items()}
    assert sorted(sum(asked.values(), [])) == sorted(said["networks"])
    assert {one["least"] for one in said["networks"].values()} == {0.625}
    wrong = sum(one["accuracy"] < 0.625 for one in said["networks"].values())
    assert metrics["networks_not_learned"] == wrong > 0  # one epoch teaches nothing


def test_samples_without_a_number_are_counted_out():
    metrics, said = outcome(
        *TRUTH, "problem=shapes", *TRAINED, "problem.steps=1", "attribution=deconvnet", "task.magnitudes=[]"
    )
    for name, entry in said["measures"].items():
        defined = [value for value in entry["values"] if value is not None]
        assert len(entry["values"]) == 2 and metrics[f"{name}_samples"] == len(defined)


def test_runs_of_several_methods_in_one_batch_are_what_they_are_alone():
    runs = planned(*DIFULL, "attribution=grad_cam,x_grad_cam", "seed=0,1")
    together = task_of(runs[0]).execute(runs, torch.device("cpu"), None, lambda fraction: None)
    for run, found in zip(runs, together, strict=True):
        (alone,) = task_of(run).execute([run], torch.device("cpu"), None, lambda fraction: None)
        assert alone.metrics["cell_mass"] == found.metrics["cell_mass"]
    assert len({found.metrics["cell_mass"] for found in together}) == 4


def test_a_seed_is_another_run_and_so_are_the_settings_of_a_problem():
    seeds = [run.id for run in planned(*DIFULL, "attribution=saliency", "seed=0,1,2")]
    other = the_run(*TRUTH, "problem=difull", "problem.samples=5", "attribution=saliency").id
    assert len({*seeds, other}) == 4
    assert the_run(*DIFULL, "attribution=saliency", "objective=logit", "model=vgg11").id == seeds[0]


def test_a_stochastic_method_draws_anew_for_each_sample_unless_it_is_asked_again():
    (question, *_) = Difull(samples=8).questions(0)
    apart, equal = _maps(Random(3), question, one_draw=False), _maps(Random(3), question, one_draw=True)
    assert not torch.equal(apart[0], apart[1]) and torch.equal(equal[0], equal[1])
    assert torch.equal(apart, _maps(Random(3), question, one_draw=False))
    assert not torch.equal(apart, _maps(Random(4), question, one_draw=False))


def test_methods_whose_sign_is_no_evidence_are_measured_by_magnitude():
    metrics, _ = outcome(*DIFULL, "attribution=deconvnet")
    assert metrics["cell_mass_samples"] == 4 and metrics["cell_mass"] == pytest.approx(1)
    signed, _ = outcome(*DIFULL, "attribution=saliency", "task.magnitudes=[]")
    assert signed["cell_mass"] == pytest.approx(1)


def test_a_method_that_refuses_a_network_is_a_failed_run_with_one_line(tmp_path):
    runs = planned(*DIFULL, "attribution=attention_rollout,saliency")
    records = [record for run in runs for record in execute([run], Store(tmp_path, "some"), "cpu", now())]
    assert [record["status"] for record in records] == ["failed", "ok"]
    assert "attention" in records[0]["error"] and "\n" not in records[0]["error"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("problem.samples=0", "problem.samples is 0"),
        ("attribution.layer=nothing", "no layer 'nothing' in difull"),
        ("problem._target_=interpret_runs.plain_maps.Sobel", "not a Problem"),
        ("attribution._target_=interpret_runs.difull.Difull", "unexpected keyword|not an Attribution"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(override, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = ["~problem.samples"] if override.startswith("problem._target_") else []
    said = here(*TRUTH, "problem=difull", "attribution=grad_cam", *extra, override)
    assert pd.Series([said.error]).str.contains(text).all()
    assert not list(tmp_path.iterdir())


def test_the_suite_prints_its_table_and_writes_csv_and_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = here("-m", *DIFULL, "attribution=random,saliency,grad_cam,attention_rollout", "seed=0,1", "name=suite")
    assert said.status == 1  # one method refuses
    lines = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line.split()}
    assert lines["saliency"] == ["1.0000", "±.000"]
    assert lines["attention_rollout"] == ["-"] and lines["(chance)"] == ["0.2500"]
    assert 0.2 < float(lines["random"][0]) < 0.3 and float(lines["grad_cam"][0]) < 0.5
    assert "difull 8 of 2 seeds" in said.out
    index = load_index(tmp_path / "outputs/suite")
    assert index.groupby("attribution")["cell_mass"].mean()["saliency"] == pytest.approx(1)
    (table,) = (tmp_path / "outputs/suite/figures").glob("*.csv")
    rows = pd.read_csv(table).set_index("method")
    assert rows.loc["saliency", ["mean", "samples", "seeds", "chance"]].tolist() == [pytest.approx(1), 8, 2, 0.25]
    assert np.isnan(rows.loc["attention_rollout", "mean"])
    with Image.open(table.with_suffix(".png")) as drawn:
        assert drawn.width > 300


def test_the_suite_again_prints_its_table_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = ("-m", *DIFULL, "attribution=random,saliency", "name=suite")
    first, again = here(*suite), here(*suite)
    assert again.status == 0 and "nothing to do" in again.out
    (figure,) = Path("outputs/suite/figures").glob("*.png")
    assert str(figure) in again.out.splitlines()[-1]
    table = [line for line in first.out.splitlines() if line.split()[:1] in (["random"], ["saliency"], ["(chance)"])]
    assert len(table) == 3 and set(table) <= set(again.out.splitlines())


def test_one_run_alone_says_where_its_numbers_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = here(*DIFULL, "attribution=saliency")
    assert said.status == 0, said.err
    assert Path(said.out.split()[-1]).name == "values.json"


# --- the table --------------------------------------------------------------------------------------------------


def row(
    folder: Path, method: str, measures: dict[str, list[float | None]], seed: int = 0, least: float = 0.0, **more: Any
) -> dict[str, Any]:
    """A row of an index with its file; `more` is put into each measure."""
    name = f"{method}-{seed}-{len(list(folder.iterdir()))}.json"
    entries = {key: {"values": values, "chance": None, "higher": True, **more} for key, values in measures.items()}
    networks = {f"net {seed}": {"seconds": 2.0, "accuracy": 0.9 + seed / 100, "least": least}}
    (folder / name).write_text(json.dumps({"measures": entries, "networks": networks}))
    return {
        "problem": "some",
        "attribution": method,
        "seed": seed,
        "status": "ok",
        "attribution_seconds": 1.5,
        "artefact.values": name,
    }


def test_means_are_over_seeds_of_means_over_samples(tmp_path):
    rows = [row(tmp_path, "a", {"m": [1, 1, 1, 0]}, 0), row(tmp_path, "a", {"m": [0, None]}, 1)]
    truth = gathered(pd.DataFrame(rows), tmp_path)
    cell = truth.cells["a", ("some", "m")]
    assert (cell.mean, cell.count, cell.undefined) == (0.375, 5, 1)
    assert truth.seconds == 3 and len(truth.networks) == 2


def test_an_interval_holds_the_mean_and_is_narrower_the_more_is_known():
    draw = np.random.default_rng(1)
    widths = []
    for count in (10, 1000):
        cell = Cell({seed: draw.normal(size=count).tolist() for seed in range(3)})
        low, high = interval(cell, 500)
        assert low < cell.mean < high and (low, high) == interval(cell, 500)
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_an_interval_knows_that_seeds_differ():
    within = Cell({seed: [0.0, 1.0] * 50 for seed in range(3)})
    between = Cell({seed: [seed / 2] * 100 for seed in range(3)})
    assert interval(Cell({0: [0.5] * 9, 1: [0.5] * 9}), 100) == (0.5, 0.5)
    ends, apart = interval(within, 1000), interval(between, 1000)
    assert apart == (0.0, 1.0) and ends[1] - ends[0] < 0.25


def test_an_interval_of_one_seed_covers_as_often_as_it_says():
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = interval(Cell({0: draw.normal(size=60).tolist()}), 300)
        hits += low <= 0 <= high
    assert 178 <= hits <= 199


def test_chance_is_what_is_known_or_else_what_random_maps_came_to(tmp_path):
    rows = [row(tmp_path, "random", {"m": [0.2, 0.4]}), row(tmp_path, "a", {"m": [1.0]})]
    assert gathered(pd.DataFrame(rows), tmp_path).chance_of(("some", "m")) == pytest.approx(0.3)
    assert gathered(pd.DataFrame(rows[1:]), tmp_path).chance_of(("some", "m")) is None
    known = [row(tmp_path, "random", {"m": [0.2]}, chance=0.25)]
    assert gathered(pd.DataFrame(known), tmp_path).chance_of(("some", "m")) == 0.25


def test_cells_show_mean_half_an_interval_and_what_is_undefined():
    cell = Cell({0: [0.5, 1.0]})
    assert shown(cell, (0.6, 0.8)) == "0.7500 ±.100"
    assert shown(replace(cell, undefined=3), (0.6, 0.8)) == "0.7500 ±.100*"
    assert shown(None, None) == shown(Cell({0: []}, 2), (float("nan"),) * 2) == "-"


def test_measures_of_a_network_that_did_not_learn_are_marked(tmp_path, capsys):
    values = {"of_both": [0.5], "of_one": [0.5]}
    rows = [row(tmp_path, "a", values, seed, least=0.905) for seed in range(2)]
    for seed, one in enumerate(rows):
        file = tmp_path / one["artefact.values"]
        said = json.loads(file.read_text())
        said["measures"]["of_both"]["networks"] = [f"net {seed}"]
        said["measures"]["of_one"]["networks"] = ["net 1"] * seed
        file.write_text(json.dumps(said))
    known_truth(pd.DataFrame(rows), tmp_path, tmp_path / "out.svg")
    said = capsys.readouterr().out
    assert "! 1 of 2 networks did not learn (accuracy 0.900 of 0.905 wanted)" in said
    assert said.splitlines()[0].split() == ["some", "!", "some"]
    table = pd.read_csv(tmp_path / "out.csv").set_index("measure")["networks_not_learned"]
    assert table.to_dict() == {"of_both": 1, "of_one": 0}


def test_nothing_is_said_of_networks_that_learned(tmp_path, capsys):
    known_truth(pd.DataFrame([row(tmp_path, "a", {"m": [0.5]}, least=0.9)]), tmp_path, tmp_path / "out.svg")
    assert "!" not in capsys.readouterr().out


def test_a_wide_table_is_printed_in_parts_that_fit(tmp_path, capsys):
    rows = [row(tmp_path, "a", {f"measure_{n}": [n / 30] for n in range(30)}, higher=False)]
    known_truth(pd.DataFrame(rows), tmp_path, tmp_path / "out.svg")
    said = capsys.readouterr().out
    assert said.count("(chance)") >= 3 and "(low" in said
    assert all(f"{n / 30:.4f}" in said for n in range(30))
    assert len(pd.read_csv(tmp_path / "out.csv")) == 30 and (tmp_path / "out.svg").read_text().startswith("<?xml")
    assert {file.name for file in tmp_path.iterdir() if file.suffix != ".json"} == {"out.csv", "out.svg"}


def test_runs_of_other_tasks_have_no_part(tmp_path):
    rows = [row(tmp_path, "a", {"m": [1.0]}), {"problem": None, "attribution": "b", "seed": 0, "status": "ok"}]
    assert list(gathered(pd.DataFrame(rows), tmp_path).methods) == ["a"]


def test_an_index_without_results_is_an_error(tmp_path):
    failed = row(tmp_path, "a", {"m": [1.0]}) | {"status": "failed", "artefact.values": None}
    for index in (pd.DataFrame([failed]), pd.DataFrame([{"run_id": "1", "status": "ok"}])):
        with pytest.raises(ValueError, match="no run of task=known_truth"):
            known_truth(index, tmp_path, tmp_path / "out.png")


def test_two_runs_for_one_cell_are_an_error(tmp_path):
    rows = [row(tmp_path, "a", {"m": [1.0]}), row(tmp_path, "a", {"m": [0.0]})]
    with pytest.raises(ValueError, match="two runs of a on some with seed 0"):
        known_truth(pd.DataFrame(rows), tmp_path, tmp_path / "out.png")


@pytest.mark.parametrize("resamples", [0, 1.5, True])
def test_resamples_are_counted(resamples, tmp_path):
    with pytest.raises(ValueError, match="figure.resamples is"):
        known_truth(pd.DataFrame(), tmp_path, tmp_path / "out.png", resamples=resamples)


def test_equal_runs_are_planned_once():
    runs = planned(*DIFULL, "attribution=grad_cam,layer_cam,grad_cam", "seed=0,1")
    planned_runs = plan(runs, dict)
    assert len(planned_runs.runs) == 4 and planned_runs.duplicates == 2
