from functools import reduce
from operator import add, mul

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import bare
from torch import nn

from interpret_runs.activations import Activations
from interpret_runs.comparisons import Interpolation
from interpret_runs.objective import Objective, Product, Sum
from interpret_runs.objectives import (
    Channel,
    Contrast,
    DeepDream,
    Direction,
    Layer,
    LocalGroup,
    Logit,
    Neuron,
    NeuronDirection,
    Probability,
)
from interpret_runs.penalties import L1, L2, Blur, Border, TotalVariation
from interpret_runs.scoring import score

a, b, c = Channel("0", 0), Neuron("2", 1), Logit(4)

# Every objective that reads one image, in each of its forms.
EACH = [
    Channel("0", 5),
    Neuron("0", 1),
    Neuron("0", 1, 0, 3),
    Layer("2"),
    LocalGroup("0", 1),
    LocalGroup("0", 1, 1, 3, 2, 4),
    DeepDream(("0", "2")),
    Direction("0", tuple(float(number) for number in range(6))),
    Direction("0", tuple(float(number) for number in range(6)), cosine_power=2),
    NeuronDirection("2", tuple(float(number) for number in range(8))),
    NeuronDirection("2", tuple(float(number) for number in range(8)), 1, None, cosine_power=1.5),
    Logit(2),
    Probability(2),
    Contrast(2, 0),
    TotalVariation(),
    L1(),
    L2(),
    Blur(),
    Border(2),
    2 * a - b + c * a,
    -(a * b) / 3,
]


def on(layer, values, **settings) -> Activations:
    return Activations({layer: values}, **settings)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- algebra ----------------------------------------------------------------------------------------------------


def test_a_weighted_sum_is_exactly_that(model, images):
    """The running total must not be multiplied again by each new weight."""
    total = a * 1 + b * 3 + c * (-5)
    expected = score(model, a, images) + 3 * score(model, b, images) - 5 * score(model, c, images)
    torch.testing.assert_close(score(model, total, images), expected)


number = st.floats(-4, 4).map(lambda value: round(value, 3))
term = st.recursive(
    st.sampled_from([(a, "a"), (b, "b"), (c, "c")]).map(lambda pair: (pair[0], lambda scores: scores[pair[1]])),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: (two[0][0] + two[1][0], lambda s: two[0][1](s) + two[1][1](s))),
        st.tuples(inner, inner).map(lambda two: (two[0][0] - two[1][0], lambda s: two[0][1](s) - two[1][1](s))),
        st.tuples(inner, inner).map(lambda two: (two[0][0] * two[1][0], lambda s: two[0][1](s) * two[1][1](s))),
        st.tuples(inner, number).map(lambda two: (two[0][0] * two[1], lambda s: two[0][1](s) * two[1])),
        st.tuples(inner, number).map(lambda two: (two[1] * two[0][0], lambda s: two[0][1](s) * two[1])),
        inner.map(lambda one: (-one[0], lambda s: -one[1](s))),
        inner.map(lambda one: (one[0] / 2, lambda s: one[1](s) / 2)),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(term)
def test_any_expression_of_objectives_is_the_expression_of_their_scores(term):
    expression, of_scores = term
    outputs = {"0": random(3, 6, 4, 5), "2": random(3, 8, 2, 3, seed=1), "logits": random(3, 5, seed=2)}
    activations = Activations(outputs)
    scores = {name: objective(activations) for name, objective in {"a": a, "b": b, "c": c}.items()}
    torch.testing.assert_close(expression(activations), of_scores(scores))
    assert expression.layers <= {"0", "2", "logits"}


def test_sums_and_products_commute_and_distribute(model, images):
    def scores(objective):
        return score(model, objective, images)

    torch.testing.assert_close(scores(a + b), scores(b + a))
    torch.testing.assert_close(scores(a * b), scores(b * a))
    torch.testing.assert_close(scores((a + b) + c), scores(a + (b + c)))
    torch.testing.assert_close(scores(a * (b + c)), scores(a * b + a * c))
    torch.testing.assert_close(scores(3 * (a - b)), scores(3 * a - 3 * b))


def test_operands_never_change():
    total = a + b
    before = repr(a), repr(b), repr(total)
    _ = (total * 3, total * total, total - a, -total, total / 2, 2 * a)
    assert (repr(a), repr(b), repr(total)) == before
    with pytest.raises(AttributeError):
        total.weights = (2.0, 2.0)


def test_a_list_of_objectives_sums():
    assert sum([a, b, c]) == a + b + c
    assert sum([a]) == a
    with pytest.raises(TypeError):
        _ = 1 + a


def test_a_product_of_a_list_is_image_by_image(model, images):
    parts = [score(model, part, images) for part in (a, b, c)]
    torch.testing.assert_close(score(model, reduce(mul, [a, b, c]), images), parts[0] * parts[1] * parts[2])


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.int64(2), np.float64(2)])
def test_numbers_of_any_kind_are_weights(number):
    assert a * number == number * a == Sum((a,), (2.0,))
    assert a / number == Sum((a,), (0.5,))


@pytest.mark.parametrize("other", ["2", None, [1], torch.ones(3)])
def test_nothing_else_is_a_weight(other):
    for operation in (add, mul):
        with pytest.raises(TypeError):
            operation(a, other)


def test_one_forward_pass_serves_any_number_of_terms(images):
    counted = networks.Counted()
    model = bare(nn.Sequential(counted, *networks.plain()))
    many = sum((Channel("1", channel % 6) * channel for channel in range(20)), Logit(0) * Layer("3"))
    score(model, many, images)
    before = counted.calls
    score(model, many, images)
    assert counted.calls == before + 1


def test_a_sum_in_a_sum_is_flat():
    nested = 2 * (a + 3 * (b - c))
    assert nested == Sum((a, b, c), (2.0, 6.0, -6.0))
    assert nested.layers == {"0", "2", "logits"}


def test_what_lowers_an_objective_is_its_negative():
    assert Sum.negative(a) == -a == Sum((a,), (-1.0,))
    assert Sum.negative(Sum.negative(a)) == Sum((a,), (1.0,))


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_weight_of_two_numbers_changes_evenly_from_one_to_the_other(progress):
    outputs = {"0": random(3, 6, 4, 5), "2": random(3, 8, 2, 3, seed=1)}
    activations = Activations(outputs, progress=progress)
    first, second = a(activations), b(activations)
    fades = Sum((a, b), ([1, 0], 2))
    torch.testing.assert_close(fades(activations), (1 - progress) * first + 2 * second)
    torch.testing.assert_close((fades * 3 - b)(activations), 3 * (1 - progress) * first + 5 * second)
    nested = Sum((fades, a), ((0, 4), -1))
    torch.testing.assert_close(
        nested(activations), 4 * progress * ((1 - progress) * first + 2 * second) - first, rtol=1e-12, atol=1e-12
    )
    assert Sum.of({"x": a}, {"x": [1, 0]}) == Sum((a,), ((1.0, 0.0),))


@pytest.mark.parametrize("weight", ["2", [1, 2, 3], [1], [], float("nan"), [1, float("inf")], {"x": 1}])
def test_a_weight_that_is_neither_a_number_nor_two_is_refused(weight):
    with pytest.raises(ValueError, match="is neither a number nor two, for the start and the end"):
        Sum((a,), (weight,))


@pytest.mark.parametrize(
    ("objective", "dies"),
    [
        (Channel("0", 1), True),
        (Neuron("0", 1), True),
        (LocalGroup("0", 1), True),
        (Layer("0"), True),
        (DeepDream(("0", "2")), True),
        (Channel("logits", 1), False),
        (Layer("image"), False),
        (Logit(1), False),
        (Direction("0", (1.0,)), False),
        (a + 2 * b, True),
        (a - b, False),
        (-a, False),
        (a * b, True),
        (a * c, False),
        (a - 0.1 * TotalVariation(), False),
        (Sum((a,), ((0, 1),)), True),
        (Sum((a,), ((1, 0),)), False),
        (Interpolation(a, a + b), True),
        (Interpolation(a, c), False),
    ],
    ids=repr,
)
def test_a_score_of_nothing_is_death_for_what_only_adds_up_excitement(objective, dies):
    assert objective.dies is dies


def test_a_sum_with_names_takes_weights_by_name():
    assert Sum.of({"x": a, "y": b}, {"y": -0.5, "x": None}) == a + b * -0.5
    with pytest.raises(LookupError, match="weight 'z' has no term; terms: x, y"):
        Sum.of({"x": a, "y": b}, {"z": 1})
    with pytest.raises(ValueError, match="a sum needs terms"):
        Sum(())
    with pytest.raises(ValueError, match="2 terms, but 1 weights"):
        Sum((a, b), (1.0,))


def test_equal_objectives_are_equal_hashable_and_named_by_their_fields():
    assert Channel("0", 3) == Channel("0", 3) != Channel("0", 4)
    assert len({a + b, a + b, b + a}) == 2
    assert repr(Channel("0", 3)) == "Channel(layer='0', channel=3)"


# --- what every objective obeys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", EACH, ids=repr)
def test_permuting_the_images_permutes_the_scores(objective, model, images):
    order = torch.tensor([2, 0, 3, 1])
    scores = score(model, objective, images)
    assert scores.shape == (4,)
    torch.testing.assert_close(score(model, objective, images[order]), scores[order])


@pytest.mark.parametrize("objective", EACH, ids=repr)
def test_an_image_scores_alone_as_in_any_batch(objective, model, images):
    alone = torch.cat([score(model, objective, image[None]) for image in images])
    torch.testing.assert_close(score(model, objective, images), alone)


@pytest.mark.parametrize("objective", EACH, ids=repr)
def test_only_the_layers_named_are_read(objective, images):
    outputs = {"0": random(4, 6, 8, 6), "2": random(4, 8, 4, 3), "logits": random(4, 5), "image": images}
    objective(Activations({layer: outputs[layer] for layer in objective.layers}))


@pytest.mark.parametrize("objective", EACH, ids=repr)
def test_every_objective_has_a_finite_gradient(objective, model):
    grey = torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(score(model, objective, grey).sum(), grey)
    assert gradient.isfinite().all()


# --- one objective per image --------------------------------------------------------------------------------------

STACKS = {
    "channels": [Channel("0", channel) for channel in (3, 0, 3, 5)],
    "neurons": [Neuron("2", 1), Neuron("2", 1, 0), Neuron("2", 4, 2, 1), Neuron("2", 0, None, 2)],
    "windows": [LocalGroup("0", 2), LocalGroup("0", 0, 1), LocalGroup("0", 5, 3, 4), LocalGroup("0", 0, None, 2)],
    "directions": [Direction("0", tuple(random(6, seed=seed).tolist())) for seed in range(4)],
    "directions by angle": [Direction("0", tuple(random(6, seed=seed).tolist()), 2) for seed in range(4)],
    "directions somewhere": [
        NeuronDirection("2", tuple(random(8, seed=seed).tolist()), row, column)
        for seed, (row, column) in enumerate([(None, 1), (0, 0), (1, 2), (3, None)])
    ],
    "logits": [Logit(target) for target in (4, 0, 1, 1)],
    "probabilities": [Probability(target) for target in (4, 0, 1, 1)],
    "contrasts": [Contrast(target, against) for target, against in ((4, 0), (4, 1), (0, 4), (2, 2))],
    "the same": [Channel("0", 2)] * 4,
    "sums": [Channel("0", channel) * 2 - Logit(channel) * 0.5 + TotalVariation() for channel in (1, 0, 4, 2)],
    "products": [Channel("0", channel) * Neuron("2", 7 - channel) for channel in (1, 0, 4, 2)],
    "sums of products": [-(Channel("0", x) * Logit(2)) + 3 * (Layer("2") * Logit(x)) for x in (1, 0, 4, 2)],
}


@pytest.mark.parametrize("objectives", STACKS.values(), ids=STACKS)
def test_a_stack_equals_its_members_one_by_one(objectives, model, images):
    stacked = Objective.stack(objectives)
    alone = torch.cat([score(model, each, image[None]) for each, image in zip(objectives, images, strict=True)])
    torch.testing.assert_close(score(model, stacked, images), alone)


@pytest.mark.parametrize("objectives", STACKS.values(), ids=STACKS)
def test_rows_say_which_image_takes_which_unit(objectives, model, images):
    rows = torch.tensor([3, 0, 0, 2, 1, 3])
    many = images[torch.tensor([0, 1, 2, 3, 0, 1])]
    alone = [score(model, objectives[row], image[None]) for row, image in zip(rows, many, strict=True)]
    torch.testing.assert_close(score(model, Objective.stack(objectives), many, rows), torch.cat(alone))


def test_a_stack_is_one_objective_with_many_units():
    assert Objective.stack([Channel("0", 3), Channel("0", 1)]) == Channel("0", (3, 1))
    assert Objective.stack([Channel("0", 3), Channel("0", 3)]) == Channel("0", 3)
    assert Objective.stack([Neuron("0", 3, 1), Neuron("0", 3)]) == Neuron("0", 3, (1, None))


@pytest.mark.parametrize(
    "objectives",
    [
        [Channel("0", 1), Neuron("0", 1)],
        [Channel("0", 1), Channel("2", 1)],
        [a + b, a * b],
        [a + b, a + 2 * b],
        [a + b, a + b + c],
        [a + b, b + a],
        [a * b, b * a],
    ],
    ids=repr,
)
def test_objectives_that_differ_in_more_than_units_do_not_stack(objectives):
    with pytest.raises(TypeError, match="cannot stack"):
        Objective.stack(objectives)


def test_units_and_images_that_do_not_match_are_refused(model, images):
    with pytest.raises(ValueError, match="3 units for 4 images; say with rows= which image takes which unit"):
        score(model, Channel("0", (0, 1, 2)), images)


def test_tables_of_units_of_two_kinds_do_not_mix(images):
    """(0, 1) and (0.0, 1.0) are equal in Python: a direction must not become channel numbers."""
    values = random(2, 2, 4, 4)
    Direction("0", (0.0, 1.0))(on("0", values))
    torch.testing.assert_close(Channel("0", (0, 1))(on("0", values)), values.mean((2, 3)).diagonal())


# --- each in closed form ------------------------------------------------------------------------------------------


def test_channel_is_its_mean_and_channel_0_is_not_the_mean_of_all():
    values = random(2, 4, 3, 5)
    for channel in range(4):
        torch.testing.assert_close(Channel("x", channel)(on("x", values)), values[:, channel].mean((1, 2)))
    assert not torch.allclose(Channel("x", 0)(on("x", values)), values.mean((1, 2, 3)))


def test_neuron_is_row_and_column_with_the_centre_by_default():
    values = random(2, 4, 3, 6)
    torch.testing.assert_close(Neuron("x", 1, 0, 5)(on("x", values)), values[:, 1, 0, 5])
    torch.testing.assert_close(Neuron("x", 0, 2, 0)(on("x", values)), values[:, 0, 2, 0])
    torch.testing.assert_close(Neuron("x", 1)(on("x", values)), values[:, 1, 1, 3])
    torch.testing.assert_close(Neuron("x", 1, row=0)(on("x", values)), values[:, 1, 0, 3])


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Channel("x", 4), "channel 4 is out of range: there are 4"),
        (Channel("x", -1), "channel -1 is out of range"),
        (Channel("x", (0, 4)), "channel 4 is out of range"),
        (Neuron("x", 4), "channel 4 is out of range"),
        (Neuron("x", 0, 3, 0), "row 3 is out of range: the layer has 3"),
        (Neuron("x", 0, -1, 0), "row -1 is out of range"),
        (Neuron("x", 0, 0, 6), "column 6 is out of range: the layer has 6"),
        (Neuron("x", 0, 0, (0, -1)), "column -1 is out of range"),
        (LocalGroup("x", 4), "channel 4 is out of range"),
        (LocalGroup("x", 0, 3, 1), "row 3 is out of range: the layer has 3"),
        (LocalGroup("x", 0, 0, 1), "3 rows around row 0 leaves the layer, which has 3; its row can be 1 to 1"),
        (LocalGroup("x", 0, None, (1, 5)), "3 columns around column 5 leaves the layer, .* can be 1 to 4"),
        (LocalGroup("x", 0, 1, 0, 3, 2), "2 columns around column 0 leaves the layer, .* can be 1 to 5"),
        (LocalGroup("x", 0, height=4), "a window of 4 rows is larger than the layer, which has 3"),
        (NeuronDirection("x", (1.0,) * 4, 3), "row 3 is out of range"),
    ],
    ids=repr,
)
def test_a_unit_out_of_range_is_a_lookup_error(objective, message):
    with pytest.raises(LookupError, match=message):
        objective(on("x", random(2, 4, 3, 6)))


@pytest.mark.parametrize("target", [-1, 5, (0, 1, 2, 5)])
@pytest.mark.parametrize("of_class", [Logit, Probability, lambda target: Contrast(0, target)])
def test_a_class_out_of_range_is_a_lookup_error(target, of_class, model, images):
    with pytest.raises(LookupError, match="class .* is out of range: there are 5"):
        score(model, of_class(target), images)


def test_a_local_group_of_one_position_is_a_neuron_and_of_all_is_the_channel():
    values = random(2, 4, 5, 6)
    for row, column in ((0, 0), (4, 5), (None, None), (2, 3)):
        group, neuron = LocalGroup("x", 1, row, column, 1, 1), Neuron("x", 1, row, column)
        torch.testing.assert_close(group(on("x", values)), neuron(on("x", values)))
    whole = LocalGroup("x", 1, height=5, width=6)
    torch.testing.assert_close(whole(on("x", values)), Channel("x", 1)(on("x", values)))


def test_a_local_group_is_the_mean_of_its_window():
    values = random(2, 4, 5, 6)
    torch.testing.assert_close(LocalGroup("x", 1, 1, 4)(on("x", values)), values[:, 1, 0:3, 3:6].mean((1, 2)))
    torch.testing.assert_close(LocalGroup("x", 0)(on("x", values)), values[:, 0, 1:4, 2:5].mean((1, 2)))
    torch.testing.assert_close(
        LocalGroup("x", 0, 2, 2, height=4, width=2)(on("x", values)), values[:, 0, 0:4, 1:3].mean((1, 2))
    )


@pytest.mark.parametrize("side", [0, -1, 1.5, True, None])
def test_a_window_has_a_whole_number_of_positions(side):
    with pytest.raises(ValueError, match=r"objective.height is .*; it must be a whole number from 1 on"):
        LocalGroup("x", 0, height=side)
    with pytest.raises(ValueError, match=r"objective.width is "):
        LocalGroup("x", 0, width=side)


def test_a_deep_dream_of_one_layer_is_that_layer_and_of_several_their_mean():
    activations = Activations({"0": random(3, 6, 4, 5), "2": random(3, 8, 2, 3, seed=1)})
    one, other = Layer("0")(activations), Layer("2")(activations)
    assert DeepDream("0") == DeepDream(["0"])
    torch.testing.assert_close(DeepDream("0")(activations), one)
    torch.testing.assert_close(DeepDream(["0", "2"])(activations), (one + other) / 2)
    with pytest.raises(ValueError, match=r"objective.paths names no layer; .*objective.paths=\[early,late\]"):
        DeepDream([])


def test_a_direction_along_one_channel_is_that_channel():
    values = random(2, 4, 3, 5)
    for channel, direction in enumerate(torch.eye(4).tolist()):
        torch.testing.assert_close(
            Direction("x", tuple(direction))(on("x", values)), Channel("x", channel)(on("x", values))
        )


def test_a_direction_is_linear_and_its_length_scales_the_score():
    values, direction = random(2, 4, 3, 5), random(4, seed=1)
    expected = torch.einsum("bchw,c->b", values, direction) / 15
    for factor in (1, -3):
        objective = Direction("x", tuple((factor * direction).tolist()))
        torch.testing.assert_close(objective(on("x", values)), factor * expected, rtol=1e-12, atol=1e-12)


def test_a_direction_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="direction has 3 numbers; the layer has 4 channels"):
        Direction("x", [1, 2, 3])(on("x", random(2, 4, 3, 5)))


def test_a_cosine_power_of_0_is_the_dot_product_to_the_bit():
    values, direction = random(2, 4, 3, 5), tuple(random(4, seed=1).tolist())
    plain = (values.flatten(2).mean(2) * torch.tensor(direction, dtype=torch.float64)).sum(1)
    assert Direction("x", direction)(on("x", values)).equal(plain)
    assert Direction("x", direction, 0.0)(on("x", values)).equal(plain)


@pytest.mark.parametrize("power", [0.5, 1, 2, 4])
def test_a_direction_by_angle_is_the_mean_over_positions_of_dot_product_times_floored_cosine(power):
    values, direction = random(2, 4, 3, 5), random(4, seed=1)
    dot = torch.einsum("bchw,c->bhw", values, direction)
    cosine = dot / values.norm(dim=1) / direction.norm()
    assert (cosine < 0.1).any() and (cosine > 0.1).any()
    expected = dot * cosine.clamp(min=0.1) ** power
    objective = Direction("x", tuple(direction.tolist()), power)
    torch.testing.assert_close(objective(on("x", values)), expected.mean((1, 2)), rtol=1e-3, atol=1e-4)
    there = NeuronDirection("x", tuple(direction.tolist()), 2, 1, power)
    torch.testing.assert_close(there(on("x", values)), expected[:, 2, 1], rtol=1e-3, atol=1e-4)


def test_a_direction_of_one_position_is_a_direction_at_that_position():
    values = random(2, 4, 1, 1)
    for power in (0, 2):
        direction = (1.0, -2.0, 0.5, 3.0)
        torch.testing.assert_close(
            Direction("x", direction, power)(on("x", values)),
            NeuronDirection("x", direction, 0, 0, power)(on("x", values)),
        )


def test_along_the_direction_itself_the_cosine_changes_nothing_and_askew_it_takes_away():
    direction = torch.tensor([3.0, 4.0], dtype=torch.float64)
    along = direction.view(1, 2, 1, 1) * 1000
    askew = along + 1000 * torch.tensor([4.0, -3.0], dtype=torch.float64).view(1, 2, 1, 1)
    dots, angles = Direction("x", (3.0, 4.0)), Direction("x", (3.0, 4.0), 2)
    torch.testing.assert_close(angles(on("x", along)), dots(on("x", along)), rtol=1e-4, atol=0)
    torch.testing.assert_close(angles(on("x", askew)), dots(on("x", askew)) / 2, rtol=1e-4, atol=0)


def test_a_direction_by_angle_has_a_finite_gradient_where_nothing_is_active():
    silent = torch.zeros(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    for objective in (Direction("x", (1.0,) * 4, 2), NeuronDirection("x", (1.0,) * 4, cosine_power=2)):
        (gradient,) = torch.autograd.grad(objective(on("x", silent)).sum(), silent)
        assert gradient.isfinite().all() and gradient.max() > 0


@pytest.mark.parametrize("power", [-1, float("nan"), float("inf"), "2", None, True])
@pytest.mark.parametrize("kind", [Direction, NeuronDirection])
def test_a_cosine_power_is_a_number_from_0_on(kind, power):
    with pytest.raises(ValueError, match=r"objective.cosine_power is .*; it must be a finite number from 0 on"):
        kind("x", (1.0,), cosine_power=power)


def test_layer_is_the_mean_of_squares():
    values = random(2, 4, 3, 5)
    torch.testing.assert_close(Layer("x")(on("x", values)), (values**2).sum((1, 2, 3)) / 60)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1)])
def test_logit_is_one_class_of_the_output(shape):
    output = random(*shape)
    torch.testing.assert_close(Logit(3)(on("logits", output)), output[:, 3].reshape(2))


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3, 4)])
def test_probabilities_of_all_classes_are_the_softmax_of_the_logits(shape):
    activations = on("logits", 3 * random(*shape))
    logits = torch.stack([Logit(target)(activations) for target in range(5)], 1)
    probabilities = torch.stack([Probability(target)(activations) for target in range(5)], 1)
    torch.testing.assert_close(probabilities, logits.softmax(1))


def test_a_contrast_is_a_difference_of_logits_whatever_the_other_classes_do():
    activations = on("logits", random(2, 5))
    torch.testing.assert_close(Contrast(3, 1)(activations), (Logit(3) - Logit(1))(activations))
    torch.testing.assert_close(Contrast(3, 1)(activations), -Contrast(1, 3)(activations))
    odds = Probability(3)(activations) / Probability(1)(activations)
    torch.testing.assert_close(Contrast(3, 1)(activations), odds.log())


def test_the_logit_of_a_map_is_its_mean():
    output = random(2, 5, 3, 4)
    torch.testing.assert_close(Logit(3)(on("logits", output)), output[:, 3].mean((1, 2)))


# --- tokens and channels-last ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_a_channel_of_tokens_is_a_channel_and_not_a_token(size):
    model = bare(networks.Tokens(prefix=1))
    images = torch.rand(3, 3, *size, dtype=torch.float64)
    patches = model.network.block(model.network.patches(images).permute(0, 2, 3, 1))
    torch.testing.assert_close(score(model, Channel("block", 4), images), patches[..., 4].mean((1, 2)))
    torch.testing.assert_close(score(model, Neuron("block", 2, 3, 1), images), patches[:, 3, 1, 2])
    with pytest.raises(LookupError, match="channel 5 is out of range: there are 5"):
        score(model, Channel("block", 5), images)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (36, 12)])
def test_a_channel_of_a_channels_last_layer_is_a_channel_and_not_a_row(size):
    model = bare(networks.ChannelsLast(7))
    images = torch.rand(3, 3, *size, dtype=torch.float64)
    values = model.network.block(model.network.patches(images).permute(0, 2, 3, 1))
    torch.testing.assert_close(score(model, Channel("block", 6), images), values[..., 6].mean((1, 2)))
    torch.testing.assert_close(score(model, Neuron("block", 0, 1, 2), images), values[:, 1, 2, 0])
    torch.testing.assert_close(score(model, Layer("block"), images), values.square().mean((1, 2, 3)))


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (36, 12)])
@pytest.mark.parametrize("network", [networks.ViT, networks.ChannelsLast], ids=["tokens", "channels last"])
def test_feature_n_of_a_transformer_is_feature_n_and_not_token_or_row_n(network, size):
    """The block is made to add nothing (or all), so that feature n is n at every position, beside a class token."""
    model = bare(network(channels=6))
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name != "class_token":
                parameter.zero_()
        features = model.network.block if network is networks.ChannelsLast else model.network.patches
        features.bias.copy_(torch.arange(6.0))
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    for feature in range(6):
        expected = torch.full((2,), float(feature), dtype=torch.float64)
        for objective in (Channel("block", feature), Neuron("block", feature), LocalGroup("block", feature)):
            torch.testing.assert_close(score(model, objective, images), expected)
    for outside in (6, 8, -1):
        with pytest.raises(LookupError, match=f"channel {outside} is out of range"):
            score(model, Channel("block", outside), images)
        with pytest.raises(LookupError, match=f"channel {outside} is out of range"):
            Channel("block", outside).resolve(model.summary)


def test_behind_attention_the_patches_alone_are_read(images):
    torch.manual_seed(0)
    model = bare(networks.ViT())
    tokens = []
    handle = model.network.block.register_forward_hook(lambda _module, _args, output: tokens.append(output))
    model(images)
    handle.remove()
    torch.testing.assert_close(score(model, Channel("block", 2), images), tokens[0][:, 1:, 2].mean(1))
    grid = tokens[0][:, 1:].reshape(4, 4, 3, 6)
    torch.testing.assert_close(score(model, Neuron("block", 2, 3, 1), images), grid[:, 3, 1, 2])


# --- names made exact ---------------------------------------------------------------------------------------------


def test_resolving_reaches_into_sums_and_products():
    model = bare(networks.plain(), labels=("ant", "bee", "cat", "dog", "elk"), aliases={"late": "3"})
    objective = Channel("late", 1) * Logit("bee") - 2 * Logit("elk")
    assert objective.resolve(model.summary) == Channel("3", 1) * Logit(1) - 2 * Logit(4)
    for wrong in (Channel("late", 8), Logit("fly"), Logit("bee") * Channel("early.", 0)):
        with pytest.raises(LookupError):
            (Layer("late") + wrong).resolve(model.summary)


def test_every_layer_of_a_deep_dream_is_resolved():
    model = bare(networks.plain(), aliases={"early": "1", "late": "3"})
    assert DeepDream(["early", "late", "2"]).resolve(model.summary) == DeepDream(("1", "3", "2"))
    assert DeepDream("late").resolve(model.summary) == DeepDream(("3",))
    assert model.summary.resolve({"paths": "late"}) == model.summary.resolve({"paths": ["3"]}) == {"paths": ["3"]}
    for wrong in (["early", "lat"], "lat", [50], 50):  # a network's children may have numbers for names
        with pytest.raises(LookupError, match="no layer '(lat|50)'"):
            model.summary.resolve({"paths": wrong})


def test_both_classes_of_a_contrast_are_resolved():
    model = bare(networks.plain(), labels=("ant", "bee", "cat", "dog", "elk"))
    assert Contrast("elk", "bee").resolve(model.summary) == Contrast(4, 1)
    assert Contrast((0, 1), ("bee", "cat")).resolve(model.summary) == Contrast((0, 1), (1, 2))
    with pytest.raises(LookupError, match="no class 'fly'"):
        Contrast("elk", "fly").resolve(model.summary)
    with pytest.raises(LookupError, match="class 7 is out of range"):
        Contrast("elk", 7).resolve(model.summary)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Logit("bee"), "target 'bee'"),
        (Probability("bee"), "target 'bee'"),
        (Contrast("bee", 0), "target 'bee'"),
        (Contrast(0, "top1"), "against 'top1'"),
    ],
    ids=repr,
)
def test_a_label_must_be_resolved_before_scoring(objective, said, model, images):
    with pytest.raises(ValueError, match=rf"{said} is a name; call resolve\(\) or for_images\(\) first"):
        score(model, objective, images)


def test_other_ranks_become_each_images_own_class():
    output = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]])
    assert Logit("top2").for_images(output) == Logit(2)
    assert Contrast("top1", "top3").for_images(output) == Contrast((1, 0), (0, 1))
    assert Contrast("top1", "top2").needs_output
    with pytest.raises(LookupError, match="target top4 of 3 classes; the last is top3"):
        Logit("top4").for_images(output)


def test_the_target_label_becomes_each_images_own_class():
    output = torch.tensor([[0.0, 2, 1], [5, 0, 0]])
    assert Logit("label").for_images(output, [2, 0]) == Logit((2, 0))
    assert (Contrast("label", "top1") * a).for_images(output, [2, 2]) == Contrast(2, (1, 0)) * a
    assert Logit("label").needs_label and (a + Logit("label")).needs_label and not Logit("top1").needs_label
    for labels in ([], [1, None]):
        with pytest.raises(LookupError, match="target label of an image that has none: name a class, or top1"):
            Logit("label").for_images(output, labels)


def test_top1_becomes_each_images_own_class():
    output = torch.tensor([[0.0, 2, 1], [5, 0, 0]])
    assert Logit("top1").for_images(output) == Logit((1, 0))
    assert Logit("top1").for_images(output[:1]) == Logit(1)
    assert (Logit("top1") * a - Logit(2)).for_images(output) == Logit((1, 0)) * a - Logit(2)
    assert Logit("top1").for_images(output[:, :, None, None].repeat(1, 1, 2, 2)) == Logit((1, 0))
    assert Contrast(2, "top1").for_images(output) == Contrast(2, (1, 0))
    assert Contrast("top1", 2).for_images(output) == Contrast((1, 0), 2)
    assert Contrast(2, "top1").needs_output and Probability("top1").needs_output and not Contrast(2, 1).needs_output
    assert (a + Logit("top1")).needs_output and (a * Logit("top1")).needs_output
    assert not (a + Logit(1)).needs_output and not Product(a, b).needs_output
