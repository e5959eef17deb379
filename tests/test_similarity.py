import pytest
import torch

from interpret_runs.similarity import rank_correlation, structural_similarity


def pairs(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 3, height, width, generator=source, dtype=torch.float64)
    return one, 0.7 * one + 0.3 * other


@pytest.mark.parametrize("size", [(32, 32), (11, 40), (23, 12)])
def test_structural_similarity_is_that_of_scikit_image(size):
    metrics = pytest.importorskip("skimage.metrics")
    one, other = pairs(*size)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        metrics.structural_similarity(a.numpy(), b.numpy(), **settings) for a, b in zip(one, other, strict=True)
    ]
    torch.testing.assert_close(structural_similarity(one, other), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("size", [(32, 20), (5, 9), (4, 1), (1, 1)])
def test_equal_maps_are_as_similar_as_can_be_and_others_less_at_any_size(size):
    one, other = pairs(*size)
    torch.testing.assert_close(structural_similarity(one, one), torch.ones(3).double())
    assert (structural_similarity(one, other) < 1).all()
    torch.testing.assert_close(structural_similarity(one, other), structural_similarity(other, one))


def test_rank_correlation_is_that_of_scipy_with_ties():
    stats = pytest.importorskip("scipy.stats")
    one, other = pairs(16, 12)
    one = (5 * one).round()
    expected = [
        stats.spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in zip(one, other, strict=True)
    ]
    torch.testing.assert_close(rank_correlation(one, other), torch.tensor(expected, dtype=torch.float64))


def test_rank_correlation_knows_only_the_order():
    one, other = pairs(16, 12)
    value = rank_correlation(one, other)
    assert ((value > 0) & (value < 1)).all()
    torch.testing.assert_close(rank_correlation(one.exp(), other**3), value)
    torch.testing.assert_close(rank_correlation(one, -other), -value)
    torch.testing.assert_close(rank_correlation(one, 2 * one), torch.ones(3).double())


def test_a_map_of_one_value_has_no_rank_correlation():
    one, _ = pairs(16, 12)
    assert rank_correlation(one, torch.ones_like(one)).isnan().all()
    assert rank_correlation(torch.zeros_like(one), one).isnan().all()
