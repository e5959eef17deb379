import pytest
import torch

from interpret_runs.activations import Activations
from interpret_runs.objectives import Logit
from interpret_runs.plain_maps import Centre, Random, Sobel

METHODS = [Random(), Random(7), Centre(), Centre(0.1), Sobel()]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)


@EVERY_METHOD
def test_neither_network_nor_objective_is_asked(method, model, images):
    class Silent(Logit):
        def __call__(self, activations: Activations) -> torch.Tensor:
            raise AssertionError("asked")

    model.network.register_forward_pre_hook(lambda *_: pytest.fail("asked"))
    maps = method(model, Silent(1), images)
    assert maps.shape == (4, 16, 12) and maps.dtype == torch.float64 and maps.flatten(1).std(1).min() > 0


@EVERY_METHOD
def test_a_batch_equals_one_by_one(method, model, images):
    alone = torch.cat([method(model, Logit(1), image[None]) for image in images])
    assert torch.equal(method(model, Logit(1), images), alone)


@EVERY_METHOD
def test_single_precision_is_near_double(method, model, images):
    found = method(model, Logit(1), images.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), method(model, Logit(1), images), rtol=0, atol=1e-6)


# --- random -------------------------------------------------------------------------------------------------------


def test_random_is_even_over_minus_one_to_one_and_independent(model):
    values = Random(3)(model, Logit(0), torch.zeros(1, 3, 128, 128, dtype=torch.float64))[0]
    assert -1 <= values.min() < -0.99 and 0.99 < values.max() < 1
    points = torch.linspace(-1, 1, 9, dtype=torch.float64)
    shares = (values.flatten()[:, None] < points).double().mean(0)
    torch.testing.assert_close(shares, (points + 1) / 2, rtol=0, atol=2 / 128)
    for one, other in ((values[:, 1:], values[:, :-1]), (values[1:], values[:-1]), (values, values.T)):
        assert (one * other).mean().abs() < 4 / 3 / 128 * 1.5


def test_random_depends_on_seed_and_size_alone(model, images):
    first = Random(3)(model, Logit(0), images)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(Random(3)(model, Logit(0), 1 - images), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(Random(4)(model, Logit(0), images), first)
    assert not torch.equal(Random(3)(model, Logit(0), images.mT)[0].T, first[0])


# --- centre -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 12), (15, 11), (16, 11)])
def test_centre_is_a_gaussian_around_the_middle(size, model):
    (found,) = Centre(0.25)(model, Logit(0), torch.zeros(1, 3, *size, dtype=torch.float64))
    for axis in (0, 1):
        torch.testing.assert_close(found, found.flip(axis))
    middle = found[(size[0] - 1) // 2, (size[1] - 1) // 2]
    assert found.max() == pytest.approx(float(middle)) and found.min() > 0
    assert middle == 1 if size == (15, 11) else middle < 1


def test_centre_falls_to_a_known_share_one_sigma_away(model):
    (found,) = Centre(0.25)(model, Logit(0), torch.zeros(1, 3, 33, 65, dtype=torch.float64))
    away = torch.tensor([8 / 33, 16 / 65], dtype=torch.float64)
    expected = torch.exp(-(away**2) / (2 * 0.25**2))
    torch.testing.assert_close(torch.stack([found[24, 32], found[16, 48]]), expected)
    torch.testing.assert_close(found, torch.outer(found[:, 32], found[16]))


@pytest.mark.parametrize("sigma", [0, -1, True, "wide", float("inf"), float("nan")])
def test_a_wrong_sigma_is_named(sigma):
    with pytest.raises(ValueError, match="attribution.sigma is .*; it must be a finite number above 0"):
        Centre(sigma)


# --- sobel --------------------------------------------------------------------------------------------------------


def test_sobel_of_a_ramp_is_its_slope(model):
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    ramp = (0.03 * down - 0.02 * across + 0.4).double()[None, None].expand(1, 3, 16, 12)
    (found,) = Sobel()(model, Logit(0), ramp)
    slope = (0.03**2 + 0.02**2) ** 0.5
    torch.testing.assert_close(found[1:-1, 1:-1], torch.full((14, 10), slope, dtype=torch.float64), atol=1e-7, rtol=0)


def test_sobel_sees_no_edge_at_the_border(model):
    assert (Sobel()(model, Logit(0), torch.full((1, 3, 8, 8), 0.7, dtype=torch.float64)) < 1e-12).all()


@pytest.mark.parametrize(
    "move", [lambda v: v.flip(-1), lambda v: v.flip(-2), lambda v: v.mT], ids=["flip", "flop", "T"]
)
def test_sobel_moves_with_the_image(move, model, images):
    torch.testing.assert_close(Sobel()(model, Logit(0), move(images)), move(Sobel()(model, Logit(0), images)))


def test_sobel_grows_with_contrast_and_not_with_brightness(model, images):
    first = Sobel()(model, Logit(0), images)
    torch.testing.assert_close(Sobel()(model, Logit(0), 0.5 * images + 0.3), 0.5 * first)


def test_sobel_sees_green_best_and_blue_least(model, images):
    red, green, blue = (Sobel()(model, Logit(0), images * torch.eye(3)[c][:, None, None]) for c in range(3))
    assert green.mean() > red.mean() > blue.mean() > 0
    grey = images[:, :1].expand(-1, 3, -1, -1)
    parts = [Sobel()(model, Logit(0), grey * torch.eye(3)[c][:, None, None]) for c in range(3)]
    torch.testing.assert_close(sum(parts), Sobel()(model, Logit(0), grey), atol=1e-7, rtol=1e-6)


def test_sobel_agrees_with_scikit_image(model, images):
    filters = pytest.importorskip("skimage.filters")
    grey = images[:1, :1].expand(-1, 3, -1, -1)
    (found,) = Sobel()(model, Logit(0), grey)
    values = grey[0, 0].numpy()
    expected = 0.5 * torch.from_numpy((filters.sobel_h(values) ** 2 + filters.sobel_v(values) ** 2) ** 0.5)
    torch.testing.assert_close(found[1:-1, 1:-1], expected[1:-1, 1:-1])
