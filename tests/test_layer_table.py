import networks
import pytest
import torch
from networks import hooks, plain
from torch import nn

from interpret_runs.activations import capture
from interpret_runs.layer_table import trace


def table(network, size=(16, 16)):
    layers, aliases, classes = trace(network, torch.zeros(1, 3, *size))
    return {layer.path: layer for layer in layers}, aliases, classes


def test_layers_come_in_the_order_they_finish():
    rows, _, _ = table(networks.Reused())
    assert list(rows) == ["block.first", "block.second", "block.act", "block", "head.0", "head.1", "head.2", "head"]


def test_a_layer_knows_its_kind_its_shape_and_its_calls():
    rows, _, classes = table(networks.Reused(), (16, 12))
    assert (rows["block"].kind, rows["block"].shape, rows["block"].calls) == ("Block", (3, 16, 12), 1)
    assert (rows["block.act"].kind, rows["block.act"].calls) == ("ReLU", 2)
    assert rows["head.2"].shape == (2, 1, 1)
    assert classes == 2


def test_shapes_are_those_of_channels_on_a_grid():
    assert table(networks.Tokens(prefix=2), (8, 16))[0]["block"].shape == (5, 2, 4)
    assert table(networks.ChannelsLast(6), (8, 16))[0]["block"].shape == (6, 2, 4)
    assert table(networks.Unpacks("dict"))[0]["several"].shape == (4, 16, 16)


def test_a_layer_without_a_tensor_has_no_shape():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.several = networks.Several("string")

        def forward(self, images):
            return images.mean((2, 3)) + len(self.several(images))

    assert table(Network())[0]["several"].shape is None


@pytest.mark.parametrize("output", [(7,), (7, 1, 1), (7, 4, 4)])
def test_classes_are_counted_along_the_second_axis(output):
    class Network(nn.Module):
        def forward(self, images):
            return images.new_zeros(len(images), *output)

    assert table(Network())[2] == 7


def test_hooks_and_modes_stay_as_they_were():
    network = plain().train()
    network[3].eval()
    table(network)
    assert hooks(network) == 0
    assert [module.training for module in network] == [True, True, True, False, True, True, True]
    network[5] = networks.Fails()
    with pytest.raises(RuntimeError, match="this head refuses"):
        table(network)
    assert hooks(network) == 0
    assert network.training and not network[3].training


def stages(*channels, activation=nn.ReLU):
    """A stage per entry, each half the size of the one before; then the mean and a linear layer."""
    layers, inputs = [], 3
    for width in channels:
        layers += [nn.Conv2d(inputs, width, 3, padding=1), activation(), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 9))


def test_aliases_are_the_ends_of_stages():
    """Five stages: the second, the fourth and the last; never a pooling layer."""
    _, aliases, _ = table(stages(4, 5, 6, 7, 8), (64, 64))
    assert aliases == {"early": "0.4", "middle": "0.10", "late": "0.13", "logits": "logits"}


def test_an_alias_is_the_activation_even_where_it_works_in_place():
    expected = {"early": "0.1", "middle": "0.4", "late": "0.7", "logits": "logits"}
    for activation in (nn.ReLU, lambda: nn.ReLU(inplace=True)):
        assert table(stages(4, 5, 6, activation=activation), (32, 32))[1] == expected


def test_a_module_that_runs_twice_is_no_alias():
    assert "block.act" not in table(networks.Reused())[1].values()


def test_blocks_of_a_transformer_stand_for_its_stages():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(6, 6), nn.GELU())

        def forward(self, tokens):
            return tokens + self.inner(tokens)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 4, stride=4)
            self.blocks = nn.Sequential(*(Block() for _ in range(8)))
            self.head = nn.Linear(6, 3)

        def forward(self, images):
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            return self.head(self.blocks(tokens).mean(1))

    _, aliases, _ = table(Transformer(), (16, 16))
    assert aliases == {"early": "blocks.2", "middle": "blocks.5", "late": "blocks.7", "logits": "logits"}


def test_a_network_without_a_grid_has_the_output_alone():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 2))
    assert table(network)[1] == {"logits": "logits"}


# --- what is a stage ------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two layers and a sum; `stride` halves the grid in the second."""

    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1, stride=stride)
        self.skip = nn.Conv2d(inputs, width, 1, stride=stride)

    def forward(self, values):
        return self.second(self.first(values)) + self.skip(values)


def classifier(*layers, width, classes=9):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def places(network, size=(64, 64)):
    aliases = table(network, size)[1]
    return [aliases[alias] for alias in ("early", "middle", "late")]


def test_layers_without_padding_stay_in_their_stage():
    """Grids of 64 and 62, of 31 and 29: two stages, not four."""
    layers = [nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 5, 3)]
    network = classifier(*layers, nn.Conv2d(5, 6, 3, stride=2), width=6)
    assert places(network) == ["1", "4", "5"]


def test_the_inside_of_a_block_is_no_stage():
    """The first block begins on a grid of 32, on which nothing else works but the pooling before it."""
    stem = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)]
    assert places(classifier(*stem, *(Residual(4, 4, 2) for _ in range(3)), width=4)) == ["2", "3", "4"]


def test_a_container_of_blocks_does_not_hide_them():
    """The stem of both stages stands alone, the blocks inside of lists."""
    stages = nn.Sequential(*(nn.Sequential(Residual(4, 4, 1 + (n > 0)), Residual(4, 4)) for n in range(3)))
    network = classifier(nn.Conv2d(3, 4, 3, padding=1), stages, width=4)
    assert places(network) == ["1.0.1", "1.1.1", "1.2.1"]


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Identity(), nn.LayerNorm(8)])
def test_what_adds_nothing_to_a_block_is_no_alias(layer):
    layers = [nn.Sequential(nn.Conv2d(3 if n == 0 else 4, 4, 2, stride=2), nn.ReLU()) for n in range(3)]
    network = classifier(*layers, layer, width=4)
    assert places(network) == ["0.1", "1.1", "2.1"]


def test_a_block_that_ends_in_what_adds_nothing_is_named_by_what_comes_before():
    layers = [nn.Sequential(nn.Conv2d(3 if n == 0 else 4, 4, 2, stride=2), nn.ReLU(), nn.Dropout()) for n in range(3)]
    assert places(classifier(*layers, width=4)) == ["0.1", "1.1", "2.1"]


def test_blocks_behind_a_stem_that_halves_stand_for_the_network():
    """Three grids in the stem, one for all 16 blocks: a transformer in all but name."""
    stem = nn.Sequential(*(nn.Conv2d(3 if n == 0 else 4, 4, 2, stride=2) for n in range(3)))
    network = classifier(stem, nn.Sequential(*(Residual(4, 4) for _ in range(16))), width=4)
    assert places(network) == ["1.4", "1.10", "1.15"]


def test_a_network_without_a_classifier_keeps_its_last_stage():
    """timm's say num_classes=0; with a classifier, maps of as many channels as classes are its own."""
    network = nn.Sequential(*(nn.Conv2d(inputs, 4 * inputs // 3, 2, stride=2) for inputs in (3, 4, 5)))
    network.append(nn.AdaptiveAvgPool2d(1))
    assert places(network) != ["0", "1", "2"]
    network.num_classes = 0
    assert places(network) == ["0", "1", "2"]


class Windows(nn.Module):
    """Layers that see windows of all images, a table of the network's own, and maps of the images."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3 if n == 0 else 4, 4, 2, stride=2) for n in range(3))
        self.windows = nn.Linear(4, 4)
        self.table = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 7)

    def forward(self, images):
        for layer in self.maps:
            images = layer(images)
        count, channels, height, width = images.shape
        windows = self.windows(images.permute(0, 2, 3, 1).reshape(count * height, width, channels))
        table = self.table(images.new_ones(1, channels, 2 * height, 2 * width))
        return self.head(windows.reshape(count, -1, channels).mean(1) + table.mean((2, 3)))


def test_a_layer_that_does_not_keep_images_apart_has_no_channels_and_is_no_alias():
    rows, aliases, _ = table(Windows(), (32, 32))
    assert rows["windows"].shape is None and rows["table"].shape is None
    assert list(aliases.values()) == ["maps.0", "maps.1", "maps.2", "logits"]
    model = networks.bare(Windows(), (32, 32))
    with pytest.raises(LookupError, match="'windows' returns no channels for each image .*name 'logits' instead"):
        model.summary.channels("windows")
    images = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    with capture(model, ["windows"]) as forward, pytest.raises(LookupError, match="'windows' returns no channels"):
        forward(images)
    with capture(model, ["maps.2"]) as forward:
        assert forward(images)["maps.2"].shape == (2, 4, 4, 4)
