import warnings

import networks
import pytest
import torch
from networks import bare, wrapped
from torch import nn
from torch.nn import functional

from interpret_runs.attribution import gradients
from interpret_runs.baselines import fixed
from interpret_runs.deep_lift import ELEMENTWISE, DeepLift
from interpret_runs.objectives import Channel, Layer, Logit, Neuron
from interpret_runs.scoring import score

ROWS = torch.arange(4)
EVERY_BASELINE = pytest.mark.parametrize("baseline", ["black", "white", "mean", "blur"])


class Acts(nn.Module):
    """``h + second(act(h))``, through `act` again, behind a first convolution and before a linear head."""

    def __init__(self, act, channels=4):
        super().__init__()
        self.act = act
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.head = nn.Linear(channels, 3)

    def forward(self, images):
        values = self.first(images)
        return self.head(self.act(values + self.second(self.act(values.clone()))).mean((2, 3)))


def gain(model, objective, images, baseline="black"):
    with torch.no_grad():
        return score(model, objective, images) - score(model, objective, fixed(baseline, model, images))


def by_captum(network, images, baseline="black"):
    """Captum's maps of logit 1, and how far their sums are from the difference of the scores."""
    from captum.attr import DeepLift as Captum

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method = Captum(network)
        maps, delta = method.attribute(
            images.clone(), fixed(baseline, network, images), 1, return_convergence_delta=True
        )
    return maps.sum(1).detach(), delta.detach()


@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_contributions_equal_captums_where_captum_is_right(baseline, images):
    """Where no two activation functions or poolings touch, and no windows overlap."""
    network = networks.plain()
    network[1], network[3] = nn.Softplus(), nn.ELU()
    network.insert(0, nn.MaxPool2d(2))
    maps, delta = by_captum(network.double(), images, baseline)
    assert delta.abs().max() < 1e-9
    torch.testing.assert_close(DeepLift(baseline)(bare(network), Logit(1), images), maps)


@EVERY_BASELINE
def test_contributions_of_a_linear_network_are_weights_times_difference(baseline, images):
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    weights = (model.network[1].weight[3].detach() / 0.25).view(3, 16, 12)
    expected = (weights * (images - fixed(baseline, model, images))).sum(1)
    torch.testing.assert_close(DeepLift(baseline)(model, Logit(3), images), expected)


def test_contributions_from_black_without_biases_are_the_image_times_its_gradient(images):
    network = networks.without_bias(networks.plain())
    network[4] = nn.AdaptiveMaxPool2d(1)
    model = bare(network)
    expected = (images * gradients(model, Logit(2), images, ROWS)).sum(1)
    torch.testing.assert_close(DeepLift()(model, Logit(2), images), expected)


FUNCTIONS = {
    "relu": functional.relu,
    "relu in place": lambda x: x.relu_(),
    "relu flagged": lambda x: functional.relu(x, inplace=True),
    "leaky relu": lambda x: functional.leaky_relu(x, 0.2, True),
    "gelu": functional.gelu,
    "silu": nn.SiLU(),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
    "sigmoid": torch.sigmoid,
    "tanh": lambda x: x.tanh_(),
    "softplus": nn.Softplus(),
    "elu": nn.ELU(0.7),
    "prelu": nn.PReLU(4),
    "learnt gate": lambda x: torch.sigmoid(torch.tensor(0.3)) * x.relu(),
    "pool": lambda x: functional.max_pool2d(x, 3, 1, 1),
    "pool of relu": lambda x: functional.max_pool2d(x.relu(), 3, 1, padding=1).relu_(),
}


@EVERY_BASELINE
@pytest.mark.parametrize("name", FUNCTIONS)
def test_contributions_sum_to_the_difference_of_the_scores(name, baseline, images):
    """Of a network with a skip connection whose one activation function runs twice."""
    model, method = wrapped(Acts(FUNCTIONS[name])), DeepLift(baseline)
    maps = method(model, Logit(1), images)
    torch.testing.assert_close(maps.sum((1, 2)), gain(model, Logit(1), images, baseline), rtol=1e-9, atol=1e-12)
    assert method.measure(model, Logit(1), images, maps)["completeness_error"].max() < 1e-8
    method.check(model, Logit(1), images[:1])


def test_an_activation_function_is_the_same_however_it_is_written(images):
    ways = [nn.ReLU(), nn.ReLU(inplace=True), functional.relu, functional.relu_, torch.relu, lambda x: x.relu_()]
    maps = [DeepLift()(wrapped(Acts(way)), Logit(1), images) for way in ways]
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [True, False])
def test_in_place_functions_change_what_others_hold(value, images):
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, images):
            held = self.conv(images)
            functional.relu(held, inplace=value)
            return held.mean((2, 3))

    model = wrapped(Holds())
    maps = DeepLift()(model, Logit(1), images)
    torch.testing.assert_close(maps.sum((1, 2)), gain(model, Logit(1), images))


@pytest.mark.parametrize("act", [functional.relu, functional.gelu])
def test_captum_misses_functions_and_ours_does_not(act, images):
    network = Acts(act).double()
    _, delta = by_captum(network, images)
    model = bare(network)
    change = gain(model, Logit(1), images)
    assert (delta.abs() > 0.01 * change.abs()).any()
    torch.testing.assert_close(DeepLift()(model, Logit(1), images).sum((1, 2)), change)


def test_captum_fails_on_a_module_that_runs_twice_and_ours_does_not(images):
    network = Acts(nn.ReLU()).double()
    with pytest.raises(RuntimeError, match="used more than once"):
        by_captum(network, images)
    model = bare(network)
    torch.testing.assert_close(DeepLift()(model, Logit(1), images).sum((1, 2)), gain(model, Logit(1), images))


def test_captum_loses_skip_connections_around_an_activation_and_ours_does_not(images):
    class Skip(Acts):
        def forward(self, images):
            values = self.first(images)
            return self.head((values + self.second(self.act(values))).mean((2, 3)))

    network = Skip(nn.ReLU()).double()
    _, delta = by_captum(network, images)
    model = bare(network)
    change = gain(model, Logit(1), images)
    assert (delta.abs() > 0.1 * change.abs()).all()
    torch.testing.assert_close(DeepLift()(model, Logit(1), images).sum((1, 2)), change)


@pytest.mark.parametrize(
    "pooling", [[nn.MaxPool2d(3, 1)], [nn.ReLU(), nn.MaxPool2d(3)]], ids=["overlapping", "behind ReLU"]
)
def test_captum_misses_winners_of_poolings_and_ours_does_not(pooling, images):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), *pooling, nn.Flatten(), nn.LazyLinear(3)).double()
        network(images)
    _, delta = by_captum(network, images, "blur")
    model = bare(network)
    change = gain(model, Logit(1), images, "blur")
    assert (delta.abs() > 0.01 * change.abs()).any()
    torch.testing.assert_close(DeepLift("blur")(model, Logit(1), images).sum((1, 2)), change)


def test_an_image_that_is_its_baseline_has_no_contributions(model, images):
    images = torch.cat([torch.zeros_like(images[:1]), images])
    maps = DeepLift()(model, Logit(1), images)
    assert (maps[0] == 0).all() and maps.isfinite().all()
    torch.testing.assert_close(maps[1:], DeepLift()(model, Logit(1), images[1:]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", [Channel("3", 2), Neuron("2", 1, 2, 1), Logit(1) - Channel("1", 2)], ids=repr)
def test_hidden_objectives_are_complete_too(objective, model, images):
    torch.testing.assert_close(
        DeepLift("blur")(model, objective, images).sum((1, 2)), gain(model, objective, images, "blur")
    )


def test_the_reported_error_is_relative_to_the_difference_of_the_scores(model, images):
    method = DeepLift()
    maps = method(model, Logit(1), images)
    for factor in (1, 1.25):
        error = method.measure(model, Logit(1), images, factor * maps)["completeness_error"]
        torch.testing.assert_close(error, torch.full_like(error, factor - 1), rtol=1e-6, atol=1e-8)


def test_windows_that_are_folded_into_the_batch_are_compared_with_their_own(images):
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = networks.plain()

        def forward(self, images):
            windows = torch.stack(images.chunk(2, 2), 1).flatten(0, 1)
            return self.inner(windows).view(len(images), 2, -1).mean(1)

    model = wrapped(Windows())
    maps = DeepLift()(model, Logit(1), images)
    torch.testing.assert_close(maps.sum((1, 2)), gain(model, Logit(1), images))


@pytest.mark.parametrize(
    ("act", "step"),
    [
        (lambda x: x.softmax(1), "Softmax"),
        (lambda x: functional.layer_norm(x, x.shape[1:]), "NativeLayerNorm"),
        (lambda x: x * x.sigmoid(), r"a product of activations \(Mul\)"),
        (lambda x: x.clamp(min=0), "Clamp"),
        (lambda x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[0], "MaxPool2DWithIndices"),
        (lambda x: x.flatten(0, 1)[1:].relu().sum() * torch.ones_like(x), "Relu"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(act, step, images):
    model = wrapped(Acts(act))
    expected = (
        f"attribution=deep_lift knows .* only, and the network itself computes {step}; take integrated_gradients$"
    )
    for ask in (DeepLift(), DeepLift().check):
        with pytest.raises(LookupError, match=expected):
            ask(model, Logit(1), images[:1])


def test_squares_of_a_layer_are_refused(model, images):
    with pytest.raises(
        LookupError, match="attribution=deep_lift needs an objective that is linear in what it reads, and L"
    ):
        DeepLift()(model, Layer("2"), images)


def test_a_map_that_does_not_add_up_is_refused(images):
    """A mask made of activations has no derivative, so nothing else tells of it."""
    model = wrapped(Acts(lambda x: x * (x > 0)))
    with pytest.raises(LookupError, match="attribution=deep_lift does not add up on Logit.*from baseline black; take"):
        DeepLift().check(model, Logit(1), images[:1])


def test_a_wrong_baseline_is_named():
    with pytest.raises(ValueError, match="attribution.baseline is 'noise'"):
        DeepLift("noise")


def test_activation_functions_are_known_under_all_their_names():
    for function in (functional.relu, torch.relu, torch.Tensor.relu_, functional.gelu, torch.sigmoid, torch.prelu):
        assert function in ELEMENTWISE
    assert functional.softmax not in ELEMENTWISE and functional.rrelu not in ELEMENTWISE
