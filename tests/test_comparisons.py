from dataclasses import replace

import pytest
import torch
from torch import Tensor

from interpret_runs.activations import Activations
from interpret_runs.comparisons import (
    ActivationDifference,
    Alignment,
    Caricature,
    Diversity,
    Interpolation,
    Inversion,
    Style,
)
from interpret_runs.images import Shapes
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit, Neuron
from interpret_runs.scoring import score

SOURCE = Shapes()
AMONG = [Diversity("x"), Alignment("x"), Interpolation(Channel("x", 0), Neuron("x", 1, 0, 0))]
WITH_A_PICTURE = [
    Caricature("x", SOURCE),
    Caricature("x", SOURCE, 0),
    Caricature("x", SOURCE, 2.5),
    Inversion("x", SOURCE),
    Style("x", SOURCE),
    ActivationDifference("x", SOURCE),
]


def random(*shape, seed=0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def among(objective: Objective, values: Tensor, images: int) -> Tensor:
    """Scores of a layer's activations, of which so many in a row belong to one run."""
    return objective(Activations({"x": values}, images=images))


def compared(objective: Objective, values: Tensor, picture: Tensor) -> Tensor:
    return objective(Activations({"x": values}, references={SOURCE: Activations({"x": picture})}))


# --- with the other images of a run -------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", AMONG, ids=repr)
def test_images_are_compared_within_their_run_only(objective):
    values = random(12, 5, 3, 4)
    scores = among(objective, values, 4)
    assert scores.shape == (12,)
    alone = torch.cat([among(objective, run, 4) for run in values.split(4)])
    torch.testing.assert_close(scores, alone)
    views = torch.cat([values, 2 * values])  # two views of every image, one batch apart
    torch.testing.assert_close(among(objective, views, 4), torch.cat([scores, among(objective, 2 * values, 4)]))


@pytest.mark.parametrize("objective", AMONG, ids=repr)
def test_one_image_has_none_to_be_compared_with(objective, model, images):
    name = type(objective).__name__.lower()
    with pytest.raises(ValueError, match=f"{name} compares the images of a run: parameterisation.images=4"):
        among(objective, random(3, 5, 3, 4), 1)


@pytest.mark.parametrize("objective", AMONG, ids=repr)
def test_equal_and_silent_images_have_a_finite_gradient(objective):
    for values in (random(1, 5, 3, 4).repeat(4, 1, 1, 1), torch.zeros(4, 5, 3, 4, dtype=torch.float64)):
        values.requires_grad_()
        scores = among(objective, values, 4)
        (gradient,) = torch.autograd.grad(scores.sum(), values)
        assert scores.isfinite().all() and gradient.isfinite().all()


def test_diversity_is_minus_the_mean_cosine_similarity_of_gram_matrices():
    values = random(5, 4, 3, 6)
    grams = torch.einsum("bchw,bdhw->bcd", values, values).flatten(1)
    similar = torch.nn.functional.cosine_similarity(grams[:, None], grams[None], dim=2)
    torch.testing.assert_close(among(Diversity("x"), values, 5), -(similar.sum(1) - 1) / 4)


def test_diversity_is_between_minus_1_for_one_texture_and_0_for_nothing_in_common():
    one = random(1, 4, 3, 6)
    shuffled = [one.flatten(2)[..., torch.randperm(18)].unflatten(2, (3, 6)) for _ in range(3)]
    same = torch.cat([one, 3 * one, *shuffled])
    torch.testing.assert_close(among(Diversity("x"), same, 5), torch.full((5,), -1.0, dtype=torch.float64))
    apart = torch.eye(4, dtype=torch.float64)[:, :, None, None].expand(4, 4, 3, 6) * random(4, 1, 3, 6)
    torch.testing.assert_close(among(Diversity("x"), apart, 4), torch.zeros(4, dtype=torch.float64))
    scores = among(Diversity("x"), random(40, 4, 3, 6), 4)
    assert (scores > -1).all() and (scores < 0).all()


def test_a_silent_image_has_nothing_in_common_with_any():
    values = random(1, 4, 3, 6).repeat(3, 1, 1, 1)
    values[0] = 0
    expected = torch.tensor([0, -0.5, -0.5], dtype=torch.float64)
    torch.testing.assert_close(among(Diversity("x"), values, 3), expected)


def test_the_order_of_a_runs_images_is_nothing_to_diversity():
    values, order = random(5, 4, 3, 6), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(among(Diversity("x"), values[order], 5), among(Diversity("x"), values, 5)[order])


def test_ascending_diversity_makes_images_less_alike():
    values = random(4, 4, 3, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(among(Diversity("x"), values, 4).sum(), values)
    moved = values.detach() + 1e-3 * gradient
    assert among(Diversity("x"), moved, 4).sum() > among(Diversity("x"), values, 4).sum()


@pytest.mark.parametrize("images", [2, 3, 5, 8])
def test_alignment_over_a_run_is_minus_the_sum_over_neighbours(images):
    values = random(images, 4, 3, 6)
    expected = 0.0
    for first in range(images):
        for last in range(first + 1, min(images, first + 5)):
            expected -= (values[first] - values[last]).square().mean() / 2 ** (last - first)
    torch.testing.assert_close(among(Alignment("x"), values, images).sum(), torch.as_tensor(expected))


def test_alignment_is_0_where_nothing_moves_and_falls_with_distance():
    still = random(1, 4, 3, 6).repeat(6, 1, 1, 1)
    assert among(Alignment("x"), still, 6).abs().max() == 0
    moved = still.clone()
    moved[0] += 1
    scores = among(Alignment("x"), moved, 6)
    torch.testing.assert_close(scores[1:], -torch.tensor([4.0, 2, 1, 0.5, 0], dtype=torch.float64) / 16)
    torch.testing.assert_close(scores[0], scores[1:].sum())


def test_alignment_reads_a_run_alike_from_both_ends():
    values = random(7, 4, 3, 6)
    torch.testing.assert_close(among(Alignment("x"), values.flip(0), 7), among(Alignment("x"), values, 7).flip(0))


@pytest.mark.parametrize("images", [2, 3, 5])
def test_an_interpolation_goes_evenly_from_one_objective_to_the_other(images):
    first, last = Channel("x", 0), Neuron("x", 1, 0, 0)
    values = random(2 * images, 4, 3, 6)
    activations = Activations({"x": values}, images=images)
    ends = first(activations), last(activations)
    found = Interpolation(first, last)(activations)
    for place in range(2 * images):
        way = (place % images) / (images - 1)
        torch.testing.assert_close(found[place], (1 - way) * ends[0][place] + way * ends[1][place])
    assert found[0] == ends[0][0] and found[images - 1] == ends[1][images - 1]
    torch.testing.assert_close(Interpolation(first, first)(activations), ends[0])
    torch.testing.assert_close((Interpolation(first, last) + Interpolation(last, first))(activations), sum(ends))


def test_an_interpolation_has_the_layers_and_parts_of_both(model):
    made = Interpolation(Channel("0", 1), Logit(2) * Inversion("2", SOURCE))
    assert made.layers == {"0", "2", "logits"} and made.sources == {SOURCE}
    assert Interpolation(Channel("late", 1), Logit("2")).resolve(
        replace(model.summary, aliases={"late": "3"})
    ) == Interpolation(Channel("3", 1), Logit(2))
    assert Interpolation(Logit("top1"), Logit(1)).needs_output


def test_interpolations_stack_like_their_parts():
    pairs = [Interpolation(Channel("x", one), Neuron("x", other, 1)) for one, other in ((0, 3), (2, 2), (3, 1))]
    values = random(6, 4, 3, 6)
    rows = torch.arange(3).repeat_interleave(2)
    stacked = Objective.stack(pairs)(Activations({"x": values}, rows, images=2))
    alone = [among(pair, run, 2) for pair, run in zip(pairs, values.split(2), strict=True)]
    torch.testing.assert_close(stacked, torch.cat(alone))


# --- with a picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", WITH_A_PICTURE, ids=repr)
def test_an_image_is_compared_with_the_picture_alone(objective):
    values, picture = random(4, 5, 3, 6), random(4, 5, 3, 6, seed=1)
    scores = compared(objective, values, picture)
    assert scores.shape == (4,)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(compared(objective, values[order], picture[order]), scores[order])
    alone = [compared(objective, one[None], other[None]) for one, other in zip(values, picture, strict=True)]
    torch.testing.assert_close(torch.cat(alone), scores)


@pytest.mark.parametrize("objective", WITH_A_PICTURE, ids=repr)
def test_the_picture_itself_scores_1_as_a_caricature_and_0_otherwise(objective):
    picture = random(3, 5, 3, 6)
    expected = 1.0 if isinstance(objective, Caricature) else 0.0
    found = compared(objective, picture, picture)
    torch.testing.assert_close(found, torch.full((3,), expected, dtype=torch.float64), rtol=1e-3, atol=1e-12)
    if not isinstance(objective, Caricature):
        others = compared(objective, random(3, 5, 3, 6, seed=1), picture)
        assert (others > 0).all() if isinstance(objective, ActivationDifference) else (others < 0).all()


@pytest.mark.parametrize("objective", WITH_A_PICTURE, ids=repr)
def test_a_score_does_not_depend_on_the_size_of_the_image_nor_on_the_scale_of_the_layer(objective):
    values, picture = random(3, 5, 3, 6), random(3, 5, 3, 6, seed=1) + 0.5
    scores = compared(objective, values, picture)
    tiled = compared(objective, values.repeat(1, 1, 2, 3), picture.repeat(1, 1, 2, 3))
    torch.testing.assert_close(tiled, scores, rtol=1e-4, atol=1e-6)
    scaled = compared(objective, 100 * values, 100 * picture)
    factor = 100 if isinstance(objective, ActivationDifference) else 1
    torch.testing.assert_close(scaled, factor * scores)


@pytest.mark.parametrize("objective", WITH_A_PICTURE, ids=repr)
def test_silent_images_and_pictures_have_a_finite_gradient(objective):
    something, nothing = random(2, 5, 3, 6), torch.zeros(2, 5, 3, 6, dtype=torch.float64)
    for values, picture in ((nothing, something), (something, something), (nothing, nothing)):
        values = values.clone().requires_grad_()
        scores = compared(objective, values, picture)
        (gradient,) = torch.autograd.grad(scores.sum(), values)
        assert scores.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("power", [0, 1, 2])
def test_a_caricature_is_the_dot_product_with_a_floored_cosine_as_a_factor(power):
    values, picture = random(6, 5, 3, 6), random(6, 5, 3, 6, seed=1)
    values[3:] += picture[3:]
    product = (values * picture).flatten(1).sum(1)
    lengths = [each.flatten(1).norm(dim=1) for each in (values, picture)]
    cosine = product / lengths[0] / lengths[1]
    expected = product / lengths[1] ** 2 * cosine.clamp(min=0.1) ** power
    assert (cosine < 0.1).any() and (cosine > 0.1).any()
    torch.testing.assert_close(compared(Caricature("x", SOURCE, power), values, picture), expected, rtol=1e-3, atol=0)


def test_a_caricature_grows_without_end_and_a_higher_power_punishes_what_is_besides():
    picture = random(1, 5, 3, 6)
    beside = random(1, 5, 3, 6, seed=1)
    beside -= picture * (beside * picture).sum() / picture.square().sum()
    for power in (0, 1, 2):
        objective = Caricature("x", SOURCE, power)
        torch.testing.assert_close(
            compared(objective, 7 * picture, picture), 7 * compared(objective, picture, picture), rtol=1e-3, atol=0
        )
    askew = [compared(Caricature("x", SOURCE, power), picture + beside, picture) for power in (0, 1, 2)]
    assert askew[0] > askew[1] > askew[2] > 0


@pytest.mark.parametrize("power", [-1, float("nan"), "1", None])
def test_the_power_of_a_caricature_is_a_number_from_0_on(power):
    with pytest.raises(ValueError, match=r"objective.cosine_power is .*; it must be a finite number from 0 on"):
        Caricature("x", SOURCE, power)


def test_an_inversion_is_the_squared_distance_in_units_of_the_picture():
    values, picture = random(3, 5, 3, 6), random(3, 5, 3, 6, seed=1)
    distance = (values - picture).square().flatten(1).sum(1)
    expected = -distance / picture.square().flatten(1).sum(1)
    torch.testing.assert_close(compared(Inversion("x", SOURCE), values, picture), expected)
    silent = compared(Inversion("x", SOURCE), torch.zeros_like(picture), picture)
    torch.testing.assert_close(silent, torch.full((3,), -1.0, dtype=torch.float64))


def test_style_is_blind_to_places_and_an_inversion_is_not():
    picture = random(2, 5, 3, 6)
    moved = picture.flatten(2)[..., torch.randperm(18, generator=torch.Generator().manual_seed(0))].unflatten(2, (3, 6))
    torch.testing.assert_close(
        compared(Style("x", SOURCE), moved, picture), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert (compared(Inversion("x", SOURCE), moved, picture) < -0.1).all()


def test_style_is_the_squared_distance_of_gram_matrices_in_units_of_the_pictures():
    values, picture = random(3, 5, 3, 6), random(3, 5, 3, 6, seed=1)
    grams = [torch.einsum("bchw,bdhw->bcd", each, each).flatten(1) for each in (values, picture)]
    expected = -(grams[0] - grams[1]).square().sum(1) / grams[1].square().sum(1)
    torch.testing.assert_close(compared(Style("x", SOURCE), values, picture), expected)


def test_an_activation_difference_is_a_distance():
    one, other, third = (random(3, 5, 3, 6, seed=seed) for seed in range(3))
    objective = ActivationDifference("x", SOURCE)
    torch.testing.assert_close(compared(objective, one, other), (one - other).abs().mean((1, 2, 3)))
    torch.testing.assert_close(compared(objective, one, other), compared(objective, other, one))
    detour = compared(objective, one, other) + compared(objective, other, third)
    assert (compared(objective, one, third) <= detour).all()


@pytest.mark.parametrize("kind", [Caricature, Inversion, Style, ActivationDifference])
def test_runs_with_pictures_of_their_own_stack(kind, model, images):
    objectives = [kind("0", Shapes(item)) - 0.5 * kind("2", Shapes(3 - item)) for item in range(4)]
    stacked = Objective.stack(objectives)
    assert stacked.sources == {tuple(map(Shapes, range(4))), tuple(map(Shapes, (3, 2, 1, 0)))}
    alone = torch.cat([score(model, each, image[None]) for each, image in zip(objectives, images, strict=True)])
    torch.testing.assert_close(score(model, stacked, images), alone)
    rows = torch.tensor([3, 3, 0, 1])
    alone = [score(model, objectives[row], image[None]) for row, image in zip(rows, images, strict=True)]
    torch.testing.assert_close(score(model, stacked, images, rows), torch.cat(alone))


def test_a_picture_and_a_unit_stack_together(model, images):
    units = ((1, 0), (2, 0), (0, 4), (1, 1))
    objectives = [Channel("0", channel) * Inversion("0", Shapes(item)) for channel, item in units]
    alone = torch.cat([score(model, each, image[None]) for each, image in zip(objectives, images, strict=True)])
    torch.testing.assert_close(score(model, Objective.stack(objectives), images), alone)


def test_no_comparison_dies():
    assert not any(objective.dies for objective in [*AMONG[:2], *WITH_A_PICTURE])
