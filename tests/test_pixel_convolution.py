"""Gradients of strided convolutions of pixels are torch's own, whichever way they are computed."""

from contextlib import nullcontext

import networks
import pytest
import torch
from torch import nn

from interpret_runs import scoring
from interpret_runs.backward_rules import Deconvnet, GuidedBackprop, GuidedGradCam, Lrp
from interpret_runs.cams import GradCam
from interpret_runs.deep_lift import DeepLift
from interpret_runs.gradient_maps import InputXGradient, Saliency, SmoothGrad
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.objectives import Logit
from interpret_runs.pixel_convolution import quick_to_pixels
from interpret_runs.score_cam import ScoreCam
from interpret_runs.scoring import frozen

SHAPES = {
    "7 by 2": (nn.Conv2d(3, 5, 7, 2), (23, 30)),
    "7 by 2, padded": (nn.Conv2d(3, 5, 7, 2, 3), (24, 17)),
    "3 by 2, another padding for each axis": (nn.Conv2d(3, 4, 3, 2, (1, 0)), (16, 15)),
    "a kernel of two sizes": (nn.Conv2d(3, 4, (5, 2), 2), (14, 15)),
    "patches": (nn.Conv2d(3, 6, 4, 4, bias=False), (16, 20)),
    "rows and columns that no window reaches": (nn.Conv2d(3, 4, 3, 5), (17, 14)),
    "padded beyond the kernel": (nn.Conv2d(2, 4, 2, 3, 4), (9, 10)),
}


def gradient(convolution, pixels, weight):
    return torch.autograd.grad((convolution(pixels) * weight).sum(), pixels)[0]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_torchs_own(name, layout):
    convolution, size = SHAPES[name]
    convolution = convolution.double().requires_grad_(False).to(memory_format=layout)
    pixels = torch.rand(2, convolution.in_channels, *size, dtype=torch.float64).requires_grad_()
    result = convolution(pixels).detach()
    weight = torch.randn_like(result)
    expected = gradient(convolution, pixels, weight)
    with quick_to_pixels(convolution):
        assert "PixelConvolution" in convolution(pixels).grad_fn.name()
        assert torch.equal(convolution(pixels), result)
        found = gradient(convolution, pixels, weight)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_second_derivatives_are_right():
    convolution = nn.Conv2d(3, 2, 3, 2, 1).double().requires_grad_(False)
    pixels = torch.rand(1, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    with quick_to_pixels(convolution):
        assert torch.autograd.gradgradcheck(lambda at: convolution(at).square(), pixels)


def test_half_precision_gives_gradients_of_the_pixels_own_precision():
    convolution = nn.Conv2d(3, 8, 7, 2).requires_grad_(False)
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    expected = torch.autograd.grad(convolution(pixels).sum(), pixels)[0]
    with quick_to_pixels(convolution), torch.autocast("cpu", torch.bfloat16):
        result = convolution(pixels)
    assert result.dtype == torch.bfloat16
    found = torch.autograd.grad(result.float().sum(), pixels)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(8, 4, 3, 2),
        nn.Conv2d(3, 3, 3, 2, groups=3),
        nn.Conv2d(3, 4, 3, 2, dilation=2),
        nn.Conv2d(3, 4, 3, (2, 1)),
        nn.Conv2d(3, 4, 3, 2, 1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay_as_they_are(convolution):
    convolution.requires_grad_(False)
    with quick_to_pixels(convolution):
        result = convolution(torch.rand(1, convolution.in_channels, 12, 12, requires_grad=True))
        assert "PixelConvolution" not in result.grad_fn.name()


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_weights_that_need_gradients_get_them(kind):
    convolution = nn.Conv2d(3, 4, 3, 2).requires_grad_(False)
    needing = getattr(convolution, kind).requires_grad_()
    with quick_to_pixels(convolution):
        convolution(torch.rand(1, 3, 9, 9, requires_grad=True)).sum().backward()
    assert needing.grad is not None


def test_the_network_is_left_as_it_was_found_and_may_be_quick_already():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU())
    before = dict(vars(network[0]))
    with frozen(network):
        with frozen(network):
            pass
        result = network[0](torch.rand(1, 3, 9, 9, requires_grad=True))
        assert "PixelConvolution" in result.grad_fn.name()
    assert vars(network[0]) == before


METHODS = [Saliency(), InputXGradient(), SmoothGrad(samples=2), IntegratedGradients(4, most_steps=4), GradCam("2")]
METHODS += [GuidedBackprop(), Deconvnet(), GuidedGradCam("2"), DeepLift(), Lrp(), Lrp(epsilon=0.1), ScoreCam("2")]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_attributions_are_as_they_would_be_without(method, images, monkeypatch):
    """Those that read the graph of autograd too."""
    layers = [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    model = networks.wrapped(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)), (16, 12))
    found = method(model, Logit(1), images)
    monkeypatch.setattr(scoring, "quick_to_pixels", lambda _: nullcontext())
    torch.testing.assert_close(found, method(model, Logit(1), images), rtol=1e-9, atol=1e-12)


def test_a_convolution_of_someones_own_is_kept():
    class Doubled(nn.Conv2d):
        def _conv_forward(self, input, weight, bias):
            return 2 * super()._conv_forward(input, weight, bias)

    network = Doubled(3, 4, 3, 2).requires_grad_(False)
    pixels = torch.rand(1, 3, 9, 9, requires_grad=True)
    expected = network(pixels).detach()
    with frozen(network):
        assert torch.equal(network(pixels), expected)
