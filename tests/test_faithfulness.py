import pytest
import torch
from explained import Products, batch_law, explained, linear

from interpret_runs.attribution import scores
from interpret_runs.faithfulness import AverageDrop, Deletion, Insertion, Road, filled, ranked
from interpret_runs.objectives import Channel, Contrast, Layer, Logit, Probability
from interpret_runs.penalties import L2

OBJECTIVES = [Logit((2, 0, 4, 1)), Channel("2", (7, 1, 0, 3)), Layer("0")]
ROWS = torch.arange(4)


def noisy(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def area(metric, model, images, maps, objective=None) -> torch.Tensor:
    return next(iter(metric(explained(model, images, maps, objective)).values()))


# --- insertion and deletion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [192, 48])
@pytest.mark.parametrize("fill", ["black", "white", "blur"])
def test_on_a_linear_network_a_curve_is_a_running_sum(fill, steps, images):
    """The score after k pixels is the fill's plus what these are worth; by hand, from the definition."""
    model, weights = linear()
    maps = noisy()
    start = filled(images, fill)
    worth = (weights[2] * (images - start)).sum(1).flatten(1)
    running = worth.gather(1, maps.flatten(1).argsort(1, descending=True)).cumsum(1)
    running = torch.cat([torch.zeros(4, 1), running], 1)[:, :: 192 // steps]
    empty = scores(model, Logit(2), start, ROWS)
    curve = empty[:, None] + running
    expected = ((curve[:, 1:] + curve[:, :-1]) / 2).mean(1)
    torch.testing.assert_close(area(Insertion(steps, fill, "objective"), model, images, maps), expected)
    expected = empty + scores(model, Logit(2), images, ROWS) - expected
    torch.testing.assert_close(area(Deletion(steps, fill, "objective"), model, images, maps), expected)


@pytest.mark.parametrize("steps", [1, 7, 32, 500])
def test_on_a_linear_network_insertion_and_deletion_add_up_to_both_ends(steps, images):
    model, _ = linear()
    both = [area(metric(steps, "white", "objective"), model, images, noisy()) for metric in (Insertion, Deletion)]
    ends = [scores(model, Logit(2), end, ROWS) for end in (images, torch.ones_like(images))]
    torch.testing.assert_close(sum(both), sum(ends))


def test_on_a_linear_network_no_order_beats_that_of_the_exact_map(images):
    model, weights = linear()
    exact = (weights[2] * images).sum(1)
    best = area(Insertion(32, "black", "objective"), model, images, exact)
    lowest = area(Deletion(32, "black", "objective"), model, images, exact)
    others = [noisy(seed) for seed in range(5)] + [exact.abs(), -exact, exact.flip(1), exact + 0.1 * noisy()]
    for maps in others:
        assert (area(Insertion(32, "black", "objective"), model, images, maps) < best).all()
        assert (area(Deletion(32, "black", "objective"), model, images, maps) > lowest).all()
    torch.testing.assert_close(area(Insertion(32, "black", "objective"), model, images, 3 * exact + 1), best)


def test_on_a_linear_network_a_random_order_is_worth_half_of_both_ends(images):
    model, _ = linear()
    images = images[:1].expand(200, -1, -1, -1)
    maps = torch.randn(200, 16, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for metric in (Insertion, Deletion):
        values = area(metric(16, "black", "objective"), model, images, maps)
        ends = [scores(model, Logit(2), end, torch.zeros(1)) for end in (images[:1], 0 * images[:1])]
        assert (values.mean() - sum(ends) / 2).abs() < 4 * values.std() / 200**0.5
        assert values.std() > 0


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("metric", [Insertion(8), Deletion(8)], ids=repr)
def test_equal_pixels_rank_row_by_row_from_the_top(metric, value, model, images):
    ramp = -torch.arange(192, dtype=torch.float64).reshape(1, 16, 12).expand(4, -1, -1)
    maps = torch.full((4, 16, 12), value, dtype=torch.float64)
    torch.testing.assert_close(area(metric, model, images, maps), area(metric, model, images, ramp))
    spot = maps.clone()
    spot[:, 9, 5] += 1
    expected = ramp.clone()
    expected[:, 9, 5] = 1
    torch.testing.assert_close(area(metric, model, images, spot), area(metric, model, images, expected))


def test_the_sign_of_a_map_counts(model, images):
    maps = Products()(model, Logit(2), images)
    signed, unsigned = (area(Insertion(), model, images, values) for values in (maps, maps.abs()))
    assert (signed != unsigned).all() and (signed > area(Insertion(), model, images, -maps)).all()


@pytest.mark.parametrize("metric", [Insertion(8), Deletion(8), Road((50,))], ids=repr)
def test_a_map_that_is_not_a_number_has_none(metric, model, images):
    maps = noisy()
    maps[1, 3, 3] = torch.nan
    assert area(metric, model, images, maps).isnan().tolist() == [False, True, False, False]


def test_ranks_are_places_in_the_order():
    maps = torch.tensor([[[3.0, 5.0], [5.0, -1.0]]])
    assert ranked(maps).tolist() == [[[2, 0], [1, 3]]]


def test_the_blur_keeps_one_colour_and_softens_the_rest():
    grey = torch.full((1, 3, 224, 224), 0.3, dtype=torch.float64)
    torch.testing.assert_close(filled(grey, "blur"), grey)
    spot = torch.zeros(1, 3, 224, 224, dtype=torch.float64)
    spot[..., 100, 100] = 1
    blurred = filled(spot, "blur")[0, 0]
    inside = blurred.nonzero()
    assert inside.amin(0).tolist() == [95, 95] and inside.amax(0).tolist() == [105, 105]
    torch.testing.assert_close(blurred.sum(), torch.tensor(1.0).double())
    torch.testing.assert_close((blurred[100, 105] / blurred[100, 100]).log(), torch.tensor(-0.5).double())


# --- which score --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Insertion, Deletion, AverageDrop, Road])
def test_the_score_is_the_probability_of_a_class_and_else_the_objective(metric, model, images):
    def values(objective, **settings):
        return area(metric(**settings), model, images, noisy(), objective)

    logit, probability = Logit((2, 0, 4, 1)), Probability((2, 0, 4, 1))
    torch.testing.assert_close(values(logit), values(probability, score="objective"), equal_nan=True)
    torch.testing.assert_close(values(probability), values(probability, score="objective"), equal_nan=True)
    assert not torch.allclose(values(logit), values(logit, score="objective"), equal_nan=True)
    contrast = Contrast((2, 0, 4, 1), 3)
    torch.testing.assert_close(values(contrast), values(contrast, score="objective"), equal_nan=True)
    torch.testing.assert_close(values(contrast, score="probability"), values(logit), equal_nan=True)
    hidden = Channel("2", 3)
    torch.testing.assert_close(values(hidden), values(hidden, score="objective"), equal_nan=True)


@pytest.mark.parametrize("objective", [Channel("2", 3), L2(), Logit(1) + Logit(2)], ids=repr)
def test_what_is_no_class_has_no_probability(objective, model, images):
    with pytest.raises(ValueError, match=r"metrics.insertion.score is 'probability'; it must be objective or auto, as"):
        area(Insertion(score="probability"), model, images, noisy(), objective)


# --- average drop -------------------------------------------------------------------------------------------------


def test_what_is_left_of_an_image_is_its_product_with_the_scaled_positive_map(model, images):
    maps = noisy()
    positive = maps.clamp(min=0)
    low, high = positive.flatten(1).amin(1), positive.flatten(1).amax(1)
    shown = images * ((positive - low[:, None, None]) / (high - low)[:, None, None])[:, None]
    whole, masked = (scores(model, Probability(2), seen, ROWS) for seen in (images, shown))
    found = AverageDrop()(explained(model, images, maps))
    torch.testing.assert_close(found["average_drop"], (whole - masked).clamp(min=0) / whole)
    torch.testing.assert_close(found["average_increase"], (masked > whole).double())
    assert ((found["average_drop"] > 0) == (found["average_increase"] == 0)).all()


def test_a_mask_of_ones_and_one_zero_where_the_image_is_black_drops_nothing(model, images):
    images = images.clone()
    images[:, :, 4, 4] = 0
    maps = torch.ones(4, 16, 12, dtype=torch.float64)
    maps[:, 4, 4] = -1
    found = AverageDrop()(explained(model, images, maps))
    assert not found["average_drop"].any() and not found["average_increase"].any()


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0])
def test_a_map_whose_positive_part_is_one_value_masks_nothing(value, model, images):
    found = AverageDrop()(explained(model, images, torch.full((4, 16, 12), value, dtype=torch.float64)))
    assert all(column.isnan().all() for column in found.values())


def test_a_score_that_is_not_positive_has_no_relative_drop(images):
    model, _ = linear()
    model.network[1].weight.data.zero_()
    model.network[1].bias.data = torch.tensor([0, 0, -1.0, 0, 0]).double()
    found = AverageDrop("objective")(explained(model, images, noisy()))
    assert found["average_drop"].isnan().all() and not found["average_increase"].any()


# --- remove and debias --------------------------------------------------------------------------------------------


def test_road_prefers_the_exact_map_and_turns_with_its_sign(images):
    model, weights = linear()
    maps = noisy()
    values = {
        name: area(Road(score="objective", noise=0), model, images, kind)
        for name, kind in (("map", maps), ("minus", -maps), ("exact", (weights[2] * images).sum(1)))
    }
    torch.testing.assert_close(values["minus"], -values["map"])
    assert (values["exact"] > values["map"].abs()).all()


def test_road_is_half_of_what_the_lowest_leave_over_what_the_highest_leave(model, images):
    """On one percentile, with a map of which the imputation is known: a missing pixel among ones of one colour."""
    images = torch.full_like(images, 0.25)
    images[:, :, 3, 3], images[:, :, 10, 6] = 0.9, 0.1
    maps = torch.zeros(4, 16, 12, dtype=torch.float64)
    maps[:, 3, 3], maps[:, 10, 6] = 1, -1
    without_highest, without_lowest = images.clone(), images.clone()
    without_highest[:, :, 3, 3] = without_lowest[:, :, 10, 6] = 0.25
    lowest, highest = (scores(model, Probability(2), seen, ROWS) for seen in (without_lowest, without_highest))
    assert (lowest != highest).all()
    torch.testing.assert_close(area(Road((0.5,), noise=0), model, images, maps), (lowest - highest) / 2)


def test_road_leaves_at_least_one_pixel(images):
    model, _ = linear()
    assert area(Road((99.9,), score="objective"), model, images, noisy()).isfinite().all()


def test_the_noise_of_road_comes_from_its_seed_alone(model, images):
    first, again, other = (area(Road((20, 70), noise=0.1, seed=seed), model, images, noisy()) for seed in (3, 3, 4))
    assert torch.equal(first, again) and (first != other).all()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    area(Road((20,)), model, images, noisy())
    assert torch.equal(state, torch.get_rng_state())
    same = area(Road((20, 70), noise=0.1), model, images[:1].expand_as(images), noisy()[:1].expand(4, -1, -1))
    torch.testing.assert_close(same, same[:1].expand(4))


# --- all ----------------------------------------------------------------------------------------------------------


METRICS = [Insertion(5), Deletion(5, "blur"), AverageDrop(), Road((10, 50, 90))]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_number_depends_on_its_image_alone(metric, objective, model, images, monkeypatch):
    batch_law(metric, model, objective, images, monkeypatch)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_numbers_in_single_precision_are_those_in_double(metric, images):
    model, _ = linear()
    maps = noisy()
    double = metric(explained(model, images, maps))
    single = metric(explained(model.float(), images.float(), maps.float()))
    for name, value in double.items():
        assert single[name].dtype == torch.float32
        torch.testing.assert_close(single[name].double(), value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Insertion(0), r"metrics.insertion.steps is 0; it must be a whole number from 1 on"),
        (lambda: Deletion(2.0), r"metrics.deletion.steps is 2.0; it must be a whole number from 1 on"),
        (lambda: Insertion(fill="grey"), r"metrics.insertion.fill is 'grey'; it must be one of black, white, blur"),
        (
            lambda: Deletion(score="logit"),
            r"metrics.deletion.score is 'logit'; it must be one of auto, probabil",
        ),
        (lambda: AverageDrop("x"), r"metrics.average_drop.score is 'x'; it must be one of auto"),
        (lambda: Road(score=None), r"metrics.road.score is None; it must be one of auto"),
        (lambda: Road(noise=-1), r"metrics.road.noise is -1; it must be a finite number from 0 on"),
        (lambda: Road(noise=float("nan")), r"metrics.road.noise is nan; it must be a finite number from 0 on"),
        (lambda: Road(noise=True), r"metrics.road.noise is True; it must be a finite number from 0 on"),
        (lambda: Road(()), r"metrics.road.percentiles is \(\); it must be a list of numbers above 0 and below 100"),
        (lambda: Road(50), r"metrics.road.percentiles is 50; it must be a list"),
        (lambda: Road((50, 100)), r"metrics.road.percentiles is \(50, 100\); it must be a list of numbers above 0"),
        (lambda: Road((0, "a")), r"metrics.road.percentiles is \(0, 'a'\); it must be a list"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_key(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_percentiles_may_come_as_a_list():
    assert Road([10, 20]) == Road((10, 20)) and hash(Road([10]))
