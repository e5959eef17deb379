from dataclasses import dataclass
from io import BytesIO

import networks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import bare, hooks
from PIL import Image
from torch import Tensor, nn

from interpret_runs.comparisons import ActivationDifference, Diversity
from interpret_runs.images import Shapes, to_pil
from interpret_runs.metrics import (
    jpeg_bytes,
    percentile,
    rank_and_probability,
    robustness,
    spectrum_distance,
    total_variation,
)
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit, Neuron
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.scoring import class_probabilities, score
from interpret_runs.transform import Transform
from interpret_runs.transforms import Crops, Standard, Unchanged

SIZES = [(64, 64), (48, 80), (33, 50), (16, 128)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def power_law(size: tuple[int, int], exponent: float, count: int = 2) -> Tensor:
    """Images whose amplitudes are exactly f ** -exponent, with random phases."""
    white = torch.fft.fft2(random(count, 3, *size))
    frequency = torch.hypot(*torch.meshgrid(*(torch.fft.fftfreq(n).double() for n in size), indexing="ij"))
    frequency[0, 0] = torch.inf
    images = torch.fft.ifft2(white / white.abs() / frequency**exponent).real
    return 0.5 + 0.5 * images / images.abs().amax((1, 2, 3), keepdim=True)


# --- images alone -----------------------------------------------------------------------------------------------


def test_total_variation_is_the_objectives(model, images):
    torch.testing.assert_close(total_variation(images), score(model, TotalVariation(), images))


@pytest.mark.parametrize("size", SIZES)
def test_an_image_that_follows_the_law_is_at_distance_0(size):
    assert spectrum_distance(power_law(size, 1)).max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_the_distance_grows_as_the_spectrum_tilts_away(size):
    for exponents in ([1, 1.2, 1.5, 2], [1, 0.8, 0.5, 0]):
        distances = [spectrum_distance(power_law(size, exponent)) for exponent in exponents]
        assert all((near + 0.02 < far).all() for near, far in zip(distances, distances[1:], strict=False))


@pytest.mark.parametrize("size", SIZES)
def test_contrast_brightness_and_orientation_do_not_matter(size):
    images = random(3, 3, *size) ** 2
    expected = spectrum_distance(images)
    for same in (0.2 + images / 2, 1 - images, images.flip(3), images.mT, images.roll((3, 5), (2, 3))):
        torch.testing.assert_close(spectrum_distance(same), expected)


def test_what_8_bits_cannot_hold_does_not_matter():
    """Without a floor a smooth image would be as far away as its rounding errors are small."""
    smooth = power_law((64, 64), 3)
    rounded = (smooth * 255).round() / 255
    assert (spectrum_distance(smooth) - spectrum_distance(rounded)).abs().max() < 0.05
    assert spectrum_distance(torch.full((1, 3, 64, 64), 0.3)).isfinite().all()


def test_images_too_small_for_a_spectrum_have_no_distance():
    for size in [(1, 1), (2, 2), (3, 3), (1, 3)]:
        assert spectrum_distance(random(2, 3, *size)).isnan().all()
    for size in [(4, 4), (1, 4), (5, 2), (1, 64)]:
        assert spectrum_distance(random(2, 3, *size)).isfinite().all()


@pytest.mark.parametrize("measure", [total_variation, spectrum_distance, jpeg_bytes])
def test_each_image_is_measured_by_itself(measure, images):
    values = measure(images)
    assert values.shape == (4,)
    torch.testing.assert_close(measure(images.flip(0)), values.flip(0))
    torch.testing.assert_close(measure(images[2:3]), values[2:3])


def test_jpeg_bytes_are_those_of_the_file(images):
    file = BytesIO()
    to_pil(images[1]).save(file, "JPEG", quality=90)
    assert jpeg_bytes(images)[1] == pytest.approx(len(file.getvalue()) / (16 * 12))
    assert Image.open(file).size == (12, 16)


def test_noise_takes_more_bytes_than_a_flat_image_and_quality_costs():
    flat, noise = torch.full((1, 3, 32, 32), 0.5), random(1, 3, 32, 32)
    assert jpeg_bytes(flat) < jpeg_bytes(noise, quality=50) < jpeg_bytes(noise) < jpeg_bytes(noise, quality=100)


def test_values_that_are_not_finite_have_no_file():
    with pytest.raises(ValueError, match="finite"):
        jpeg_bytes(torch.full((1, 3, 8, 8), torch.nan))


# --- fresh transforms -------------------------------------------------------------------------------------------

mild = Standard(jitter=3, scale=(0.9, 1.1), rotate=5, late_jitter=1)
SEEDS = (4, 2)


@dataclass(frozen=True)
class Mirrored(Transform):
    """Two views of each image: as it is, and its mirror image."""

    size: None = None
    views: int = 2

    def draw(self, steps, seeds, images=1):
        return torch.zeros(steps, len(seeds) * images, 0)

    def __call__(self, images, parameters):
        return torch.cat([images, images.flip(3)])


def test_without_a_transform_every_draw_is_the_score(model, images):
    fresh = robustness(model, Channel("2", 1), images, Unchanged(), range(4), draws=3)
    expected = score(model, Channel("2", 1), images)
    torch.testing.assert_close(fresh.scores, expected.expand(3, -1))
    assert torch.equal(fresh.predictions, class_probabilities(model, images).argmax(1).expand(3, -1))


def test_the_draws_are_none_that_an_optimisation_sees(model, images):
    drawn = mild.draw(64, SEEDS)
    seen = [score(model, Channel("2", 1), mild(images[:2], one)) for one in drawn]
    scores = robustness(model, Channel("2", 1), images[:2], mild, SEEDS).scores
    assert not torch.isclose(torch.stack(seen)[:, None], scores[None]).any()
    assert scores.std(0).min() > 0


def test_the_draws_of_a_run_depend_on_its_seed_alone(model, images):
    objective = Objective.stack([Channel("2", 1), Channel("2", 3)])
    both = robustness(model, objective, images, mild, SEEDS, images_per_run=2)
    for place, (unit, seed) in enumerate(zip((1, 3), SEEDS, strict=True)):
        mine = slice(2 * place, 2 * place + 2)
        alone = robustness(model, Channel("2", unit), images[mine], mild, [seed], draws=5, images_per_run=2)
        torch.testing.assert_close(both.scores[:5, mine], alone.scores)
        assert torch.equal(both.predictions[:5, mine], alone.predictions)


def test_views_of_an_image_count_as_their_mean(model, images):
    fresh = robustness(model, Logit(2), images, Mirrored(), range(4), draws=1)
    views = [score(model, Logit(2), images), score(model, Logit(2), images.flip(3))]
    torch.testing.assert_close(fresh.scores[0], torch.stack(views).mean(0))
    outputs = torch.stack([model(images), model(images.flip(3))]).mean(0)
    assert torch.equal(fresh.predictions[0], outputs.argmax(1))


def test_penalties_read_the_image_itself(model, images):
    fresh = robustness(model, L2(), images, mild, range(4))
    torch.testing.assert_close(fresh.scores, score(model, L2(), images).expand(8, -1))


def test_one_forward_pass_a_draw_serves_scores_and_predictions(images):
    counted = networks.Counted()
    model = bare(nn.Sequential(counted, *networks.plain()))
    robustness(model, Channel("1", 2), images, mild, range(4))  # what is found out once
    before = counted.calls
    robustness(model, Channel("1", 2), images, mild, range(4), draws=5)
    assert counted.calls == before + 5


def test_pictures_that_images_are_compared_with_are_not_predicted(model, images):
    objective = ActivationDifference("2", Shapes(3))
    fresh = robustness(model, objective, images, Crops(views=2), range(4))
    same = robustness(model, Channel("2", 0), images, Crops(views=2), range(4))
    assert torch.equal(fresh.predictions, same.predictions)


def test_images_of_a_run_are_compared_with_each_other(model, images):
    fresh = robustness(model, Diversity("2"), images, Unchanged(), SEEDS, draws=1, images_per_run=2)
    torch.testing.assert_close(fresh.scores[0, 0], fresh.scores[0, 1])
    alone = robustness(model, Diversity("2"), images[2:], Unchanged(), SEEDS[:1], draws=1, images_per_run=2)
    torch.testing.assert_close(fresh.scores[:, 2:], alone.scores)


def test_a_head_that_refuses_the_size_predicts_nothing(images):
    model = bare(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 2)))
    fresh = robustness(model, Channel("0", 1), images, mild, range(4))
    assert fresh.predictions is None
    assert fresh.scores.shape == (8, 4)
    with pytest.raises(RuntimeError):
        robustness(model, Logit(1), images, mild, range(4))


def test_mistakes_in_the_objective_are_not_taken_for_a_head_that_refuses(model, images):
    with pytest.raises(LookupError, match="channel 99"):
        robustness(model, Neuron("2", 99), images, mild, range(4))
    with pytest.raises(ValueError, match=r"parameterisation\.images"):
        robustness(model, Diversity("2"), images, mild, range(4))


def test_the_model_is_left_as_it_was(model, images):
    model.train()
    fresh = robustness(model, Channel("2", 1), images.requires_grad_(), mild, range(4))
    assert not fresh.scores.requires_grad
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


# --- among others -----------------------------------------------------------------------------------------------


def test_ranks_count_from_the_best_class():
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    ranks, own = rank_and_probability(probabilities, torch.tensor([1, 0, 1, 2]))
    assert ranks.tolist() == [1, 3, 1, 3]
    torch.testing.assert_close(own, torch.tensor([0.6, 0.1, 0.4, 0.2]))


def test_all_ranks_together_are_a_permutation():
    probabilities = random(1, 7).softmax(1)
    ranks, own = rank_and_probability(probabilities.expand(7, -1), torch.arange(7))
    assert ranks.sort().values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert torch.equal(own[ranks.argsort()], probabilities[0].sort(descending=True).values)


scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(scores, scores)
def test_percentiles_are_shares_of_what_lies_below(mine, others):
    found = percentile(torch.tensor(mine), torch.tensor(others)[:, None].expand(-1, len(mine)))
    for own, share in zip(mine, found.tolist(), strict=True):
        below = sum(other < own for other in others) + sum(other == own for other in others) / 2
        assert share == pytest.approx(100 * below / len(others))


def test_a_score_turned_round_has_the_rest_of_the_share():
    mine, others = random(5), random(20, 5, seed=1)
    torch.testing.assert_close(percentile(mine, others) + percentile(-mine, -others), torch.full((5,), 100.0))


def test_unknown_scores_are_left_out():
    others = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [3.0, torch.nan]])
    found = percentile(torch.tensor([2.0, 2.0]), others)
    assert found[0] == 50 and found[1].isnan()
    assert percentile(torch.tensor([torch.nan]), torch.zeros(4, 1)).isnan().all()
    assert percentile(torch.tensor([1.0]), torch.zeros(0, 1)).isnan().all()
