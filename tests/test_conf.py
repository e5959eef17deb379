"""Every option of every group composes and builds; every final class has its option."""

import inspect
import re
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import NO_SHEET, PROJECT, config_of, here, tree
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from torch import nn

from interpret_runs.activations import Activations, capture
from interpret_runs.attribution import Attribution
from interpret_runs.images import ImageSet, Picture
from interpret_runs.metric import Metric
from interpret_runs.models import load
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.problem import Problem
from interpret_runs.references import reference
from interpret_runs.runner.build import build
from interpret_runs.runner.store_tasks import is_store_task
from interpret_runs.runner.tasks.task import Task
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform

CONF = PROJECT / "conf"
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.name != "config.yaml")
OPTIONS = [
    (path.parent.as_posix(), path.stem)
    for path in FILES
    if path.parts[0] not in ("hydra", "experiment") and path.as_posix() != "model/torchvision.yaml"
]
# What an option needs that has no default.
NEEDS = {
    ("objective", "direction"): [f"objective.direction={[1.0] * 128}"],
    ("objective", "sum"): [
        "+objective@objective.terms.a=channel",
        "+objective@objective.terms.b=l2",
        "objective.weights.b=2",
    ],
    ("objective", "neuron_direction"): [f"objective.direction={[1.0] * 128}"],
    ("transform", "chain"): [
        "+transform@transform.parts.a=crops",
        "+transform@transform.parts.b=noise",
        "transform.parts.a.views=2",
    ],
    ("images", "file"): ["images.path=a.png"],
    ("images", "folder"): ["images.path=."],
    ("images", "torchvision"): ["images.name=FakeData"],
    ("model", "custom"): ["model.factory=torchvision.models:resnet18"],
    ("model", "timm"): ["model.name=resnet18"],
}
MODELS = [option for group, option in OPTIONS if group == "model"]
FAMILIES = {
    "objective": Objective,
    "attribution": Attribution,
    "parameterisation": Parameterisation,
    "transform": Transform,
    "images": ImageSet,
    "metric": Metric,
    "problem": Problem,
}
# What `none.yaml` names.
UNNAMED = {"Unchanged"}


def options_of(group: str) -> list[str]:
    return [option for name, option in OPTIONS if name == group]


@lru_cache
def composed(group: str, option: str, *more: str) -> dict[str, Any]:
    choice = f"+metric@metric={option}" if group == "metric" else f"{group}={option}"
    return config_of(choice, *NEEDS.get((group, option), []), *more)


def node(group: str, option: str) -> dict[str, Any]:
    found: dict[str, Any] = deepcopy(composed(group, option)[group])
    return found


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_names_something_that_exists(group, option):
    for target in re.findall(r"'_target_': '([^']+)'", str(node(group, option))):
        home, _, name = target.rpartition(".")
        try:
            assert callable(getattr(import_module(home), name))
        except ModuleNotFoundError:  # a class method: Sum.of
            home, _, owner = home.rpartition(".")
            assert callable(getattr(getattr(import_module(home), owner), name))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_an_option_is_one_constructor_call_in_plain_yaml(path):
    text = (CONF / path).read_text()
    content = yaml.safe_load(text) or {}
    assert isinstance(content, dict)
    if path.parts[0] not in ("experiment", "hydra"):
        assert len(text.splitlines()) <= 16
        assert set(content) - {"defaults"} or path.parts[0] == "metrics"


@pytest.mark.parametrize("option", options_of("objective"))
def test_every_objective_builds_and_scores(option):
    model = load("shapes")
    objective = build(node("objective", option)).resolve(model.summary)
    assert isinstance(objective, Objective)
    images = torch.rand(2, 3, 32, 32)
    with capture(model, objective.layers - {OPACITY}) as forward:
        seen = forward(images)
        references = {source: forward(reference(source, None, images)) for source in objective.sources}
    outputs = {**seen, OPACITY: images[:, :1]}
    scores = objective(Activations(outputs, None, seen.image_size, images=2, references=references))
    assert scores.shape == (2,) and scores.isfinite().all()


@pytest.mark.parametrize("place", ["objective", "objective.terms.a"])
@pytest.mark.parametrize(
    ("option", "inner"),
    [("interpolation", ["first", "last"]), ("product", ["left", "right"]), ("negative", ["of"])],
)
def test_objectives_inside_an_objective_are_chosen_and_set_like_any_other(option, inner, place):
    outer = [f"objective={option}"] if place == "objective" else ["objective=sum", f"+objective@{place}={option}"]
    for name in inner:
        others = [f"{place}.{other}.channel=3" for other in inner if other != name]
        config = config_of(*outer, *others, f"objective@{place}.{name}=logit", f"{place}.{name}.target=2")
        found = OmegaConf.select(OmegaConf.create(config), place)
        assert [found[other].get("channel", found[other].get("target")) for other in inner] == [
            2 if other == name else 3 for other in inner
        ]
        made = build(config["objective"])
        assert {type(part) for part in leaves(made)} == {Logit, *([Channel] if others else [])}


def leaves(objective: Objective) -> list[Objective]:
    return [leaf for part in objective.parts for leaf in leaves(part)] or [objective]


@pytest.mark.parametrize("option", options_of("parameterisation"))
def test_every_parameterisation_builds_images(option):
    made = build(composed("parameterisation", option, "parameterisation.size=16")["parameterisation"], seeds=[0, 1])
    assert isinstance(made, Parameterisation) and made.seeds == (0, 1)
    images = made()
    assert images.shape == (2 * made.images, 3, 16, 16) and 0 <= images.min() <= images.max() <= 1


@pytest.mark.parametrize("option", options_of("transform"))
def test_every_transform_builds_and_makes_the_size_asked_for(option):
    made = build({**node("transform", option), "size": [16, 24]})
    assert isinstance(made, Transform)
    images = torch.rand(2, 3, 20, 20)
    assert made(images, made.draw(1, [0, 1])[0]).shape == (made.views * 2, 3, 16, 24)
    assert made.clean(images).shape == (2, 3, 16, 24)


@pytest.mark.parametrize("option", options_of("optimizer"))
def test_every_optimizer_takes_parameters_alone(option):
    made = build(node("optimizer", option))([nn.Parameter(torch.zeros(3))])
    assert isinstance(made, torch.optim.Optimizer)


@pytest.mark.parametrize("option", options_of("attribution"))
def test_every_attribution_builds_and_maps(option):
    model = load("shapes")
    method = build(node("attribution", option)).resolve(model.summary)
    assert isinstance(method, Attribution)
    objective = build(node("objective", "logit"))
    if {"n_samples", "samples"} & set(vars(method)):
        pytest.skip("slow; its own tests call it")
    images = torch.rand(1, 3, 32, 32)
    if option.endswith("rollout"):
        with pytest.raises(LookupError, match="need a network whose attention can be read"):
            method(model, objective, images)
        return
    assert method(model, objective, images).shape[-2:] == (32, 32)


def test_the_embedded_images_build():
    picture = build(node("images", "shapes"))(load("shapes").preprocessing)
    assert isinstance(picture, Picture) and picture.pixels.shape == (3, 64, 64)


@pytest.mark.parametrize("option", options_of("images"))
def test_every_image_set_builds(option):
    assert isinstance(build(node("images", option)), ImageSet)


@pytest.mark.parametrize("option", options_of("task"))
def test_every_task_builds_or_shows_and_uses_what_there_is(option):
    config = composed("task", option)
    for name in config["task"]["uses"]:
        assert OmegaConf.select(OmegaConf.create(config), name) is not None
    if option != "layers" and not is_store_task(config):
        assert isinstance(build({key: value for key, value in config["task"].items() if key != "uses"}), Task)


@pytest.mark.parametrize("option", options_of("figure"))
def test_every_figure_builds_to_a_function(option):
    assert callable(build(node("figure", option)))


@pytest.mark.parametrize("option", MODELS)
def test_every_model_builds_without_weights_and_knows_its_layers(option):
    settings = node("model", option)
    if option == "timm":
        pytest.importorskip("timm", reason="needs timm: pip install 'interpret-runs[timm]'")
    if option == "custom":
        settings["input_size"] = 64
    summary = load(**{key: value for key, value in settings.items() if key != "_target_"}, device="meta").summary
    places = [summary.layer(alias).path for alias in ("early", "middle", "late")]
    order = [layer.path for layer in summary.layers]
    assert [order.index(place) for place in places] == sorted(order.index(place) for place in places)
    assert len(set(places)) == 3
    for alias in ("early", "middle", "late"):
        assert summary.channels(alias) > 3
    assert summary.layer("logits").shape == (summary.classes,) and summary.layer(PIXELS).shape


def final_classes(base: type) -> list[str]:
    """Names of the concrete classes of a family in the library."""
    found: list[str] = []
    for child in base.__subclasses__():
        if child.__module__.startswith("interpret_runs."):
            found += final_classes(child)
            if not (inspect.isabstract(child) or child.__subclasses__() or child.__name__.startswith("_")):
                found.append(child.__name__)
    return sorted(set(found))


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@pytest.mark.parametrize("group", FAMILIES)
def test_every_final_class_has_an_option_named_like_it(group):
    classes = final_classes(FAMILIES[group])
    assert len(classes) >= 2
    files = {path.stem: (CONF / path).read_text() for path in FILES if path.parts[0] == group}
    for name in set(classes) - UNNAMED:
        assert snake(name) in files, f"conf/{group}/{snake(name)}.yaml is missing"
        assert f".{name}" in files[snake(name)]


def test_names_become_snake_case():
    assert [snake(name) for name in ("GradCam", "XGradCam", "L2", "TotalVariation", "Channel")] == [
        "grad_cam",
        "x_grad_cam",
        "l2",
        "total_variation",
        "channel",
    ]


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


# A search has no plan: what is tried next depends on what was found.
SEARCHES = ["search"]


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in SEARCHES])
def test_every_experiment_plans(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = here(f"+experiment={experiment}", "sweep.dry_run=true", NO_SHEET)
    assert done.status == 0, done.err
    assert re.match(r"plan: [1-9][0-9]* runs", done.out)
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_holds_differences_only(experiment):
    content = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    assert content["name"] == experiment
    assert "_target_" not in str(content)


def test_an_experiment_may_choose_launcher_and_sweeper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n  - override /hydra/sweeper: basic\n"
    )
    shown = here("--config-dir", str(tmp_path), "--cfg", "hydra", "+experiment=mine").out
    assert "BasicSweeper" in shown and "BasicLauncher" in shown
    assert "GridSweeper" in here("--cfg", "hydra").out


def test_an_option_that_does_not_exist_does_not_compose():
    with pytest.raises(ConfigCompositionException):
        node("objective", "nothing")


def test_help_names_every_group():
    shown = here("--help").out
    for group in {group for group, _ in OPTIONS} | {"experiment"}:
        assert re.search(rf"^\s*{group}: ", shown, re.MULTILINE), group


def test_conf_is_a_package_so_that_a_wheel_holds_it():
    assert (CONF / "__init__.py").is_file()
    assert Path(str(import_module("interpret_runs.conf").__path__[0])).is_dir()
