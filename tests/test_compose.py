"""The planner's shortcut composes what Hydra composes."""

import json
from itertools import product
from typing import Any

import pytest
from command_line import hydra
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from interpret_runs.runner.compose import Composer, Setting, parse, resolved

GROUPS = (
    "model=resnet18",
    "model=custom",
    "layer=early",
    "layer=logits",
    "objective=logit",
    "objective=neuron",
    "objective=l2",
    "objective=sum",
    "objective@objective.terms.a=logit",
    "+objective@objective.terms.a=channel",
    "+objective@objective.terms.b=total_variation",
    "~objective",
    "parameterisation=pixel",
    "transform=none",
    "attribution=saliency",
    "attribution=smooth_grad",
    "attribution=nothing",
    "lr_scheduler=cosine",
    "images=folder",
    "problem=tris",
    "task=attribute",
    "task=examples",
    "+experiment=quickstart",
    "+experiment=known_truth",
    "~figure",
)
LEAVES = (
    "layer.path=features.3",
    "layer.path='features/3'",
    "model.name=other",
    "model.mean=[0.1,0.2,0.3]",
    "model.layers.late=x",
    "model.layers={late: y}",
    "+model.layers.last=z",
    "objective.channel=7",
    "objective.channel=7.0",
    "objective.channel=all",
    "objective.layer=features.6",
    "objective.layer=${layer.path}",
    "objective={channel: 9}",
    "++objective={channel: 9, layer: deep}",
    "++objective.channel=8",
    "+objective.row=2",
    "objective.target='striped disc'",
    "objective.target=striped disc",
    "objective.terms.a.channel=2",
    "objective.terms.a={channel: 3}",
    "objective.weights.a=-0.1",
    "objective.weights={a: 2}",
    "~objective.weights",
    "parameterisation.size=64",
    "parameterisation.size=[8,16]",
    "parameterisation.decay=1e-3",
    "~parameterisation.decay",
    "attribution.layer=features.0",
    "attribution.seed=5",
    "attribution.samples=4",
    "problem.scenarios=[xor]",
    "images.item=all",
    "task.data.item=3",
    "images.path='a, b.png'",
    "transform.size=null",
    "seed=1",
    "seed=true",
    "seed='1'",
    "seed=${task.steps}",
    "task.steps=nan",
    "task.snapshots=[1,2]",
    "name=''",
    "name=${model.name}-${seed}",
    "name='${seed}'",
    "name=???",
    'outputs="it\'s"',
    "+extra.deep={a: [1, {b: null}]}",
    "compute.precision=bfloat16",
    "sweep.grids=[{seed: 1}]",
)


def key_of(text: str) -> str:
    return text.partition("=")[0].lstrip("+~")


@st.composite
def override_lists(draw: st.DrawFn) -> list[str]:
    """A few overrides of different keys, in any order, with those leaves more often that belong to chosen groups."""
    texts = draw(st.lists(st.sampled_from(GROUPS), max_size=3, unique_by=key_of))
    texts += draw(st.lists(st.sampled_from(LEAVES), max_size=4, unique_by=key_of))
    return draw(st.permutations(texts))


@pytest.fixture(scope="module")
def composing():
    """One composer for all examples, as in a sweep, so that what it keeps is used."""
    with hydra() as (loader, master):
        yield loader, Composer(loader, master)


def outcome(compose: Any) -> str:
    """A config and choices as text that tells 1 from 1.0 and true, or the kind of error."""
    try:
        config, choices = compose()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return type(error).__name__
    return json.dumps([config, {key: str(value) for key, value in choices.items()}], sort_keys=True)


def by_hydra(loader: ConfigLoader, texts: list[str]) -> tuple[Any, Any]:
    """The same by Hydra alone."""
    config: DictConfig = loader.load_configuration("config", overrides=texts, run_mode=RunMode.RUN)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return OmegaConf.to_container(config, resolve=True), choices


def by_us(loader: ConfigLoader, composer: Composer, texts: list[str]) -> tuple[Any, Any]:
    return composer.compose([setting for override in parse(texts, loader) for setting in Setting.each(override)])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(override_lists())
@example(["layer.path=features.3", "objective.channel=7"])
@example(["objective=sum", "+objective@objective.terms.a=channel", "objective.terms.a.channel=2"])
@example(["objective=logit", "objective={channel: 9}"])
@example(["objective.channel=7", "~objective"])
@example(["name=${model.name}-${seed}", "seed=1"])
@example(["model.name=other", "model.layers.late=x"])
@example(["objective.channel=7", "objective.channel=8"])
@example(["attribution=smooth_grad", "attribution.seed=5", "seed=1", "layer.path=features.3"])
@example(["attribution=smooth_grad", "seed=${task.steps}", "task.steps=7"])
@example(["task=examples", "task.data.item=3"])
@example(["problem=tris", "attribution=saliency", "images=folder", "task=examples", "images.item=all"])
def test_any_overrides_compose_to_what_hydra_composes(composing, texts):
    loader, composer = composing
    expected = outcome(lambda: by_hydra(loader, texts))
    assert outcome(lambda: by_us(loader, composer, texts)) == expected
    point = [setting for override in parse(texts, loader) for setting in Setting.each(override)]
    if expected.startswith("["):  # nothing is left out of what Hydra composes
        assert composer.missing(point) == frozenset()


def test_a_value_for_a_key_that_is_not_there_is_missing(composing):
    loader, composer = composing
    texts = ["objective=logit", "objective.channel=3", "objective.target=2", "task.stepz=4", "sede=1", "+extra=5"]
    point = [setting for override in parse(texts, loader) for setting in Setting.each(override)]
    assert composer.missing(point) == {"objective.channel", "task.stepz", "sede"}


def test_the_comparison_can_fail(composing):
    loader, composer = composing
    ours = outcome(lambda: by_us(loader, composer, ["seed=1"]))
    assert ours != outcome(lambda: by_hydra(loader, ["seed=1.0"]))
    assert ours != outcome(lambda: by_hydra(loader, ["seed=true"]))
    assert ours != outcome(lambda: by_hydra(loader, ["seed=1", "layer=late", "parameterisation=pixel"]))


@pytest.mark.parametrize(
    "fixed",
    [
        [],
        ["parameterisation=pixel"],
        ["objective=neuron", "model=vgg11"],
        ["objective=sum", "+objective@objective.terms.a=channel"],
    ],
)
def test_points_that_differ_in_leaves_are_composed_once(fixed, monkeypatch):
    """Also where the leaf belongs to a group that is chosen: a composition takes a tenth of a second."""
    leaf = "objective.terms.a.channel" if "objective=sum" in fixed else "objective.channel"
    with hydra() as (loader, master):
        composed = []
        load = loader.load_sweep_config
        monkeypatch.setattr(loader, "load_sweep_config", lambda *args: composed.append(args) or load(*args))
        composer = Composer(loader, master)
        for channel in range(5):
            config, _ = by_us(loader, composer, [*fixed, f"{leaf}={channel}", f"parameterisation.size={channel}"])
            assert config["parameterisation"]["size"] == channel
    assert len(composed) == 1


@pytest.mark.parametrize(
    "more", [[], ["+experiment=known_truth"], ["objective=sum", "+objective@objective.terms.a=l2"]]
)
def test_points_that_differ_in_options_and_in_what_they_refer_to_are_composed_once(more, monkeypatch):
    options = product(("saliency", "smooth_grad", "grad_cam"), ("difull", "tris"), range(3))
    with hydra() as (loader, master):
        composed = []
        load = loader.load_sweep_config
        monkeypatch.setattr(loader, "load_sweep_config", lambda *args: composed.append(args) or load(*args))
        composer = Composer(loader, master)
        for method, problem, seed in options:
            texts = [*more, f"attribution={method}", f"problem={problem}", f"seed={seed}", "layer.path=features.3"]
            config, choices = by_us(loader, composer, texts)
            assert (choices["attribution"], choices["problem"]) == (method, problem)
            assert config["attribution"].get("seed", config["seed"]) == seed
            assert config["attribution"].get("layer", config["layer"]["path"]) == "features.3"
    assert len(composed) == 1


# A group of two options, and what in other files keeps one from standing for the other.
PLAIN = {"config": "defaults: [{letter: a}, _self_]\nnumber: 1\n", "letter/a": "value: 1", "letter/b": "value: 2"}
TRAPS = {
    "nothing": {},
    "values of the primary config": {"config": PLAIN["config"] + "letter: {value: 3}"},
    "values of another group": {
        "config": "defaults: [{letter: a}, {other: c}, _self_]",
        "other/c": "# @package _global_\nletter: {value: 1}",
    },
    "a part of the group from elsewhere": {
        "config": "defaults: [{letter: a}, {other@letter.part: c}, _self_]",
        "other/c": "deep: 1",
    },
    "a choice that follows another": {
        "config": "defaults: [{letter: a}, {other: 'of_${letter}'}, _self_]",
        "other/of_a": "value: 1",
        "other/of_b": "value: 2",
    },
    "a package": {"letter/b": "# @package elsewhere\nvalue: 2"},
    "a package of the first": {"letter/a": "# @package elsewhere\nvalue: 2"},
    "a defaults list": {"letter/b": "defaults: [a]\nmore: 2"},
    "a defaults list of the first": {"letter/a": "defaults: [b]\nmore: 2"},
    "a relative reference": {"letter/b": "value: ${.other}\nother: 2"},
    "a reference into the option": {"config": PLAIN["config"] + "same: ${letter.value}\nall: ${letter}"},
    "a reference that only one option can keep": {
        "config": PLAIN["config"] + "same: ${letter.more}",
        "letter/a": "more: 1",
    },
    "a reference with text around it": {"letter/b": "value: a ${number} b"},
    "a reference to a reference": {"letter/b": "value: ${letter.next}\nnext: ${number}"},
    "a reference to itself": {"letter/b": "value: ${letter.value}"},
    "a value that is missing": {"letter/b": "value: ${letter.next}\nnext: ???"},
    "a list": {"letter/b": "[1, 2]"},
    "nothing in the file": {"letter/b": ""},
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("leaf", [[], ["number=2"], ["letter.value=7"], ["+letter.extra=7"], ["letter={value: 8}"]])
def test_options_are_exchanged_only_where_nothing_else_would_change(trap, leaf, tmp_path, monkeypatch):
    for name, text in (PLAIN | TRAPS[trap]).items():
        (tmp_path / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", overrides=[], run_mode=RunMode.MULTIRUN)
        composer = Composer(loader, master)
        for option in ("a", "b", "c", "a"):
            texts = [f"letter={option}", *leaf]
            ours = outcome(lambda texts=texts: by_us(loader, composer, texts))
            assert ours == outcome(lambda texts=texts: by_hydra(loader, texts)), texts
    GlobalHydra.instance().clear()


def test_what_stands_in_two_places_is_two():
    """What closes a config changes the one, and not the other."""
    with hydra() as (loader, master):
        composer = Composer(loader, master)
        config, _ = by_us(loader, composer, ["task=examples", "images=folder", "seed=3"])
    assert config["task"]["data"] == config["images"] and config["task"]["data"] is not config["images"]


def test_points_do_not_change_each_other(composing):
    loader, composer = composing
    before, _ = by_us(loader, composer, ["seed=1"])
    other, _ = by_us(loader, composer, ["seed=2", "objective.channel=3"])
    assert (before["seed"], before["objective"]["channel"], other["seed"]) == (1, 5, 2)


def test_a_leaf_that_others_refer_to_changes_them(composing):
    loader, composer = composing
    config, _ = by_us(loader, composer, ["layer.path=features.3"])
    assert config["objective"]["layer"] == config["attribution"]["layer"] == "features.3"


def test_hydra_values_resolve_while_planning():
    with hydra("hydra.sweep.dir=some") as (loader, master):
        config, _ = by_us(loader, Composer(loader, master), ["name=${hydra:sweep.dir}"])
    assert config["name"] == "some"


def test_resolved_leaves_the_config_as_it_is():
    with hydra() as (_, master):
        before = OmegaConf.to_yaml(master)
        assert "hydra" not in resolved(master)
        assert OmegaConf.to_yaml(master) == before
