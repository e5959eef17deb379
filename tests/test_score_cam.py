import networks
import pytest
import torch
from networks import Counted, bare, wrapped
from torch.nn import functional

from interpret_runs import variants
from interpret_runs.activations import capture
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit
from interpret_runs.score_cam import ScoreCam
from interpret_runs.scoring import score


def by_hand(model, objective, layer, image):
    """The map of one image, channel by channel; every channel must vary."""
    with capture(model, [layer]) as forward, torch.no_grad():
        activation = forward(image)[layer][0]
    scores = []
    for channel in activation:
        size = image.shape[2:]
        mask = functional.interpolate(channel[None, None], size=size, mode="bilinear", align_corners=False)
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        scores.append(score(model, objective, image * mask)[0].item())
    cam = (torch.tensor(scores, dtype=image.dtype).softmax(0)[:, None, None] * activation).sum(0)
    return functional.interpolate(cam[None, None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize("objective", [Logit(2), Channel("2", 3), Logit(1) - Logit(2)], ids=repr)
def test_channels_weigh_what_the_image_scores_through_them(layer, objective, model, images):
    maps = ScoreCam(layer, relu=False)(model, objective, images)
    assert maps.shape == (4, 16, 12) and not maps.requires_grad
    for found, image in zip(maps, images, strict=True):
        torch.testing.assert_close(found[None], by_hand(model, objective, layer, image[None]).detach())


def test_torchcam_agrees_where_nothing_is_scaled_up(images):
    methods = pytest.importorskip("torchcam.methods")
    model = bare(networks.plain(), (16, 12))
    with torch.no_grad(), methods.ScoreCAM(model.network, "0", input_shape=(3, 16, 12)) as extractor:
        model.network(images)
        theirs = extractor([4, 0, 2, 2], normalized=False)[0]
    ours = ScoreCam("0")(model, Logit((4, 0, 2, 2)), images)
    assert ours.max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def silence(model, channel, value):
    """Make one channel of the first convolution the same everywhere."""
    with torch.no_grad():
        model.network[0].weight[channel] = 0
        model.network[0].bias[channel] = value
    return model


@pytest.mark.parametrize("value", [0.0, 0.1, 1e3])
def test_a_channel_that_is_the_same_everywhere_has_no_weight(value, model, images):
    """grad-cam divides by its range, which is 0: NaN; torchcam gives it a share of the weights."""
    without = wrapped(networks.plain())
    maps = ScoreCam("0", relu=False)(silence(model, 2, value), Channel("0", 1), images)
    others = [0, 1, 3, 4, 5]
    with torch.no_grad():
        for parameter in (without.network[0].weight, without.network[0].bias):
            parameter.data = parameter[others]
        without.network[2].weight.data = without.network[2].weight[:, others]
    torch.testing.assert_close(maps, ScoreCam("0", relu=False)(without, Channel("0", 1), images))


def test_torchcam_lets_a_constant_channel_in_and_ours_does_not(images):
    methods = pytest.importorskip("torchcam.methods")
    model = silence(bare(networks.plain(), (16, 12)), 2, 1e3)
    with torch.no_grad(), methods.ScoreCAM(model.network, "0", input_shape=(3, 16, 12)) as extractor:
        model.network(images)
        theirs = extractor(1, normalized=False)[0]
    assert (theirs > 100).all() and (ScoreCam("0")(model, Logit(1), images) < 10).all()


@pytest.mark.parametrize("layers", ["0", ("0", "2")])
def test_where_no_channel_varies_there_is_no_map(layers, model, images):
    for channel in range(6):
        silence(model, channel, 0.1 * channel)
    black = torch.zeros_like(images)
    maps = ScoreCam("0")(model, Logit(1), black)
    assert torch.equal(maps, torch.zeros_like(maps))
    assert ScoreCam(layers)(model, Logit(1), black).isfinite().all()


@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_neither_the_batch_nor_the_chunk_changes_a_map(chunk, model, images, monkeypatch):
    method = ScoreCam(("0", "2"))
    targets = [Logit(4) - Channel("3", 4), Logit(0) - Channel("3", 0), Logit(2) - Channel("3", 2)]
    rows = torch.tensor([2, 2, 0, 1])
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows.tolist(), images, strict=True)]
    monkeypatch.setattr(variants, "AT_ONCE", chunk)
    together = method(model, Objective.stack(targets), images, rows)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


def test_no_more_masked_images_than_allowed_are_shown_at_once(images, monkeypatch):
    network = networks.plain()
    network.insert(0, Counted())
    model = wrapped(network)
    shown: list[int] = []
    network[0].register_forward_hook(lambda _module, args, _output: shown.append(len(args[0])))
    monkeypatch.setattr(variants, "AT_ONCE", 5)
    ScoreCam("1")(model, Logit(1), images)
    shown.clear()
    ScoreCam("1")(model, Logit(1), images)
    assert sum(shown) == 4 + 4 * 6 and max(shown) == 5


def test_when_memory_runs_out_fewer_are_shown_at_once(images):
    network = networks.plain()
    network.insert(0, Counted())
    model = wrapped(network)
    expected = ScoreCam("1")(model, Logit(1), images)

    def refuse(_module, args):
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    network[0].register_forward_pre_hook(refuse)
    torch.testing.assert_close(ScoreCam("1")(model, Logit(1), images), expected, rtol=1e-9, atol=1e-12)


def test_no_gradient_is_needed(images):
    """So a layer that the objective does not depend on serves too: its channels are masks all the same."""
    model = wrapped(networks.plain())
    maps = ScoreCam("2")(model, Channel("0", 1), images)
    assert (maps.flatten(1).amax(1) > 0).all()
