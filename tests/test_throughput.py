"""How many runs are executed together: found by a trial, kept in the store, and of no effect on what a run is."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import NO_SHEET, QUICK, here, ids, planned, records, store

from interpret_runs.runner import cache, throughput
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.execute import execute, now, task_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.visualise import Visualise
from interpret_runs.runner.throughput import ALL, FEW, fastest, together
from interpret_runs.runner.tuning import Tuning, tuned

TEN = ("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=range(0,10)", "compute.device=cpu")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "_seen", {})
    return tmp_path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Every batch is worth a trial, which finds a number; returns a list that grows by it with each trial."""

    def finds(number: int) -> list[int]:
        tried: list[int] = []
        monkeypatch.setattr(throughput, "WORTH", 0)
        monkeypatch.setattr(throughput, "fastest", lambda _: tried.append(number) or number)
        return tried

    return finds


@pytest.mark.parametrize(("few", "best"), [(1, ALL), (3, ALL), (0.97, ALL), (0.9, FEW)])
def test_few_runs_are_executed_together_where_that_saves_much(few, best):
    tried = []
    assert fastest(lambda count: tried.append(count) or count * {ALL: 1, FEW: few}[count]) == best
    assert len(tried) == (2 if best == ALL else 4), "what gains nothing is tried once"


def test_a_step_that_was_disturbed_divides_nothing():
    seconds = iter([5.0 * ALL, FEW, ALL, FEW])
    assert fastest(lambda _: next(seconds)) == ALL


def test_a_gain_that_was_dear_to_find_is_believed_at_once(monkeypatch):
    times = iter([0.0, throughput.PATIENCE])
    monkeypatch.setattr(throughput, "perf_counter", lambda: next(times))
    tried = []
    assert fastest(lambda count: tried.append(count) or count * {ALL: 1, FEW: 0.5}[count]) == FEW
    assert len(tried) == 2


def test_what_is_not_to_be_tried_stays_together(found, monkeypatch):
    runs = planned(*TEN[1:])
    tried = found(4)
    explained = planned("task=attribute", "objective=logit", "objective.target=range(0,8)", "images=shapes")

    def of(runs: Sequence[Run], how: Tuning, device: torch.device = CPU, fits: int = 99) -> int:
        with tuned(how):
            return together(task_of(runs[0]), runs, device, fits, Path("measured"))

    split = Tuning(split=True)
    assert of(runs, Tuning()) == of(runs, replace(split, compile=True)) == of(runs, split, torch.device("meta")) == 10
    assert of(runs[:4], split) == 4 and of(explained, split) == len(explained)
    assert of(runs, split, fits=7) == 7, "a trial needs room for the largest count"
    monkeypatch.setattr(throughput, "WORTH", 10 * 2 + 1)
    assert of(runs, split) == 10 and not tried
    monkeypatch.setattr(throughput, "WORTH", 10 * 2)
    assert of(runs, split) == 4 and tried == [4]


def test_the_first_process_finds_it_for_all_that_share_the_store(found):
    first = found(4)
    assert here(*TEN).status == 0
    assert sorted(len(record["batch"]) for record in records()) == [3] * 6 + [4] * 4
    cache._seen.clear()  # as a new process
    second = found(8)
    assert here(*TEN, "seed=1").status == 0, "other seeds take as long"
    assert {len(record["batch"]) for record in records() if record["seed"] == 1} == {3, 4}
    assert here(*TEN, "layer=middle").status == 0, "other layers do not"
    assert len(list(store().measured_folder.rglob("*.json"))) == 2
    assert here(*TEN, "name=other").status == 0, "nor are other stores asked"
    assert {len(record["batch"]) for record in records("other")} == {5}
    assert (first, second) == ([4], [8, 8])


def test_what_takes_other_times_is_tried_by_itself():
    cppn = "parameterisation=cppn"
    kinds = [(cppn, f"parameterisation.layers={count}") for count in (2, 8)]
    kinds += [("optimizer=adam",), ("optimizer=nadam",), ("parameterisation=pixel",)]
    keys = [{canonical(task_of(run).alike(run, CPU)) for run in planned(*TEN[1:], *more, "seed=0,1")} for more in kinds]
    assert all(len(found) == 1 for found in keys), "units and seeds change nothing"
    assert len(set().union(*keys)) == len(kinds)


@pytest.mark.parametrize("size", [3, 16])
def test_a_number_that_is_asked_for_is_obeyed(found, size):
    tried = found(4)
    assert here(*TEN, f"compute.batch_size={size}").status == 0
    assert max(len(record["batch"]) for record in records()) == min(10, size) and not tried


def test_equal_ids_and_scores_whatever_the_batches(found):
    found(8)
    sizes = ("auto", 1, 4)
    assert ids(*TEN[1:], "compute.batch_size=1") == ids(*TEN[1:])
    scores = []
    for size in sizes:
        more = ("task.steps=32", f"name=by{size}", f"compute.batch_size={size}")
        assert here(*TEN, *more).status == 0
        scores.append({record["run_id"]: record["score"] for record in records(f"by{size}")})
        assert max(len(record["batch"]) for record in records(f"by{size}")) == {"auto": 5}.get(size, size)
    for other in scores[1:]:
        assert other.keys() == scores[0].keys()
        for name, score in other.items():
            assert score == pytest.approx(scores[0][name], rel=0.15)


@pytest.mark.parametrize("parameterisation", ["fourier", "cppn"])
def test_a_trial_leaves_no_trace(found, monkeypatch, parameterisation):
    """Runs that were tried first have the bytes of those that were not."""
    found(4)
    monkeypatch.setattr(throughput, "fastest", lambda trial: [trial(count) for count in (ALL, FEW)] and 4)
    eight = (*TEN, "objective.channel=range(0,8)", f"parameterisation={parameterisation}")
    assert here(*eight, "name=tried").status == 0
    assert here(*eight, "name=plain", "compute.batch_size=4").status == 0
    made = [{one["run_id"]: one["artefacts"]["image"]["sha256"] for one in records(of)} for of in ("tried", "plain")]
    assert {len(record["batch"]) for record in records("tried")} == {4}
    assert made[0] == made[1]


def test_a_batch_is_reproduced_as_it_was_whatever_is_found_then(found):
    assert here(*TEN, "compute.batch_size=10", "name=whole").status == 0
    found(5)
    assert here(*TEN).status == 0
    tried = found(4)
    for name, together_then in (("default", 5), ("whole", 10)):
        picture = next((store(name).root / "runs").rglob("image.png"))
        done = here("task=reproduce", f"task.source={picture}", f"task.keep=again-{name}")
        assert done.status == 0 and "identical bytes" in done.out and f"of {together_then} runs" in done.out
    assert not tried


def test_plans_tell_workers_whether_batches_are_split(found):
    found(16)
    for size, split in (("auto", True), (4, False)):
        assert here(*TEN, f"name=by{size}", f"compute.batch_size={size}").status == 0
        (file,) = (store(f"by{size}").root / "plan").iterdir()
        told = [json.loads(line)["tuning"] for line in file.read_text().splitlines()]
        assert [one["split"] for one in told] == [split] * 10
        assert {Tuning.from_json(one).split for one in told} == {split}


@pytest.mark.parametrize("key", ["split=false", "at_once=x", "at_once=4"])
def test_what_plans_tell_workers_is_no_setting(key):
    said = here(*TEN, f"+compute.{key}")
    assert said.status != 0 and f"no key or group 'compute.{key.partition('=')[0]}'; closest: compute." in said.err
    assert not store().root.exists()


def test_how_a_batch_is_computed_is_what_was_told():
    how = Tuning("channels_last", True, False, True, 4)
    assert Tuning.from_json({**how.to_json(), "precision": "float32"}) == how
    assert Tuning.from_json({}) == Tuning()


def test_a_trial_that_fails_costs_no_run(found, monkeypatch):
    found(4)
    monkeypatch.setattr(throughput, "fastest", full := Full())
    done = execute(planned(*TEN[1:]), store(), "cpu", now(), how=Tuning(split=True))
    assert {record["status"] for record in done} == {"ok"} and len(done) == 10 and full.tried


class Full:
    """Finds no memory for a trial."""

    tried = 0

    def __call__(self, _: object) -> int:
        self.tried += 1
        raise MemoryError


def test_a_trial_takes_time_of_any_number_of_runs():
    run = planned(*TEN[1:])[0]
    task = task_of(run)
    assert isinstance(task, Visualise)
    assert all(task.trial(run, CPU, count) > 0 for count in (FEW, ALL))
