import networks
import pytest
import torch
from networks import bare, hooks, wrapped
from torch import nn
from torch.nn import functional

from interpret_runs.nonlinearities import (
    Use,
    is_affine,
    is_linear,
    kind,
    nonlinearities,
    refuse_curved,
    refuse_others,
    trace,
    upstream,
)
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Contrast, Direction, Layer, LocalGroup, Logit, Neuron, Probability
from interpret_runs.penalties import TotalVariation

ROWS = torch.arange(4)


class Runs(nn.Module):
    """Whatever function it is given, behind a convolution, by a module `inner`."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = Applies(function)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, images):
        return self.head(self.inner(self.conv(images))).mean((2, 3))


class Applies(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


def kinds(network, images, layers=("logits",)):
    return [(use.kind, use.layer, use.module) for use in nonlinearities(bare(network), layers, images)]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functional.relu, "Relu"),
        (lambda x: x.relu_(), "Relu"),
        (lambda x: functional.relu(x, inplace=True), "Relu"),
        (functional.gelu, "Gelu"),
        (functional.silu, "Silu"),
        (functional.relu6, "Hardtanh"),
        (lambda x: x.clamp(min=0), "Clamp"),
        (lambda x: x.sigmoid(), "Sigmoid"),
        (lambda x: x.softmax(1), "Softmax"),
        (lambda x: functional.max_pool2d(x, 2), "MaxPool2DWithIndices"),
        (lambda x: functional.layer_norm(x, x.shape[1:]), "NativeLayerNorm"),
        (lambda x: functional.instance_norm(x), "NativeBatchNorm"),
        (lambda x: torch.where(x > 0, x, 0), "Where"),
        (lambda x: x.amax((2, 3), keepdim=True), "Amax"),
        (lambda x: x * x, "Mul"),
        (lambda x: x * x.mean((2, 3), keepdim=True), "Mul"),
        (lambda x: 1 / (3 + x), "Reciprocal"),
        (lambda x: torch.ones_like(x) / (3 + x), "Div"),
        (lambda x: x @ x.mT, "Bmm"),
    ],
)
def test_each_nonlinear_step_is_found_however_it_is_written(function, name, images):
    assert (name, "inner", "Applies") in kinds(Runs(function), images)
    assert all(layer == "inner" for _, layer, _ in kinds(Runs(function), images))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x - 1,
        lambda x: x / 3,
        lambda x: x @ torch.ones(12, 2, dtype=x.dtype),
        lambda x: torch.cat([x[:, :2], x.flip(1)[:, :2]], 1).contiguous(memory_format=torch.channels_last),
        lambda x: functional.avg_pool2d(x, 2) + functional.adaptive_avg_pool2d(x, 1),
        lambda x: functional.interpolate(
            functional.pad(x, (1, 1, 1, 1), mode="reflect"), scale_factor=2, mode="bilinear"
        ),
        lambda x: functional.batch_norm(x, torch.ones(4).to(x), torch.ones(4).to(x)),
        lambda x: x.flatten(2).transpose(1, 2).reshape(len(x), 16, 12, 4).permute(0, 3, 1, 2),
        lambda x: torch.roll(x, 1, 2).clone().mul_(2),
    ],
)
def test_linear_steps_are_not_found(function, images):
    assert kinds(Runs(function), images) == []


def test_a_module_that_runs_twice_is_found_twice_and_the_innermost_module_is_named(images):
    assert kinds(networks.Reused(), images) == [("Relu", "block.act", "ReLU")] * 2


def test_what_runs_before_an_inner_module_belongs_to_the_outer_one(images):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(3, 2, 1)

        def forward(self, values):
            return self.inner(values.relu()).tanh()

    assert kinds(nn.Sequential(Outer()), images) == [("Relu", "0", "Outer"), ("Tanh", "0", "Outer")]


def test_nothing_behind_or_beside_the_objective_counts(images):
    network = networks.plain()
    assert kinds(network, images, ["0"]) == []
    assert kinds(network, images, ["2"]) == [("Relu", "1", "ReLU")]
    assert kinds(network, images, ["image"]) == []
    assert kinds(network, images, ["0", "3"]) == [("Relu", "1", "ReLU"), ("Relu", "3", "ReLU")]


def test_weights_that_are_trained_do_not_count_as_dependent_on_the_image(images):
    model = bare(networks.plain()).requires_grad_(True)
    assert [use.kind for use in nonlinearities(model, ["logits"], images)] == ["Relu", "Relu"]
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails, images):
    network = networks.plain()
    if fails:
        network[4] = networks.Fails()
    model = wrapped(network).train()
    if fails:
        with pytest.raises(RuntimeError, match="this head refuses"):
            nonlinearities(model, ["logits"], images)
    else:
        nonlinearities(model, ["logits"], images)
    assert hooks(model) == 0 and model.training and all(parameter.grad is None for parameter in model.parameters())


def test_a_trace_scores_and_differentiates_up_to_the_objective(model, images):
    model.requires_grad_(False)
    objective = Logit(2) + Channel("0", 1)
    found = trace(model, objective, images, ROWS)
    leaf = images.clone().requires_grad_()
    scores = model(leaf)[:, 2] + model.network[0](model.normalise(leaf))[:, 1].mean((1, 2))
    torch.testing.assert_close(found.scores, scores)
    torch.testing.assert_close(found.gradient(), torch.autograd.grad(scores.sum(), leaf)[0])
    assert sorted(kind(node) for node in found.nodes if not is_linear(node)) == ["Relu", "Relu"]
    assert len(set(found.nodes)) == len(found.nodes)


def test_the_objectives_own_steps_are_not_in_its_trace(model, images):
    model.requires_grad_(False)
    found = trace(model, Layer("0"), images, ROWS)
    assert all(is_linear(node) for node in found.nodes)
    assert any(kind(node) == "Pow" for node in upstream([found.scores]))


def test_what_no_pixel_changes_has_a_zero_gradient(images):
    model = bare(nn.Sequential(nn.Flatten(), Applies(lambda values: values.detach()[:, :3]))).requires_grad_(False)
    assert torch.equal(trace(model, Logit(1), images, ROWS).gradient(), torch.zeros_like(images))


@pytest.mark.parametrize(
    ("objective", "affine"),
    [
        (Logit(1), True),
        (Contrast(1, 2), True),
        (Logit(1) - 2 * Logit(0) + Channel("0", 1), True),
        (Objective.stack([Logit(1), Logit(3), Logit(0), Logit(0)]), True),
        (Channel("3", 2), True),
        (Neuron("2", 1, 0, 3), True),
        (LocalGroup("2", 1), True),
        (Direction("0", (1, -1, 0, 0, 0, 2)), True),
        (Direction("0", (1, -1, 0, 0, 0, 2), 2), False),
        (Probability(1), False),
        (Layer("2"), False),
        (Logit(1) * Logit(2), False),
        (TotalVariation(), False),
    ],
    ids=repr,
)
def test_objectives_that_are_linear_in_what_they_read_are_told_from_others(objective, affine, model, images):
    found = trace(model.requires_grad_(False), objective, images, ROWS)
    assert is_affine(objective, found.seen) is affine
    for single in (found, trace(model.float(), objective, images.float(), ROWS)):
        if affine:
            refuse_curved(objective, single, "deep_lift")
        else:
            with pytest.raises(
                LookupError, match="attribution=deep_lift needs an objective that is linear .*; take int"
            ):
                refuse_curved(objective, single, "deep_lift")


def test_a_refusal_names_the_layer_its_class_and_what_to_take(images):
    network = networks.plain()
    network[3] = nn.GELU()
    model = wrapped(network).requires_grad_(False)
    expected = r"attribution=lrp knows ReLU only, and layer '3' \(GELU\) computes Gelu; take saliency$"
    with pytest.raises(LookupError, match=expected):
        refuse_others(model, trace(model, Logit(1), images, ROWS), {"Relu"}, "lrp", "ReLU", "saliency")
    refuse_others(model, trace(model, Channel("2", 1), images, ROWS), {"Relu"}, "lrp", "ReLU")


def test_a_step_reads_well():
    assert str(Use("Gelu", "", "ViT")) == "the network itself computes Gelu"
    assert str(Use("Mul", "se", "Gate")) == "layer 'se' (Gate) computes a product of activations (Mul)"
