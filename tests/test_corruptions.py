import pytest
import torch
from torch.nn import functional

from interpret_runs.corruptions import Blur, ColourJitter, Noise


def test_colour_jitter_is_affine_in_each_channel_and_stays_within_its_bounds(images):
    drawn = ColourJitter(0.3, 0.5).draw(300, (0, 1), 2)
    seen = ColourJitter(0.3, 0.5)(images, drawn[0])
    shift, contrast = drawn[0].double().split(3, 1)
    for place in range(4):
        for channel in range(3):
            expected = 0.5 + contrast[place, channel] * (images[place, channel] - 0.5) + shift[place, channel]
            torch.testing.assert_close(seen[place, channel], expected)
    for values, limit in ((drawn[..., :3], 0.3), (drawn[..., 3:].log(), 0.5)):
        assert 0.98 * limit < values.max() <= limit * (1 + 1e-6) and -limit * (1 + 1e-6) <= values.min() < -0.98 * limit
        assert values.mean().item() == pytest.approx(0, abs=0.03 * limit)


def test_contrast_leaves_mid_grey_as_it_is():
    grey = torch.full((1, 3, 4, 5), 0.5)
    transform = ColourJitter(shift=0, scale=1)
    torch.testing.assert_close(transform(grey, transform.draw(1, (0,))[0]), grey)


@pytest.mark.parametrize(
    ("transform", "deviation"),
    [(Noise(0.2, 0), 0.2), (Noise(0, 0.3), 0.3 / 3**0.5), (Noise(0.1, 0.2), (0.01 + 0.04 / 3) ** 0.5)],
)
def test_noise_is_as_strong_as_asked_and_has_no_mean(transform, deviation):
    flat = torch.full((8, 3, 40, 30), 0.5, dtype=torch.float64)
    added = transform(flat, transform.draw(1, (0, 1), 4)[0]) - flat
    assert added.mean().item() == pytest.approx(0, abs=0.01 * deviation)
    assert added.std().item() == pytest.approx(deviation, rel=0.02)
    near = functional.cosine_similarity(added.flatten(1)[None], added.flatten(1)[:, None], 2) - torch.eye(8)
    assert near.abs().max() < 0.07, "images have noise of their own"


def test_uniform_noise_fills_its_range_evenly():
    flat = torch.zeros(4, 3, 40, 30, dtype=torch.float64)
    added = Noise(0, 0.2)(flat, Noise().draw(1, (0,), 4)[0])
    counts = torch.histc(added, 10, -0.2, 0.2) / added.numel()
    assert added.abs().max() <= 0.2
    torch.testing.assert_close(counts, torch.full_like(counts, 0.1), rtol=0.06, atol=0)


def test_normal_and_uniform_noise_add_up(images):
    parameters = Noise().draw(1, (0,), 4)[0]
    both = Noise(0.1, 0.2)(images, parameters)
    one_by_one = Noise(0, 0.2)(Noise(0.1, 0)(images, parameters), parameters)
    torch.testing.assert_close(both, one_by_one)
    normal, even = (transform(images, parameters) - images for transform in (Noise(1, 0), Noise(0, 1)))
    assert functional.cosine_similarity(normal.flatten(), even.flatten(), 0).abs() < 0.1


def test_every_step_has_noise_of_its_own():
    flat = torch.zeros(1, 3, 20, 20)
    first, second = (Noise()(flat, step).flatten() for step in Noise().draw(2, (0,)))
    assert functional.cosine_similarity(first, second, 0).abs() < 0.1


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_blur_goes_evenly_from_first_to_last(steps):
    drawn = Blur(first=3, last=1).draw(steps, (0, 1), 2)
    assert drawn.shape == (steps, 4, 1)
    for step in range(steps):
        assert drawn[step].unique().tolist() == pytest.approx([3 - 2 * step / max(1, steps - 1)])


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_gaussian_far_from_the_border(sigma):
    dot = torch.zeros(1, 3, 41, 43, dtype=torch.float64)
    dot[..., 20, 21] = 1
    rows, columns = torch.arange(-20.0, 21).double(), torch.arange(-21.0, 22).double()
    bell = torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * sigma**2))
    seen = Blur()(dot, torch.tensor([[sigma]], dtype=torch.float64))
    torch.testing.assert_close(seen[0, 0], bell / bell.sum(), rtol=0, atol=1e-9)


def test_blurs_add_as_their_variances_do():
    blob = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    blob[..., 18:22, 20:24] = 1
    sigma = torch.tensor([[1.5]], dtype=torch.float64)
    torch.testing.assert_close(Blur()(Blur()(blob, sigma), sigma), Blur()(blob, sigma * 2**0.5), rtol=0, atol=1e-4)


def test_nothing_comes_in_over_the_border():
    flat = torch.full((1, 3, 8, 5), 0.3, dtype=torch.float64)
    torch.testing.assert_close(Blur()(flat, torch.tensor([[4.0]], dtype=torch.float64)), flat)


def test_each_image_has_its_own_blur(images):
    sigmas = torch.tensor([[0.0], [0.5], [1.0], [3.0]], dtype=torch.float64)
    seen = Blur()(images, sigmas)
    torch.testing.assert_close(seen[0], images[0], rtol=0, atol=1e-12)
    spread = (seen - seen.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)).tolist()
    assert spread == sorted(spread, reverse=True)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ColourJitter(shift=-0.1), "transform.shift is -0.1; it must be a finite number from 0 on"),
        (lambda: ColourJitter(scale="x"), "transform.scale is 'x'; it must be a finite number from 0 on"),
        (lambda: Noise(normal=-1), "transform.normal is -1; it must be a finite number from 0 on"),
        (lambda: Noise(uniform=float("nan")), "transform.uniform is nan; it must be a finite number from 0 on"),
        (lambda: Blur(first=-1), "transform.first is -1; it must be a finite number from 0 on"),
        (lambda: Blur(last=None), "transform.last is None; it must be a finite number from 0 on"),
    ],
)
def test_a_wrong_strength_is_named(made, message):
    with pytest.raises(ValueError, match=message):
        made()
