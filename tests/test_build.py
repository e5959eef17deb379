"""Objects out of configs: known classes are built at once, and as Hydra builds them; all else by Hydra."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import PROJECT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from interpret_runs.objectives import Channel
from interpret_runs.runner import build as module
from interpret_runs.runner.build import build

# Options that are built of their own settings alone.
GROUPS = ("attribution", "figure", "lr_scheduler", "metrics", "objective", "optimizer", "rendering", "transform")
PLAIN = [
    path
    for group in GROUPS
    for path in sorted((PROJECT / "conf" / group).glob("*.yaml"))
    if "${" not in (text := path.read_text())
    and "???" not in text
    and "defaults" not in text
    and path.stem not in ("chain", "sum")
]
CHANNEL = {"_target_": "interpret_runs.objectives.Channel", "layer": "features.1", "channel": 3}


@pytest.fixture
def no_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("this is left to Hydra")

    monkeypatch.setattr(module, "instantiate", fails)


def told(made: Any) -> str:
    """What an object is, without where it is in memory; of one to be completed, what it will be made with."""
    if isinstance(made, functools.partial):
        return f"{made.func} {made.args} {made.keywords}"
    return repr(made).partition(" object at 0x")[0]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_built_is_what_hydra_builds(path: Path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    ours, theirs = build(config), instantiate(config, _convert_="all")
    assert isinstance(theirs, type(ours))  # Hydra has its own kind of partial
    assert told(ours) == told(theirs)


def test_known_classes_need_no_hydra(no_hydra):
    both = build({"_target_": "interpret_runs.objective.Sum", "terms": [CHANNEL, {**CHANNEL, "channel": 4}]})
    assert both.terms == (Channel("features.1", 3), Channel("features.1", 4))
    assert build(CHANNEL, channel=4) == Channel("features.1", 4)
    adam = build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5})
    assert adam([torch.zeros(1, requires_grad=True)]).defaults["lr"] == 0.5
    assert build(None) is None


def test_what_is_built_shares_nothing_with_its_config(no_hydra):
    config = {"_target_": "interpret_runs.parameterisations.Fourier", "size": [8, 8]}
    build(config, seeds=[0])
    assert config == {"_target_": "interpret_runs.parameterisations.Fourier", "size": [8, 8]}
    kept = {"settings": [{"a": [1]}]}
    assert build(kept) == kept and build(kept)["settings"][0]["a"] is not kept["settings"][0]["a"]


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "collections.Counter", "a": 1},
        {**CHANNEL, "layer": "${oc.env:HOME}"},
        {"_target_": "interpret_runs.runner.provenance.version", "distribution_name": "torch"},
        {"_target_": "interpret_runs.runner.provenance.Path", "_args_": ["a"]},
        {**CHANNEL, "_recursive_": False},
    ],
    ids=str,
)
def test_all_else_is_left_to_hydra(config, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "instantiate", lambda config, **_: seen.append(config))
    build(config)
    assert seen == [config]


@pytest.mark.parametrize("target", ["os.system", "interpret_runs.runner.provenance.subprocess.getoutput"])
def test_what_hydra_forbids_is_forbidden(target):
    with pytest.raises(LookupError):
        build({"_target_": target, "_args_": ["true"]})
    with pytest.raises(LookupError):
        build({"_target_": target, "command": "true"})


def test_errors_are_those_of_the_constructor(no_hydra):
    with pytest.raises(TypeError, match="unexpected keyword argument 'chanel'"):
        build({**CHANNEL, "chanel": 3})


def test_what_has_no_such_class_names_those_nearest():
    with pytest.raises(LookupError, match="closest in interpret_runs.objectives: Channel"):
        build({**CHANNEL, "_target_": "interpret_runs.objectives.Chanel"})
