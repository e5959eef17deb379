"""Gradients on the way from a baseline."""

import networks
import pytest
import torch
from networks import bare, state, wrapped
from torch import Tensor, nn

from interpret_runs import variants
from interpret_runs.baselines import NAMES, Baselines
from interpret_runs.gradient_maps import InputXGradient
from interpret_runs.images import Shapes
from interpret_runs.integrals import GradientShap, IntegratedGradients
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Direction, Layer, Logit, Neuron
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.scoring import score

SHAPES = Shapes()
METHODS = [
    IntegratedGradients(steps=4, most_steps=40),
    IntegratedGradients(steps=2, most_steps=6, baseline="blur"),
    IntegratedGradients(steps=2, most_steps=6, baseline="dataset", baselines=3, data=SHAPES),
    GradientShap(samples=5),
    GradientShap(samples=4, baseline="noise", noise=0.0),
]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)
EVERY_BASELINE = pytest.mark.parametrize("baseline", NAMES)


@pytest.fixture
def linear():
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


def lively():
    """Biases that switch units on along the way from any baseline."""
    network = networks.plain()
    network[0].bias.data = torch.linspace(-1, 1, 6)
    network[2].bias.data = torch.linspace(-0.5, 0.5, 8)
    return wrapped(network)


def starts(method, count, model, images, spread=0.0):
    """The baselines of a method, (count, B, 3, H, W)."""
    find = Baselines(method.baseline, count, method.seed, method.data, spread).of(model, images)
    places = torch.arange(len(images))
    return torch.stack([find(places, torch.full_like(places, number)) for number in range(count)])


class Asked(nn.Module):
    """Remembers the images that it was asked to differentiate."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        if images.requires_grad and type(images) is Tensor:  # not to learn how much memory it takes
            self.seen.append(images.detach().clone())
        return images


# --- closed forms -------------------------------------------------------------------------------------------------


@EVERY_BASELINE
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_integrated_gradients_of_a_linear_network_are_weights_times_difference(baseline, steps, linear, images):
    model, weights = linear
    method = IntegratedGradients(steps, baseline, baselines=3, data=SHAPES)
    count = 3 if baseline in ("noise", "dataset") else 1
    expected = (weights[3] * (images - starts(method, count, model, images).mean(0))).sum(1)
    maps = method(model, Logit(3), images)
    torch.testing.assert_close(maps, expected, rtol=1e-12, atol=1e-12)
    assert (method.measure(model, Logit(3), images, maps)["completeness_error"] < 1e-12).all()


@EVERY_BASELINE
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_gradient_shap_of_a_linear_network_is_weights_times_mean_difference(baseline, noise, linear, images):
    model, weights = linear
    method = GradientShap(4, baseline, noise, SHAPES)
    expected = (weights[3] * (images - starts(method, 4, model, images, noise).mean(0))).sum(1)
    torch.testing.assert_close(method(model, Logit(3), images), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", [IntegratedGradients(1), IntegratedGradients(5), GradientShap(3, noise=0.0)])
def test_a_network_without_bias_needs_one_step_from_black(method, images):
    """Its gradient is the same all along the line from zero, so the map is the image times its gradient."""
    network = networks.without_bias(networks.plain())
    network[4] = nn.AdaptiveMaxPool2d(1)
    model = bare(network)
    maps = method(model, Logit(2), images)
    torch.testing.assert_close(maps, InputXGradient()(model, Logit(2), images), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(maps.sum((1, 2)), model(images)[:, 2].detach(), rtol=1e-9, atol=1e-12)


def test_the_midpoint_rule_is_exact_for_a_square_and_not_for_a_cube(images):
    class Power(nn.Module):
        def forward(self, images):
            return torch.stack([images.square().flatten(1).sum(1), images.pow(3).flatten(1).sum(1)], 1)

    model = bare(Power())
    method = IntegratedGradients(steps=4, most_steps=4)
    torch.testing.assert_close(method(model, Logit(0), images), images.square().sum(1))
    # The mean of a squared at the midpoints of n intervals is 1/3 - 1/(12 n ** 2).
    torch.testing.assert_close(method(model, Logit(1), images), (1 - 3 / (12 * 16)) * images.pow(3).sum(1))


# --- completeness ---------------------------------------------------------------------------------------------------


@EVERY_BASELINE
@pytest.mark.parametrize("objective", [Logit(2), Channel("3", 7), Layer("2"), Logit(1) * Channel("0", 5)], ids=repr)
def test_integrated_gradients_are_complete_to_within_the_tolerance(baseline, objective, images):
    model = lively()
    method = IntegratedGradients(4, baseline, baselines=2, data=SHAPES)
    count = 2 if baseline in ("noise", "dataset") else 1
    maps = method(model, objective, images)
    gain = score(model, objective, images)
    gain = gain - torch.stack([score(model, objective, one) for one in starts(method, count, model, images)]).mean(0)
    error = (maps.sum((1, 2)) - gain).abs() / gain.abs()
    assert (error <= 0.01).all()
    measured = method.measure(model, objective, images, maps)
    torch.testing.assert_close(measured["completeness_error"], error, rtol=1e-6, atol=1e-12)
    assert measured["converged"].all()


def test_more_points_leave_a_smaller_error(images):
    errors = []
    for steps in (4, 36, 324):
        method = IntegratedGradients(steps, most_steps=steps)
        maps = method(lively(), Logit(2), images)
        errors.append(method.measure(lively(), Logit(2), images, maps)["completeness_error"].mean())
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


def test_a_map_that_is_not_complete_does_not_count_as_converged(images):
    method = IntegratedGradients()
    maps = method(lively(), Logit(2), images)
    assert not method.measure(lively(), Logit(2), images, 1.02 * maps)["converged"].any()
    assert IntegratedGradients(tolerance=0.05).measure(lively(), Logit(2), images, 1.02 * maps)["converged"].all()


@pytest.mark.parametrize(("most", "points"), [(2, 2), (5, 2), (6, 6), (17, 6), (18, 18), (54, 54)])
def test_points_triple_up_to_the_most_and_none_is_asked_about_twice(most, points, images):
    network = lively().network
    network.insert(0, asked := Asked())
    method = IntegratedGradients(2, tolerance=0.0, most_steps=most)
    method(bare(network), Logit(2), images[:1])
    ways = torch.cat(asked.seen).flatten(1).mean(1) / images[0].mean()
    expected = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    torch.testing.assert_close(ways.sort().values, expected, rtol=1e-9, atol=1e-12)


def test_the_sum_of_tripled_points_is_that_of_as_many_from_the_start(images):
    model = lively()
    at_once = IntegratedGradients(36, tolerance=0.0, most_steps=36)(model, Logit(2), images)
    tripled = IntegratedGradients(4, tolerance=0.0, most_steps=36)(model, Logit(2), images)
    torch.testing.assert_close(tripled, at_once, rtol=1e-9, atol=1e-12)


def test_only_images_that_are_not_complete_are_asked_about_again(images):
    network = lively().network
    network.insert(0, asked := Asked())
    images[1] = 0  # equals its baseline: nothing to explain
    IntegratedGradients(2, tolerance=0.0, most_steps=6)(bare(network), Logit(2), images)
    asked_about = torch.cat(asked.seen)
    assert len(asked_about) == 4 * 2 + 3 * 4
    assert (asked_about.flatten(1) == 0).all(1).sum() == 2


@EVERY_METHOD
def test_an_objective_without_a_gain_has_an_empty_map_that_is_complete(method, images):
    class Constant(nn.Module):
        def forward(self, images):
            return images.new_ones(len(images), 3)

    maps = method(bare(Constant()), Logit(1), images)
    assert (maps == 0).all()
    measured = method.measure(bare(Constant()), Logit(1), images, maps)
    if isinstance(method, IntegratedGradients):
        assert (measured["completeness_error"] == 0).all() and measured["converged"].all()


def test_a_gain_of_zero_that_no_map_reaches_has_no_relative_error_and_is_not_converged(images):
    class Bump(nn.Module):
        """Zero at both ends of every line from black and a bump between that the points see one-sidedly."""

        def forward(self, images):
            way = images.flatten(1).amax(1)
            return ((way - 0.4).clamp(min=0) * (1 - way) * way)[:, None]

    model = bare(Bump())
    images = images / images.flatten(1).amax(1).view(-1, 1, 1, 1)
    method = IntegratedGradients(steps=2, most_steps=6)
    maps = method(model, Logit(0), images)
    measured = method.measure(model, Logit(0), images, maps)
    assert maps.isfinite().all() and (maps.sum((1, 2)) != 0).all()
    assert measured["completeness_error"].isnan().all() and not measured["converged"].any()


def test_gradient_shap_sums_to_the_mean_gain_as_samples_grow(images):
    model, errors = lively(), []
    for samples in (8, 800):  # a tenth of the error
        method = GradientShap(samples, "noise", noise=0.0)
        lows = torch.stack([score(model, Logit(2), one) for one in starts(method, samples, model, images)]).mean(0)
        gain = score(model, Logit(2), images) - lows
        errors.append((method(model, Logit(2), images).sum((1, 2)) - gain).abs().mean())
    assert errors[1] < errors[0] / 4


def test_gradient_shap_without_a_distribution_tends_to_integrated_gradients(images):
    exact = IntegratedGradients(tolerance=1e-4)(lively(), Logit(2), images)
    maps = GradientShap(1500, noise=0.0)(lively(), Logit(2), images)
    assert (maps - exact).norm() < 0.05 * exact.norm()


def test_several_baselines_are_the_mean_of_single_ones(images):
    """Images of a set, one by one, against their average: expected gradients."""
    items, model = SHAPES.items()[:3], lively()

    class Three(Shapes):
        def items(self):
            return items

    class One(Shapes):
        def items(self):
            return [items[self.item]]

    settings = {"baseline": "dataset", "most_steps": 16}
    together = IntegratedGradients(baselines=3, data=Three(), **settings)(model, Logit(2), images)
    alone = [IntegratedGradients(baselines=1, data=One(item), **settings)(model, Logit(2), images) for item in range(3)]
    torch.testing.assert_close(together, torch.stack(alone).mean(0), rtol=1e-9, atol=1e-12)


# --- what captum does -----------------------------------------------------------------------------------------------


def test_captums_trapezoid_leaves_a_fiftieth_of_a_linear_network_unexplained(linear, images):
    """It divides the sum over n points, two of them ends, by n."""
    from captum.attr import IntegratedGradients as Captum

    model, _ = linear
    gain = (model(images) - model(torch.zeros_like(images)))[:, 3].detach()
    theirs = Captum(model).attribute(images, target=3, n_steps=50, method="riemann_trapezoid")
    torch.testing.assert_close(theirs.sum((1, 2, 3)) / gain, torch.full_like(gain, 0.98), rtol=0, atol=1e-6)
    ours = IntegratedGradients(steps=50)(model, Logit(3), images)
    torch.testing.assert_close(ours.sum((1, 2)) / gain, torch.ones_like(gain), rtol=0, atol=1e-12)


def test_captums_weights_are_single_precision_and_ours_are_not(linear, images):
    from captum.attr import IntegratedGradients as Captum

    model, weights = linear
    exact = (weights[3] * images).sum(1)
    theirs = Captum(model).attribute(images, target=3, n_steps=50).sum(1)
    ours = IntegratedGradients(steps=50)(model, Logit(3), images)
    assert ((theirs - exact) / exact).abs().max() > 1e-11
    assert ((ours - exact).abs().max() / exact.abs().max()) < 1e-14


@pytest.mark.parametrize("baseline", ["black", "white"])
def test_as_many_midpoints_as_captum_takes_give_its_map(baseline, images):
    from captum.attr import IntegratedGradients as Captum

    model = lively()
    start = torch.full_like(images, float(baseline == "white"))
    theirs = Captum(model).attribute(images, start, target=2, n_steps=20, method="riemann_middle").sum(1)
    ours = IntegratedGradients(20, baseline, most_steps=20)(model, Logit(2), images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


# --- any objective ------------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize(
    "objective",
    [
        Neuron("2", 1, 0, 3),
        Direction("0", (1, -1, 0, 0, 0, 2)),
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


@EVERY_METHOD
@pytest.mark.parametrize("network", [networks.Tokens(), networks.ViT(), networks.ChannelsLast()], ids=type)
def test_transformers_are_explained_too(method, network, images):
    maps = method(bare(network), Channel("block", 1) * Logit(1), images)
    assert maps.isfinite().all() and (maps.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("method", [IntegratedGradients(8, most_steps=8), GradientShap(4)], ids=repr)
def test_maps_are_linear_in_the_objective_across_layers(method, model, images):
    a, b, c = Logit(1), Channel("3", 2), Layer("2")
    maps = method(model, a * 1 + b * 3 + c * (-5), images)
    parts = [method(model, objective, images) for objective in (a, b, c)]
    torch.testing.assert_close(maps, parts[0] + 3 * parts[1] - 5 * parts[2], rtol=1e-6, atol=1e-9)


# --- batches, memory and seeds --------------------------------------------------------------------------------------


@EVERY_METHOD
def test_a_batch_with_a_target_each_equals_one_by_one(method, images):
    model = lively()
    targets = [Logit(target) * Channel("3", target) for target in (4, 0, 2, 2)]
    together = method(model, Objective.stack(targets), images)
    alone = [method(model, target, image[None]) for target, image in zip(targets, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
    assert torch.equal(together, method(model, Objective.stack(targets), images))


@EVERY_METHOD
def test_rows_say_which_image_takes_which_target(method, images):
    model = lively()
    targets = [Channel("3", target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    together = method(model, Objective.stack(targets), images, rows)
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
    measured = method.measure(model, Objective.stack(targets), images, together, rows)
    for place, row in enumerate(rows):
        single = method.measure(model, targets[row], images[[place]], together[[place]])
        for name, values in measured.items():
            torch.testing.assert_close(values[[place]], single[name], rtol=1e-6, atol=1e-9)


@EVERY_METHOD
@pytest.mark.parametrize("at_once", [1, 3])
def test_how_many_fit_at_once_changes_nothing(method, at_once, images, monkeypatch):
    model = lively()
    expected = method(model, Logit(1) * Logit(2), images)
    monkeypatch.setattr(variants, "AT_ONCE", at_once)
    found = method(model, Logit(1) * Logit(2), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@EVERY_METHOD
def test_running_out_of_memory_changes_nothing(method, images):
    class Small(nn.Module):
        def forward(self, values):
            if len(values) > 2:
                raise torch.OutOfMemoryError("no room")
            return values

    network = lively().network
    expected = method(wrapped(network), Logit(1) * Logit(2), images)
    network.insert(0, Small())
    found = method(wrapped(network), Logit(1) * Logit(2), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("baseline", ["noise", "dataset"])
def test_a_seed_repeats_and_another_differs(baseline, images):
    for kind in (IntegratedGradients, GradientShap):
        settings = {"baseline": baseline, "data": SHAPES}
        maps = [kind(3, seed=seed, **settings)(lively(), Layer("2"), images) for seed in (3, 3, 4)]
        assert torch.equal(maps[0], maps[1])
        assert (maps[0] != maps[2]).any(2).any(1).all()


def test_gradient_shap_draws_where_on_the_line_it_looks_from_the_seed(images):
    found = []
    for samples, seed in ((6, 0), (6, 0), (9, 0), (6, 1)):
        network = lively().network
        network.insert(0, asked := Asked())
        GradientShap(samples, noise=0.0, seed=seed)(bare(network), Logit(2), images)
        ways = torch.cat(asked.seen).flatten(1).mean(1).view(4, samples)[:, :6] / images.mean((1, 2, 3))[:, None]
        assert (ways > 0).all() and (ways < 1).all()
        torch.testing.assert_close(ways, ways[:1].expand_as(ways))
        found.append(ways[0])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[0], found[2], rtol=1e-9, atol=1e-12)
    assert (found[0] != found[3]).all()


# --- what is left as it was -----------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("wanted", [True, False])
def test_the_callers_images_are_left_alone(method, wanted, model, images):
    images.requires_grad_(wanted)
    before = images.detach().clone()
    method.measure(model, Logit(1), images, method(model, Logit(1), images))
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
    maps = torch.zeros(4, 16, 12, dtype=torch.float64)
    if fails:
        network[5] = networks.Fails()
    before = state(model)
    if fails:
        with pytest.raises(RuntimeError, match="this head refuses"):
            method(model, Logit(1), images)
        if isinstance(method, IntegratedGradients):
            with pytest.raises(RuntimeError, match="this head refuses"):
                method.measure(model, Logit(1), images, maps)
    else:
        method(model, Logit(1), images)
        method.measure(model, Logit(1), images, maps)
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
def test_float32_is_close_to_float64(method, images):
    exact = method(lively(), Neuron("2", 1), images)
    rounded = method(lively().float(), Neuron("2", 1), images.float())
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-3, atol=1e-5)


# --- mistakes -------------------------------------------------------------------------------------------------------

NOT_COUNTS = [0, -1, 2.5, True, "8", None]
NOT_NUMBERS = [-0.1, float("nan"), float("inf"), True, "much", None]


@pytest.mark.parametrize("count", NOT_COUNTS)
@pytest.mark.parametrize(
    ("kind", "name"), [(IntegratedGradients, "steps"), (IntegratedGradients, "baselines"), (GradientShap, "samples")]
)
def test_wrong_counts_are_named(kind, name, count):
    with pytest.raises(ValueError, match=f"attribution.{name} is .*; it must be a whole number from 1 on"):
        kind(**{name: count})


@pytest.mark.parametrize("most", [15, *NOT_COUNTS])
def test_fewer_steps_than_there_are_to_begin_with_are_named(most):
    with pytest.raises(ValueError, match="attribution.most_steps is .*; it must be a whole number from 16 on"):
        IntegratedGradients(most_steps=most)


@pytest.mark.parametrize("number", NOT_NUMBERS)
@pytest.mark.parametrize(("kind", "name"), [(IntegratedGradients, "tolerance"), (GradientShap, "noise")])
def test_wrong_numbers_are_named(kind, name, number):
    with pytest.raises(ValueError, match=f"attribution.{name} is .*; it must be a finite number from 0 on"):
        kind(**{name: number})


@pytest.mark.parametrize("kind", [IntegratedGradients, GradientShap])
def test_wrong_baselines_are_named(kind, images):
    with pytest.raises(ValueError, match="attribution.baseline is 'grey'; it is black, .*, noise or dataset"):
        kind(baseline="grey")
    with pytest.raises(ValueError, match="attribution.baseline is dataset, but attribution.data names no images"):
        kind(baseline="dataset")
    with pytest.raises(TypeError, match=r"attribution.data is \['a.png'\]; it must be a set of images"):
        kind(baseline="dataset", data=["a.png"])
    for ask in (kind(baseline="mean"), kind(baseline="mean").check):
        with pytest.raises(ValueError, match="attribution.baseline mean needs a model that normalises"):
            ask(networks.plain().double(), Logit(1), images)


def test_methods_without_a_layer_resolve_to_themselves(model):
    for method in METHODS:
        assert method.resolve(model.summary) == method
        method.check(model, TotalVariation(), torch.zeros(1, 3, 16, 16, dtype=torch.float64))
