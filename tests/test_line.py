"""Gradients summed along a line are those of its points, whatever else a network makes of its pixels."""

import networks
import pytest
import torch
from torch import nn
from torch.nn import functional

from interpret_runs import integrals, pixel_convolution
from interpret_runs.attribution import gradients
from interpret_runs.images import Shapes
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.line import Line
from interpret_runs.objectives import Logit, Neuron
from interpret_runs.pixel_convolution import pixel_convolutions
from interpret_runs.scoring import frozen

ROW = torch.tensor([0])


class Net(nn.Module):
    """Begins with a strided convolution, which sees what `shown` makes of the images, in turns."""

    def __init__(self, *shown, before=None, skip=0.0, kind=nn.Conv2d):
        super().__init__()
        self.first, self.shown = kind(3, 6, 3, 2), shown or (lambda x: x,)
        self.rest = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(200, 5))
        self.before, self.skip = before, skip
        self.first.bias.data = torch.linspace(-1, 1, 6)

    def forward(self, images):
        images = images if self.before is None else self.before(images)
        made = sum(self.rest(self.first(shown(images))) for shown in self.shown)
        return made + self.skip * images.square().mean((1, 2, 3)).unsqueeze(1)


class Bent(nn.Conv2d):
    """A convolution that is none."""

    def forward(self, pixels):
        return 1.5 * super().forward(pixels).tanh()


class Steeper(torch.autograd.Function):
    """Changes gradients and nothing else."""

    @staticmethod
    def forward(_ctx, pixels):
        return pixels.clone()

    @staticmethod
    def backward(_ctx, grad):
        return 3 * grad


class Standardised(nn.Module):
    """Normalises every image by itself, under the name that models use."""

    def __init__(self):
        super().__init__()
        self.network = Net()

    def normalise(self, images):
        return (images - images.mean((1, 2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True)

    def forward(self, images):
        return self.network(self.normalise(images))


def doubled(_module, _given, result):
    return 2 * result


def shifted(_module, given):
    return (given[0] + 0.1,)


def steeper(_module, pulls, _pushes):
    return (2 * pulls[0],)


def hooked(net, hook, register):
    net.rest[0] = nn.ReLU()  # torch lets nothing be changed in place behind a hook of gradients
    getattr(net.first, register)(hook)
    return net


NETWORKS = {
    "one convolution": Net,
    "twice the same convolution": lambda: Net(lambda x: x, lambda x: x),
    "also of mirrored pixels": lambda: Net(lambda x: x, lambda x: x.flip(3)),
    "pixels around it": lambda: Net(skip=3.0),
    "another layer before it": lambda: Net(before=nn.Tanh()),
    "a layer that bends what it answers": lambda: Net(kind=Bent),
    "a layer before it that changes gradients alone": lambda: Net(before=Steeper.apply),
    "a hook that changes gradients alone": lambda: hooked(Net(), steeper, "register_full_backward_hook"),
    "a hook that changes what it answers": lambda: hooked(Net(), doubled, "register_forward_hook"),
    "a hook that changes what it is shown": lambda: hooked(Net(), shifted, "register_forward_pre_hook"),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def ends():
    return torch.rand(2, 3, 16, 16, dtype=torch.float64)


@pytest.fixture
def symmetric(ends):
    return ends + ends.flip(3)


def assert_summed(model, objective, ends):
    way = torch.rand(7, dtype=torch.float64)
    with frozen(model):
        (first,) = pixel_convolutions(model)
        points = torch.lerp(ends[0], ends[1], way.view(-1, 1, 1, 1))
        expected = gradients(model, objective, points, ROW.expand(7)).sum(0)
        found = Line(model, first, *ends).gradients(objective, ROW, way, 3)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", [networks.wrapped, lambda network: network.double()], ids=["model", "module"])
def test_gradients_on_a_line_are_those_of_its_points(name, kind, ends, symmetric):
    model = kind(NETWORKS[name]())
    assert_summed(model, Logit(3), ends)
    assert_summed(model, Logit(3), symmetric)


def test_an_objective_may_read_the_convolution_itself(ends):
    assert_summed(networks.wrapped(Net()), Neuron("first", 2, 3, 3), ends)


def test_a_network_that_normalises_by_itself_answers_by_itself(ends):
    """Its way between two images is no line."""
    assert_summed(Standardised().double(), Logit(3), ends)


def test_images_may_be_less_precise_than_the_network(ends):
    model = networks.wrapped(Net())
    method, targets = IntegratedGradients(40, most_steps=40), Logit((1, 2))
    exact = method(model, targets, ends)
    torch.testing.assert_close(method(model, targets, ends.float()).double(), exact, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rough = method(model.float(), targets, ends.float()).double()
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.1 * float(exact.abs().max()))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("baseline", ["black", "blur", "dataset"])
def test_maps_are_equal_with_and_without_lines(layout, baseline, ends, monkeypatch):
    model = networks.wrapped(Net()).to(memory_format=layout)
    method = IntegratedGradients(4, baseline, tolerance=1e-4, most_steps=108, baselines=2, data=Shapes())
    with monkeypatch.context() as without:
        without.setattr(integrals, "pixel_convolutions", lambda _: [])
        expected = method(model, Logit(2), ends, ROW.expand(2))
    monkeypatch.setattr(integrals, "fitting", lambda *_: 3)
    torch.testing.assert_close(method(model, Logit(2), ends, ROW.expand(2)), expected, rtol=1e-10, atol=1e-12)


def test_a_convolution_is_asked_about_both_ends_alone(ends, monkeypatch):
    model, seen = networks.wrapped(Net()), []
    weight, convolve = model.network.first.weight, functional.conv2d

    def counted(pixels, kernel, *settings, **named):
        if kernel is weight:
            seen.append(len(pixels))
        return convolve(pixels, kernel, *settings, **named)

    monkeypatch.setattr(pixel_convolution.functional, "conv2d", counted)
    with frozen(model):
        line = Line(model, model.network.first, *ends)
        line.gradients(Logit(1), ROW, torch.rand(12, dtype=torch.float64), 4)
    assert sum(seen) == 3, "two ends, and the way back"


def test_memory_that_runs_out_on_the_way_counts_no_point_twice(ends, monkeypatch):
    model, way = networks.wrapped(Net()), torch.rand(8, dtype=torch.float64)
    with frozen(model):
        line = Line(model, model.network.first, *ends)
        expected = line.gradients(Logit(1), ROW, way, 8)

        def tight(model, objective, points, rows):
            found = gradients(model, objective, points, rows)
            if len(points) > 2:
                raise MemoryError
            return found

        monkeypatch.setattr("interpret_runs.line.gradients", tight)
        torch.testing.assert_close(line.gradients(Logit(1), ROW, way, 8), expected, rtol=1e-10, atol=1e-12)


def test_the_convolution_is_as_it_was_after_an_error(ends):
    model = networks.wrapped(Net())
    with frozen(model):
        itself = vars(model.network.first)["_conv_forward"]
        with pytest.raises(LookupError):
            Line(model, model.network.first, *ends).gradients(Logit(99), ROW, torch.rand(3, dtype=torch.float64), 2)
        assert vars(model.network.first)["_conv_forward"] is itself
    assert "_conv_forward" not in vars(model.network.first)
