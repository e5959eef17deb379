import warnings

import networks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import bare
from torch import Tensor, nn

from interpret_runs.receptive_field import receptive_fields

SIZE = (13, 10)


def positive(network: nn.Module) -> nn.Module:
    """The network in float64 with positive weights, so that every pixel a position depends on has a gradient."""
    for parameter in network.double().parameters():
        parameter.requires_grad_(False).abs_().add_(0.1)
    return network


def boxes_by_gradient(network: nn.Module, size: tuple[int, int]) -> Tensor:
    """For each position of the network's output the box round all pixels that have a gradient, (H, W, 4)."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = torch.autograd.functional.jacobian(lambda pixels: network(pixels)[0].sum(0), image)
    seen = output.abs().sum((2, 3)) > 0
    boxes = torch.zeros(*seen.shape[:2], 4, dtype=torch.long)
    for row, column in seen.any((2, 3)).nonzero().tolist():
        y, x = seen[row, column].nonzero().unbind(1)
        boxes[row, column] = torch.stack([y.min(), x.min(), y.max() + 1, x.max() + 1])
    return boxes


def boxes(network: nn.Module, size: tuple[int, int] = SIZE) -> Tensor:
    """The receptive fields of a network's last module."""
    return receptive_fields(bare(network, size), list(dict(network.named_children()))[-1], size).boxes


# --- exact ------------------------------------------------------------------------------------------------------

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
convolution = st.builds(
    lambda kernel, stride, dilation, padding: nn.Conv2d(16, 16, kernel, stride, padding, dilation),
    kernel=pair,
    stride=pair,
    dilation=pair,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
pooling = st.builds(lambda kernel, stride: nn.AvgPool2d(kernel, stride, [n // 2 for n in kernel]), pair, pair)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.lists(st.one_of(convolution, pooling), min_size=1, max_size=3))
def test_a_field_holds_the_pixels_that_have_a_gradient(modules):
    """Whatever kernel, stride, padding and dilation, also where a position sees padding alone."""
    # More channels than rows, so that no grid is taken for one with the channels last.
    network = positive(nn.Sequential(nn.Conv2d(3, 16, 1), *modules))
    try:
        network(torch.zeros(1, 3, *SIZE, dtype=torch.float64))
    except RuntimeError:  # nothing is left of so small an image
        return
    assert torch.equal(boxes(network), boxes_by_gradient(network, SIZE))


@pytest.mark.parametrize(
    ("modules", "side"),
    [
        ([nn.Conv2d(3, 3, 3)], 3),
        ([nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)], 5),
        ([nn.Conv2d(3, 3, 3, dilation=2)], 5),
        ([nn.Conv2d(3, 3, 3, stride=2), nn.Conv2d(3, 3, 3)], 7),
        ([nn.MaxPool2d(2), nn.Conv2d(3, 3, 3)], 6),
        ([nn.Conv2d(3, 3, 7, stride=2), nn.MaxPool2d(3, 2), nn.Conv2d(3, 3, 3)], 19),
    ],
)
def test_a_field_is_as_wide_as_arithmetic_says(modules, side):
    top, left, bottom, right = boxes(nn.Sequential(*modules), (31, 31)).unbind(-1)
    assert (bottom - top == side).all() and (right - left == side).all()


def test_fields_end_at_the_images_edge():
    fields = receptive_fields(bare(nn.Sequential(nn.Conv2d(3, 2, 5, padding=2)), (8, 6)), "0", (8, 6))
    assert fields.box(0, 0) == (0, 0, 3, 3)
    assert fields.box(4, 2) == (2, 0, 7, 5)
    assert fields.box(7, 5) == (5, 3, 8, 6)


class Strided(nn.Module):
    """A residual block that halves the image: two convolutions beside one of a single pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 1, 1)
        )
        self.short = nn.Conv2d(3, 4, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        values = self.long(images)
        values += self.short(images)
        return values.relu_()


class Rolls(nn.Module):
    """Each position sees its own pixel and one above, round the edge: no field that moves with the position."""

    def forward(self, images: Tensor) -> Tensor:
        return images + images.roll(3, 2)


@pytest.mark.parametrize("network", [Strided(), Rolls()], ids=["strided", "rolls"])
def test_branches_join_their_fields(network):
    network = positive(nn.Sequential(network).eval())
    assert torch.equal(boxes(network), boxes_by_gradient(network, SIZE))


ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardtanh(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.SiLU(),
    nn.GELU(),
    nn.ELU(),
    nn.LeakyReLU(),
    nn.Sigmoid(),
    nn.Threshold(0.1, 20.0),
    nn.Softshrink(),
    nn.BatchNorm2d(3),
    nn.Dropout(),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_an_activation_changes_no_field(activation):
    conv = nn.Conv2d(3, 3, 3, padding=1)
    assert torch.equal(boxes(nn.Sequential(conv, activation)), boxes(nn.Sequential(conv)))


@pytest.mark.parametrize("kernel", [2, 3])
def test_a_maximum_sees_what_a_mean_sees(kernel):
    largest, mean = nn.MaxPool2d(kernel, 2, 1), nn.AvgPool2d(kernel, 2, 1)
    conv = nn.Conv2d(3, 3, 3, padding=1)
    assert torch.equal(boxes(nn.Sequential(conv, largest)), boxes(nn.Sequential(conv, mean)))


# --- layers of other kinds --------------------------------------------------------------------------------------


class Gated(nn.Module):
    """Squeeze and excitation: each channel times a gate made of its mean."""

    def forward(self, images: Tensor) -> Tensor:
        return images * images.mean((2, 3), keepdim=True).sigmoid()


@pytest.mark.parametrize("module", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), Gated()], ids=repr)
def test_what_pools_over_the_image_sees_all_of_it(module):
    assert (boxes(nn.Sequential(module)) == torch.tensor([0, 0, *SIZE])).all()


class Attends(nn.Module):
    """Patches of 4 x 4 pixels that attend to each other, behind one class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.embedded = nn.Identity()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        return self.block(self.embedded(torch.cat([patches[:, :1] * 0, patches], 1)))[:, 0]


def test_patches_see_themselves_and_attention_sees_everything():
    model = bare(Attends(), (16, 16))
    assert receptive_fields(model, "embedded", 16).box(2, 3) == (8, 12, 12, 16)
    assert (receptive_fields(model, "block", 16).boxes == torch.tensor([0, 0, 16, 16])).all()


@pytest.mark.parametrize("network", [networks.Tokens(), networks.ChannelsLast()])
def test_tokens_and_channels_last_stand_on_their_grid(network):
    fields = receptive_fields(bare(network), "block", (16, 24))
    assert fields.boxes.shape == (4, 6, 4)
    assert fields.box(1, 5) == (4, 20, 8, 24)


def test_a_pixel_sees_itself_and_the_output_sees_everything(model):
    assert receptive_fields(model, "image", (5, 7)).box(4, 6) == (4, 6, 5, 7)
    assert receptive_fields(model, "logits", (5, 7)).box(0, 0) == (0, 0, 5, 7)


def test_the_algorithm_of_a_convolution_changes_no_field():
    """NNPACK's convolutions work on tiles of the output, and NaN fills the tile."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    exact = boxes(network.double(), (40, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that are read to be put back
        with torch.backends.mkldnn.flags(enabled=False):
            assert torch.equal(receptive_fields(bare(network).float(), "1", 40).boxes, exact)


# --- manners ----------------------------------------------------------------------------------------------------


def test_fields_are_measured_once():
    counted = networks.Counted()
    model = bare(nn.Sequential(counted, *networks.plain()))
    first = receptive_fields(model, "1", 16)
    assert receptive_fields(model, "1", (16, 16)) is first
    before = counted.calls
    receptive_fields(model, "1", 16)
    assert counted.calls == before
    assert receptive_fields(model, "1", 12).boxes.shape[:2] == (12, 12)


def test_a_head_that_refuses_the_size_does_not_matter():
    model = bare(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 2)))
    assert receptive_fields(model, "0", (9, 20)).box(6, 17) == (6, 17, 9, 20)
    with pytest.raises(RuntimeError):
        receptive_fields(model, "2", (9, 20))


def test_the_model_is_left_as_it_was(model):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    receptive_fields(model, "2", 16)
    assert networks.hooks(model) == 0
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_mistakes_name_what_there_is(model):
    with pytest.raises(LookupError, match="closest"):
        receptive_fields(model, "no.such", 16)
    fields = receptive_fields(model, "2", 16)
    for row, column in [(8, 0), (0, 8), (-1, 0), (0, -1)]:
        with pytest.raises(LookupError, match=r"'2' has 8 rows and 8 columns"):
            fields.box(row, column)
    with pytest.raises(ValueError, match="size"):
        receptive_fields(model, "2", 0)
