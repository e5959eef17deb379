"""Attribution of a vision transformer that has learned something: which methods explain it, and which say no."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from interpret_runs import shapes
from interpret_runs.attention import AttentionRollout, GradientRollout
from interpret_runs.backward_rules import Deconvnet, GuidedBackprop, GuidedGradCam, Lrp
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.deep_lift import DeepLift
from interpret_runs.finer_cam import FinerCam
from interpret_runs.gradient_maps import InputXGradient, Saliency, SmoothGrad, VarGrad
from interpret_runs.integrals import GradientShap, IntegratedGradients
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objectives import Channel, Logit
from interpret_runs.occlusion import Occlusion
from interpret_runs.rise import Rise
from interpret_runs.score_cam import ScoreCam

SIZE = 32
BLOCK = "encoder.layers.encoder_layer_0"
EXPLAIN = [
    *(Saliency(), InputXGradient(), SmoothGrad(2), VarGrad(2), IntegratedGradients(), GradientShap(4)),
    *(cam(BLOCK, relu=False) for cam in (GradCam, GradCamPlusPlus, HiResCam, XGradCam, LayerCam, ScoreCam)),
    *(FinerCam(BLOCK), Occlusion(8, 8), Rise(64, 4), AttentionRollout(), GradientRollout()),
]
REFUSE = [GuidedBackprop(), Deconvnet(), GuidedGradCam(BLOCK), DeepLift(), Lrp()]


def drawn(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embedded images at a quarter of their pixels, (N, 3, 32, 32), and whether they are striped, plain or checked."""
    items = [shapes.draw(item, "train") for item in range(first, first + count)]
    pixels = nn.functional.avg_pool2d(torch.stack([item.image for item in items]), 2)
    return pixels.double(), torch.tensor([item.label % 3 for item in items])


@pytest.fixture(scope="module")
def trained() -> VisionModel:
    """Two blocks that tell the three fillings of shapes apart, trained for a few seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(SIZE, 8, 2, 4, 48, 96, num_classes=3)
        nn.init.normal_(network.heads.head.weight, std=0.1)
        images, labels = drawn(0, 384)
        adam = torch.optim.Adam(network.parameters(), lr=2e-3)
        for step in range(96):
            batch = slice(step % 6 * 64, step % 6 * 64 + 64)
            adam.zero_grad()
            nn.functional.cross_entropy(network(images[batch].float() * 2 - 1), labels[batch]).backward()
            adam.step()
    return VisionModel(network.eval(), Preprocessing((SIZE, SIZE), SIZE, (0.5,) * 3, (0.5,) * 3)).double()


def test_it_has_learned_something(trained):
    images, labels = drawn(1000, 120)
    with torch.no_grad():
        assert (trained(images).argmax(1) == labels).double().mean() > 0.45, "chance is a third"


@pytest.mark.parametrize("method", EXPLAIN, ids=repr)
def test_a_method_that_serves_transformers_explains_one(method, trained):
    images, labels = drawn(1000, 3)
    method.check(trained, Logit(1), images[:1])
    maps = method(trained, Logit(tuple(labels.tolist())), images)
    assert maps.shape == (3, SIZE, SIZE) and maps.isfinite().all()
    assert (maps.flatten(1).std(1) > 0).all()
    alone = method(trained, Logit(int(labels[2])), images[2:])
    torch.testing.assert_close(maps[2:], alone, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", REFUSE, ids=repr)
def test_a_method_that_would_be_wrong_says_so_in_one_line(method, trained):
    images, _ = drawn(1000, 1)
    for ask in (method.check, method):
        with pytest.raises(
            (LookupError, ValueError), match=r"attribution=\w+ knows .* take integrated_gradients"
        ) as error:
            ask(trained, Logit(1), images)
        assert "\n" not in str(error.value)


def test_a_hidden_channel_of_a_transformer_is_explained(trained):
    images, _ = drawn(1000, 2)
    for method in (IntegratedGradients(), GradCam(BLOCK), GradientRollout()):
        maps = method(trained, Channel("encoder.layers.encoder_layer_1", 5), images)
        assert maps.isfinite().all() and (maps.flatten(1).abs().amax(1) > 0).all(), method
