"""Gradients at the image and around it."""

import networks
import pytest
import torch
from networks import bare, state, wrapped
from torch import nn

from interpret_runs import variants
from interpret_runs.attribution import gradients
from interpret_runs.baselines import FIXED
from interpret_runs.gradient_maps import InputXGradient, Saliency, SmoothGrad, VarGrad
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Direction, Layer, Logit, Neuron
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.variants import add_up

METHODS = [Saliency(), InputXGradient(), SmoothGrad(samples=5), VarGrad(samples=5)]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)


@pytest.fixture
def linear():
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


class Square(nn.Module):
    """Half the square of every number, added up: its gradient is the image."""

    def forward(self, images):
        return images.square().flatten(1).sum(1, keepdim=True) / 2


class Small(nn.Module):
    """Has memory for `most` images."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, values):
        if len(values) > self.most:
            raise torch.OutOfMemoryError("no room")
        return values


def ranges(images):
    return (images.flatten(1).amax(1) - images.flatten(1).amin(1))[:, None, None]


# --- closed forms -------------------------------------------------------------------------------------------------


def test_saliency_of_a_linear_network_is_its_largest_weight_with_its_sign(linear, images):
    model, weights = linear
    expected = weights[3].gather(0, weights[3].abs().argmax(0, keepdim=True))[0]
    assert expected.min() < 0 < expected.max()
    torch.testing.assert_close(Saliency()(model, Logit(3), images), expected.expand(4, 16, 12))


@pytest.mark.parametrize(("baseline", "value"), [("black", 0.0), ("white", 1.0), ("mean", 0.5)])
def test_input_times_gradient_of_a_linear_network_is_weights_times_difference(baseline, value, linear, images):
    model, weights = linear
    maps = InputXGradient(baseline)(model, Logit(3), images)
    torch.testing.assert_close(maps, (weights[3] * (images - value)).sum(1))
    flat = torch.full_like(images, value)
    torch.testing.assert_close(maps.sum((1, 2)), model(images)[:, 3].detach() - model(flat)[:, 3].detach())


def test_input_times_gradient_of_one_colour_is_nothing_beside_its_blur(linear, images):
    model, _ = linear
    flat = images[:, :, :1, :1].expand_as(images)
    assert InputXGradient("blur")(model, Logit(3), flat).abs().max() < 1e-12
    assert InputXGradient("blur")(model, Logit(3), images).abs().max() > 1e-3


def test_without_biases_input_times_gradient_sums_to_the_score_and_is_integrated_gradients(images):
    network = networks.without_bias(networks.plain())
    network[4] = nn.AdaptiveMaxPool2d(1)
    model = bare(network)
    maps = InputXGradient()(model, Logit(2), images)
    torch.testing.assert_close(maps.sum((1, 2)), model(images)[:, 2].detach())
    torch.testing.assert_close(maps, IntegratedGradients(steps=3)(model, Logit(2), images), rtol=1e-9, atol=1e-12)


def test_smooth_gradients_of_a_linear_network_are_its_gradient_and_do_not_vary(linear, images):
    model, _ = linear
    saliency = Saliency()(model, Logit(3), images)
    torch.testing.assert_close(SmoothGrad(samples=3)(model, Logit(3), images), saliency)
    assert VarGrad(samples=3)(model, Logit(3), images).abs().max() < 1e-20


@pytest.mark.parametrize("objective", [Logit(2), Channel("2", 1), Layer("0")], ids=repr)
def test_without_noise_smooth_gradients_are_the_gradient_and_do_not_vary(objective, model, images):
    torch.testing.assert_close(
        SmoothGrad(samples=3, noise=0.0)(model, objective, images), Saliency()(model, objective, images)
    )
    assert VarGrad(samples=3, noise=0.0)(model, objective, images).abs().max() < 1e-20


def test_noise_is_a_share_of_each_images_own_range():
    """Of the squared norm the gradient is the noisy image itself, and its variance the noise's."""
    model = bare(Square(), (64, 64))
    images = torch.rand(3, 3, 64, 64, dtype=torch.float64)
    images = images * torch.tensor([0.1, 0.5, 1.0])[:, None, None, None]
    variances = VarGrad(samples=40, noise=0.2)(model, Logit(0), images)
    share = (variances.mean((1, 2)) / ranges(images)[:, 0, 0].square()).sqrt()
    torch.testing.assert_close(share, torch.full_like(share, 0.2), rtol=0.01, atol=0)


@pytest.mark.parametrize("samples", [2, 3, 40])
def test_more_samples_leave_the_level_of_the_variance(samples):
    model, images = bare(Square(), (64, 64)), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    maps = VarGrad(samples=samples, noise=0.1)(model, Logit(0), images)
    assert maps.mean().item() == pytest.approx(0.01 * ranges(images).square().item(), rel=0.05)
    assert maps.min() >= 0


def test_smooth_gradients_come_closer_to_their_mean_with_more_samples():
    model, images = bare(Square(), (16, 12)), torch.rand(1, 3, 16, 12, dtype=torch.float64)
    images = images + torch.tensor([5.0, 0.0, 0.0], dtype=torch.float64)[:, None, None]  # red is always the largest
    errors = []
    for samples in (4, 400):
        maps = SmoothGrad(samples=samples, noise=0.1)(model, Logit(0), images)
        errors.append((maps - images[:, 0]).square().mean().sqrt() / ranges(images).item())
    assert errors[0] == pytest.approx(0.1 / 4**0.5, rel=0.2) and errors[1] == pytest.approx(0.1 / 400**0.5, rel=0.2)


def test_smooth_gradients_have_a_sign():
    """PAIR's SmoothGrad adds up squares; a gradient that turns must cancel."""

    class Cosine(nn.Module):
        def forward(self, images):
            return torch.cos(2 * torch.pi * images).flatten(1).sum(1, keepdim=True)

    model, images = bare(Cosine(), (16, 12)), torch.rand(1, 3, 16, 12, dtype=torch.float64)
    maps = SmoothGrad(samples=200, noise=1.0)(model, Logit(0), images)
    assert maps.min() < 0 < maps.max()
    assert maps.square().mean() < 0.1 * Saliency()(model, Logit(0), images).square().mean()


def test_the_variance_is_that_of_the_gradients_themselves(model, images):
    seen = []

    def remember(places, numbers, found):
        seen.append(found)

    method = VarGrad(samples=6)
    method.over_samples(model, Logit(1), images, torch.arange(4), remember)
    drawn = torch.cat(seen).view(4, 6, 3, 16, 12)
    torch.testing.assert_close(method(model, Logit(1), images), drawn.var(1).mean(1), rtol=1e-9, atol=1e-12)
    mean = drawn.mean(1)
    expected = mean.gather(1, mean.abs().argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(SmoothGrad(samples=6)(model, Logit(1), images), expected, rtol=1e-9, atol=1e-12)


def test_a_small_variance_beside_a_large_gradient_survives_float32(images):
    class Steep(nn.Module):
        def forward(self, images):
            return (1e4 * images + images.square() / 2).flatten(1).sum(1, keepdim=True)

    method = VarGrad(samples=8)
    exact = method(bare(Steep()), Logit(0), images)
    rounded = method(bare(Steep()).float(), Logit(0), images.float())
    assert (rounded - exact).abs().mean() < 0.05 * exact.mean()


def test_captum_drops_the_sign_unless_told(linear, images):
    from captum.attr import Saliency as CaptumSaliency

    model, _ = linear
    theirs = CaptumSaliency(model).attribute(images.clone().requires_grad_(), target=3)
    assert (theirs >= 0).all()
    maps = Saliency()(model, Logit(3), images)
    assert (maps < 0).any()
    torch.testing.assert_close(maps.abs(), theirs.amax(1))


# --- any objective ------------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize(
    "objective",
    [
        Neuron("2", 1, 0, 3),
        Layer("2"),
        Direction("0", (1, -1, 0, 0, 0, 2)) * Channel("3", 1),
        Logit(1) * (Logit(1) - Logit(2)),
        Channel("0", 1) * Channel("0", 2) - TotalVariation() - L2(),
    ],
    ids=repr,
)
def test_whatever_can_be_visualised_can_be_explained(method, objective, images):
    model = wrapped(networks.plain())
    model.network[0].bias.data = torch.linspace(-1, 1, 6, dtype=torch.float64)
    maps = method(model, objective, images)
    assert maps.shape == (4, 16, 12)
    assert maps.isfinite().all() and not maps.requires_grad
    assert (maps.flatten(1).abs().amax(1) > 0).all()


@EVERY_METHOD
@pytest.mark.parametrize("network", [networks.Tokens(), networks.ViT(), networks.ChannelsLast()], ids=type)
def test_transformers_are_explained_too(method, network, images):
    maps = method(bare(network), Channel("block", 1) * Logit(1), images)
    assert maps.isfinite().all() and (maps.flatten(1).abs().amax(1) > 0).all()


@EVERY_METHOD
def test_what_does_not_depend_on_the_image_has_an_empty_map(method, images):
    class Constant(nn.Module):
        def forward(self, images):
            return images.new_ones(len(images), 3)

    assert (method(bare(Constant()), Logit(1), images) == 0).all()


@EVERY_METHOD
def test_a_neuron_is_explained_within_its_receptive_field(method, model, images):
    """Neuron (2, 1) of a 3 x 3 convolution with stride 2 on a 3 x 3 one sees rows 2 to 6 and columns 0 to 4."""
    maps = method(model, Neuron("2", 1, 2, 1) * Neuron("2", 1, 2, 1), images)
    seen = torch.zeros(16, 12, dtype=torch.bool)
    seen[2:7, 0:5] = True
    assert (maps[:, ~seen] == 0).all() and (maps[:, seen] != 0).any()


# --- batches, memory and seeds --------------------------------------------------------------------------------------


@EVERY_METHOD
def test_a_batch_with_a_target_each_equals_one_by_one(method, model, images):
    targets = [Logit(target) * Channel("3", target) for target in (4, 0, 2, 2)]
    together = method(model, Objective.stack(targets), images)
    alone = [method(model, target, image[None]) for target, image in zip(targets, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
    assert torch.equal(together, method(model, Objective.stack(targets), images))


@EVERY_METHOD
def test_rows_say_which_image_takes_which_target(method, model, images):
    targets = [Channel("3", target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    together = method(model, Objective.stack(targets), images, rows)
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@EVERY_METHOD
@pytest.mark.parametrize("at_once", [1, 3])
def test_how_many_fit_at_once_changes_nothing(method, at_once, model, images, monkeypatch):
    expected = method(model, Logit(1) * Logit(2), images)
    monkeypatch.setattr(variants, "AT_ONCE", at_once)
    found = method(model, Logit(1) * Logit(2), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@EVERY_METHOD
def test_running_out_of_memory_changes_nothing(method, images):
    network = networks.plain()
    expected = method(wrapped(network), Logit(1) * Logit(2), images)
    network.insert(0, Small(2))
    found = method(wrapped(network), Logit(1) * Logit(2), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [SmoothGrad, VarGrad])
def test_a_seed_repeats_and_another_differs(kind, model, images):
    maps = [kind(samples=4, seed=seed)(model, Layer("2"), images) for seed in (3, 3, 4)]
    assert torch.equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any((1, 2)).all()


def test_more_samples_begin_as_fewer_do(model, images):
    drawn = []
    for samples in (2, 5):
        seen = {}

        def remember(places, numbers, found, seen=seen):
            seen.update({(int(p), int(n)): one for p, n, one in zip(places, numbers, found, strict=True)})

        SmoothGrad(samples=samples).over_samples(model, Layer("2"), images, torch.arange(4), remember)
        drawn.append(seen)
    assert len(drawn[0]) == 8 and len(drawn[1]) == 20
    for key, gradient in drawn[0].items():
        torch.testing.assert_close(drawn[1][key], gradient, rtol=1e-9, atol=1e-12)


def test_sums_go_to_their_places():
    total, values = torch.ones(4, 2), torch.arange(10.0).view(5, 2)
    add_up(total, torch.tensor([1, 1, 3, 3, 3]), values)
    assert torch.equal(total, torch.tensor([[1.0, 1.0], [3.0, 5.0], [1.0, 1.0], [19.0, 22.0]]))


# --- what is left as it was -----------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("wanted", [True, False])
def test_the_callers_images_are_left_alone(method, wanted, model, images):
    images.requires_grad_(wanted)
    before = images.detach().clone()
    method(model, Logit(1), images)
    assert images.requires_grad is wanted and images.grad is None and images.is_leaf
    assert torch.equal(images, before)


@EVERY_METHOD
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(method, fails, images):
    network = networks.plain()
    network.insert(1, nn.BatchNorm2d(6))
    model = wrapped(network).train()
    network[3].eval()
    network[0].bias.requires_grad_(False)
    if fails:
        network[5] = networks.Fails()
    before = state(model)
    if fails:
        with pytest.raises(RuntimeError, match="this head refuses"):
            method(model, Logit(1), images)
    else:
        method(model, Logit(1), images)
    assert state(model) == before


@EVERY_METHOD
def test_the_callers_random_numbers_and_gradient_mode_do_not_matter(method, model, images):
    before = torch.random.get_rng_state()
    with torch.no_grad():
        found = method(model, Logit(1), images)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    assert torch.equal(found, method(model, Logit(1), images))


@EVERY_METHOD
def test_float32_is_close_to_float64(method, model, images):
    exact = method(model, Neuron("2", 1), images)
    rounded = method(model.float(), Neuron("2", 1), images.float())
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-3, atol=1e-5)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "least"), [(SmoothGrad, 1), (VarGrad, 2)])
@pytest.mark.parametrize("samples", [0, -1, 2.5, True, "8", None])
def test_wrong_samples_are_named(kind, least, samples):
    with pytest.raises(ValueError, match=f"attribution.samples is .*; it must be a whole number from {least} on"):
        kind(samples=samples)


def test_one_sample_has_no_variance():
    assert SmoothGrad(samples=1).samples == 1
    with pytest.raises(ValueError, match="attribution.samples is 1; it must be a whole number from 2 on"):
        VarGrad(samples=1)


@pytest.mark.parametrize("kind", [SmoothGrad, VarGrad])
@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), True, "much", None])
def test_wrong_noise_is_named(kind, noise):
    with pytest.raises(ValueError, match="attribution.noise is .*; it must be a finite number from 0 on"):
        kind(noise=noise)


@pytest.mark.parametrize("baseline", ["grey", "noise", "dataset"])
def test_a_baseline_that_is_not_one_image_is_named(baseline):
    assert baseline not in FIXED
    with pytest.raises(ValueError, match=f"attribution.baseline is '{baseline}'; it is black, white, mean or blur"):
        InputXGradient(baseline)


def test_the_mean_colour_needs_a_model_that_normalises(images):
    with pytest.raises(ValueError, match="attribution.baseline mean needs a model that normalises"):
        InputXGradient("mean")(networks.plain().double(), Logit(1), images)


def test_methods_without_a_layer_resolve_to_themselves(model):
    for method in METHODS:
        assert method.resolve(model.summary) == method
        method.check(model, TotalVariation(), torch.zeros(1, 3, 16, 16, dtype=torch.float64))


def test_saliency_is_the_colour_of_the_gradient_that_is_largest(model, images):
    found = gradients(model, Logit(1), images, torch.arange(4))
    maps = Saliency()(model, Logit(1), images)
    assert torch.equal(maps.abs(), found.abs().amax(1))
    assert (found == maps[:, None]).any(1).all()


def test_memory_that_runs_out_in_the_middle_leaves_nothing_behind(model, images, monkeypatch):
    expected = VarGrad(4)(model, Logit(1), images)
    through, failed = torch.Tensor.square, []

    def square(self):
        if not failed and self.ndim == 4 and self.shape[1] == 3:
            failed.append(True)
            raise torch.OutOfMemoryError("no room")
        return through(self)

    monkeypatch.setattr(torch.Tensor, "square", square)
    torch.testing.assert_close(VarGrad(4)(model, Logit(1), images), expected, rtol=0, atol=1e-9)
    assert failed
