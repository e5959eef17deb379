import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.rescue import Rescue

INFINITY = float("inf")
# How networks call ReLU, with the value at which it becomes flat again.
WAYS = {
    "module": (nn.ReLU(), INFINITY),
    "module in place": (nn.ReLU(inplace=True), INFINITY),
    "function": (functional.relu, INFINITY),
    "function in place": (lambda values: functional.relu(values, inplace=True), INFINITY),
    "function in place by position": (lambda values: functional.relu(values, True), INFINITY),
    "functional.relu_": (functional.relu_, INFINITY),
    "torch.relu": (torch.relu, INFINITY),
    "torch.relu_": (torch.relu_, INFINITY),
    "by name": (lambda values: torch.relu(input=values), INFINITY),
    "method": (lambda values: values.relu(), INFINITY),
    "method in place": (lambda values: values.relu_(), INFINITY),
    "module 6": (nn.ReLU6(), 6),
    "module 6 in place": (nn.ReLU6(inplace=True), 6),
    "function 6": (functional.relu6, 6),
    "function 6 in place": (lambda values: functional.relu6(values, inplace=True), 6),
    "hardtanh": (lambda values: functional.hardtanh(values, 0, 3), 3),
    "hardtanh by name": (lambda values: functional.hardtanh(values, max_val=3, min_val=0), 3),
    "hardtanh in place": (lambda values: functional.hardtanh(values, 0, 3, True), 3),
    "hardtanh_": (lambda values: functional.hardtanh_(values, 0, 3), 3),
    "hardtanh module": (nn.Hardtanh(0, 3, inplace=True), 3),
}
EVERY_WAY = pytest.mark.parametrize(("relu", "top"), WAYS.values(), ids=WAYS)


def values(*shape) -> Tensor:
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pulled(relu, start: Tensor, towards: Tensor, alive: Tensor | None = None) -> Tensor:
    """The gradient at `start` of ``-(towards * relu(start)).sum()``: a loss that falls as scores rise."""
    start = start.clone().requires_grad_()
    if alive is None:
        output = relu(start * 1)
    else:
        with Rescue(alive):
            output = relu(start * 1)
    return torch.autograd.grad(-(towards * output).sum(), start)[0]


def dead(*indices) -> Tensor:
    alive = torch.ones(3, dtype=torch.bool)
    alive[list(indices)] = False
    return alive


@EVERY_WAY
def test_values_never_change_in_place_or_not(relu, top):
    start = values(3, 4, 5, 5)
    expected_input, found_input = start.clone(), start.clone()
    expected = relu(expected_input)
    with Rescue(dead(0, 1, 2)):
        found = relu(found_input)
    assert torch.equal(found, expected)
    assert torch.equal(found_input, expected_input)
    assert torch.equal(found, start.clamp(0, top))
    assert (found is found_input) == (expected is expected_input)


@EVERY_WAY
def test_gradients_of_living_images_are_exactly_the_same(relu, top):
    start, towards = values(3, 4, 5, 5), values(3, 4, 5, 5).flip(0)
    start[1] = -1 - start[1].abs()  # blocked entirely, but called alive
    expected = pulled(relu, start, towards)
    assert torch.equal(pulled(relu, start, towards, dead()), expected)


@EVERY_WAY
def test_of_an_image_not_yet_alive_only_positions_where_nothing_passes_change(relu, top):
    start, towards = values(3, 4, 5, 5), values(3, 4, 5, 5).flip(0)
    start[0, :, 2:] = -1 - start[0, :, 2:].abs()
    expected, found = pulled(relu, start, towards), pulled(relu, start, towards, dead(0, 2))
    passes = (expected != 0).any(1, keepdim=True).expand_as(start)
    assert passes[0].any() and not passes[0, :, 2:].any()
    assert torch.equal(found[passes], expected[passes])
    assert torch.equal(found[0, :, 2:], -towards[0, :, 2:].clamp(min=0))


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 4)])
def test_vectors_and_tokens_are_asked_as_a_whole(shape):
    start = values(*shape)
    start[1] = -1 - start[1].abs()
    expected, found = (pulled(functional.relu, start, torch.ones(shape), alive) for alive in (None, dead(0, 1)))
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    assert torch.equal(found[1], -torch.ones_like(start[1]))


@EVERY_WAY
def test_a_dead_image_is_pulled_up_and_its_living_neighbours_are_left_alone(relu, top):
    start, towards = values(3, 4, 5, 5), values(3, 4, 5, 5).flip(0)
    start[1] = -1 - start[1].abs()
    expected = pulled(relu, start, towards)
    assert expected[1].abs().max() == 0 and expected[0].abs().max() > 0
    found = pulled(relu, start, towards, dead(1))
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    # Descent moves against the gradient: where the score asks for more, inputs rise; where for less, they stay.
    assert torch.equal(found[1], -towards[1].clamp(min=0))


@pytest.mark.parametrize(("relu", "top"), [way for way in WAYS.values() if way[1] < INFINITY])
def test_an_image_dead_above_is_pulled_down(relu, top):
    start, towards = values(3, 4), values(3, 4).flip(0)
    start[0] = top + 1 + start[0].abs()
    found = pulled(relu, start, towards, dead(0))
    assert torch.equal(found[0], -towards[0].clamp(max=0))
    assert torch.equal(found[1:], pulled(relu, start, towards)[1:])


def test_a_unit_that_is_to_fall_is_not_pulled():
    start = -values(3, 4).abs()
    assert pulled(functional.relu, start, -torch.ones(3, 4), dead(0, 1, 2)).abs().max() == 0


def test_what_is_alive_is_asked_when_gradients_flow():
    start, alive = -values(3, 4).abs().requires_grad_(), dead(0, 1, 2)
    with Rescue(alive):
        output = functional.relu(start)
    alive[1] = True
    (gradient,) = torch.autograd.grad(-output.sum(), start)
    assert gradient[0].abs().min() > 0 and gradient[1].abs().max() == 0


def test_nothing_is_left_behind():
    start = -values(3, 4).abs()
    with pytest.raises(ZeroDivisionError), Rescue(dead(0)):
        raise ZeroDivisionError
    assert pulled(functional.relu, start, torch.ones(3, 4)).abs().max() == 0
    mode = Rescue(dead(0))
    for _ in range(2):  # enters again after it has left
        with mode:
            output = functional.relu((start.requires_grad_()) * 1)
        assert torch.autograd.grad(output.sum(), start)[0][1:].abs().max() == 0


@pytest.mark.parametrize(
    "function",
    [
        functional.hardtanh,
        lambda x: functional.hardtanh(x, -2, 2),
        functional.leaky_relu,
        functional.gelu,
        torch.sigmoid,
        lambda x: x.clamp(min=0),
        functional.hardswish,
    ],
)
def test_other_functions_are_left_alone(function):
    start, towards = -10 + values(3, 4), values(3, 4).flip(0)
    assert torch.equal(pulled(function, start, towards, dead(0, 1, 2)), pulled(function, start, towards))


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (3,), (3, 2), (3, 2, 2)])
def test_tensors_of_every_rank_pass(shape):
    """A scalar or a table of weights may go through a ReLU as well; what has one row an image is redirected."""
    start = -1 - values(*shape).abs()
    found = pulled(functional.relu, start, torch.ones(shape, dtype=torch.float64), dead(0, 1, 2))
    redirected = len(shape) > 0 and shape[0] == 3
    assert torch.equal(found, -torch.full_like(start, float(redirected)))


def test_what_torch_lets_a_network_overwrite_may_still_be_overwritten():
    start = values(3, 4)

    def overwrites_input(x):
        output = functional.relu(x)
        x += 100
        return output

    def overwrites_output(x):
        output = functional.relu6(x)
        output += 100
        return output

    def half_in_place(x):
        x[:, :2].relu_()
        return x

    for relu in (overwrites_input, overwrites_output, half_in_place):
        expected = pulled(relu, start, torch.ones(3, 4))
        assert torch.equal(pulled(relu, start, torch.ones(3, 4), dead()), expected)


def test_a_chain_of_dead_layers_is_pulled_through():
    """Two layers, both dead: the gradient must pass the second to reach the first."""
    first, second = nn.Linear(2, 2).double(), nn.Linear(2, 1).double()
    for layer, bias in ((first, -1.0), (second, -1.0)):
        nn.init.ones_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    start = torch.zeros(3, 2, dtype=torch.float64)
    network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    assert pulled(network, start, torch.ones(3, 1)).abs().max() == 0
    assert (pulled(network, start, torch.ones(3, 1), dead(0, 1, 2)) < 0).all()
