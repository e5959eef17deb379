from collections.abc import Iterator

import networks
import pytest
import torch
from networks import Counted, bare, hooks, wrapped
from torch import nn
from torch.nn import functional

from interpret_runs import variants
from interpret_runs.activations import capture
from interpret_runs.cam import Cam, Evidence
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.finer_cam import METHODS, FinerCam
from interpret_runs.gradient_maps import InputXGradient, Saliency
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Contrast, Direction, Layer, Logit, Neuron, Probability
from interpret_runs.one_pass import map_of_each, maps_in_one_pass
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.score_cam import ScoreCam

CAMS = [GradCam, GradCamPlusPlus, HiResCam, XGradCam, LayerCam]
LINEAR = [GradCam, HiResCam, XGradCam]
EVERY_CAM = pytest.mark.parametrize("cam", CAMS)
EVERY_METHOD = pytest.mark.parametrize("method", [*CAMS, FinerCam], ids=lambda method: method.__name__)


@pytest.fixture(autouse=True)
def same_weights() -> Iterator[None]:
    """What is random in a network is the same in every session."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


@pytest.fixture
def pooled():
    """Convolutions at full size, the mean over positions and a linear head."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
    return wrapped(network, (16, 12))


def in_the_middle(model, layer, target, images):
    """A layer's output and the gradient of a logit there."""
    with capture(model, [layer, "logits"]) as forward:
        seen = forward(images.clone().requires_grad_())
        (gradient,) = torch.autograd.grad(seen["logits"][:, target].sum(), seen[layer])
    return seen[layer].detach(), gradient


# --- closed forms -------------------------------------------------------------------------------------------------


def test_behind_a_mean_and_a_linear_layer_three_methods_are_the_class_activation_map(pooled, images):
    """Zhou et al., 2016: ``sum_k w_k A_k``, whose mean and the bias are the logit."""
    values = pooled.network[:2](pooled.normalise(images))
    cam = torch.einsum("k,bkhw->bhw", pooled.network[4].weight[2], values).detach()
    assert cam.min() < 0 < cam.max()
    for method in LINEAR:
        torch.testing.assert_close(16 * 12 * method("1")(pooled, Logit(2), images), cam.relu())
        torch.testing.assert_close(16 * 12 * method("1", relu=False)(pooled, Logit(2), images), cam)
    torch.testing.assert_close(cam.mean((1, 2)) + pooled.network[4].bias[2], pooled(images)[:, 2])


def test_there_layer_cam_takes_the_positive_weights_alone(pooled, images):
    values = pooled.network[:2](pooled.normalise(images))
    expected = torch.einsum("k,bkhw->bhw", pooled.network[4].weight[2].relu(), values).detach()
    torch.testing.assert_close(16 * 12 * LayerCam("1")(pooled, Logit(2), images), expected)


def test_before_an_activation_in_place_what_the_layer_returned_is_read(pooled, images):
    values = pooled.network[0](pooled.normalise(images))
    passed = pooled.network[4].weight[2][:, None, None] * (values > 0)
    expected = (passed.mean((2, 3), keepdim=True) * values).sum(1)
    assert values.min() < 0
    torch.testing.assert_close(192 * GradCam("0", relu=False)(pooled, Logit(2), images), expected.detach())


def test_methods_differ_where_gradients_do(model, images):
    with torch.no_grad():
        model.network[4] = nn.AdaptiveMaxPool2d(1)
    maps = maps_in_one_pass(model, [cam("1", relu=False) for cam in CAMS], Logit(2), images)
    for one in range(len(CAMS)):
        for other in range(one):
            assert not torch.allclose(maps[one], maps[other], rtol=1e-3)


def test_the_sums_of_x_grad_cam_and_hi_res_cam_are_equal(model, images):
    """Fu et al., 2020: both are the sum of gradient times activation."""
    model.network[4] = nn.AdaptiveMaxPool2d(1)
    x_grad, hi_res = maps_in_one_pass(model, [XGradCam("1", relu=False), HiResCam("1", relu=False)], Logit(2), images)
    torch.testing.assert_close(x_grad.sum((1, 2)), hi_res.sum((1, 2)))


def test_grad_cam_plus_plus_is_the_papers_formula_by_repeated_differentiation():
    """Chattopadhay et al., 2018, on Y = exp(S): second and third derivatives by each number by itself."""
    generator = torch.Generator().manual_seed(1)
    activation = torch.rand(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    activation[0, 2, 0, 0] = 0
    weights[1, 1, 1] = 0
    expected = torch.zeros(3, dtype=torch.float64)
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(2)).tolist():
        k, row, column = place
        number = activation[0, k, row, column].clone().requires_grad_()
        rest = (activation[0] * weights).sum() - activation[0, k, row, column] * weights[k, row, column]
        derivatives = [(rest + weights[k, row, column] * number).exp()]
        for _ in range(3):
            derivatives.append(torch.autograd.grad(derivatives[-1], number, create_graph=True)[0])
        _, first, second, third = (derivative.item() for derivative in derivatives)
        if first != 0:
            alpha = second / (2 * second + activation[0, k].sum().item() * third)
            expected[k] += alpha * max(first, 0)
    score = (activation[0] * weights).sum()
    cam = GradCamPlusPlus("").combine(Evidence(activation, weights[None]))
    torch.testing.assert_close(cam[0] * score.exp(), torch.einsum("k,khw->hw", expected, activation[0]))


def test_nothing_divides_by_zero():
    """A silent channel, one whose sum is 0, and one at which the divisor of Grad-CAM++ is 0."""
    activation = torch.tensor([[[0.0, 0.0]], [[1.0, -1.0]], [[-1.0, -1.0]]], dtype=torch.float64)[None]
    gradient = torch.tensor([[[1.0, -1.0]], [[1.0, 0.5]], [[1.0, 0.0]]], dtype=torch.float64)[None]
    for cam in CAMS:
        assert cam("").combine(Evidence(activation, gradient)).isfinite().all()
        assert (cam("").combine(Evidence(activation, torch.zeros_like(gradient))) == 0).all()


def test_small_gradients_do_not_vanish_from_grad_cam_plus_plus(model, images):
    """Their squares are below what float32 holds."""
    model, images = model.float(), images.float()
    large, small = (GradCamPlusPlus("1")(model, scale * Logit(2), images) for scale in (1e-3, 1e-23))
    torch.testing.assert_close(small / small.max(), large / large.max(), rtol=0.05, atol=0.05)


@EVERY_CAM
def test_maps_are_scaled_up_to_the_image_bilinearly(cam, model, images):
    method = cam("2")
    small = method.combine(Evidence(*in_the_middle(model, "2", 1, images))).relu()[:, None]
    assert small.shape[2:] == (8, 6)
    expected = functional.interpolate(small, size=(16, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(method(model, Logit(1), images), expected)


@pytest.mark.parametrize(
    ("network", "layer"), [(networks.Tokens(prefix=1), "block"), (networks.ChannelsLast(7), "block")]
)
def test_tokens_and_channels_last_are_read_as_a_grid(network, layer, images):
    """Behind a mean and a linear layer again, so the class activation map is the oracle."""
    model = bare(network)
    values = network.block(network.patches(images).permute(0, 2, 3, 1))
    cam = (values @ network.head.weight[1]).detach().relu() / (4 * 3)
    expected = functional.interpolate(cam[:, None], size=(16, 12), mode="bilinear", align_corners=False)[:, 0]
    for method in LINEAR:
        torch.testing.assert_close(method(layer)(model, Logit(1), images), expected)


class Apart(nn.Module):
    """Sees the cells of a 2 x 2 grid apart; its logits are of the first cell alone (DiFull, Rao et al., 2022)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.features = nn.Identity()
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        rows = [torch.cat([self.conv(cell) for cell in row.chunk(2, 3)], 3) for row in images.chunk(2, 2)]
        features = self.features(torch.cat(rows, 2))
        return self.head(features[:, :, :8, :6].amax((2, 3)))


@EVERY_METHOD
def test_only_methods_that_weigh_each_position_stay_in_the_one_cell_that_counts(method, images):
    model = bare(Apart(), (16, 12))
    maps = method("features")(model, Logit(1), images).relu()
    within = maps[:, :8, :6].sum()
    assert within > 0
    maps[:, :8, :6] = 0
    if method in (HiResCam, LayerCam):
        assert (maps == 0).all()
    else:
        assert maps.sum() > within


# --- torchcam -----------------------------------------------------------------------------------------------------


def torchcams(name, model, layer, targets, images, **settings):
    """Raw maps of torchcam, (B, h, w)."""
    methods = pytest.importorskip("torchcam.methods")
    with getattr(methods, name)(model.network, layer, input_shape=(3, 16, 12), **settings) as extractor:
        scores = model.network(images)
        return extractor(targets, scores, normalized=False)[0].detach()


@pytest.mark.parametrize(
    ("name", "method"),
    [("GradCAM", GradCam("1")), ("XGradCAM", XGradCam("1")), ("LayerCAM", LayerCam("1")), ("FinerCAM", FinerCam("1"))],
)
def test_torchcam_agrees(name, method, images):
    model = bare(networks.plain(), (16, 12))
    model.network[4] = nn.AdaptiveMaxPool2d(1)
    ours = method(model, Logit((4, 0, 2, 2)), images)
    assert ours.max() > 0
    torch.testing.assert_close(ours, torchcams(name, model, "1", [4, 0, 2, 2], images), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("base", "method"), [("GradCAM", "grad_cam"), ("LayerCAM", "layer_cam")], ids=["grad_cam", "layer_cam"]
)
def test_torchcam_agrees_on_finer_cam_whatever_the_strength_and_the_rivals(base, method, images):
    base = getattr(pytest.importorskip("torchcam.methods"), base)
    model = bare(networks.plain(), (16, 12))
    for strength, similar in [(0.0, 2), (1.0, 1), (0.3, 9)]:
        ours = FinerCam("1", strength=strength, similar=similar, method=method)(model, Logit(3), images)
        settings = {"gamma": strength, "num_references": similar, "base_method": base}
        torch.testing.assert_close(ours, torchcams("FinerCAM", model, "1", [3] * 4, images, **settings))


def test_torchcams_grad_cam_plus_plus_is_not_the_papers_and_ours_is(pooled, images):
    """It sums A g**3 over positions instead of multiplying the sum of A by g**3: the same where g is one number."""
    model = bare(networks.plain(), (16, 12))
    model.network[4] = nn.AdaptiveMaxPool2d(1)
    activation, gradient = in_the_middle(model, "1", 2, images)
    weights = torch.zeros(4, 6, dtype=torch.float64)
    for image in range(4):
        for channel in range(6):
            for a, g in zip(activation[image, channel].flatten(), gradient[image, channel].flatten(), strict=True):
                if g > 0:
                    total = activation[image, channel].sum()
                    weights[image, channel] += g * g / (2 * g * g + total * g**3) * g
                assert a >= 0
    expected = torch.einsum("bk,bkhw->bhw", weights, activation)
    torch.testing.assert_close(GradCamPlusPlus("1")(model, Logit(2), images), expected)
    theirs = torchcams("GradCAMpp", model, "1", [2] * 4, images)
    peaks = theirs.amax((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    assert not torch.allclose(theirs / peaks[0], expected / peaks[1], rtol=0.01, atol=0.001)


# --- any objective ------------------------------------------------------------------------------------------------


@EVERY_CAM
@pytest.mark.parametrize(
    "objective",
    [
        Channel("0", 2),
        Neuron("2", 1, 0, 3),
        Layer("2"),
        Direction("0", (1, -1, 0, 0, 0, 2)),
        Logit(3),
        Contrast(1, 2),
        Probability(1),
        Channel("0", 1) + 2 * Logit(1) - Channel("3", 1) * Layer("2"),
        Channel("0", 1) - TotalVariation() - L2(),
    ],
    ids=repr,
)
def test_whatever_can_be_visualised_can_be_explained(cam, objective, model, images):
    maps = cam("0", relu=False)(model, objective, images)
    assert maps.shape == (4, 16, 12)
    assert maps.isfinite().all() and not maps.requires_grad
    # A negative mean alone has no positive gradient, nor has any other what it explains by itself.
    assert (maps != 0).any() or cam in (GradCamPlusPlus, LayerCam)


@pytest.mark.parametrize("cam", LINEAR)
def test_maps_are_linear_in_the_objective_across_layers(cam, model, images):
    method = cam("0", relu=False)
    a, b, c = Logit(1), Channel("3", 2), Layer("2")
    maps = method(model, a * 1 + b * 3 + c * (-5), images)
    parts = [method(model, objective, images) for objective in (a, b, c)]
    torch.testing.assert_close(maps, parts[0] + 3 * parts[1] - 5 * parts[2], rtol=1e-6, atol=1e-9)


# --- finer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_without_strength_finer_cam_is_its_method(name, model, images):
    maps = FinerCam("1", strength=0, method=name)(model, Logit(2), images)
    torch.testing.assert_close(maps, METHODS[name]("1")(model, Logit(2), images))


def test_every_class_activation_map_can_be_finer():
    assert set(METHODS.values()) == set(CAMS)


def test_finer_cam_takes_off_the_maps_of_the_nearest_logits(model, images):
    finer = FinerCam("1", relu=False, strength=0.5, similar=2)(model, Logit(2), images)
    logits = model(images).detach()
    plain = torch.stack([GradCam("1", relu=False)(model, Logit(target), images) for target in range(5)], 1)
    for image in range(4):
        others = sorted({0, 1, 3, 4}, key=lambda other: abs(logits[image, other] - logits[image, 2]).item())
        rivals = plain[image, others[:2]].mean(0)
        torch.testing.assert_close(finer[image], plain[image, 2] - 0.5 * rivals)


def test_finer_cam_compares_classes_alone(model, images):
    for objective in (Channel("3", 1), Logit(1) - Logit(2), Contrast(1, 2)):
        with pytest.raises(LookupError, match="cannot explain .*; take objective=logit"):
            FinerCam("1")(model, objective, images)
        with pytest.raises(LookupError, match="cannot explain .*; take objective=logit"):
            FinerCam("1").check(model, objective, images[:1])
    model.network[6] = nn.Linear(8, 1).double()
    with pytest.raises(LookupError, match="this network has one output"):
        FinerCam("1")(model, Logit(0), images)


# --- layers in one pass -------------------------------------------------------------------------------------------


def test_all_methods_and_layers_share_one_pass(images):
    network = networks.plain()
    network.insert(0, Counted())
    model = wrapped(network)
    methods = [*(cam(layer, relu=False) for cam in CAMS for layer in ("1", "2", "4")), Saliency(), InputXGradient()]
    maps_in_one_pass(model, methods, Logit(1), images)  # what is known of a model is found out once
    network[0].calls = 0
    together = maps_in_one_pass(model, methods, Logit((4, 0, 2, 2)), images)
    assert network[0].calls == 1
    for method, maps in zip(methods, together, strict=True):
        torch.testing.assert_close(maps, method(model, Logit((4, 0, 2, 2)), images), rtol=1e-9, atol=1e-12)


def test_runs_of_equal_images_and_units_pass_once(images):
    network = networks.plain()
    network.insert(0, Counted())
    model = wrapped(network)
    methods = [GradCam("2"), Saliency(), GradCam("4"), GradCam("2"), InputXGradient()]
    places, targets = [0, 0, 0, 1, 0], (3, 3, 3, 3, 1)
    keys = list(zip(places, targets, strict=True))
    shown: list[int] = []
    network[0].register_forward_hook(lambda _module, args, _output: shown.append(len(args[0])))
    map_of_each(model, methods, Logit(targets), images[places], keys)
    shown.clear()
    maps = map_of_each(model, methods, Logit(targets), images[places], keys)
    assert shown == [3]
    for method, place, target, found in zip(methods, places, targets, maps, strict=True):
        alone = method(model, Logit(target), images[[place]])[0]
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [*CAMS, ScoreCam, FinerCam], ids=lambda method: method.__name__)
@pytest.mark.parametrize("relu", [True, False])
def test_layers_are_fused_each_by_its_own_largest_value(method, relu, model, images):
    parts = [method(layer, relu)(model, Logit(1), images) for layer in ("0", "2")]
    scaled = torch.stack([part / part.abs().amax((1, 2), keepdim=True) for part in parts])
    mean = method(("0", "2"), relu)(model, Logit(1), images)
    torch.testing.assert_close(mean, scaled.mean(0))
    largest = method(["0", "2"], relu, "max")(model, Logit(1), images)
    torch.testing.assert_close(largest, scaled.amax(0))
    assert torch.equal(method(("2",), relu)(model, Logit(1), images), parts[1])


def test_a_layer_without_evidence_does_not_spoil_the_others(model, images):
    with torch.no_grad():
        model.network[2].weight.zero_()
    maps = GradCam(("0", "2"))(model, Channel("0", 1) + 0 * Logit(1), images)
    torch.testing.assert_close(maps, GradCam(("0", "2"), fuse="max")(model, Channel("0", 1) + 0 * Logit(1), images) / 2)
    assert maps.isfinite().all()


# --- batches --------------------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_neither_the_batch_nor_the_chunk_changes_a_map(method, chunk, model, images, monkeypatch):
    method = method(("0", "2"))
    rows = torch.tensor([2, 2, 0, 1])
    alone = [
        method(model, Logit([4, 0, 2][row]), image[None]) for row, image in zip(rows.tolist(), images, strict=True)
    ]
    monkeypatch.setattr(variants, "AT_ONCE", chunk)
    together = method(model, Logit((4, 0, 2)), images, rows)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


def test_objectives_of_several_terms_have_a_unit_each(model, images):
    targets = [Logit(target) - Channel("3", target) for target in (4, 0, 2, 2)]
    together = GradCam("0")(model, Objective.stack(targets), images)
    alone = [GradCam("0")(model, target, image[None]) for target, image in zip(targets, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [*CAMS, ScoreCam, FinerCam], ids=lambda method: method.__name__)
def test_the_model_and_the_images_are_left_as_they_were_found(method, images):
    model = wrapped(networks.plain()).train()
    model.network[0].bias.requires_grad_(False)
    needed = [parameter.requires_grad for parameter in model.parameters()]
    before = images.clone()
    with torch.no_grad():
        found = method("2")(model, Logit(1), images)
    assert torch.equal(found, method("2")(model, Logit(1), images.requires_grad_()))
    model.network[5] = networks.Fails()
    with pytest.raises(RuntimeError, match="this head refuses"):
        method("2")(model, Logit(1), images)
    assert all(module.training for module in model.modules()) and hooks(model) == 0
    assert [parameter.requires_grad for parameter in model.parameters()][:4] == needed[:4]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert images.grad is None and torch.equal(images, before)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "objective", "rest"),
    [
        ("2", Channel("0", 1), "the nearest layer that serves: '0'"),
        ("3", Channel("1", 1), "the nearest layer that serves: '1'"),
        ("3", Channel("0", 1) + Neuron("2", 0), "the nearest layer that serves: '2'"),
        ("2", TotalVariation(), "no layer of this network serves"),
    ],
)
def test_a_layer_that_the_objective_does_not_depend_on_names_the_last_that_it_does(layer, objective, rest, images):
    for model in (wrapped(networks.plain()), networks.plain().double()):
        with pytest.raises(LookupError, match=f"layer '{layer}' is not upstream of .*; {rest}"):
            GradCam(layer)(model, objective, images)
        assert hooks(model) == 0


@pytest.mark.parametrize("method", [*CAMS, ScoreCam, FinerCam], ids=lambda method: method.__name__)
@pytest.mark.parametrize(("layer", "near"), [("logits", "3"), ("4", "3"), ("5", "3"), ("6", "3"), ("image", "0")])
def test_a_layer_without_extent_names_the_nearest_that_has_one(method, layer, near, model, images):
    with pytest.raises(LookupError, match=f"layer '{layer}' has no feature maps .*; the nearest .*: '{near}'"):
        method(layer)(model, Logit((1, 2, 0, 1)), images)
    with pytest.raises(LookupError, match=f"layer '{layer}' has no feature maps .*; the nearest .*: '{near}'"):
        method(("0", layer)).check(model, Logit(1), images[:1])


def test_tokens_without_a_grid_are_refused():
    model = bare(networks.Tokens(prefix=0))
    strip = torch.rand(1, 3, 44, 4, dtype=torch.float64)
    assert GradCam("block")(model, Logit(1), strip).shape == (1, 44, 4)
    model.network.patches = nn.Conv2d(3, 5, (2, 4), stride=(2, 4)).double()
    with pytest.raises(LookupError, match="layer 'block' has no feature maps .*: 'patches'"):
        GradCam("block")(model, Logit(1), strip)


def test_check_accepts_what_can_be_explained(model, images):
    GradCam("0").check(model, Channel("2", 1), images[:1])
    ScoreCam("2").check(model, Channel("0", 1), images[:1])
    FinerCam("2").check(model, Logit(1), images[:1])
    with pytest.raises(LookupError, match="the nearest layer that serves: '0'"):
        GradCam("2").check(model, Channel("0", 1), images[:1])


@EVERY_METHOD
def test_patches_that_the_class_token_does_not_look_at_again_are_refused(method, images):
    model = bare(networks.ViT())
    model.network.class_token.data.fill_(0.1)
    with pytest.raises(LookupError, match="'block' reaches .* its class token alone; .*: 'block.attention'"):
        method("block")(model, Logit(1), images)
    assert method("block.attention")(model, Logit(1), images).shape == (4, 16, 12)


def test_a_head_that_refuses_the_size_does_not_hide_what_is_wrong_with_the_layer(images):
    network = networks.plain()
    network[5] = networks.Fails()
    with pytest.raises(LookupError, match="layer '4' has no feature maps .*; name an earlier one"):
        GradCam("4")(network.double(), Channel("4", 1), images)


@pytest.mark.parametrize("layer", ["nowhere", ("0", "nowhere")])
def test_an_unknown_layer_names_the_closest(layer, model, images):
    with pytest.raises(LookupError, match="no layer 'nowhere'; closest: "):
        GradCam(layer)(model, Logit(1), images)


@pytest.mark.parametrize("method", [*CAMS, ScoreCam, FinerCam], ids=lambda method: method.__name__)
def test_wrong_settings_are_named(method):
    for layer in (None, 3, (), ["0", 3]):
        with pytest.raises(ValueError, match="attribution.layer is .*; it must be the name of a layer or a list"):
            method(layer)
    with pytest.raises(ValueError, match="attribution.fuse is 'sum'; it is mean or max"):
        method("0", fuse="sum")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        *[({"strength": wrong}, "attribution.strength is .*; it must be a finite number") for wrong in (-1, "1", True)],
        ({"strength": float("nan")}, "attribution.strength is nan; it must be a finite number from 0 on"),
        *[({"similar": wrong}, "attribution.similar is .*; it must be a whole number") for wrong in (0, 1.5, True)],
        ({"method": "score_cam"}, "attribution.method is 'score_cam'; it is one of grad_cam, .*layer_cam"),
    ],
)
def test_wrong_settings_of_finer_cam_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        FinerCam("0", **settings)


@pytest.mark.parametrize("method", [*CAMS, ScoreCam, FinerCam], ids=lambda method: method.__name__)
def test_a_methods_layer_is_resolved_like_an_objectives(method):
    assert method("late").resolve(wrapped(networks.plain(), aliases={"late": "3"}).summary) == method("3")


def test_methods_of_one_layer_are_different_methods():
    assert len({cam("0") for cam in CAMS}) == len(CAMS)
    assert isinstance(GradCam("0"), Cam)
