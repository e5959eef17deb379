"""All points of a sweep: experiments with grids of their own, and settings that only some options have."""

import pytest
from command_line import hydra, the_run

from interpret_runs.runner.compose import Composer
from interpret_runs.runner.expansion import Expansion
from interpret_runs.runner.grid import points

ATTRIBUTE = ("task=attribute", "objective=logit", "objective.target=2")


def expanded(*arguments: str) -> Expansion:
    """What a sweep over `arguments` stands for."""
    plain = [
        line
        for line in arguments
        if line.startswith(("sweep.", "++sweep.", "+experiment=")) and "," not in line.split("[")[0]
    ]
    with hydra(*plain) as (loader, master):
        return Expansion.of(arguments, master, loader)


def ids(*arguments: str) -> list[str]:
    return [run.id for run in expanded(*arguments).close()[0]]


def test_a_key_of_one_option_is_left_out_of_the_others():
    methods = ("attribution=saliency,grad_cam", "attribution.layer=early,late", *ATTRIBUTE)
    found = expanded(*methods)
    assert [run.id for run in found.close()[0]] == [
        the_run("attribution=saliency", *ATTRIBUTE).id,
        the_run("attribution=grad_cam", "attribution.layer=early", *ATTRIBUTE).id,
        the_run("attribution=grad_cam", "attribution.layer=late", *ATTRIBUTE).id,
    ]
    assert found.partial == (("attribution.layer", 2, 3),)
    assert found.notes(()) == ["attribution.layer applies to 2 of 3 points"]


@pytest.mark.parametrize("value", ["4", "[1,2]", "${seed}"])
def test_so_is_a_single_value_of_whatever_kind(value):
    found = expanded("attribution=saliency,smooth_grad", f"attribution.samples=choice({value})", *ATTRIBUTE)
    assert found.partial == (("attribution.samples", 1, 2),)
    samples = [point.config["attribution"].get("samples") for point in found.points]
    assert samples == [None, {"4": 4, "[1,2]": [1, 2], "${seed}": 0}[value]]


def test_it_may_come_from_a_grid_or_be_paired():
    grids = "sweep.grids=[{attribution: [saliency, smooth_grad], attribution.samples: [3, 4]}, {attribution: sobel}]"
    found = expanded(grids, *ATTRIBUTE)
    assert found.partial == (("attribution.samples", 2, 3),) and len(found.points) == 4
    pairs = "sweep.zip=[{attribution: [saliency, smooth_grad], attribution.samples: [3, 4], seed: [5, 6]}]"
    found = expanded(pairs, *ATTRIBUTE)
    own = [(point.config["attribution"].get("samples"), point.config["seed"]) for point in found.points]
    assert own == [(None, 5), (4, 6)]


def test_several_keys_each_apply_where_they_are():
    lines = ("attribution=grad_cam,smooth_grad", "attribution.layer=early,late", "attribution.samples=3,4")
    found = expanded(*lines, *ATTRIBUTE)
    assert len(found.points) == 4
    assert found.partial == (("attribution.layer", 2, 4), ("attribution.samples", 2, 4))


def test_what_all_points_have_stays_as_it_is():
    found = expanded("objective.channel=1,2", "layer=early,late", "parameterisation=fourier,pixel")
    assert len(found.points) == 8 and found.partial == ()
    with hydra() as (loader, master):
        composer = Composer(loader, master)
        for point in points(["objective.channel=1,2", "seed=1", "model.layers={late: x}"], None, [], loader):
            assert not composer.missing(point)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["attribution=saliency,smooth_grad", "attribution.sampls=3,4"],
            "'attribution.sampls'; closest: attribution.samp",
        ),
        (["attribution=saliency,sobel", "attribution.layer=early,late"], "'attribution.layer'; closest: "),
        (["seed=1,2", "sede=1,2"], "'sede'; closest: seed"),
        (["objective=logit,neuron", "objective.chanel.deep=1,2"], "'objective.chanel.deep'"),
        (["sweep.grids=[{seed: [1, 2], task.step: 3}]"], "'task.step'; closest: task.steps"),
        (["sweep.zip=[{seed: [1, 2], task.step: [3, 4]}]"], "'task.step'; closest: task.steps"),
    ],
)
def test_a_key_that_no_point_has_is_refused(lines, says):
    with pytest.raises(LookupError, match=f"no key or group {says}"):
        expanded(*lines)


def test_each_experiment_of_a_sweep_has_its_own_grids():
    both = ids("+experiment=quickstart,known_truth_fast", "seed=1")
    assert both == [*ids("+experiment=quickstart", "seed=1"), *ids("+experiment=known_truth_fast", "seed=1")]
    assert len(both) > 50


def test_and_its_own_pairs_rules_and_params(tmp_path):
    (tmp_path / "experiment").mkdir()
    for name, text in {
        "one": "sweep: {zip: [{seed: [1, 2], objective.channel: [3, 4]}], exclude: [{seed: 2}]}",
        "two": "hydra: {sweeper: {params: {seed: '1,2'}}}\nsweep: {exclude: [{seed: 1}]}",
    }.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    own = f"hydra.searchpath=['{tmp_path}']"
    with hydra(own) as (loader, master):
        found = Expansion.of(["+experiment=one,two"], master, loader)
    runs, removed = found.close()
    assert [(run.config["seed"], run.config["objective"]["channel"]) for run in runs] == [(1, 3), (2, 5)]
    assert removed == (("{seed: 2}", 1), ("{seed: 1}", 1))


def test_runs_know_the_lines_they_are_made_of():
    found = expanded("attribution=saliency,grad_cam", "attribution.layer=late", *ATTRIBUTE)
    assert [run.overrides for run in found.close()[0]] == [
        ("attribution=saliency", *ATTRIBUTE),
        ("attribution=grad_cam", "attribution.layer=late", *ATTRIBUTE),
    ]
