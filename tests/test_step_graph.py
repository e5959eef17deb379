"""The optimisation step as a CUDA graph: the same images, or plain steps where it cannot be captured."""

import gc
import weakref
from functools import partial

import networks
import pytest
import torch
from command_line import QUICK, here, records
from torch import Tensor

from interpret_runs import visualisation
from interpret_runs.activations import Activations
from interpret_runs.climb import Climb
from interpret_runs.derived_parameterisations import Rgba
from interpret_runs.models import VisionModel
from interpret_runs.objective import Sum
from interpret_runs.objectives import Channel
from interpret_runs.optimisers import make_capturable
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Cppn, Fourier, Maco, Pixel
from interpret_runs.penalties import TotalVariation
from interpret_runs.runner.reproduction import _as_then
from interpret_runs.schedule import Schedule
from interpret_runs.step_graph import StepGraph
from interpret_runs.transforms import Standard
from interpret_runs.visualisation import visualise

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SEEDS = (0, 1)
RAMP = Sum((Channel("2", 3), TotalVariation()), (1.0, (0.0, -0.5)))
PARAMETERISATIONS = {"fourier": Fourier, "pixel": Pixel, "maco": Maco, "cppn": Cppn, "rgba": Rgba}


class Waits(Standard):
    """Asks the host for a number of the image."""

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        return super().__call__(images, parameters) * float(images.detach().mean() > -1)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adadelta"])
def test_optimisers_that_can_be_captured_are_told(name):
    made = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)])
    assert make_capturable(made) and all(group["capturable"] for group in made.param_groups)


def test_of_others_only_one_without_numbers_of_the_host_is_captured():
    parameters = [torch.zeros(1, requires_grad=True)]
    assert make_capturable(torch.optim.SGD(parameters, momentum=0.9)) and not make_capturable(
        torch.optim.Adagrad(parameters)
    )


def test_a_step_may_be_told_by_a_tensor_as_well():
    """So that a graph finds it in memory."""
    made, seen = Rgba(16, seeds=SEEDS), []
    for step in (7, torch.tensor(7)):
        made.step = step
        seen.append(made())
    made.step = 8
    assert torch.equal(*seen) and not torch.equal(seen[0], made())


def test_progress_may_be_told_by_a_tensor_as_well(images):
    outputs = {"2": torch.rand(4, 6, 3, 3, dtype=torch.float64), "image": images}
    scores = [RAMP(Activations(outputs, progress=progress)) for progress in (0.25, torch.tensor(0.25), 0.5)]
    assert torch.allclose(*scores[:2]) and not torch.allclose(*scores[1:])


def test_a_constant_learning_rate_leaves_every_step_alike(monkeypatch):
    """As that of the command line's default, which would otherwise keep steps from being captured."""
    begun = []

    class Noted(Climb):
        def __init__(self, *args):
            super().__init__(*args)
            begun.append(self.rates)

    monkeypatch.setattr(visualisation, "Climb", Noted)
    constant, falling = torch.optim.lr_scheduler.ConstantLR, torch.optim.lr_scheduler.StepLR
    for rates in (partial(constant, factor=1.0, total_iters=0), partial(falling, step_size=1)):
        made = networks.wrapped(networks.plain(), (32, 32))
        visualise(made, RAMP, Fourier(32).double(), schedule=Schedule(2), lr_scheduler=rates)
    assert begun[0] is None and isinstance(begun[1], falling)


def test_what_a_climb_holds_is_free_once_it_has_ended(monkeypatch):
    """A graph's memory on a GPU is not given back before."""
    begun = []

    class Noted(Climb):
        def __init__(self, *args):
            super().__init__(*args)
            begun.append(weakref.ref(self))

    monkeypatch.setattr(visualisation, "Climb", Noted)
    gc.disable()
    try:
        visualise(networks.wrapped(networks.plain(), (32, 32)), RAMP, Fourier(32).double(), schedule=Schedule(2))
        assert [one() for one in begun] == [None]
    finally:
        gc.enable()


@on_gpu
@pytest.mark.parametrize("name", PARAMETERISATIONS)
@pytest.mark.parametrize("rescue", [True, False])
def test_a_graph_makes_the_images_that_plain_steps_make(name, rescue):
    made = partial(PARAMETERISATIONS[name], 32, seeds=SEEDS)
    graph, plain = (climbed(made(), rescue=rescue, cuda_graphs=choice) for choice in (True, False))
    assert torch.allclose(graph, plain, atol=1e-4)


@on_gpu
def test_history_and_snapshots_are_those_of_their_step():
    graph, plain = (
        visualise(
            on_the_gpu(),
            RAMP,
            Fourier(32).double(),
            schedule=Schedule(24, (8, 16), history_every=4, cuda_graphs=choice),
        )
        for choice in (True, False)
    )
    assert torch.allclose(graph.history[1], plain.history[1], rtol=1e-3)
    assert len({float(score) for score in graph.history[1].flatten()}) > 4
    assert all(torch.allclose(graph.snapshots[step], plain.snapshots[step], atol=1e-4) for step in (8, 16))


@on_gpu
def test_a_step_that_waits_for_the_host_is_not_captured():
    plain = climbed(Fourier(32, seeds=SEEDS), transform=Standard())
    with pytest.warns(UserWarning, match="compute.cuda_graphs: steps are launched one by one, as "):
        waits = climbed(Fourier(32, seeds=SEEDS), transform=Waits())
    assert torch.allclose(waits, plain, atol=1e-4)


@on_gpu
def test_a_graph_is_replayed_with_the_inputs_of_its_call():
    step = StepGraph(torch.device("cuda"))
    for number in range(8):
        one, other = torch.tensor([1.0, 2.0], device="cuda") * number, torch.ones(2, device="cuda")
        (given,) = step("kind", lambda one, other: (one + 2 * other,), one, other)
        assert torch.equal(given, one + 2 * other)
    assert step.possible


def on_the_gpu() -> VisionModel:
    return networks.wrapped(networks.plain(), (32, 32)).cuda()


def climbed(made: Parameterisation, transform: Standard | None = None, **settings) -> Tensor:
    return visualise(on_the_gpu(), RAMP, made.double(), transform, schedule=Schedule(24, **settings)).images


def test_what_is_done_again_captures_steps_only_where_they_might_have_been():
    """Optimisers that can be captured may round otherwise."""
    then = ({}, {"cuda_graphs": None}, {"cuda_graphs": True}, {"cuda_graphs": False})
    assert [_as_then(one).cuda_graphs for one in then] == [True, True, True, False]


def test_a_record_says_nothing_of_graphs_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here(*QUICK, "task.steps=1").status == 0
    assert [record["cuda_graphs"] for record in records()] == [None]
