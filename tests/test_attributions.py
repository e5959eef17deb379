import networks
import pytest
import torch
from networks import bare, hooks, wrapped
from torch import nn
from torch.nn import functional

from interpret_runs.activations import capture
from interpret_runs.attributions import GradCam, IntegratedGradients, Saliency
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Direction, Layer, Logit, Neuron
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.scoring import score

METHODS = [Saliency(), IntegratedGradients(steps=8), GradCam("0"), GradCam("2", relu=False)]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)
EVERY_BASELINE = pytest.mark.parametrize("baseline", ["black", "white", "mean"])


@pytest.fixture
def linear():
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


# --- closed forms -------------------------------------------------------------------------------------------------


def test_saliency_of_a_linear_network_is_its_largest_weight_with_its_sign(linear, images):
    model, weights = linear
    expected = weights[3].gather(0, weights[3].abs().argmax(0, keepdim=True))[0]
    assert expected.min() < 0 < expected.max()
    maps = Saliency()(model, Logit(3), images)
    torch.testing.assert_close(maps, expected.expand(4, 16, 12))


@EVERY_BASELINE
@pytest.mark.parametrize("steps", [2, 7])
def test_integrated_gradients_of_a_linear_network_are_weights_times_difference(baseline, steps, linear, images):
    model, weights = linear
    value = {"black": 0.0, "white": 1.0, "mean": 0.5}[baseline]
    method = IntegratedGradients(steps, baseline)
    expected = (weights[3] * (images - value)).sum(1)
    torch.testing.assert_close(method(model, Logit(3), images), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps", [2, 5])
def test_a_network_without_bias_needs_few_steps_from_black(steps, images):
    """Its gradient is the same all along the line from zero, so the map is the image times its gradient."""
    network = networks.without_bias(networks.plain())
    network[4] = nn.AdaptiveMaxPool2d(1)
    model = bare(network)
    maps = IntegratedGradients(steps)(model, Logit(2), images)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 2].sum(), leaf)
    torch.testing.assert_close(maps, (images * gradient).sum(1), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(maps.sum((1, 2)), model(images)[:, 2], rtol=1e-6, atol=1e-9)


def lively():
    """Biases that switch units on along the way from any baseline."""
    network = networks.plain()
    network[0].bias.data = torch.linspace(-1, 1, 6)
    network[2].bias.data = torch.linspace(-0.5, 0.5, 8)
    return wrapped(network)


@EVERY_BASELINE
@pytest.mark.parametrize("objective", [Logit(2), Channel("3", 7), Layer("2"), Logit(1) * Channel("0", 5)], ids=repr)
def test_integrated_gradients_become_complete_as_steps_grow(baseline, objective, images):
    model = lively()
    errors = []
    for steps in (4, 32, 512):
        method = IntegratedGradients(steps, baseline)
        maps = method(model, objective, images)
        gain = score(model, objective, images) - score(model, objective, method.baselines(model, images))
        error = (maps.sum((1, 2)) - gain).abs() / gain.abs()
        measured = method.measure(model, objective, images, maps)
        torch.testing.assert_close(measured["completeness_error"], error)
        assert torch.equal(measured["converged"], error <= 0.01)
        errors.append(error.max())
    assert errors[2] < 0.01 and errors[2] < errors[0]


def test_a_map_that_is_not_complete_does_not_count_as_converged(images):
    method = IntegratedGradients(steps=4, tolerance=0.01)
    maps = method(lively(), Logit(2), images)
    assert not method.measure(lively(), Logit(2), images, 1.02 * maps)["converged"].any()
    assert IntegratedGradients(tolerance=10.0).measure(lively(), Logit(2), images, maps)["converged"].all()


@pytest.fixture
def pooled():
    """Convolutions at full size, the mean over positions and a linear head."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
    return wrapped(network, (16, 12))


def test_grad_cam_times_positions_is_the_class_activation_map(pooled, images):
    """Zhou et al., 2016: behind a mean and a linear layer, relu(sum_k w_k A_k)."""
    cam = torch.einsum("k,bkhw->bhw", pooled.network[4].weight[2], pooled.network[:2](pooled.normalise(images)))
    assert cam.min() < 0 < cam.max()
    torch.testing.assert_close(16 * 12 * GradCam("1")(pooled, Logit(2), images), cam.relu().detach())
    torch.testing.assert_close(16 * 12 * GradCam("1", relu=False)(pooled, Logit(2), images), cam.detach())
    torch.testing.assert_close(cam.mean((1, 2)) + pooled.network[4].bias[2], pooled(images)[:, 2])


def test_grad_cam_before_an_activation_in_place_reads_what_the_layer_returned(pooled, images):
    values = pooled.network[0](pooled.normalise(images))
    passed = pooled.network[4].weight[2][:, None, None] * (values > 0)
    expected = (passed.mean((2, 3), keepdim=True) * values).sum(1)
    assert values.min() < 0
    torch.testing.assert_close(192 * GradCam("0", relu=False)(pooled, Logit(2), images), expected.detach())


def test_grad_cam_is_scaled_up_to_the_image(model, images):
    with capture(model, ["2", "logits"]) as forward:
        activations = forward(images.clone().requires_grad_())
        (gradient,) = torch.autograd.grad(activations["logits"][:, 1].sum(), activations["2"])
    cam = (gradient.mean((2, 3), keepdim=True) * activations["2"].detach()).sum(1, keepdim=True).relu()
    assert cam.shape[2:] == (8, 6)
    expected = functional.interpolate(cam, size=(16, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(GradCam("2")(model, Logit(1), images), expected)


@pytest.mark.parametrize(
    ("network", "layer"), [(networks.Tokens(prefix=1), "block"), (networks.ChannelsLast(7), "block")]
)
def test_grad_cam_reads_tokens_and_channels_last_as_a_grid(network, layer, images):
    """Behind a mean and a linear layer again, so the class activation map is the oracle."""
    model = bare(network)
    values = network.block(network.patches(images).permute(0, 2, 3, 1))
    cam = (values @ network.head.weight[1]).detach().relu() / (4 * 3)
    expected = functional.interpolate(cam[:, None], size=(16, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(GradCam(layer)(model, Logit(1), images), expected)


# --- any objective ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS[:2], GradCam("0", relu=False)], ids=repr)
@pytest.mark.parametrize(
    "objective",
    [
        Channel("0", 2),
        Neuron("2", 1, 0, 3),
        Layer("2"),
        Direction("0", (1, -1, 0, 0, 0, 2)),
        Logit(3),
        Logit(1) - Logit(2),
        Channel("0", 1) + 2 * Logit(1) - Channel("3", 1) * Layer("2"),
        Channel("0", 1) - TotalVariation() - L2(),
    ],
    ids=repr,
)
def test_whatever_can_be_visualised_can_be_explained(method, objective, model, images):
    maps = method(model, objective, images)
    assert maps.shape == (4, 16, 12)
    assert maps.isfinite().all() and not maps.requires_grad
    assert (maps.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("method", [IntegratedGradients(steps=8), GradCam("0", relu=False)], ids=repr)
def test_maps_are_linear_in_the_objective_across_layers(method, model, images):
    a, b, c = Logit(1), Channel("3", 2), Layer("2")
    maps = method(model, a * 1 + b * 3 + c * (-5), images)
    parts = [method(model, objective, images) for objective in (a, b, c)]
    torch.testing.assert_close(maps, parts[0] + 3 * parts[1] - 5 * parts[2], rtol=1e-6, atol=1e-9)


def test_a_neuron_is_explained_within_its_receptive_field(model, images):
    """Neuron (2, 1) of a 3 x 3 convolution with stride 2 on a 3 x 3 one sees rows 2 to 6 and columns 0 to 4."""
    for method in (Saliency(), IntegratedGradients(steps=4)):
        maps = method(model, Neuron("2", 1, 2, 1), images)
        seen = torch.zeros(16, 12, dtype=torch.bool)
        seen[2:7, 0:5] = True
        assert (maps[:, ~seen] == 0).all() and (maps[:, seen] != 0).any()


# --- batches --------------------------------------------------------------------------------------------------------


@EVERY_METHOD
def test_a_batch_with_a_target_each_equals_one_by_one(method, model, images):
    targets = [Logit(target) - Channel("3", target) for target in (4, 0, 2, 2)]
    together = method(model, Objective.stack(targets), images)
    alone = [method(model, target, image[None]) for target, image in zip(targets, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@EVERY_METHOD
def test_rows_say_which_image_takes_which_target(method, model, images):
    targets = [Logit(target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    together = method(model, Objective.stack(targets), images, rows)
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
    if isinstance(method, IntegratedGradients):
        found = method.measure(model, Objective.stack(targets), images, together, rows)["completeness_error"]
        single = method.measure(model, targets[2], images[:1], together[:1])["completeness_error"]
        torch.testing.assert_close(found[:1], single, rtol=1e-6, atol=1e-9)


def test_more_images_than_are_computed_at_once_change_nothing(model, images):
    many = images.repeat(10, 1, 1, 1) * torch.linspace(0.5, 1, 40, dtype=torch.float64)[:, None, None, None]
    targets = torch.arange(40) % 5
    method = IntegratedGradients(steps=3)
    together = method(model, Logit(tuple(targets.tolist())), many)
    for index in (0, 13, 39):
        alone = method(model, Logit(int(targets[index])), many[[index]])
        torch.testing.assert_close(together[[index]], alone, rtol=1e-9, atol=1e-12)


# --- what is left as it was ----------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("wanted", [True, False])
def test_the_callers_images_are_left_alone(method, wanted, model, images):
    images.requires_grad_(wanted)
    before = images.detach().clone()
    method(model, Logit(1), images)
    assert images.requires_grad is wanted and images.grad is None and images.is_leaf
    assert torch.equal(images, before)


def state(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [tensor.sum().item() for tensor in model.state_dict().values()],
        hooks(model),
    )


@EVERY_METHOD
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(method, fails, images):
    network = networks.plain()
    network.insert(1, nn.BatchNorm2d(6))
    model = wrapped(network).train()
    network[3].eval()
    network[0].bias.requires_grad_(False)
    method = GradCam("3") if isinstance(method, GradCam) else method
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
def test_no_gradient_mode_of_the_caller_does_not_matter(method, model, images):
    with torch.no_grad():
        found = method(model, Logit(1), images)
    assert torch.equal(found, method(model, Logit(1), images))


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "objective", "last"),
    [
        ("2", Channel("0", 1), "0"),
        ("3", Channel("1", 1), "1"),
        ("3", Channel("0", 1) + Neuron("2", 0), "2"),
        ("2", TotalVariation(), "image"),
    ],
)
def test_a_layer_that_the_objective_does_not_depend_on_names_the_last_that_it_does(layer, objective, last, images):
    for model in (wrapped(networks.plain()), networks.plain().double()):
        with pytest.raises(
            LookupError, match=f"layer '{layer}' is not upstream of .*; the last layer that is: '{last}'"
        ):
            GradCam(layer)(model, objective, images)
        assert hooks(model) == 0


def test_check_refuses_what_a_call_would_refuse(model, images):
    GradCam("0").check(model, Channel("2", 1), images[:1])
    Saliency().check(model, TotalVariation(), images[:1])
    with pytest.raises(LookupError, match="the last layer that is: '0'"):
        GradCam("2").check(model, Channel("0", 1), images[:1])


@pytest.mark.parametrize("layer", ["image", "logits"])
def test_pixels_and_logits_have_no_feature_maps(layer, model, images):
    with pytest.raises(LookupError, match=f"layer '{layer}' has no feature maps; name a convolutional layer"):
        GradCam(layer)(model, Logit(1), images)


@pytest.mark.parametrize("steps", [1, 0, -1, 2.5, True, "8"])
def test_wrong_steps_are_named(steps):
    with pytest.raises(ValueError, match="attribution.steps is .*; it must be a whole number from 2 on"):
        IntegratedGradients(steps)


def test_a_wrong_baseline_is_named(images):
    with pytest.raises(ValueError, match="attribution.baseline is 'grey'; it is black, white or mean"):
        IntegratedGradients(baseline="grey")
    with pytest.raises(ValueError, match="baseline mean needs a model that normalises"):
        IntegratedGradients(baseline="mean")(networks.plain().double(), Logit(1), images)


def test_a_methods_layer_is_resolved_like_an_objectives():
    summary = wrapped(networks.plain(), aliases={"late": "3"}).summary
    assert GradCam("late").resolve(summary) == GradCam("3")
    assert Saliency().resolve(summary) == Saliency()
    assert IntegratedGradients(9, "white").resolve(summary) == IntegratedGradients(9, "white")
    with pytest.raises(LookupError, match="no layer 'early'"):
        GradCam("early").resolve(wrapped(nn.Flatten()).summary)
