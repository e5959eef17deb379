import copy

import pytest
import torch
from torch import nn

from interpret_runs import memory
from interpret_runs.models import load
from interpret_runs.summary import PIXELS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shapes() -> nn.Module:
    return load("shapes")


@pytest.fixture
def little(monkeypatch):
    """Make a machine with so many MiB free."""
    return lambda mebibytes: monkeypatch.setattr(memory, "available", lambda _: int(mebibytes * 2**20))


def test_an_estimate_grows_with_the_size(shapes):
    needs = [memory.bytes_per_image(shapes, {"features.20"}, (size, size)) for size in (32, 64, 128)]
    assert needs[1] / needs[0] == pytest.approx(4, rel=0.05)
    assert needs[2] / needs[1] == pytest.approx(4, rel=0.05)
    assert memory.bytes_per_image(shapes, {"features.20"}, (32, 128)) == pytest.approx(needs[1], rel=0.05)


def test_an_estimate_grows_with_the_depth_and_not_below_the_pixels(shapes):
    needs = [memory.bytes_per_image(shapes, layers, (64, 64)) for layers in ({PIXELS}, {"features.2"}, {"features.20"})]
    assert needs == sorted(set(needs))
    assert needs[0] >= memory.COPIES_OF_AN_IMAGE * 3 * 64 * 64 * 4


def test_an_estimate_counts_no_parameter():
    """A layer with four million parameters and two thousand activations costs an image next to nothing."""
    slim = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2000))
    fat = nn.Sequential(*slim, nn.Linear(2000, 2000))
    one, other = (memory.bytes_per_image(network, {layer}, (16, 16)) for network, layer in ((slim, "2"), (fat, "3")))
    assert other - one < 10 * 2000 * 4 < 2000 * 2000 * 4 / 100


def test_an_estimate_is_near_what_is_kept():
    """A convolution keeps its input, a ReLU its output: 4 bytes for each of (3 + 8) * 32 * 32 numbers."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    saved = memory.bytes_per_image(network, {"1"}, (32, 32)) - memory.bytes_per_image(network, {PIXELS}, (32, 32))
    assert 8 * 32 * 32 * 4 <= saved / memory.MARGIN <= 2 * (3 + 8) * 32 * 32 * 4


@pytest.mark.parametrize("layers", [{"0", "2"}, {"0", "logits"}])
def test_an_estimate_does_not_depend_on_which_were_made_before(layers):
    """Of layers that are changed in place further on, a pass is made twice until they are known."""
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True))
    known = copy.deepcopy(made)
    memory.bytes_per_image(known, layers, (16, 16))
    assert memory.bytes_per_image(made, layers, (32, 32)) == memory.bytes_per_image(known, layers, (32, 32))


def test_estimating_computes_nothing_and_changes_nothing(shapes):
    before = {name: tensor.clone() for name, tensor in shapes.state_dict().items()}
    memory.bytes_per_image(shapes, {"features.20"}, (8192, 8192))
    assert all(torch.equal(tensor, before[name]) for name, tensor in shapes.state_dict().items())
    assert not any(module._forward_hooks for module in shapes.modules())
    assert all(parameter.requires_grad for parameter in shapes.parameters())


def test_how_many_fit_is_free_memory_by_what_one_needs(shapes, little):
    little(64)
    each = memory.bytes_per_image(shapes, {"features.20"}, (64, 64))
    assert memory.check(shapes, {"features.20"}, (64, 64), 1, CPU) == 64 * 2**20 // each > 1


def test_a_size_that_does_not_fit_names_the_largest_that_does(shapes, little):
    little(64)
    with pytest.raises(ValueError, match=r"2 image\(s\) of 1024x512 need about .* GiB") as error:
        memory.check(shapes, {"features.20"}, (1024, 512), 2, CPU)
    height, width = map(int, str(error.value).rpartition(" is ")[2].split("x"))
    assert memory.check(shapes, {"features.20"}, (height, width), 2, CPU) >= 2
    with pytest.raises(ValueError):
        memory.check(shapes, {"features.20"}, (int(height * 1.2), int(width * 1.2)), 2, CPU)
    assert height / width == pytest.approx(2, rel=0.1)


def test_where_no_size_fits_it_says_so(shapes, little):
    little(0.001)
    with pytest.raises(ValueError, match="no size fits"):
        memory.check(shapes, {"features.20"}, (64, 64), 1, CPU)


def test_free_memory_is_what_the_machine_has():
    assert 2**20 < memory.available(CPU) < 2**50
