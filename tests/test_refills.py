"""Runs that begin where others ended early: each as if it were alone, and never more of them than fit at once."""

import pytest
import torch
from command_line import NO_SHEET, QUICK, here, records, store

from interpret_runs.activations import Activations
from interpret_runs.climb import Climb
from interpret_runs.look import Look
from interpret_runs.objective import Objective, Sum
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Cppn, Fourier, Pixel
from interpret_runs.penalties import TotalVariation
from interpret_runs.runner import execute
from interpret_runs.schedule import Schedule
from interpret_runs.visualisation import visualise

EAGER = Schedule(80, (16, 80), frames=2, history_every=8, stop=0.5)
UNITS = (0, 1, 2, 3, 4, 5)


def objective(unit: int) -> Objective:
    """With a weight that changes on the way, so that images of other ages differ."""
    return Sum((Channel("2", unit), TotalVariation()), (1.0, (0.0, -0.1)))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the network is shown at once."""
    counts, look = [], Look.__call__

    def counted(self: Look, images: torch.Tensor, parameters: torch.Tensor | None = None, *more, **named):
        if parameters is not None:
            counts.append(len(images))
        return look(self, images, parameters, *more, **named)

    monkeypatch.setattr(Look, "__call__", counted)
    return counts


@pytest.mark.parametrize("kind", [Fourier, Pixel, Cppn])
@pytest.mark.parametrize("groups", [((0, 1), (2,), (3,), (4,), (5,)), ((0, 1, 2), (3, 4, 5))])
def test_each_run_is_as_it_is_alone_whenever_it_begins(model, seen, kind, groups):
    made = [kind(16, seeds=seeds).double() for seeds in groups]
    together = visualise(
        model, Objective.stack([objective(unit) for unit in UNITS]), made[0], schedule=EAGER, later=made[1:]
    )
    assert max(seen) == len(groups[0]) and len(set(together.steps.tolist())) > 1
    for unit in UNITS:
        alone = visualise(model, objective(unit), kind(16, seeds=[unit]).double(), schedule=EAGER)
        assert torch.allclose(together.images[unit], alone.images[0], atol=1e-9)
        assert together.steps[unit] == alone.steps[0]
        assert torch.allclose(together.scores[unit], alone.scores[0], atol=1e-9)
        assert torch.allclose(together.snapshots[80][unit], alone.snapshots[80][0], atol=1e-9)
        assert torch.equal(together.frames[:, unit], alone.frames[:, 0])
        noted = alone.history[1][:, 0]
        assert torch.allclose(together.history[1][: len(noted), unit], noted, atol=1e-9)


def test_places_are_taken_as_they_become_free(model, seen):
    made = [Fourier(16, seeds=[seed]).double() for seed in UNITS]
    stacked = Objective.stack([objective(unit) for unit in UNITS])
    steps = visualise(model, stacked, made[0], schedule=EAGER, later=made[1:]).steps
    assert set(seen) == {1} and len(seen) == steps.sum()


def test_images_that_begin_later_are_where_the_model_is_too(model, monkeypatch):
    made, moved, to = [Pixel(16, seeds=[seed]).double() for seed in (0, 1)], [], Pixel.to
    monkeypatch.setattr(Pixel, "to", lambda self, device: moved.append((self.seeds, device)) or to(self, device))
    stacked = Objective.stack([objective(0), objective(1)])
    visualise(model, stacked, made[0], schedule=EAGER, later=made[1:])
    assert moved == [((0,), model.mean.device), ((1,), model.mean.device)]


def test_progress_reaches_the_end_and_never_falls(model):
    made, told = [Fourier(16, seeds=[seed]).double() for seed in (0, 1)], []
    visualise(
        model,
        Objective.stack([objective(0), objective(1)]),
        made[0],
        None,
        schedule=EAGER,
        later=made[1:],
        progress=told.append,
    )
    assert told == sorted(told) and told[-1] == EAGER.steps


def test_each_image_has_the_weights_of_its_own_progress(images):
    outputs = {"2": torch.rand(4, 6, 3, 3, dtype=torch.float64), "image": images}
    ages = torch.tensor([0.0, 0.3, 0.6, 1.0])
    mixed = objective(1)(Activations(outputs, progress=ages))
    for place, age in enumerate(ages.tolist()):
        assert torch.isclose(mixed[place], objective(1)(Activations(outputs, progress=age))[place], rtol=1e-6)


def test_without_an_early_stop_nothing_can_be_refilled(model):
    with pytest.raises(ValueError, match="task.stop"):
        visualise(model, Channel("2", 0), Fourier(16).double(), later=[Fourier(16).double()])


def test_a_batch_that_does_not_fit_is_refilled_and_reproduced_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(execute, "together", lambda _task, runs, *_: min(2, len(runs)))
    begun, start = [], Climb.__init__
    monkeypatch.setattr(Climb, "__init__", lambda self, *given: begun.append(1) or start(self, *given))
    sweep = (
        "-m",
        *QUICK[1:],
        "task.steps=48",
        "task.stop=0.5",
        "layer=early",
        "objective.channel=range(0,5)",
        NO_SHEET,
    )
    assert here(*sweep).status == 0
    made = records()
    assert len(begun) == 4 and [len(record["batch"]) for record in made] == [5] * 5
    assert {record["at_once"] for record in made} == {2}
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    picture = store().root / made[4]["artefacts"]["image"]["path"]
    again = here("task=reproduce", f"task.source={picture}", "task.keep=kept")
    assert again.status == 0 and "identical bytes" in again.out
