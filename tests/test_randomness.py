import pytest
import torch
from torch import Tensor

from interpret_runs.randomness import generator, noise


def keys(*numbers: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(numbers, dtype=dtype)


def correlation(one: Tensor, other: Tensor) -> float:
    return float((one * other).mean())


# --- generators ---------------------------------------------------------------------------------------------------


def test_a_generator_depends_on_seed_and_purpose_alone():
    first = torch.rand(4, generator=generator(3, "start"))
    torch.manual_seed(99)
    assert torch.equal(torch.rand(4, generator=generator(3, "start")), first)
    for seed, purpose in ((4, "start"), (3, "transform"), (-3, "start"), (2**63 - 1, "start")):
        assert not torch.equal(torch.rand(4, generator=generator(seed, purpose)), first)


# --- noise from keys ----------------------------------------------------------------------------------------------


def test_noise_is_standard_normal():
    values = noise(torch.arange(64.0, dtype=torch.float64), (3, 32, 32)).flatten()
    count = len(values)
    assert abs(values.mean()) < 4 / count**0.5
    assert values.std() == pytest.approx(1, abs=4 / (2 * count) ** 0.5)
    assert values.pow(3).mean() == pytest.approx(0, abs=4 * (15 / count) ** 0.5)
    assert values.pow(4).mean() == pytest.approx(3, abs=4 * (96 / count) ** 0.5)
    points = torch.tensor([-2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0], dtype=torch.float64)
    shares = (values[:, None] < points).double().mean(0)
    torch.testing.assert_close(shares, torch.special.ndtr(points), rtol=0, atol=2 / count**0.5)


@pytest.mark.parametrize("lag", [1, 2, 3, 32, 512, 1024, 2048])
def test_neighbours_are_independent(lag):
    """Signs and sizes as well: products of squares see what products alone do not."""
    values = noise(torch.arange(32.0, dtype=torch.float64), (4096,))
    one, other = values[:, lag:].flatten(), values[:, :-lag].flatten()
    bound = 4 / len(one) ** 0.5
    assert abs(correlation(one, other)) < bound
    assert abs(correlation(one.square() - 1, other.square() - 1)) < 2 * bound


@pytest.mark.parametrize("apart", [1, 2, 3, 256, 65536, 2**23])
def test_keys_are_independent(apart):
    first = torch.arange(32.0, dtype=torch.float64)
    one, other = noise(first, (4096,)).flatten(), noise(first + apart, (4096,)).flatten()
    bound = 4 / len(one) ** 0.5
    assert abs(correlation(one, other)) < bound
    assert abs(correlation(one.square() - 1, other.square() - 1)) < 2 * bound


def test_no_key_has_the_numbers_of_another_in_another_order():
    rows = noise(torch.arange(256.0, dtype=torch.float64), (16,))
    assert torch.unique(rows).numel() == rows.numel()


def test_noise_depends_on_its_own_key_alone():
    together = noise(keys(7, 2**24 - 1, 0, 7), (3, 5, 4))
    for row, key in enumerate((7, 2**24 - 1, 0, 7)):
        assert torch.equal(together[row], noise(keys(key), (3, 5, 4))[0])
    assert torch.equal(together[0], together[3]) and not torch.equal(together[0], together[1])


def test_global_random_state_neither_matters_nor_changes():
    first = noise(keys(1), (4,))
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(noise(keys(1), (4,)), first)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_the_type_of_the_keys_only_rounds(dtype):
    numbers = (0, 1, 12345, 2**24 - 1)
    values = noise(keys(*numbers, dtype=dtype), (999,))
    assert values.dtype == torch.float32 and values.isfinite().all()
    torch.testing.assert_close(values.double(), noise(keys(*numbers), (999,)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1, 5), (2, 3, 4, 2)])
def test_noise_has_the_shape_asked_for(shape):
    values = noise(keys(1, 2), shape)
    assert values.shape == (2, *shape) and values.dtype == torch.float64
    assert noise(keys(), shape).shape == (0, *shape)
