import networks
import pytest
import torch
from networks import bare, wrapped
from torch import nn

from interpret_runs import variants
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Layer, Logit
from interpret_runs.occlusion import Occlusion
from interpret_runs.penalties import TotalVariation
from interpret_runs.scoring import score

METHODS = [Occlusion(4, 4), Occlusion(5, 2), Occlusion(7, 7, "white"), Occlusion(12, 3, "mean")]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)
SHADES = {"black": 0.0, "white": 1.0, "mean": 0.5}


@pytest.fixture
def linear():
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


# --- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 4, 5, 12])
@pytest.mark.parametrize("baseline", SHADES)
def test_a_window_of_a_linear_network_scores_what_is_inside(window, baseline, linear, images):
    """The last window of a row or column is what is left."""
    model, weights = linear
    maps = Occlusion(window, window, baseline)(model, Logit(3), images)
    given = (weights[3] * (images - SHADES[baseline])).sum(1)
    for top in range(0, 16, window):
        for left in range(0, 12, window):
            inside = (slice(None), slice(top, top + window), slice(left, left + window))
            expected = given[inside].sum((1, 2))[:, None, None].expand_as(maps[inside])
            torch.testing.assert_close(maps[inside], expected, rtol=1e-9, atol=1e-9)


@EVERY_METHOD
@pytest.mark.parametrize("objective", [Logit(2), Channel("2", 3), Logit(1) * Layer("0") - TotalVariation()], ids=repr)
def test_maps_are_those_of_captum(method, objective, model, images):
    from captum.attr import Occlusion as CaptumOcclusion

    maps = method(model, objective, images)
    with torch.no_grad():
        expected = CaptumOcclusion(lambda values: score(model, objective, values)).attribute(
            images, (3, method.window, method.window), (3, method.stride, method.stride), SHADES[method.baseline]
        )
    assert maps.shape == (4, 16, 12) and not maps.requires_grad
    assert (maps.flatten(1).std(1) > 0).all()
    # captum rounds to float32 in the end.
    torch.testing.assert_close(maps, expected[:, 0].double(), rtol=1e-5, atol=1e-7)


@EVERY_METHOD
def test_a_pixel_gets_the_mean_over_the_windows_that_hide_it(method, model, images):
    whole = score(model, Logit(1), images)
    total, count = torch.zeros(4, 16, 12, dtype=torch.float64), torch.zeros(16, 12, dtype=torch.float64)
    for top in range(0, 16, method.stride):
        for left in range(0, 12, method.stride):
            inside = (..., slice(top, top + method.window), slice(left, left + method.window))
            # A window that reaches over the border is the last one.
            if top - method.stride + method.window >= 16 or left - method.stride + method.window >= 12:
                continue
            hidden = images.clone()
            hidden[inside] = SHADES[method.baseline]
            total[inside] += (whole - score(model, Logit(1), hidden)).detach()[:, None, None]
            count[inside] += 1
    assert count.min() >= 1
    torch.testing.assert_close(method(model, Logit(1), images), total / count, rtol=1e-9, atol=1e-12)


def test_what_is_blurred_already_loses_nothing_to_a_blur(model, images):
    even = images[:, :, :1, :1].expand_as(images)
    assert (Occlusion(4, 4, "blur")(model, Logit(1), even).abs() < 1e-9).all()
    assert (Occlusion(4, 4, "blur")(model, Logit(1), images).abs() > 1e-6).any()


class Corner(nn.Module):
    """Sees the upper left quarter of the image only."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = networks.plain()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.seen(images[:, :, : images.shape[2] // 2, : images.shape[3] // 2])


@pytest.mark.parametrize("window", [2, 4, 8])
def test_nothing_outside_what_the_network_sees_speaks_for_anything(window, images):
    """DiFull (Rao et al., 2022), with windows that fit into the quarters."""
    wide = torch.cat([images, images], 3)[:, :, :, :16]
    maps = Occlusion(window, window)(bare(Corner()), Logit(1), wide)
    assert (maps[:, :8, :8] != 0).any()
    maps[:, :8, :8] = 0
    assert (maps == 0).all()


def test_windows_that_hide_nothing_lose_nothing(model):
    grey = torch.full((1, 3, 16, 12), 0.5, dtype=torch.float64)
    assert (Occlusion(4, 2, "mean")(model, Logit(1), grey).abs() < 1e-12).all()


@EVERY_METHOD
def test_maps_are_linear_in_the_objective(method, model, images):
    one, other = Logit(1), Channel("3", 2)
    parts = [method(model, objective, images) for objective in (one, other)]
    torch.testing.assert_close(method(model, 2 * one - other, images), 2 * parts[0] - parts[1], rtol=1e-9, atol=1e-9)


# --- batches and memory ---------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_neither_the_batch_nor_the_size_of_a_piece_matters(method, at_once, model, images, monkeypatch):
    targets = [Logit(target) - Channel("3", target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    monkeypatch.setattr(variants, "AT_ONCE", at_once)
    together = method(model, Objective.stack(targets), images, rows)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_memory_that_runs_out_changes_nothing(model, images, monkeypatch):
    expected = Occlusion(5, 2)(model, Logit(1), images)
    real = variants.scores
    sizes: list[int] = []

    def little(model, objective, images, rows):
        sizes.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, objective, images, rows)

    monkeypatch.setattr(variants, "scores", little)
    torch.testing.assert_close(Occlusion(5, 2)(model, Logit(1), images), expected, rtol=1e-9, atol=1e-9)
    assert 32 in sizes and sizes.count(4) > 20


@EVERY_METHOD
def test_single_precision_is_near_double(method, model, images):
    expected = method(model, Logit(1), images)
    found = method(model.float(), Logit(1), images.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, -1, 2.5, True, "8"])
def test_wrong_sides_are_named(side):
    with pytest.raises(ValueError, match="attribution.window is .*; it must be a whole number from 1 on"):
        Occlusion(window=side)
    with pytest.raises(ValueError, match="attribution.stride is .*; it must be a whole number from 1 on"):
        Occlusion(stride=side)


def test_a_stride_that_leaves_pixels_out_is_refused():
    with pytest.raises(
        ValueError, match="attribution.stride is 5; it must be at most attribution.window, 4, or pixels"
    ):
        Occlusion(4, 5)


def test_a_window_larger_than_the_image_is_refused(model, images):
    for explain in (Occlusion(13, 8), Occlusion(13, 8).check):
        with pytest.raises(ValueError, match="window is 13; it must be at most the image's shorter side, 16x12"):
            explain(model, Logit(1), images)


def test_a_wrong_baseline_is_named(images):
    with pytest.raises(ValueError, match="attribution.baseline is 'grey'"):
        Occlusion(baseline="grey")
    with pytest.raises(ValueError, match="baseline mean needs a model that normalises"):
        Occlusion(4, 4, "mean").check(networks.plain().double(), Logit(1), images[:1])
