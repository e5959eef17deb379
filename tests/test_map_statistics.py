from math import log

import pytest
import torch
from explained import batch_law, explained, linear
from torch import nn

from interpret_runs.map_statistics import Completeness, Entropy, Sparseness
from interpret_runs.metric import Explained
from interpret_runs.objectives import Channel, Layer, Logit


def one_hot() -> torch.Tensor:
    maps = torch.zeros(4, 16, 12, dtype=torch.float64)
    maps[range(4), [0, 15, 7, 3], [0, 11, 5, 2]] = torch.tensor([1.0, -2.0, 1e-3, 50.0], dtype=torch.float64)
    return maps


def test_a_map_of_one_pixel_is_as_sparse_as_can_be(model, images):
    given = explained(model, images, one_hot())
    torch.testing.assert_close(Sparseness()(given)["sparseness"], torch.full((4,), 1 - 1 / 192).double())
    torch.testing.assert_close(Entropy()(given)["entropy"], torch.zeros(4).double())


@pytest.mark.parametrize("value", [1.0, -3.0])
def test_a_map_of_one_value_is_not_sparse_at_all(value, model, images):
    given = explained(model, images, torch.full((4, 16, 12), value, dtype=torch.float64))
    torch.testing.assert_close(Sparseness()(given)["sparseness"], torch.zeros(4).double())
    torch.testing.assert_close(Entropy()(given)["entropy"], torch.full((4,), log(192)).double())


@pytest.mark.parametrize(("metric", "column"), [(Sparseness(), "sparseness"), (Entropy(), "entropy")])
def test_statistics_of_magnitudes_know_neither_sign_nor_scale_nor_place(metric, column, model, images):
    maps = torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    value = metric(explained(model, images, maps))[column]
    for other in (-maps, 1e3 * maps, maps.flip(1), maps.abs()):
        torch.testing.assert_close(metric(explained(model, images, other))[column], value)
    assert not torch.allclose(metric(explained(model, images, maps**3))[column], value)


@pytest.mark.parametrize(("metric", "column"), [(Sparseness(), "sparseness"), (Entropy(), "entropy")])
def test_an_empty_map_has_no_statistics(metric, column, model, images):
    assert metric(explained(model, images, torch.zeros(4, 16, 12, dtype=torch.float64)))[column].isnan().all()


def test_sparseness_is_half_the_mean_difference_over_the_mean(model, images):
    """Gini, 1912: ``mean |a_i - a_j| / (2 mean a)``."""
    maps = torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = maps.abs().flatten(1)
    expected = (sizes[:, :, None] - sizes[:, None]).abs().mean((1, 2)) / (2 * sizes.mean(1))
    torch.testing.assert_close(Sparseness()(explained(model, images, maps))["sparseness"], expected)


def test_the_exact_map_of_a_linear_network_is_complete(images):
    model, weights = linear()
    exact = (weights[2] * images).sum(1)
    error = Completeness()(explained(model, images, exact))["completeness_error_black"]
    torch.testing.assert_close(error, torch.zeros(4).double(), rtol=0, atol=1e-9)
    twice = Completeness()(explained(model, images, 2 * exact))["completeness_error_black"]
    torch.testing.assert_close(twice, torch.ones(4).double())


def test_a_score_that_gains_nothing_has_no_relative_error(images):
    model, weights = linear()
    black = torch.zeros_like(images)
    error = Completeness()(explained(model, black, (weights[2] * images).sum(1)))["completeness_error_black"]
    assert error.isnan().all()


@pytest.mark.parametrize("metric", [Sparseness(), Entropy(), Completeness()], ids=repr)
@pytest.mark.parametrize("objective", [Logit((2, 0, 4, 1)), Channel("2", (7, 1, 0, 3)), Layer("0")], ids=repr)
def test_a_number_depends_on_its_image_alone(metric, objective, model, images, monkeypatch):
    batch_law(metric, model, objective, images, monkeypatch)


def test_maps_and_masks_must_have_the_size_of_their_images(model, images):
    maps, rows = images[:, 0], torch.arange(4)
    with pytest.raises(ValueError, match=r"masks are 4 x 8 x 8, but the images 4 x 3 x 16 x 12; masks must be 4 x 16"):
        Explained(model, Logit(0), images, rows, maps, None, masks=torch.ones(4, 8, 8))
    with pytest.raises(ValueError, match=r"maps are 3 x 16 x 12, but the images 4 x 3 x 16 x 12; maps must be 4 x 16"):
        Explained(model, Logit(0), images, rows, maps[:3], None)


def test_metrics_leave_the_model_as_it_was(images, model):
    network = nn.Sequential(model.network, nn.Dropout(0.5)).train()
    Completeness()(explained(network, images, images[:, 0], Logit(1)))
    assert network.training and network[1].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
