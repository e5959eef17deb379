"""Rules that take runs out of a sweep."""

import re

import pytest
from command_line import ids, the_run
from test_expansion import expanded

GRID = ("parameterisation=fourier,pixel", "transform=standard,crops")


def test_a_rule_removes_the_points_where_all_its_conditions_hold():
    runs, removed = expanded(*GRID, "sweep.exclude=[{parameterisation: pixel, transform: crops}]").close()
    left = [("fourier", "standard"), ("fourier", "crops"), ("pixel", "standard")]
    assert [(run.choices["parameterisation"], run.choices["transform"]) for run in runs] == left
    assert removed == (("{parameterisation: pixel, transform: crops}", 1),)


def test_a_rule_changes_nothing_of_the_runs_that_stay():
    rules = "sweep.exclude=[{parameterisation: pixel}]"
    runs, _ = expanded(*GRID, rules).close()
    assert [run.id for run in runs] == ids("parameterisation=fourier", "transform=standard,crops")


def test_a_list_holds_where_any_of_it_does():
    runs, removed = expanded(
        "objective.channel=range(0,9)", "sweep.exclude=[{objective.channel: [1, 2.0, 99]}]"
    ).close()
    assert [run.config["objective"]["channel"] for run in runs] == [0, 3, 4, 5, 6, 7, 8]
    assert removed == (("{objective.channel: [1, 2.0, 99]}", 2),)


@pytest.mark.parametrize(
    ("line", "condition", "left"),
    [
        ("seed=1,2", "seed: 1.0", [2]),
        ("seed=1,2", "seed: [[1], 2]", [1]),
        ("seed=0,1,2", "seed: 2", [0, 1]),
        ("objective.channel=all", "objective.channel: [0, 3]", [1, 2, *range(4, 64)]),
        ("objective.channel=3,all", "objective.channel: 3", [*range(3), *range(4, 64)]),
    ],
)
def test_values_are_compared_as_numbers_and_after_all_is_expanded(line, condition, left):
    key = line.partition("=")[0].split(".")
    runs, _ = expanded("layer=early", line, f"sweep.exclude=[{{{condition}}}]").close()
    found = [run.config[key[0]][key[1]] if len(key) > 1 else run.config["seed"] for run in runs]
    assert found == left


@pytest.mark.filterwarnings("ignore:rule")
@pytest.mark.parametrize("condition", ["seed: true", "seed: '1'", "parameterisation.decorrelate: 1", "seed: null"])
def test_truth_and_text_are_no_numbers(condition):
    assert len(expanded("seed=1,2", f"sweep.exclude=[{{{condition}}}]").close()[0]) == 2


def test_what_all_stands_for_counts_each():
    _, removed = expanded("layer=early,late", "objective.channel=all", "sweep.exclude=[{layer: early}]").close()
    assert removed == (("{layer: early}", 64),)


def test_a_point_that_cannot_be_is_removed_before_it_is_looked_at():
    """The layer does not exist in that model, and so neither do its channels."""
    lines = ("model=shapes,squeezenet1_0", "layer.path=features.12.expand3x3,features.20", "objective.channel=3")
    rules = "sweep.exclude=[{model: shapes, layer.path: features.12.expand3x3}, {model: squeezenet1_0}]"
    runs, removed = expanded(*lines, "model.weights=null", rules).close()
    assert [run.config["objective"]["layer"] for run in runs] == ["features.20"]
    assert [count for _, count in removed] == [1, 2]


def test_a_run_counts_for_the_first_rule_that_removes_it():
    _, removed = expanded("seed=1,2,3", "sweep.exclude=[{seed: [1, 2]}, {seed: 2}]").close()
    assert removed == (("{seed: [1, 2]}", 2),)


def test_nothing_holds_of_a_group_that_a_run_does_not_use():
    """A visualisation has an attribution in its config, and does not look at it."""
    lines = ("task=visualise,attribute", "objective=logit", "objective.target=2", "attribution=grad_cam")
    for condition in ("attribution: grad_cam", "attribution.layer: late"):
        runs, _ = expanded(*lines, f"sweep.exclude=[{{{condition}}}]").close()
        assert [run.config["task"]["_target_"].rpartition(".")[2] for run in runs] == ["Visualise"]


def test_a_rule_about_a_key_that_some_points_have_is_for_those():
    lines = ("attribution=saliency,smooth_grad", "task=attribute", "objective=logit", "objective.target=2")
    runs, _ = expanded(*lines, "attribution.samples=3,4", "sweep.exclude=[{attribution.samples: 4}]").close()
    assert [run.config["attribution"].get("samples") for run in runs] == [None, 3]


def test_a_rule_that_removes_nothing_is_warned_of():
    with pytest.warns(UserWarning, match=re.escape("rule {parameterisation: maco} of sweep.exclude removes nothing")):
        runs, removed = expanded(*GRID, "sweep.exclude=[{parameterisation: maco}, {transform: crops}]").close()
    assert len(runs) == 2 and removed == (("{transform: crops}", 2),)


@pytest.mark.parametrize(
    ("rules", "kind", "says"),
    [
        ("[{parametrisation: pixel}]", LookupError, "no key or group 'parametrisation'; closest: parameterisation"),
        ("[{seed: 3, objective.chanel: 2}]", LookupError, "'objective.chanel'; closest: objective.channel"),
        ("[{transform: [crops, standard]}]", ValueError, "leaves no run: {transform: [crops, standard]} removes 4"),
        ("[seed]", ValueError, "sweep.exclude holds 'seed'; a rule is a map"),
        ("[{}]", ValueError, "sweep.exclude holds {}; a rule is a map"),
        ("seed", ValueError, "sweep.exclude is 'seed'; it is a list of maps"),
    ],
)
def test_rules_that_are_wrong_say_so(rules, kind, says):
    with pytest.raises(kind, match=re.escape(says)):
        expanded(*GRID, f"++sweep.exclude={rules}").close()


def test_a_sweep_without_rules_removes_nothing():
    runs, removed = expanded("seed=3").close()
    assert [run.id for run in runs] == [the_run("seed=3").id] and removed == ()
