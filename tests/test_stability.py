import pytest
import torch
from explained import Edges, Products, batch_law, explained, linear

from interpret_runs.attribution import Attribution, scores
from interpret_runs.objectives import Channel, Layer, Logit
from interpret_runs.stability import Infidelity, MaxSensitivity

OBJECTIVES = [Logit((2, 0, 4, 1)), Channel("2", (7, 1, 0, 3)), Layer("0")]


def noisy(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- infidelity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_the_exact_map_of_a_linear_network_has_no_infidelity(normalise, images):
    model, weights = linear()
    exact = (weights[2] * images).sum(1)
    metric = Infidelity(normalise=normalise)
    found, random = (metric(explained(model, images, maps))["infidelity"] for maps in (exact, noisy()))
    assert (found < 1e-20).all() and (random > 1e-3).all()
    twice = metric(explained(model, images, 2 * exact))["infidelity"]
    assert (twice < 1e-20).all() == normalise


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("zero", [False, True])
def test_infidelity_is_that_of_captum_for_the_same_squares(zero, normalise, model, images):
    from captum.metrics import infidelity

    metric = Infidelity(samples=7, square=0.4, normalise=normalise)
    squares = metric.squares(images)[:-1]
    maps = torch.zeros(4, 16, 12).double() if zero else noisy()

    def blacken(inputs):
        inside = squares.repeat(4, 1, 1)[:, None].to(inputs.dtype).expand_as(inputs)
        return inside, inputs * (1 - inside)

    expected = infidelity(
        lambda seen, rows: scores(model, Logit(2), seen, rows),
        blacken,
        images,
        maps[:, None].expand(-1, 3, -1, -1) / 3,
        additional_forward_args=(torch.arange(4),),
        n_perturb_samples=7,
        normalize=normalise,
    )
    torch.testing.assert_close(metric(explained(model, images, maps))["infidelity"], expected)


def test_squares_have_one_side_and_lie_anywhere_in_the_image(images):
    squares = Infidelity(samples=2000, square=0.5).squares(images)
    assert squares.shape == (2001, 16, 12) and not squares[-1].any()
    assert (squares[:-1].sum((1, 2)) == 36).all()
    assert (squares[:-1].any(2).sum(1) == 6).all() and (squares[:-1].any(1).sum(1) == 6).all()
    assert squares[:-1].any(0).all()
    whole = Infidelity(samples=2, square=1.0).squares(images)
    assert whole[0].sum() == 144


# --- sensitivity --------------------------------------------------------------------------------------------------


def test_sensitivity_is_that_of_captum_for_the_same_changes(model, images):
    from captum.metrics import sensitivity_max

    metric, method = MaxSensitivity(samples=5, radius=0.1), Products()

    def explain(inputs, additional_forward_args):
        seen = inputs[0] if isinstance(inputs, tuple) else inputs
        return (method(model, Logit((2, 0, 4, 1)), seen, additional_forward_args[0]),)

    expected = sensitivity_max(
        explain,
        images,
        lambda inputs: metric.perturbed(inputs, torch.arange(5).repeat(4)),
        n_perturb_samples=5,
        additional_forward_args=(torch.arange(4),),
    )
    maps = method(model, Logit((2, 0, 4, 1)), images)
    found = metric(explained(model, images, maps, Logit((2, 0, 4, 1)), method))["max_sensitivity"]
    torch.testing.assert_close(found, expected)


def test_changes_are_even_within_the_radius_and_stay_in_range(images):
    grey = torch.full((50, 3, 16, 12), 0.5, dtype=torch.float64)
    changes = MaxSensitivity(radius=0.1).perturbed(grey, torch.arange(50)) - grey
    assert changes.abs().max() <= 0.1
    assert changes.mean().abs() < 0.001 and (changes.square().mean() * 300 - 1).abs() < 0.02
    white = torch.ones_like(grey)
    assert MaxSensitivity(radius=0.1).perturbed(white, torch.arange(50)).max() == 1


class Constant(Attribution):
    """The same map whatever it is shown."""

    def maps(self, model, objective, images, rows):
        return torch.ones_like(images[:, 0])


def test_a_map_that_does_not_change_is_not_sensitive_and_one_that_follows_the_image_is(model, images):
    def sensitivity(method, radius):
        maps = method(model, Logit(2), images)
        return MaxSensitivity(5, radius)(explained(model, images, maps, method=method))["max_sensitivity"]

    assert not sensitivity(Constant(), 0.5).any() and not sensitivity(Products(), 0).any()
    little, much = sensitivity(Edges(), 0.01), sensitivity(Edges(), 0.1)
    assert (little > 0).all() and (much > 5 * little).all()


def test_an_empty_map_has_no_relative_change(model, images):
    found = MaxSensitivity(2)(explained(model, images, torch.zeros(4, 16, 12).double()))
    assert found["max_sensitivity"].isnan().all()


# --- both ---------------------------------------------------------------------------------------------------------


METRICS = [Infidelity(5), Infidelity(5, normalise=False), MaxSensitivity(3)]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_number_depends_on_its_image_alone(metric, objective, model, images, monkeypatch):
    batch_law(metric, model, objective, images, monkeypatch)


@pytest.mark.parametrize("metric", [Infidelity, MaxSensitivity])
def test_what_is_drawn_hangs_on_the_seed_alone(metric, model, images):
    given = explained(model, images, Products()(model, Logit(2), images))
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first, again, other = (next(iter(metric(3, seed=seed)(given).values())) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again) and (first != other).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Infidelity(0), "metrics.infidelity.samples is 0; it must be a whole number from 1 on"),
        (lambda: Infidelity(square=0), "metrics.infidelity.square is 0; it must be above 0 and at most 1"),
        (lambda: Infidelity(square=1.5), "metrics.infidelity.square is 1.5; it must be above 0 and at most 1"),
        (lambda: Infidelity(square="a"), "metrics.infidelity.square is 'a'; it must be a finite number"),
        (lambda: Infidelity(normalise=1), "metrics.infidelity.normalise is 1; it must be true or false"),
        (lambda: MaxSensitivity(True), "metrics.max_sensitivity.samples is True; it must be a whole number from 1"),
        (lambda: MaxSensitivity(radius=-0.1), "metrics.max_sensitivity.radius is -0.1; it must be a finite number fr"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_key(build, text):
    with pytest.raises(ValueError, match=text):
        build()
