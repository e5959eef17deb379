import warnings

import networks
import pytest
import torch
from networks import bare, hooks, wrapped
from torch import nn
from torch.nn import functional

from interpret_runs import variants
from interpret_runs.attribution import gradients, largest_colour
from interpret_runs.backward_rules import Deconvnet, GuidedBackprop, GuidedGradCam, Lrp
from interpret_runs.cams import GradCam
from interpret_runs.deep_lift import DeepLift
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Layer, Logit, Neuron
from interpret_runs.penalties import TotalVariation

ROWS = torch.arange(4)
RULES = [GuidedBackprop(), Deconvnet()]
METHODS = [*RULES, GuidedGradCam("0"), DeepLift(), Lrp()]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)
EVERY_RULE = pytest.mark.parametrize("method", RULES, ids=repr)


class Ruled(torch.autograd.Function):
    """ReLU with the backward rule of a method, written out."""

    @staticmethod
    def forward(ctx, values, guided):
        ctx.guided = guided
        ctx.save_for_backward(values)
        return values.relu()

    @staticmethod
    def backward(ctx, gradient):
        (values,) = ctx.saved_tensors
        return gradient.clamp(min=0) * ((values > 0) if ctx.guided else 1), None


class Skips(nn.Module):
    """``h + second(rectify(h))``, rectified again, with `rectify` written in one of many ways."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.once, self.twice = nn.ReLU(), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def rectify(self, values, last):
        if self.way in ("guided", "deconvnet"):
            return Ruled.apply(values, self.way == "guided")
        if self.way == "modules":
            return (self.twice if last else self.once)(values)
        if self.way == "reused":
            return self.once(values)
        return values.relu_() if self.way == "in place" and last else functional.relu(values)

    def forward(self, images):
        values = self.first(images)
        values = self.rectify(values + self.second(self.rectify(values, last=False)), last=True)
        return self.head(values.mean((2, 3)))


def skipping(way):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return wrapped(Skips(way))


def normed():
    """`networks.plain` with a batch norm behind its first convolution."""
    network = networks.plain()
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, 6))
        norm.bias.copy_(torch.linspace(0.5, -0.5, 6))
        norm.running_mean.copy_(torch.linspace(-0.2, 0.3, 6))
        norm.running_var.copy_(torch.linspace(0.5, 2, 6))
    return network.insert(1, norm)


def by_captum(method, model, images, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(model).attribute(images.clone(), target=target).detach()


# --- guided backpropagation and the deconvnet -------------------------------------------------------------------------


@EVERY_RULE
def test_a_rule_equals_captum_where_captum_is_right(method, model, images):
    from captum import attr

    reference = {"guided_backprop": attr.GuidedBackprop, "deconvnet": attr.Deconvolution}[method.name]
    model.network.insert(2, nn.MaxPool2d(3, 2))
    expected = largest_colour(by_captum(reference, model, images, 2))
    torch.testing.assert_close(method(model, Logit(2), images), expected)


@EVERY_RULE
@pytest.mark.parametrize("way", ["modules", "functions", "in place", "reused"])
def test_a_rule_holds_for_every_relu_however_it_is_written(method, way, images):
    oracle = skipping("guided" if isinstance(method, GuidedBackprop) else "deconvnet")
    expected = largest_colour(gradients(oracle, Logit(1), images, ROWS))
    torch.testing.assert_close(method(skipping(way), Logit(1), images), expected)


def test_captum_returns_the_plain_gradient_for_functional_relu_and_ours_does_not(images):
    from captum.attr import GuidedBackprop as Captum

    model = skipping("functions")
    plain = gradients(model, Logit(1), images, ROWS)
    torch.testing.assert_close(by_captum(Captum, model, images, 1), plain)
    assert not torch.allclose(GuidedBackprop()(model, Logit(1), images), largest_colour(plain))


def test_captum_applies_the_rule_to_skip_connections_too_and_ours_does_not(images):
    from captum.attr import GuidedBackprop as Captum

    expected = gradients(skipping("guided"), Logit(1), images, ROWS)
    assert (by_captum(Captum, skipping("modules"), images, 1) - expected).abs().max() > 0.01 * expected.abs().max()


def test_rules_are_the_gradient_where_everything_is_positive(images):
    network = networks.plain()
    for parameter in network.parameters():
        parameter.data.abs_()
    model = bare(network)
    expected = largest_colour(gradients(model, Logit(2), images, ROWS))
    for method in RULES:
        torch.testing.assert_close(method(model, Logit(2), images), expected)


@EVERY_RULE
def test_a_relu_passes_nothing_of_what_speaks_against_the_objective(method, model, images):
    assert (method(model, -1 * Channel("1", 2), images) == 0).all()
    assert (method(model, Channel("1", 2), images) != 0).any()


@EVERY_RULE
@pytest.mark.parametrize(
    "objective", [Neuron("2", 1, 0, 3), Layer("2"), Layer("3") * Logit(1), TotalVariation()], ids=repr
)
def test_rules_explain_any_objective_of_a_hidden_layer(method, objective, model, images):
    maps = method(model, objective, images)
    assert maps.shape == (4, 16, 12) and maps.isfinite().all() and (maps.flatten(1) != 0).any(1).all()


def test_an_objectives_own_steps_keep_their_gradient(model, images):
    """Nothing lies between the pixels and the first convolution but the normalisation."""
    expected = largest_colour(gradients(model, Layer("0"), images, ROWS))
    for method in RULES:
        torch.testing.assert_close(method(model, Layer("0"), images), expected)


def test_guided_grad_cam_is_the_product_of_its_two_maps(model, images):
    cam = GradCam("2")(model, Logit(1), images)
    assert (cam > 0).any()
    torch.testing.assert_close(
        GuidedGradCam("2")(model, Logit(1), images), GuidedBackprop()(model, Logit(1), images) * cam
    )


def test_guided_grad_cam_refuses_what_either_method_refuses(model, images):
    with pytest.raises(LookupError, match="layer '2' is not upstream of"):
        GuidedGradCam("2").check(model, Channel("0", 1), images[:1])
    model.network[3] = nn.GELU()
    with pytest.raises(LookupError, match="attribution=guided_backprop knows ReLU and max pooling only, and layer '3'"):
        GuidedGradCam("2").check(model, Logit(1), images[:1])


# --- layer-wise relevance propagation ---------------------------------------------------------------------------------


def test_relevance_is_conserved_without_biases_and_equals_input_times_gradient(images):
    network = networks.without_bias(networks.plain())
    network.insert(2, nn.MaxPool2d(3, 2))
    model = bare(network)
    for epsilon, closeness in ((0, 1e-9), (1e-9, 1e-4)):
        maps = Lrp(epsilon)(model, Logit(2), images)
        torch.testing.assert_close(maps.sum((1, 2)), model(images)[:, 2].detach(), rtol=closeness, atol=1e-9)
        expected = (images * gradients(model, Logit(2), images, ROWS)).sum(1)
        torch.testing.assert_close(maps, expected, rtol=closeness, atol=1e-7)


def test_relevance_starts_from_the_colour_that_the_model_normalises_to_zero(model, images):
    expected = ((images - 0.5) * gradients(model, Logit(2), images, ROWS)).sum(1)
    torch.testing.assert_close(Lrp(0)(model, Logit(2), images), expected)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("epsilon", [1e-9, 0.1, 2.0])
def test_relevance_equals_captums_on_a_chain_of_convolutions(epsilon, in_place, images):
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    network = networks.plain()[:3]
    reference = networks.plain()[:3].double()
    network[1].inplace = in_place
    for layer in (reference[0], reference[2]):
        layer.rule = EpsilonRule(epsilon)
    expected = by_captum(LRP, reference, images, (5, 2, 3)).sum(1)
    found = Lrp(epsilon)(bare(network), Neuron("2", 5, 2, 3), images)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0, 0.1])
def test_a_batch_norm_counts_as_one_layer_with_its_convolution(epsilon, images):
    network, folded = normed().eval(), networks.plain().eval()
    folded[0] = nn.utils.fuse_conv_bn_eval(folded[0], network[1])
    expected = Lrp(epsilon)(wrapped(folded), Logit(2), images)
    torch.testing.assert_close(Lrp(epsilon)(wrapped(network), Logit(2), images), expected, rtol=1e-5, atol=1e-8)


class Written(nn.Module):
    """`normed` by functions, its last layer as `last` writes it, each step in place where it can be."""

    def __init__(self, last):
        super().__init__()
        self.layers, self.last = normed(), last

    def forward(self, images):
        first, norm, _, second, _, _, _, last = self.layers
        values = functional.conv2d(images, first.weight, first.bias, padding=1)
        values = functional.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        values = functional.conv2d(values.relu_(), second.weight, second.bias, second.stride, second.padding)
        return self.last(values.relu_().mean((2, 3)), last.weight, last.bias)


@pytest.mark.parametrize("epsilon", [0, 0.1])
@pytest.mark.parametrize(
    "last",
    [
        functional.linear,
        lambda x, w, b: torch.addmm(b, x, w.mT),
        lambda x, w, b: torch.baddbmm(b, x[None], w.mT[None])[0],
    ],
)
def test_lrp_holds_for_every_linear_layer_however_it_is_written(last, epsilon, images):
    expected = Lrp(epsilon)(wrapped(normed()), Logit(2), images)
    torch.testing.assert_close(Lrp(epsilon)(wrapped(Written(last)), Logit(2), images), expected)


@pytest.mark.parametrize(
    "product",
    [lambda x, w: x @ w.mT, lambda x, w: torch.einsum("bi,oi->bo", x, w), lambda x, w: torch.tensordot(x, w.mT, 1)],
)
def test_lrp_holds_for_matrix_products(product, images):
    expected = Lrp(0.1)(wrapped(networks.without_bias(normed())), Logit(2), images)
    model = wrapped(networks.without_bias(Written(lambda x, w, _bias: product(x, w))))
    torch.testing.assert_close(Lrp(0.1)(model, Logit(2), images), expected)


@pytest.mark.parametrize(
    "last",
    [
        lambda x, w, b: torch.linalg.multi_dot([x, w.mT, torch.eye(5).to(x)]),
        lambda x, w, b: torch.einsum("bi,oi->bo", x, w).add_(b),
    ],
)
def test_lrp_refuses_to_damp_linear_layers_that_it_cannot_see(last, images):
    model = wrapped(Written(last))
    with pytest.raises(LookupError, match=r"^attribution=lrp has no epsilon rule for .* \(B?[mM]m\).*epsilon=0$"):
        Lrp().check(model, Logit(2), images[:1])
    gradient = gradients(model, Logit(2), images, ROWS)
    torch.testing.assert_close(Lrp(0)(model, Logit(2), images), ((images - 0.5) * gradient).sum(1))


class Folds(nn.Module):
    """A convolution and a ReLU that works on a view of its output, or on the output itself."""

    def __init__(self, in_place):
        super().__init__()
        self.conv = networks.plain()[0]
        self.in_place = in_place

    def forward(self, images):
        values = self.conv(images)
        if not self.in_place:
            return values.relu().mean((2, 3))
        flat = values.view(len(values), 6, -1)
        flat.relu_()
        return flat.mean(2)


def test_a_layer_is_damped_once_where_a_view_of_it_is_changed_in_place(images):
    expected, found = (Lrp(0.1)(wrapped(Folds(in_place)), Logit(2), images) for in_place in (False, True))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_batch_norm_behind_a_relu_is_a_layer_of_its_own(in_place, images):
    """In place, the ReLU returns the very tensor that the convolution did."""
    network = normed()
    network[1], network[2] = nn.ReLU(in_place), network[1]
    separate = nn.Sequential(*network[:2], nn.Conv2d(6, 6, 1, groups=6), *network[3:])
    norm = network[2].eval()
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        separate[2].weight.copy_(scale.view(6, 1, 1, 1))
        separate[2].bias.copy_(norm.bias - scale * norm.running_mean)
    found, expected = (Lrp(0.1)(wrapped(made), Logit(2), images) for made in (network, separate))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_an_objective_that_reads_a_convolution_leaves_it_one_layer_with_its_batch_norm(images):
    model = wrapped(normed())
    one, other = Logit(1), Channel("0", 3)
    parts = [Lrp(0.1)(model, objective, images) for objective in (one, other)]
    torch.testing.assert_close(Lrp(0.1)(model, one - 2 * other, images), parts[0] - 2 * parts[1])


def test_relevance_is_conserved_over_skip_connections_where_captum_loses_it(images):
    from captum.attr import LRP

    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
            self.last = nn.Conv2d(3, 2, 1)

        def forward(self, images):
            return self.last(images + self.branch(images)).mean((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = bare(networks.without_bias(Added()))
    scores = model(images)[:, 1].detach()
    torch.testing.assert_close(Lrp(1e-9)(model, Logit(1), images).sum((1, 2)), scores, rtol=1e-6, atol=1e-9)
    lost = by_captum(LRP, model.network, images, 1).sum((1, 2, 3)) - scores
    assert (lost.abs() > 0.05 * scores.abs()).all()


def test_larger_epsilons_take_from_weak_units(model, images):
    sizes = [Lrp(epsilon)(model, Logit(2), images).abs().sum() for epsilon in (0, 0.01, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_lrp_refuses_what_it_cannot_propagate(model, images):
    with pytest.raises(
        LookupError, match="attribution=lrp needs an objective that is linear in what it reads, and Layer"
    ):
        Lrp()(model, Layer("2"), images)
    with pytest.raises(LookupError, match="attribution=lrp explains layers of a network, and .* reads pixels"):
        Lrp()(model, Logit(1) - TotalVariation(), images)
    model.network[1] = nn.Tanh()
    with pytest.raises(LookupError, match=r"attribution=lrp knows .* only, and layer '1' \(Tanh\) computes Tanh; take"):
        Lrp().check(model, Logit(1), images[:1])


@pytest.mark.parametrize("epsilon", [-1, float("nan"), float("inf"), True, "small"])
def test_a_wrong_epsilon_is_named(epsilon):
    with pytest.raises(ValueError, match="attribution.epsilon is .*; it must be a finite number from 0 on"):
        Lrp(epsilon)


# --- all of them ------------------------------------------------------------------------------------------------------


class Cells(nn.Module):
    """Looks at the four quarters of an image apart, and its head at one of them alone: DiFull (Rao et al., 2022)."""

    def __init__(self, quarter):
        super().__init__()
        self.quarter = quarter
        self.features, self.head = networks.plain()[:5], networks.plain()[6]

    def forward(self, images):
        rows = [half.chunk(2, 3) for half in images.chunk(2, 2)]
        cells = torch.stack([*rows[0], *rows[1]], 1)
        features = self.features(cells.flatten(0, 1)).view(len(images), 4, -1)
        return self.head(features[:, self.quarter])


@pytest.mark.parametrize("method", [*RULES, DeepLift(), Lrp()], ids=repr)
@pytest.mark.parametrize("quarter", range(4))
def test_nothing_is_attributed_to_a_part_that_is_not_seen(method, quarter, images):
    maps = method(wrapped(Cells(quarter)), Logit(2), images)
    rows, columns = slice(8 * (quarter // 2), 8 * (quarter // 2) + 8), slice(6 * (quarter % 2), 6 * (quarter % 2) + 6)
    assert (maps[:, rows, columns] != 0).any()
    maps[:, rows, columns] = 0
    assert (maps == 0).all()


@EVERY_METHOD
@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_a_batch_with_a_unit_each_equals_one_by_one_in_pieces_of_any_size(method, at_once, model, images, monkeypatch):
    monkeypatch.setattr(variants, "AT_ONCE", at_once)
    model.network.insert(2, nn.MaxPool2d(2, 1))
    targets = [Logit(target) - Channel("0", target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    together = method(model, Objective.stack(targets), images, rows)
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@EVERY_METHOD
@pytest.mark.parametrize("objective", [Channel("2", 3), Neuron("2", 1, 2, 1), Channel("1", 0)], ids=repr)
def test_hidden_objectives_are_explained_within_their_receptive_field(method, objective, model, images):
    maps = method(model, objective, images)
    assert maps.shape == (4, 16, 12) and maps.isfinite().all() and not maps.requires_grad
    if isinstance(objective, Neuron):
        assert (maps[:, 7:] == 0).all() and (maps[:, :, 5:] == 0).all() and (maps[:, 2:7, 0:5] != 0).any()


def test_layers_behind_the_objective_do_not_matter(model, images):
    model.network[3] = nn.GELU()
    model.network[6] = networks.Fails()
    for method in METHODS:
        method.check(model, Channel("2", 1), images[:1])


@EVERY_METHOD
@pytest.mark.parametrize("end", ["well", "head", "refused"])
def test_the_model_and_the_images_are_left_as_they_were(method, end, images):
    network = networks.plain()
    network.insert(1, nn.BatchNorm2d(6))
    if end != "well":
        network[4] = networks.Fails() if end == "head" else nn.Softmax(1)
    model = wrapped(network).train()
    network[2].eval()
    network[0].bias.requires_grad_(False)
    images.requires_grad_()
    before, values = state(model), images.detach().clone()
    if end == "well":
        method(model, Logit(1), images)
    else:
        with pytest.raises((RuntimeError, LookupError), match="this head refuses|computes Softmax"):
            method(model, Logit(1), images)
    assert state(model) == before
    assert images.requires_grad and images.grad is None and torch.equal(images.detach(), values)


def state(model):
    return (
        [(type(module), module.training, sorted(vars(module))) for module in model.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
        [tensor.sum().item() for tensor in model.state_dict().values()],
        hooks(model),
    )


@EVERY_METHOD
def test_no_gradient_mode_of_the_caller_and_precision_do_not_matter(method, model, images):
    expected = method(model, Logit(1), images)
    with torch.no_grad():
        assert torch.equal(method(model, Logit(1), images), expected)
    single = method(model.float(), Logit(1), images.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [DeepLift(), Lrp(0.1)], ids=repr)
def test_maps_are_linear_in_the_objective_across_layers(method, model, images):
    """The layer that one term reads is on the way to the other; both read copies of it."""
    one, other = Channel("0", 1), Logit(1)
    parts = [method(model, objective, images) for objective in (one, other)]
    torch.testing.assert_close(method(model, one - 2 * other, images), parts[0] - 2 * parts[1])


def torchvision_model(name, size=(64, 64), **settings):
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return wrapped(getattr(models, name)(weights=None, **settings), size).float()


@pytest.mark.parametrize(
    ("name", "objective"),
    [("squeezenet1_0", Logit(3)), ("squeezenet1_0", Channel("features.4", 5)), ("resnet18", Channel("layer1.1", 3))],
)
def test_convolutional_networks_with_relu_are_explained(name, objective):
    model = torchvision_model(name)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for method in (GuidedBackprop(), Deconvnet(), DeepLift("mean"), Lrp()):
        method.check(model, objective, image)
        assert method(model, objective, image).abs().max() > 0


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("vit_b_16", {"image_size": 32}, "LayerNorm"),
        ("convnext_tiny", {}, "LayerNorm2d"),
        ("mobilenet_v3_small", {}, r"Hardswish|product of activations"),
    ],
)
def test_other_networks_are_refused_in_one_line(name, settings, reason):
    size = (32, 32)
    model = torchvision_model(name, size, **settings)
    for method in (GuidedBackprop(), Deconvnet(), DeepLift(), Lrp()):
        with pytest.raises(LookupError, match=rf"^attribution=\w+ knows .* only, and layer '.*{reason}.*; take \w+$"):
            method.check(model, Logit(3), torch.rand(1, 3, *size))
        assert hooks(model) == 0
