"""Laws of every attribution, whatever its family."""

import networks
import pytest
import torch
from networks import state, wrapped
from torch import nn

from interpret_runs.attribution import Attribution, gradients, scores
from interpret_runs.backward_rules import Deconvnet, GuidedBackprop, GuidedGradCam
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.deep_lift import DeepLift
from interpret_runs.finer_cam import FinerCam
from interpret_runs.gradient_maps import InputXGradient, Saliency, SmoothGrad, VarGrad
from interpret_runs.integrals import GradientShap, IntegratedGradients
from interpret_runs.memory_format import CHANNELS_LAST, lay_out
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Direction, Layer, Logit, Neuron
from interpret_runs.occlusion import Occlusion
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.plain_maps import Centre, Random, Sobel
from interpret_runs.rise import Rise
from interpret_runs.score_cam import ScoreCam
from interpret_runs.scoring import score

GRADIENTS = [Saliency(), InputXGradient(), SmoothGrad(3), VarGrad(3), IntegratedGradients(8, most_steps=24)]
CAMS = [GradCam("0"), GradCamPlusPlus("2"), HiResCam("0"), XGradCam("2"), LayerCam(("0", "2")), ScoreCam("2")]
RULES = [GuidedBackprop(), Deconvnet(), GuidedGradCam("2"), DeepLift()]
OTHERS = [GradientShap(3), Occlusion(5, 4), Rise(40, 3)]
PLAIN = [Random(), Centre(), Sobel()]
ANY = [*GRADIENTS, *CAMS, *OTHERS]
METHODS = [*ANY, *RULES, *PLAIN]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)


def test_no_attribution_is_left_out():
    def final(base: type) -> set[str]:
        return {
            name
            for child in base.__subclasses__()
            for name in (final(child) or {child.__name__})
            if child.__module__.startswith("interpret_runs.")
        }

    apart = {"Lrp", "AttentionRollout", "GradientRollout"}  # need a network of their own, and have tests of their own
    assert final(Attribution) - apart == {type(method).__name__ for method in METHODS} | {FinerCam.__name__}


# --- any objective ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ANY, ids=repr)
@pytest.mark.parametrize(
    "objective",
    [
        Channel("2", 2),
        Neuron("2", 1, 0, 3),
        Layer("2"),
        Direction("2", (1, -1, 0, 0, 0, 2, 0, 0)),
        Logit(3),
        Logit(1) - Logit(2),
        Channel("2", 1) + 2 * Logit(1) - Channel("3", 1) * Layer("2"),
        Channel("2", 1) - TotalVariation() - L2(),
    ],
    ids=repr,
)
def test_whatever_can_be_visualised_can_be_explained(method, objective, model, images):
    maps = method(model, objective, images)
    assert maps.shape == (4, 16, 12)
    assert maps.isfinite().all() and not maps.requires_grad


def test_the_questions_are_those_of_autograd(model, images):
    rows = torch.tensor([2, 0, 1, 1])
    objective = Logit((0, 3, 1))
    pixels = images.clone().requires_grad_()
    found = score(model, objective, pixels, rows)
    torch.testing.assert_close(scores(model, objective, images, rows), found.detach())
    found.sum().backward()
    torch.testing.assert_close(gradients(model, objective, images, rows), pixels.grad)


# --- batches --------------------------------------------------------------------------------------------------------


@EVERY_METHOD
def test_a_batch_with_a_target_each_equals_one_by_one(method, model, images):
    targets = [Logit(target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    together = method(model, Objective.stack(targets), images, rows)
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-11)


@EVERY_METHOD
def test_the_order_of_numbers_in_memory_changes_rounding_alone(method, model, images):
    contiguous = method(model, Logit(1), images)
    lay_out(model, CHANNELS_LAST)
    torch.testing.assert_close(method(model, Logit(1), images), contiguous, rtol=1e-9, atol=1e-11)


@EVERY_METHOD
def test_the_same_again_is_the_same(method, model, images):
    assert torch.equal(method(model, Logit(1), images), method(model, Logit(1), images))


# --- what is left as it was ----------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("wanted", [True, False])
def test_the_callers_images_are_left_alone(method, wanted, model, images):
    images.requires_grad_(wanted)
    before = images.detach().clone()
    method(model, Logit(1), images)
    assert images.requires_grad is wanted and images.grad is None and images.is_leaf
    assert torch.equal(images, before)


@EVERY_METHOD
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(method, fails, images):
    network = networks.plain()
    model = wrapped(network).train()
    network[3].eval()
    network[0].bias.requires_grad_(False)
    if fails:
        network[4] = networks.Fails()
    before = state(model)
    if fails and type(method) not in map(type, PLAIN):
        with pytest.raises(Exception, match="this head refuses"):
            method(model, Logit(1), images)
    else:
        method(model, Logit(1), images)
    assert state(model) == before


@EVERY_METHOD
def test_no_gradient_mode_of_the_caller_does_not_matter(method, model, images):
    with torch.no_grad():
        found = method(model, Logit(1), images)
    assert torch.equal(found, method(model, Logit(1), images))


@EVERY_METHOD
def test_single_precision_is_kept(method, images):
    model = wrapped(networks.plain()).float()
    maps = method(model, Logit(1), images.float())
    assert maps.dtype == torch.float32 and maps.isfinite().all()


@EVERY_METHOD
def test_a_network_that_gives_nothing_has_no_infinite_maps(method, images):
    """All activations and gradients are zero."""
    network = networks.plain()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert method(wrapped(network), Logit(1), images).isfinite().all()
