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
from interpret_runs.objective import Objective, Product, Sum
from interpret_runs.objectives import L2, Channel, Direction, Layer, Logit, Neuron, TotalVariation
from interpret_runs.scoring import score

a, b, c = Channel("0", 0), Neuron("2", 1), Logit(4)

# Every objective that reads one image, in each of its forms.
EACH = [
    Channel("0", 5),
    Neuron("0", 1),
    Neuron("0", 1, 0, 3),
    Layer("2"),
    Direction("0", tuple(float(number) for number in range(6))),
    Logit(2),
    TotalVariation(),
    L2(),
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
    "directions": [Direction("0", tuple(random(6, seed=seed).tolist())) for seed in range(4)],
    "logits": [Logit(target) for target in (4, 0, 1, 1)],
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
    ],
    ids=repr,
)
def test_a_unit_out_of_range_is_a_lookup_error(objective, message):
    with pytest.raises(LookupError, match=message):
        objective(on("x", random(2, 4, 3, 6)))


@pytest.mark.parametrize("target", [-1, 5, (0, 1, 2, 5)])
def test_a_class_out_of_range_is_a_lookup_error(target, model, images):
    with pytest.raises(LookupError, match="class .* is out of range: there are 5"):
        score(model, Logit(target), images)


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


def test_layer_is_the_mean_of_squares():
    values = random(2, 4, 3, 5)
    torch.testing.assert_close(Layer("x")(on("x", values)), (values**2).sum((1, 2, 3)) / 60)


def test_total_variation_of_a_ramp_is_its_slope():
    """A ramp across: every pixel but those of the last column differs by the slope from its right neighbour."""
    ramp = (0.1 * torch.arange(5.0)).expand(2, 3, 4, 5)
    expected = torch.full((2,), 0.1 * 4 / 5)
    torch.testing.assert_close(TotalVariation()(on("image", ramp)), expected)
    torch.testing.assert_close(TotalVariation()(on("image", ramp.transpose(2, 3))), expected)
    assert TotalVariation()(on("image", torch.full((2, 3, 4, 5), 0.3))).abs().max() == 0


def test_l2_is_the_distance_from_grey():
    for value in (0.0, 0.5, 0.8):
        expected = torch.full((2,), abs(value - 0.5), dtype=torch.float64)
        image = torch.full((2, 3, 4, 5), value, dtype=torch.float64)
        torch.testing.assert_close(L2()(on("image", image)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1)])
def test_logit_is_one_class_of_the_output(shape):
    output = random(*shape)
    torch.testing.assert_close(Logit(3)(on("logits", output)), output[:, 3].reshape(2))


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


# --- names made exact ---------------------------------------------------------------------------------------------


def test_resolving_reaches_into_sums_and_products():
    model = bare(networks.plain(), labels=("ant", "bee", "cat", "dog", "elk"), aliases={"late": "3"})
    objective = Channel("late", 1) * Logit("bee") - 2 * Logit("elk")
    assert objective.resolve(model.summary) == Channel("3", 1) * Logit(1) - 2 * Logit(4)
    for wrong in (Channel("late", 8), Logit("fly"), Logit("bee") * Channel("early.", 0)):
        with pytest.raises(LookupError):
            (Layer("late") + wrong).resolve(model.summary)


def test_a_label_must_be_resolved_before_scoring(model, images):
    with pytest.raises(ValueError, match=r"target 'bee' is a name; call resolve\(\) or for_images\(\) first"):
        score(model, Logit("bee"), images)


def test_top1_becomes_each_images_own_class():
    output = torch.tensor([[0.0, 2, 1], [5, 0, 0]])
    assert Logit("top1").for_images(output) == Logit((1, 0))
    assert Logit("top1").for_images(output[:1]) == Logit(1)
    assert (Logit("top1") * a - Logit(2)).for_images(output) == Logit((1, 0)) * a - Logit(2)
    assert Logit("top1").for_images(output[:, :, None, None].repeat(1, 1, 2, 2)) == Logit((1, 0))
    assert (a + Logit("top1")).needs_output and (a * Logit("top1")).needs_output
    assert not (a + Logit(1)).needs_output and not Product(a, b).needs_output
