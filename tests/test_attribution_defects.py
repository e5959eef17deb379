"""What attribution libraries get wrong without an error, and this one must not. Named by library and defect.

More of them stand beside the methods they are about: captum's rules in test_backward_rules and test_deep_lift, its
quadrature in test_integrals, torchcam's Grad-CAM++ in test_cams.
"""

import networks
import pytest
import torch
from explained import explained
from networks import bare, wrapped
from torch import nn

from interpret_runs.cams import GradCam
from interpret_runs.faithfulness import AverageDrop
from interpret_runs.gradient_maps import SmoothGrad
from interpret_runs.heat_maps import heat_map
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.objective import Objective
from interpret_runs.objectives import Logit
from interpret_runs.rise import Rise
from interpret_runs.scoring import score


def test_captum_grad_cam_of_tokens_takes_features_for_positions(images):
    """Its LayerGradCam averages over the wrong axis of (B, T, C), and returns (B, 1, C)."""
    from captum.attr import LayerGradCam

    model = wrapped(networks.Tokens(), (16, 12))
    theirs = LayerGradCam(lambda x: model(x)[:, 1], model.network.block).attribute(images)
    assert theirs.shape[1] == 1 and theirs.ndim == 3
    maps = GradCam("block", relu=False)(model, Logit(1), images)
    assert maps.shape == (4, 16, 12) and maps.flatten(1).std(1).min() > 0


def test_captum_noise_comes_from_the_global_generator(model, images):
    """The same call twice gives two maps; here a seed gives one, whatever was drawn before."""
    from captum.attr import NoiseTunnel
    from captum.attr import Saliency as Captum

    def theirs():
        return NoiseTunnel(Captum(lambda x: model(x)[:, 1])).attribute(images, nt_samples=2, stdevs=0.1)

    assert not torch.equal(theirs(), theirs())
    found = SmoothGrad(2, seed=3)(model, Logit(1), images)
    torch.rand(7)
    assert torch.equal(found, SmoothGrad(2, seed=3)(model, Logit(1), images))
    assert not torch.equal(found, SmoothGrad(2, seed=4)(model, Logit(1), images))


def test_grad_cam_one_target_explains_every_image_of_a_batch(model, images):
    """It gave maps of zeros to all images but the first."""
    maps = GradCam("2", relu=False)(model, Logit(2), images)
    assert (maps.flatten(1).abs().amax(1) > 0).all()


def test_grad_cam_a_class_that_does_not_exist_is_an_error(model, images):
    """It printed an IndexError and went on."""
    with pytest.raises(LookupError, match="class 99 is out of range"):
        GradCam("2")(model, Logit(99).resolve(model.summary), images)


def test_grad_cam_maps_are_raw(model, images):
    """It clamped, shifted and scaled each map, twice: three times the objective was the same map."""
    one, three = (GradCam("2", relu=False)(model, factor * Logit(2), images) for factor in (1, 3))
    torch.testing.assert_close(three, 3 * one)
    assert one.min() < 0 < one.max()


def test_grad_cam_a_shared_scale_keeps_maps_comparable():
    """It scaled each map to its own range, as captum's pictures do; here a limit is shared, and zero has its colour."""
    weak, strong = torch.full((8, 8), 0.1), torch.full((8, 8), 0.9)
    colours = [heat_map(values, limit=1.0).getpixel((20, 20)) for values in (weak, strong, -strong)]
    assert len(set(colours)) == 3
    assert heat_map(weak).getpixel((20, 20)) == heat_map(strong).getpixel((20, 20))


def test_grad_cam_a_relu_in_place_stays_so(images):
    """Its guided backpropagation replaced all ReLUs by one, no longer in place."""
    from interpret_runs.backward_rules import GuidedBackprop

    network = networks.plain()
    network[1] = nn.ReLU(inplace=True)
    model = wrapped(network)
    before = list(network.children())
    GuidedBackprop()(model, Logit(1), images)
    assert list(network.children()) == before and network[1].inplace and not network[3].inplace
    assert all(parameter.grad is None for parameter in model.parameters())


def test_grad_cam_a_drop_is_relative_to_the_score(images):
    """It left out the division: the same network with twice the score had twice the drop."""
    network = networks.plain()
    with torch.no_grad():
        network[6].bias.fill_(1.0)  # scores above 0, without which there is no share of them
        network[6].weight.abs_()
    model = bare(network)
    batch = explained(model, images, images.mean(1), Logit(1))
    drop = AverageDrop(score="objective")(batch)["average_drop"]
    with torch.no_grad():
        network[6].weight.mul_(2)
        network[6].bias.mul_(2)
    torch.testing.assert_close(AverageDrop(score="objective")(batch)["average_drop"], drop)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_quantus_integrated_gradients_of_a_linear_network_are_complete(steps, images):
    """Whatever the number of steps, it took 10 of captum's trapezoid: a tenth was missing."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    maps = IntegratedGradients(steps, most_steps=steps)(model, Logit(2), images)
    gain = score(model, Logit(2), images) - score(model, Logit(2), torch.zeros_like(images))
    torch.testing.assert_close(maps.sum((1, 2)), gain)


def test_rise_the_scale_does_not_go_with_the_batch_or_the_number_of_masks(model, images):
    """Its batch version left out the factor 1 / (N p)."""
    few, many = (Rise(samples, 3)(model, Logit(1), images) for samples in (200, 800))
    assert 0.5 < few.std() / many.std() < 2
    targets = Objective.stack([Logit(1)] * 4)
    torch.testing.assert_close(Rise(50, 3)(model, targets, images)[:1], Rise(50, 3)(model, Logit(1), images[:1]))
