from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret_runs.runner import plan as planning
from interpret_runs.runner.plan import AUTO_BATCH, AUTO_BATCH_GPU, MOST_GPU, parts, plan
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Store
from interpret_runs.runner.sweep import plan_of


def run(channel: int, layer: str = "a", seed: int = 0, **config: Any) -> Run:
    objective = {"_target_": "Channel", "layer": layer, "channel": channel}
    task = {"_target_": "tasks.Visualise", "steps": 1}
    return Run(f"{layer}{channel}-{seed}", {"objective": objective, "seed": seed, "task": task, **config})


def names(batches: Any) -> list[list[str]]:
    return [[run.id for run in batch] for batch in batches]


def nothing() -> dict[str, str]:
    return {}


def test_each_run_is_planned_once():
    made = plan([run(1), run(2), run(1)], nothing)
    assert [one.id for one in made.runs] == ["a1-0", "a2-0"]
    assert (made.duplicates, made.todo) == (1, 2)


def test_batches_share_everything_but_unit_seed_and_image():
    runs = [run(1), run(2, "b"), run(3, seed=4), run(5, "b"), run(6, images={"item": 3})]
    assert names(plan(runs, nothing).batches) == [["a1-0", "a3-4", "a6-0"], ["b2-0", "b5-0"]]


def test_no_batch_is_larger_than_asked_and_none_is_forgotten():
    runs = [run(channel) for channel in range(10)]
    assert [len(batch) for batch in plan(runs, nothing, batch_size=4).batches] == [4, 4, 2]
    assert [len(batch) for batch in plan(runs, nothing, batch_size=1).batches] == [1] * 10
    many = plan([run(channel) for channel in range(AUTO_BATCH + 1)], nothing)
    assert [len(batch) for batch in many.batches] == [AUTO_BATCH, 1]


@pytest.mark.parametrize(
    ("rerun", "todo", "done", "failed_before"),
    [
        ("failed", ["a2-0", "a3-0"], ("a1-0",), ()),
        ("none", ["a3-0"], ("a1-0",), ("a2-0",)),
        ("all", ["a1-0", "a2-0", "a3-0"], (), ()),
    ],
)
def test_what_is_done_is_left_out_as_the_policy_says(rerun, todo, done, failed_before):
    made = plan([run(1), run(2), run(3)], lambda: {"a1-0": "ok", "a2-0": "failed", "other": "ok"}, rerun)
    assert sum(names(made.batches), []) == todo
    assert (made.done, made.failed_before) == (done, failed_before)
    assert len(made.runs) == 3


@pytest.mark.parametrize(
    ("rerun", "todo", "done", "shown"),
    [
        ("failed", ["a3-0", "a4-0"], ("a1-0", "a2-0"), ("a2-0",)),
        ("stale", ["a2-0", "a3-0", "a4-0"], ("a1-0",), ()),
        ("none", ["a4-0"], ("a1-0", "a2-0"), ("a2-0",)),
        ("all", ["a1-0", "a2-0", "a3-0", "a4-0"], (), ()),
    ],
)
def test_runs_made_otherwise_are_named_or_run_again_as_the_policy_says(rerun, todo, done, shown):
    status = {"a1-0": "ok", "a2-0": "ok", "a3-0": "failed"}
    runs = [run(1), run(2), run(3), run(4)]
    made = plan(runs, lambda: status, rerun, stale=lambda: {"a2-0", "a3-0", "other"})
    assert sum(names(made.batches), []) == todo
    assert (made.done, made.stale) == (done, shown)


def test_where_nothing_is_done_nothing_is_asked_of_versions():
    assert plan([run(1)], nothing, stale=lambda: 1 / 0).todo == 1


def test_done_runs_leave_no_hole_in_the_batches():
    made = plan(
        [run(channel) for channel in range(8)], lambda: {f"a{even}-0": "ok" for even in (0, 2, 4)}, batch_size=3
    )
    assert names(made.batches) == [["a1-0", "a3-0", "a5-0"], ["a6-0", "a7-0"]]


def test_an_empty_sweep_is_an_empty_plan():
    made = plan([], nothing)
    assert (made.runs, made.batches, made.todo, made.duplicates) == ((), (), 0, 0)


@pytest.mark.parametrize("size", [0, -1, "all", 1.5, True, None])
def test_a_batch_size_that_is_none_says_so(size):
    with pytest.raises(ValueError, match=f"compute.batch_size is {size!r}; it is auto or a whole number from 1 on"):
        plan([run(1)], nothing, batch_size=size)


def test_an_unknown_policy_names_those_there_are():
    with pytest.raises(ValueError, match="sweep.rerun is 'some'; it is one of failed, stale, none, all"):
        plan([run(1)], nothing, "some")


def test_a_bad_setting_is_said_before_the_store_is_read():
    with pytest.raises(ValueError):
        plan([run(1)], lambda: 1 / 0, "some")


def test_a_task_that_reads_a_whole_set_once_makes_one_batch():
    runs = [run(channel, task={"_target_": "tasks.examples.Examples"}) for channel in range(3 * AUTO_BATCH)]
    assert len(plan(runs, nothing).batches) == 1
    assert [len(batch) for batch in plan(runs, nothing, batch_size=40).batches] == [40, 8]


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 50))
def test_parts_are_as_few_as_may_be_and_alike_in_size(runs, most):
    made = parts(runs, most)
    sizes = {len(part) for part in made}
    assert [run for part in made for run in part] == runs
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1 and len(made) == -(-len(runs) // most)


@pytest.mark.parametrize(
    ("task", "gpus", "per_device", "runs", "sizes"),
    [
        ("visualise.Visualise", 1, 1, 300, [MOST_GPU, 44]),
        ("visualise.Visualise", 1, 0, 300, [MOST_GPU, 44]),
        ("visualise.Visualise", 1, 2, 300, [150] * 2),
        ("visualise.Visualise", 2, 2, 300, [75] * 4),
        ("visualise.Visualise", 4, 1, 300, [75] * 4),
        ("visualise.Visualise", 8, 1, 150, [AUTO_BATCH_GPU] * 2 + [22]),
        ("attribute.Attribute", 1, 1, 150, [AUTO_BATCH_GPU] * 2 + [22]),
    ],
)
def test_visualisations_fill_the_memory_of_gpus_and_are_shared_among_their_workers(
    task, gpus, per_device, runs, sizes, monkeypatch
):
    monkeypatch.setattr(planning, "gpus", lambda: gpus)
    many = [run(channel, task={"_target_": f"tasks.{task}"}) for channel in range(runs)]
    made = plan(many, nothing, device="auto", per_device=per_device)
    assert [len(batch) for batch in made.batches] == sizes
    assert {len(batch) for batch in plan(many, nothing, batch_size=50, device="auto").batches} == {50}


def test_the_workers_of_a_sweep_share_its_visualisations(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "gpus", lambda: 1)
    many = [run(channel, task={"_target_": "tasks.visualise.Visualise"}) for channel in range(128)]
    compute = {"device": "auto", "batch_size": "auto", "time_limit": None}
    for per_device, sizes in ((1, [128]), (2, [64, 64])):
        settings = {"compute": {**compute, "per_device": per_device}, "sweep": {"rerun": "failed"}}
        assert [len(batch) for batch in plan_of(many, settings, Store(tmp_path, "some")).batches] == sizes
