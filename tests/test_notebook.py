"""Sweeps from Python."""

from pathlib import Path

import pytest
from command_line import NO_SHEET, QUICK, ids, records, tree
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from trouble import HERE

import interpret_runs

BASE = (*QUICK, NO_SHEET, "layer=early", "compute.per_device=0")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_gives_the_rows_of_its_runs_in_order():
    first = interpret_runs.sweep([*BASE, "objective.channel=2,1"])
    assert list(first["objective.channel"]) == [2, 1] and list(first.status) == ["ok", "ok"]
    assert list(first.run_id) == ids(*BASE[:-1], "objective.channel=2,1")
    more = interpret_runs.sweep("\n".join([*BASE, "objective.channel=range(0,3)"]))
    assert list(more["objective.channel"]) == [0, 1, 2]
    assert len(records()) == 3, "what was done was not done again"


def test_a_dry_run_does_nothing(folder):
    table = interpret_runs.sweep([*BASE, "objective.channel=0,1", "sweep.dry_run=true"])
    assert len(table) == 0 and tree(folder) == set()


def test_runs_that_fail_are_rows():
    trouble = ("task=trouble", "+task.deeds={raise:[1]}", NO_SHEET, "compute.per_device=0", "objective.channel=0,1")
    table = interpret_runs.sweep(trouble, config_dir=HERE / "conf")
    assert list(table.status) == ["ok", "failed"] and table.error[1] == "channel 1 is no good"


def test_a_key_that_only_some_options_have_is_used_where_it_applies():
    only = ("task=attribute", "objective=logit", "objective.target=1", "attribution.layer=early", NO_SHEET)
    table = interpret_runs.sweep([*only, "attribution=saliency,grad_cam", "compute.per_device=0"])
    assert set(table.attribution) == {"saliency", "grad_cam"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("objective.chanel=1", "no key or group 'objective.chanel'; closest: objective.channel"),
        ("parameterisation=forier", "no option 'forier' in group 'parameterisation'; closest: fourier"),
        ("objective.channel=5000", "channel 5000 is out of range"),
    ],
)
def test_mistakes_are_one_line(override, says, folder):
    with pytest.raises((ValueError, LookupError)) as caught:
        interpret_runs.sweep([*BASE, override])
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert tree(folder) == set()


def test_hydra_is_left_as_it_was():
    interpret_runs.sweep([*BASE, "objective.channel=0", "sweep.dry_run=true"])
    assert not GlobalHydra.instance().is_initialized() and HydraConfig.instance().cfg is None
