import networks
import pytest
import torch
from networks import hooks, plain
from torch import nn

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
    expected = {"early": "0.4", "middle": "0.7", "late": "0.7", "logits": "logits"}
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
