"""The part of a network that layers need, as a graph: says what the network says, and nothing beyond them runs."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import pytest
import torch
from command_line import NO_SHEET, QUICK, essentials, here, ids, records
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from interpret_runs import compiled
from interpret_runs.activations import capture
from interpret_runs.compiled import Compiled, subgraph
from interpret_runs.models import VisionModel, load
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.png import png_text
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen
from interpret_runs.visualisation import visualise

CASES = {
    "an early layer": (networks.plain(), ["1"]),
    "several layers and the output": (networks.plain(), ["0", "3", "logits"]),
    "changed in place by a module": (networks.InPlace("module"), ["conv", "head"]),
    "changed in place by a function": (networks.InPlace("function"), ["conv", "head"]),
    "changed in place by an operator": (networks.InPlace("operator"), ["conv", "head"]),
    "another name of what is overwritten": (networks.Aliased(), ["identity"]),
    "a residual sum": (networks.Residual(), ["stem", "first", "second"]),
    "tokens": (VisionTransformer(16, 4, 2, 1, 8, 8), ["encoder.layers.encoder_layer_0", "logits"]),
    "the last axis holds channels": (networks.ChannelsLast(), ["block"]),
}


class Undecided(nn.Module):
    """Does this or that, by the values that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images if images.mean() > 0 else -images)


class Remembers(nn.Module):
    """Says something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 4, 3), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(self.calls * images)


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("network", "layers"), CASES.values(), ids=CASES)
def test_the_graph_says_what_the_network_says(network, layers):
    model, images = networks.wrapped(network), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    graph = subgraph(model, layers)
    with capture(model, layers) as forward:
        expected = forward(images)
    for layer, given in zip(layers, graph(images), strict=True):
        assert torch.equal(given, expected[layer])


def test_gradients_are_the_networks(model, images):
    with frozen(model), capture(model, ["2"]) as forward:
        for passes in (forward, Compiled(model, ["2"], forward)):
            images.requires_grad_().grad = None
            passes(images)["2"].square().sum().backward()
            if passes is forward:
                expected = images.grad
    assert torch.equal(images.grad, expected)


def test_nothing_beyond_the_last_layer_is_in_it(model):
    paths = [str(node.target) for node in subgraph(model, ["2"]).graph.nodes if node.op == "call_module"]
    assert paths == ["network.0", "network.1", "network.2"]


def test_hooks_that_come_later_are_not_run_by_it_and_those_there_are(model, images):
    model.network[0].register_forward_hook(lambda _module, _args, output: 2 * output)
    graph = subgraph(model, ["0"])
    (before,) = graph(images)
    model.network[0].register_forward_hook(lambda _module, _args, output: 3 * output)
    assert torch.equal(graph(images)[0], before)
    assert torch.equal(model.network[0](model.normalise(images)), 3 * before)


def test_weights_are_shared(model, images):
    graph = subgraph(model, ["0"])
    (before,) = graph(images)
    with torch.no_grad():
        model.network[0].bias += 1
    assert torch.allclose(graph(images)[0], before + 1)


def test_a_layer_that_does_not_run_is_an_error(model):
    model.network.aside = nn.Identity()
    model.network.forward = lambda images: model.network[0](images)
    with pytest.raises(LookupError, match="'aside' does not run"):
        subgraph(model, ["aside"])


@pytest.mark.parametrize(("network", "why"), [(Undecided(), "control flow"), (Remembers(), "something else of conv")])
def test_a_network_that_cannot_be_traced_is_passed_through_as_usual(network, why, images):
    model = networks.wrapped(network)
    with capture(model, ["conv"]) as forward, pytest.warns(UserWarning, match=why):
        fast = Compiled(model, ["conv"], forward)
        fast(images)
        network.calls = 0
        seen = fast(images)["conv"]
    with capture(model, ["conv"]) as forward:
        network.calls = 0
        assert torch.equal(seen, forward(images)["conv"])


def test_a_layer_of_several_values_is_passed_through_as_usual(images):
    model = networks.wrapped(networks.Unpacks("tuple"))
    with capture(model, ["several"]) as forward, pytest.warns(UserWarning, match="not compiled"):
        assert Compiled(model, ["several"], forward)(images)["several"].shape == (4, 4, 16, 12)


def test_pixels_need_no_graph(model, images):
    with capture(model, ["image"]) as forward:
        assert torch.equal(Compiled(model, ["image"], forward)(images)["image"], images)


def test_a_model_is_traced_once_for_each_choice_of_layers(model, images, monkeypatch):
    traced = []
    monkeypatch.setattr(compiled, "subgraph", lambda *given: traced.append(given[1]) or subgraph(*given))
    for layers in (["0"], ["0"], ["0", "2"]):
        with frozen(model), capture(model, layers) as forward:
            Compiled(model, layers, forward)(images)
    assert traced == [("0",), ("0", "2")]


def looked(model: VisionModel, images: Tensor) -> Tensor:
    """What a new visualisation, as it were, sees of layer 0."""
    with frozen(model), capture(model, ["0"]) as forward:
        return Compiled(model, ["0"], forward)(images)["0"]


@pytest.fixture
def run_compiled(monkeypatch) -> list[int]:
    """The number of images of each pass through compiled code."""
    passes: list[int] = []

    def compiling(graph: nn.Module, **_settings: str) -> Callable[[Tensor], Any]:
        return lambda images: passes.append(len(images)) or graph(images)

    monkeypatch.setattr(torch, "compile", compiling)
    return passes


def test_hooks_that_come_or_go_between_visualisations_are_seen(model, images):
    before = looked(model, images)
    handle = model.network[0].register_forward_hook(lambda _module, _args, output: 2 * output)
    assert torch.equal(looked(model, images), 2 * before)
    handle.remove()
    assert torch.equal(looked(model, images), before)


def test_a_hook_on_the_whole_model_is_not_traced_and_so_as_usual(model, images):
    before = looked(model, images)
    model.register_forward_pre_hook(lambda _module, args: (args[0] / 2,))
    with pytest.warns(UserWarning, match="something else of 0"):
        assert not torch.allclose(looked(model, images), before)


def test_a_graph_with_another_gradient_is_not_used(model, images, monkeypatch):
    def compiling(graph: nn.Module, **_settings: str) -> Callable[[Tensor], Any]:
        return lambda images: graph(2 * images - images.detach())

    monkeypatch.setattr(torch, "compile", compiling)
    with pytest.warns(UserWarning, match="another gradient"):
        looked(model, images)


def test_a_backward_pass_that_cannot_be_compiled_is_made_as_usual(model, images, monkeypatch):
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(_context: Any, *_gradients: Tensor) -> Tensor:
            raise RuntimeError("no kernel for this gradient")

    def compiling(graph: nn.Module, **_settings: str) -> Callable[[Tensor], Any]:
        return lambda images: tuple(Refusing.apply(one) for one in graph(images))

    monkeypatch.setattr(torch, "compile", compiling)
    images.requires_grad_()
    with pytest.warns(UserWarning, match="not compiled, as no kernel for this gradient"):
        looked(model, images).sum().backward()
    assert images.grad.any()


def test_images_that_are_not_finite_tell_nothing_of_the_graph(model, images, run_compiled):
    lost = torch.full_like(images, torch.nan)
    with frozen(model), capture(model, ["0"]) as forward:
        passes = Compiled(model, ["0"], forward)
        assert passes(lost)["0"].isnan().all() and not run_compiled
        passes(images)
        before = len(run_compiled)
        assert passes(lost)["0"].isnan().all() and len(run_compiled) == before + 1


def test_a_batch_is_decided_by_its_images_that_are_finite(model, images, run_compiled):
    images[1] = torch.inf
    assert torch.equal(looked(model, images)[0], looked(model, images[:1])[0])
    assert len(run_compiled) == 4, "each proven, then used"


def climbed(model: VisionModel, **settings) -> Tensor:
    made = Fourier(16, seeds=[0, 1])
    return visualise(model, Channel("2", 3), made.double(), schedule=Schedule(40, **settings)).images


def test_a_visualisation_is_the_same_and_leaves_the_model_as_it_was(model, monkeypatch):
    used, before = [], networks.state(model)
    usual = Compiled.__call__
    monkeypatch.setattr(Compiled, "__call__", lambda self, *given: used.append(1) or usual(self, *given))
    assert torch.allclose(climbed(model, compile=True), climbed(model), atol=1e-12)
    assert used and networks.state(model) == before


def test_compiling_changes_no_run_id_and_its_record_tells_it():
    own = (*QUICK, "layer=early", "objective.channel=1", "task.steps=20", "task.rescue=false")
    assert ids(*own, "compute.compile=true") == ids(*own)
    for setting in ("false", "true"):
        assert here("-m", *own, NO_SHEET, f"compute.compile={setting}", "sweep.rerun=all").status == 0
    scores = {record["compile"]: record["score"] for record in records()}
    assert scores[True] == pytest.approx(scores[False], rel=1e-4)


def test_what_was_compiled_is_reproduced_so():
    source = made_compiled()
    again = here("task=reproduce", f"task.source={source}", "task.keep=kept")
    assert again.status == 0 and "identical bytes" in again.out and "compile" not in again.out


def made_compiled() -> str:
    """The picture of a run that was."""
    own = ("layer=early", "objective.channel=1", "task.rescue=false", "compute.compile=true", "name=made")
    assert here(*QUICK, *own).status == 0
    (record,) = records("made")
    assert record["compile"]
    return f"outputs/made/{record['artefacts']['image']['path']}"


def test_a_reproduction_says_that_it_could_not_compile(monkeypatch):
    source = made_compiled()
    monkeypatch.setattr(compiled, "_same", lambda *_: False)
    again = here("task=reproduce", f"task.source={source}")
    assert again.status == 0 and "compile: True then, False now" in again.out


EXPLAIN = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=1", "metrics=none")


@pytest.mark.parametrize("kind", ["refused", "rescued to the end", "an attribution"])
def test_a_record_tells_what_was_so_not_what_was_asked_for(kind, monkeypatch):
    own = EXPLAIN if kind == "an attribution" else (*QUICK, "layer=early", f"task.rescue={kind != 'refused'}")
    if kind == "refused":
        monkeypatch.setattr(compiled, "_same", lambda *_: False)
    assert here(*own, "compute.compile=true").status == 0
    (record,) = records()
    assert record["compile"] is False
    said = [essentials(png_text(file)) for file in Path("outputs/default/runs").rglob("*.png")]
    assert said and not any(one["compile"] for one in said)


@pytest.mark.parametrize("name", ["compile", "cuda_graphs"])
def test_a_setting_that_is_neither_true_nor_false_is_refused(name):
    done = here(*QUICK, f"compute.{name}=perhaps")
    assert done.status == 1 and f"compute.{name} is 'perhaps'; it is true or false" in done.err


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler on the CPU"
)
def test_compiled_code_climbs_as_high(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    model = load("shapes")
    usual, fast = (
        visualise(model, Channel("early", 1), Fourier(32), schedule=Schedule(32, rescue=False, compile=choice))
        for choice in (False, True)
    )
    assert fast.scores.item() == pytest.approx(usual.scores.item(), rel=0.15)
