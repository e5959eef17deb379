import weakref
from collections import OrderedDict

import networks
import pytest
import torch
from networks import bare, hooks
from torch import nn

from interpret_runs.activations import MOST_PREFIX_TOKENS, as_grid, capture


def record(model, layers, images):
    with capture(model, layers) as forward:
        return forward(images)


# --- what is recorded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["module", "function", "method", "operator"])
def test_in_place_operations_do_not_reach_what_was_recorded(way, images):
    model = bare(networks.InPlace(way))
    expected = model.network.conv(images)
    assert expected.min() < 0
    for layers in (["conv"], ["conv", "logits"]):
        torch.testing.assert_close(record(model, layers, images)["conv"], expected)


def test_recorded_values_survive_a_residual_branch_that_overwrites_them(images):
    model = bare(networks.Residual())
    network = model.network
    seen = record(model, ["stem", "first", "second", "logits"], images)
    stem = network.stem(images)
    first = network.first(stem)
    torch.testing.assert_close(seen["stem"], stem)
    torch.testing.assert_close(seen["first"], first)
    torch.testing.assert_close(seen["second"], network.second(first.relu()))


def test_recorded_values_survive_another_name_through_which_they_are_overwritten(images):
    model = bare(networks.Aliased())
    expected = model.network.conv(images)
    torch.testing.assert_close(record(model, ["identity", "logits"], images)["identity"], expected)


@pytest.mark.parametrize(
    "network",
    [networks.plain(), networks.Residual(), networks.Tokens(), networks.ChannelsLast()]
    + [networks.InPlace(way) for way in ("module", "function", "method", "operator")]
    + [networks.Unpacks(kind) for kind in ("tuple", "list", "named tuple", "dict")],
    ids=lambda network: type(network).__name__ + getattr(network, "way", getattr(network, "kind", "")),
)
def test_recording_changes_neither_output_nor_gradient(network, images):
    model = bare(network).requires_grad_(False)
    images = images[:, :, :, :8].requires_grad_()
    expected = model(images)
    (gradient,) = torch.autograd.grad(expected.square().sum(), images)
    unused = ["relu"] if getattr(network, "way", "module") != "module" else []
    layers = [name for name, _ in network.named_modules() if name and name not in unused]
    seen = record(model, [*layers, "logits"], images)
    torch.testing.assert_close(seen["logits"], expected)
    torch.testing.assert_close(torch.autograd.grad(seen["logits"].square().sum(), images)[0], gradient)


@pytest.mark.parametrize("kind", ["tuple", "list", "named tuple", "dict"])
def test_a_layer_that_returns_several_values_is_its_first_tensor(kind, images):
    model = bare(networks.Unpacks(kind))
    seen = record(model, ["several", "logits"], images)
    torch.testing.assert_close(seen["several"], model.network.several.conv(images))


def test_a_layer_without_a_tensor_is_refused_by_name(images):
    with pytest.raises(TypeError, match="layer 'several' returns str"):
        record(networks.Unpacks("string"), ["several"], images.float())


def test_what_is_recorded_is_upstream_of_what_follows(model, images):
    """Grad-CAM differentiates a later layer by an earlier one."""
    seen = record(model, ["0", "logits"], images.requires_grad_())
    assert torch.autograd.grad(seen["logits"].sum(), seen["0"])[0].abs().sum() > 0


def test_each_pass_records_anew(model, images):
    with capture(model, ["0"]) as forward:
        first = forward(images[:1])["0"]
        second = forward(images[1:3])["0"]
    torch.testing.assert_close(torch.cat([first, second]), record(model, ["0"], images[:3])["0"])


# --- names ------------------------------------------------------------------------------------------------------


def test_slashes_are_dots(images):
    model = bare(nn.Sequential(networks.plain()))
    seen = record(model, ["0/2", "0.2"], images)
    assert set(seen) == {"0/2", "0.2"}
    assert torch.equal(seen["0/2"], seen["0.2"])


def test_image_is_the_pixels_and_logits_the_output(model, images):
    seen = record(model, ["image", "logits"], images)
    assert seen["image"] is images
    torch.testing.assert_close(seen["logits"], model(images))


def test_layer_names_of_a_bare_network_and_of_its_model_are_the_same(model, images):
    seen = record(model.network, ["2"], model.normalise(images))
    torch.testing.assert_close(record(model, ["2"], images)["2"], seen["2"])


@pytest.mark.parametrize("layer", ["features.00", "feature/0", ""])
def test_an_unknown_layer_names_the_closest(layer):
    model = bare(nn.Sequential(OrderedDict(features=networks.plain())))
    with pytest.raises(LookupError, match=r"no layer .*; closest: .*features\.0"), capture(model, [layer]):
        pass


def test_a_module_that_runs_twice_is_refused_and_its_parent_named(images):
    model = bare(networks.Reused())
    with capture(model, ["block.act"]) as forward, pytest.raises(LookupError, match="'block.act' runs 2 .*'block'"):
        forward(images)
    assert hooks(model) == 0
    assert record(model, ["block"], images)["block"].shape == (4, 3, 16, 12)


def test_a_module_that_runs_twice_is_refused_after_an_image_it_could_not_take(images):
    model = bare(networks.Reused())
    model.network.block.second = nn.Conv2d(3, 3, 5).double()
    with pytest.raises(RuntimeError):
        record(model, ["block.second"], images[:, :, :4, :4])
    with pytest.raises(LookupError, match="runs 2 times"):
        record(model, ["block.act"], images)


def test_a_module_that_does_not_run_is_refused(images):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aside = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, images):
            return self.main(images).mean((2, 3))

    with pytest.raises(LookupError, match="'aside' does not run") as error:
        record(bare(Aside()), ["aside"], images)
    assert not isinstance(error.value, KeyError)


# --- how far the pass goes, and what it leaves behind ---------------------------------------------------------------


def test_the_pass_ends_after_the_last_layer_needed(images):
    counted = networks.Counted()
    model = bare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), counted))
    with capture(model, ["0", "1"]) as forward:
        forward(images)
        before = counted.calls  # the first pass may count how often modules run
        forward(images)
        assert counted.calls == before
    record(model, ["1", "2"], images)
    assert counted.calls == before + 1


def test_nothing_runs_for_pixels_alone(images):
    counted = networks.Counted()
    assert record(bare(counted), ["image"], images)["image"] is images
    assert counted.calls == 0


def test_a_head_that_refuses_the_image_size_still_yields_earlier_layers(images):
    model = bare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 2)))
    assert record(model, ["1"], images)["1"].shape == (4, 4, 16, 12)
    with pytest.raises(RuntimeError):
        record(model, ["1", "logits"], images)
    assert record(model, ["logits"], images[:, :, :8, :8])["logits"].shape == (4, 2)


def test_no_hook_is_left_after_success_or_failure(model, images):
    record(model, ["0", "logits"], images)
    assert hooks(model) == 0
    model.network[5] = networks.Fails()
    with pytest.raises(RuntimeError, match="this head refuses"):
        record(model, ["0", "logits"], images)
    assert hooks(model) == 0
    with pytest.raises(ZeroDivisionError), capture(model, ["0"]) as forward:
        forward(images)
        raise ZeroDivisionError
    assert hooks(model) == 0


def test_the_users_own_hooks_stay(model, images):
    seen = []
    model.network[0].register_forward_hook(lambda *_: seen.append(1))
    record(model, ["0"], images)
    assert hooks(model) == 1 and seen


def test_recording_in_training_mode_counts_one_batch_only(images):
    model = bare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).train()
    record(model, ["1"], images)
    assert model.network[1].num_batches_tracked == 1
    assert model.network[1].training


# --- channels on a grid -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", range(MOST_PREFIX_TOKENS + 1))
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (40, 20), (12, 16)])
def test_tokens_are_channels_on_the_images_grid(prefix, size):
    model = bare(networks.Tokens(prefix))
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    tokens = record(model, ["block"], images)
    rows, columns = size[0] // 4, size[1] // 4
    patches = model.network.block(model.network.patches(images).permute(0, 2, 3, 1))
    assert tokens["block"].shape == (2, prefix + rows * columns, 5)
    torch.testing.assert_close(tokens.grid("block"), patches.permute(0, 3, 1, 2))


def test_tokens_without_a_grid_are_channels_in_a_column():
    values = torch.rand(2, 33, 7)
    assert torch.equal(as_grid(values), values.transpose(1, 2)[..., None])


@pytest.mark.parametrize("channels", [1, 2, 6, 40])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (40, 20)])
def test_channels_last_is_told_by_the_images_proportions(channels, size):
    rows, columns = size[0] // 4, size[1] // 4
    if abs(columns * size[1] - channels * size[0]) < max(size):
        pytest.skip("ambiguous: (width, channels) have the image's proportions as well")
    model = bare(networks.ChannelsLast(channels))
    seen = record(model, ["patches", "block"], torch.rand(2, 3, *size, dtype=torch.float64))
    assert seen.grid("patches").shape == seen.grid("block").shape == (2, channels, rows, columns)


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (64, 48), (15, 16)])
def test_channels_first_is_never_mistaken(channels, side, size):
    rows, columns = -(-size[0] * side // 16), -(-size[1] * side // 16)
    values = torch.rand(2, channels, rows, columns)
    assert as_grid(values, size) is values


def test_vectors_are_one_position_and_other_ranks_refused():
    assert as_grid(torch.rand(2, 7)).shape == (2, 7, 1, 1)
    with pytest.raises(TypeError, match=r"shape \(2, 3, 4, 5, 6\) has no channels"):
        as_grid(torch.rand(2, 3, 4, 5, 6))


def test_nothing_is_kept_of_a_pass_that_is_made_again(images):
    network, kept, alive = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3)), [], []
    network[0].register_forward_hook(lambda _module, _given, output: kept.append(weakref.ref(output)))
    network.register_forward_pre_hook(lambda *_: alive.append([output() is not None for output in kept]))
    with capture(network.double(), ["0", "2"]) as forward:
        forward(images)
    assert alive == [[], [False], [False, False]], "one pass counts calls, and two are made"


@pytest.mark.parametrize("way", ["module", "function", "method", "operator"])
def test_a_pass_is_made_again_only_the_first_time_that_a_layer_is_overwritten(way, images):
    model, passes = networks.wrapped(networks.InPlace(way)), []
    model.network.conv.register_forward_pre_hook(lambda *_: passes.append(1))
    with capture(model, ["conv", "logits"]) as forward:
        known = len(passes) + 1  # whether the layer runs twice is seen before
        expected = [forward(images)["conv"] for _ in range(3)]
    assert len(passes) == known + 4
    assert torch.equal(expected[0], model.network.conv(model.normalise(images)))
    assert torch.equal(expected[0], expected[2])


def test_what_nobody_overwrites_is_not_copied(model, images):
    held = []
    model.network[0].register_forward_hook(lambda _module, _args, output: held.append(output))
    with torch.no_grad(), capture(model, ["0", "logits"]) as forward:
        assert forward(images)["0"] is held[-1]


def test_layers_are_recorded_in_inference_mode_too(images):
    model = networks.wrapped(networks.InPlace("module"))
    with torch.inference_mode(), capture(model, ["conv", "logits"]) as forward:
        assert torch.equal(forward(images)["conv"], model.network.conv(model.normalise(images)))
