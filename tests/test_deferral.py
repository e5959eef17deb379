"""A single value for a key that only some options of a sweep have."""

import re
from pathlib import Path

import pytest
from command_line import here, tree
from hydra.errors import ConfigCompositionException

from interpret_runs.runner.deferral import deferred

DRY = ("-m", "sweep.dry_run=true")
UNKNOWN = ConfigCompositionException("Could not override 'objective.row'.\nKey 'row' is not in struct")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "value", ["3", "-0.5", "true", "'a, b'", "a b", "[1,[2]]", "{a: 1}", "${seed}", "a:b", "'x=y'", '"it\'s"']
)
def test_a_setting_becomes_a_sweep_over_the_same_value(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    before = ["-m", "seed=1", "name=a", "sweep.rerun=all", "compute.batch_size=2", f"objective.row={value}"]
    *others, line = deferred(UNKNOWN, before) or []
    assert others == before[:-1]
    sweep, plain = (OverridesParser.create().parse_override(one) for one in (line, before[-1]))
    assert sweep.is_sweep_override() and [repr(one) for one in sweep.sweep_iterator()]
    from interpret_runs.runner.compose import Setting

    assert [setting.value for setting in Setting.each(sweep)] == [plain.value()]


@pytest.mark.parametrize(
    "arguments",
    [[], ["seed=1"], ["objective.row=1,2"], ["+objective.row=1"], ["objective.row=null"], ["objective.row=[1"]],
)
def test_nothing_else_is_touched(arguments):
    assert deferred(UNKNOWN, arguments) is None


def test_nor_is_it_for_another_error():
    assert deferred(ConfigCompositionException("no"), ["objective.row=1"]) is None


def test_a_sweep_gives_it_to_the_options_that_have_it():
    """None of them is the default, on which Hydra would try it."""
    done = here(*DRY, "attribution=saliency,smooth_grad", "attribution.samples=7", "task=attribute", "objective=logit")
    assert (done.status, done.err) == (0, "")
    assert "plan: 2 runs, attribution.samples applies to 1 of 2 points" in done.out


def test_so_does_the_sweep_of_an_experiment(folder):
    """It is no sweep by its command line, and takes no key that its own options lack."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN}\nsweep: {grids: [{objective: [channel, neuron]}]}\n"
    )
    own = ("--config-dir", str(folder), "+experiment=mine", "sweep.dry_run=true")
    done = here(*own, "objective.row=3", "objective.column=2")
    assert done.status == 0, done.err
    assert "objective.column applies to 1 of 2 points, objective.row applies to 1 of 2 points" in done.out
    assert "no key or group 'objective.raw'" in here(*own, "objective.raw=3").error


def test_a_mistake_stays_one_and_says_what_was_typed(folder):
    before = tree(folder)
    for arguments in (
        ("objective.row=3",),
        (*DRY, "objective=logit,channel", "objective.row=3"),
        (*DRY, "seed=1,2", "objective.row=3", "objective.column=4"),
    ):
        said = here(*arguments).error
        assert re.match(r"no key or group 'objective\.(row|column)'; closest: objective\.", said), said
    assert tree(folder) == before
