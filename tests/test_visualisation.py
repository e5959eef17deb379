from dataclasses import dataclass
from functools import partial

import networks
import pytest
import torch
from networks import bare, hooks, wrapped
from torch import nn

from interpret_runs.comparisons import Inversion
from interpret_runs.derived_parameterisations import Image
from interpret_runs.images import Shapes
from interpret_runs.models import load
from interpret_runs.objective import Objective, Sum
from interpret_runs.objectives import Channel, Direction, Layer, Logit, Neuron
from interpret_runs.parameterisations import Cppn, Fourier, Pixel
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import score
from interpret_runs.transform import Transform
from interpret_runs.transforms import Standard, Unchanged
from interpret_runs.visualisation import visualise

adam = partial(torch.optim.Adam, lr=0.05)
mild = Standard(jitter=3, scale=(0.9, 1.1), rotate=5, late_jitter=1)
STACKED = [Channel("3", unit) - 0.1 * TotalVariation() for unit in (0, 3, 3, 7)]
SEEDS = (4, 2, 9, 4)


def double(kind=Fourier, size=(16, 12), images=1, seeds=(0,), **settings):
    return kind(size, images=images, seeds=seeds, **settings).double()


def run(model, objective, parameterisation=None, transform=None, optimizer=adam, **schedule):
    schedule = Schedule(**{"steps": 8, **schedule})
    return visualise(model, objective, parameterisation or double(), transform or Unchanged(), optimizer, schedule)


# --- it works ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fourier, Pixel])
@pytest.mark.parametrize(
    "objective",
    [
        Channel("0", 2),
        Neuron("2", 1, 0, 3),
        Layer("2"),
        Direction("0", (1, -1, 0, 0, 0, 2)),
        Logit(3),
        Logit(1) - Logit(2),
        Channel("2", 1) - 0.1 * TotalVariation() - 0.1 * L2(),
        Channel("2", 1) * Channel("2", 1),
    ],
    ids=repr,
)
def test_the_score_rises(kind, objective, model):
    start = score(model, objective, double(kind)())
    found = run(model, objective, double(kind), steps=32)
    assert found.scores > start + 0.05 * start.abs()
    torch.testing.assert_close(found.scores, score(model, objective, found.images))
    assert found.images.min() >= 0 and found.images.max() <= 1


def test_minus_an_objective_is_minimised(model):
    start = score(model, Logit(3), double()())
    assert -run(model, -Logit(3), steps=32).scores < start


def test_the_final_score_is_of_the_clean_image(model):
    found = run(model, Channel("3", 0), transform=Standard(size=(20, 16)))
    torch.testing.assert_close(found.scores, score(model, Channel("3", 0), Unchanged((20, 16)).clean(found.images)))
    assert found.images.shape == (1, 3, 16, 12)


def test_penalties_on_pixels_read_the_image_and_not_what_a_transform_made_of_it(model):
    objective = -TotalVariation() + 0 * Layer("0")
    still, moved = (run(model, objective, double(std=1.0), transform) for transform in (Unchanged(), Standard()))
    torch.testing.assert_close(moved.images, still.images)


def test_pixels_alone_need_no_network():
    model = bare(networks.Fails(), labels=())
    model.__dict__["summary"] = wrapped(networks.plain()).summary
    assert run(model, -L2(), double(std=1.0), steps=64).scores > -0.05


def test_no_gradient_mode_of_the_caller_does_not_matter(model):
    with torch.no_grad():
        found = run(model, Logit(3))
    assert torch.equal(found.images, run(model, Logit(3)).images)


# --- the model is left as it was found ----------------------------------------------------------------------------


class Fragile(Transform):
    """Fails at the third step."""

    size = None
    calls = 0

    def draw(self, steps, seeds, images=1):
        return torch.zeros(steps, len(seeds) * images, 0)

    def __call__(self, images, parameters):
        self.calls += 1
        if self.calls == 3:
            raise ZeroDivisionError
        return images


@pytest.mark.parametrize("how", ["success", "transform", "optimizer", "network", "objective"])
def test_the_model_is_left_as_it_was_found(how):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Identity())
    model = wrapped(network).train()
    network[1].eval()
    network[3].weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    network[0].register_forward_hook(lambda *_: None)
    _ = model.summary
    before = state(model)
    if how == "success":
        run(model, Channel("3", 1))
    elif how == "transform":
        with pytest.raises(ZeroDivisionError):
            run(model, Channel("3", 1), transform=Fragile())
    elif how == "optimizer":
        with pytest.raises(ValueError, match="Invalid learning rate"):
            run(model, Channel("3", 1), optimizer=partial(torch.optim.Adam, lr=-1))
    elif how == "network":
        network[4].forward = networks.Fails().forward
        with pytest.raises(RuntimeError, match="this head refuses"):
            run(model, Channel("4", 1))
    else:
        with pytest.raises(LookupError, match="row 99 is out of range"):
            run(model, Neuron("3", 1, 99, 0))
    assert state(model) == before


def state(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad.sum().item() for parameter in model.parameters()],
        [tensor.double().sum().item() for tensor in model.state_dict().values()],
        hooks(model),
    )


# --- a run alone is the run in any batch ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fourier, Pixel])
@pytest.mark.parametrize("images", [1, 2])
def test_a_run_alone_equals_the_run_in_a_batch(kind, images, model):
    together = run(model, Objective.stack(STACKED), double(kind, images=images, seeds=SEEDS), mild, steps=32)
    for place, (objective, seed) in enumerate(zip(STACKED, SEEDS, strict=True)):
        alone = run(model, objective, double(kind, images=images, seeds=(seed,)), mild, steps=32)
        mine = slice(place * images, (place + 1) * images)
        torch.testing.assert_close(together.images[mine], alone.images, rtol=0, atol=1e-9)
        torch.testing.assert_close(together.scores[mine], alone.scores, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.history[1][:, mine], alone.history[1], rtol=1e-9, atol=1e-9)


def test_the_order_of_runs_in_a_batch_does_not_matter(model):
    forwards = run(model, Objective.stack(STACKED), double(seeds=SEEDS), mild, steps=32)
    backwards = run(model, Objective.stack(STACKED[::-1]), double(seeds=SEEDS[::-1]), mild, steps=32)
    torch.testing.assert_close(backwards.images.flip(0), forwards.images, rtol=0, atol=1e-9)


class Dusk(Transform):
    """The images fade at some steps, so that a unit that needs light dies for their length."""

    size = None

    def __init__(self, dark):
        self.dark = dark

    def draw(self, steps, seeds, images=1):
        light = torch.tensor([0.1 if step in self.dark else 1.0 for step in range(steps)])
        return light[:, None, None].expand(steps, len(seeds) * images, 1)

    def __call__(self, images, parameters):
        return images * parameters[:, :, None, None].to(images.dtype)


@pytest.mark.parametrize("dark", [range(2, 6), range(20, 24), range(14, 18)])
def test_a_dead_neighbour_does_not_matter_to_an_image_that_dies_for_a_while(dark):
    """The second unit can never live, so the patch stays in place; the first lives, dies in the dark, lives again."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    nn.init.constant_(network[0].weight, 1.0)
    network[0].bias.data = torch.tensor([-0.7, -9.0])
    model = bare(network)
    alone = run(model, Channel("1", 0), double(), Dusk(dark), steps=32)
    pair = run(model, Channel("1", (0, 1)), double(seeds=(0, 1)), Dusk(dark), steps=32)
    torch.testing.assert_close(pair.images[:1], alone.images, rtol=0, atol=1e-9)
    assert pair.scores[1] == 0 < pair.scores[0]


@pytest.fixture(scope="module")
def shapes():
    return load("shapes")


FLOAT32 = [Channel("features.20", unit) for unit in (5, 17, 40, 99)]


def test_in_single_precision_the_first_gradient_is_the_same(shapes):
    """A step of plain descent with rate 1 moves the parameters by the gradient."""

    def gradient(objective, seeds):
        parameterisation = Fourier(32, seeds=seeds)
        start = parameterisation.spectrum.detach().clone()
        sgd = partial(torch.optim.SGD, lr=1.0)
        run(shapes, objective, parameterisation, mild, sgd, steps=1)
        return parameterisation.spectrum.detach() - start

    together = gradient(Objective.stack(FLOAT32), SEEDS)
    for place, (objective, seed) in enumerate(zip(FLOAT32, SEEDS, strict=True)):
        alone = gradient(objective, (seed,))
        assert alone.norm() > 0
        assert (together[[place]] - alone).norm() < 1e-4 * alone.norm()


def test_in_single_precision_the_final_score_is_nearly_the_same(shapes):
    together = run(shapes, Objective.stack(FLOAT32), Fourier(32, seeds=SEEDS), mild, steps=32)
    for place, (objective, seed) in enumerate(zip(FLOAT32, SEEDS, strict=True)):
        alone = run(shapes, objective, Fourier(32, seeds=(seed,)), mild, steps=32)
        assert alone.scores > 0
        torch.testing.assert_close(together.scores[[place]], alone.scores, rtol=0.15, atol=0)


def test_the_same_batch_twice_is_the_same_bytes(shapes):
    first, second = (run(shapes, Objective.stack(FLOAT32), Fourier(32, seeds=SEEDS), mild, steps=12) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.scores, second.scores)
    assert first.images.numpy().tobytes() == second.images.numpy().tobytes()


def test_half_precision_of_the_network_alone_finds_the_same_feature(shapes):
    whole, half = (run(shapes, FLOAT32[0], Fourier(32), precision=kind) for kind in ("float32", "bfloat16"))
    assert half.images.dtype == half.scores.dtype == torch.float32
    torch.testing.assert_close(half.scores, whole.scores, rtol=0.15, atol=0)


# --- no grey images -----------------------------------------------------------------------------------------------


def asleep():
    """A unit that wakes above a brightness that no start reaches: 3 x 0.5 - 1.7 < 0; the second layer sleeps too."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU6())
    nn.init.constant_(network[0].weight, 1.0)
    nn.init.constant_(network[0].bias, -1.7)
    nn.init.constant_(network[2].weight, 1.0)
    nn.init.constant_(network[2].bias, -0.1)
    return bare(network)


@pytest.mark.parametrize("objective", [Channel("3", 0), Neuron("3", 1), Channel("1", 1)], ids=repr)
def test_a_network_that_is_dead_at_the_start_comes_alive(objective):
    start = double()()
    without = run(asleep(), objective, steps=48, rescue=False)
    torch.testing.assert_close(without.images, start, rtol=0, atol=1e-12)
    assert without.scores == 0
    found = run(asleep(), objective, steps=48)
    assert found.scores > 0.1
    assert (found.images - start).abs().max() > 0.1


def test_the_rescue_changes_nothing_for_the_living(shapes):
    lively = Channel("features.0", 3) + 10 * Layer("features.0")
    first, second = (run(shapes, lively, Fourier(32), mild, rescue=rescue) for rescue in (True, False))
    assert torch.equal(first.images, second.images)


def test_nothing_of_the_rescue_is_left(model):
    run(asleep(), Channel("3", 0))
    values = -torch.ones(1, 2, requires_grad=True)
    assert torch.autograd.grad(torch.relu(values).sum(), values)[0].abs().max() == 0


# --- what is reported ---------------------------------------------------------------------------------------------


def test_snapshots_are_the_images_after_those_steps(model):
    found = run(model, Logit(1), steps=8, snapshots=(1, 4, 8))
    assert list(found.snapshots) == [1, 4, 8]
    assert torch.equal(found.snapshots[8], found.images)
    for steps in (1, 4):
        assert torch.equal(found.snapshots[steps], run(model, Logit(1), steps=steps).images)


def test_history_is_the_score_at_step_1_and_then_every_so_many(model):
    found = run(model, Logit(1), double(seeds=(0, 1)), steps=9, history_every=4)
    steps, scores = found.history
    assert steps == (1, 4, 8) and scores.shape == (3, 2)
    torch.testing.assert_close(scores[0], score(model, Logit(1), double(seeds=(0, 1))()).detach())
    assert (scores.diff(dim=0) > 0).all()
    none, empty = run(model, Logit(1), history_every=0).history
    assert none == () and empty.shape == (0, 1)


def test_progress_is_told_after_every_step(model):
    told = []
    visualise(model, Logit(1), double(), Unchanged(), adam, Schedule(steps=5), told.append)
    assert told == [1, 2, 3, 4, 5]


class Spoilt(Transform):
    """The run of seed 13 sees nothing but NaN from its third step on."""

    size = None

    def draw(self, steps, seeds, images=1):
        table = torch.zeros(steps, len(seeds), 1)
        table[2:, [place for place, seed in enumerate(seeds) if seed == 13]] = torch.nan
        return table

    def __call__(self, images, parameters):
        return images * (1 + parameters[:, :, None, None]).to(images.dtype)


@pytest.mark.parametrize("rescue", [True, False])
def test_a_score_that_is_not_finite_fails_its_own_image_at_its_own_step(rescue, model):
    whole = run(model, Logit(1), double(seeds=(1, 2, 3)), rescue=rescue)
    found = run(model, Logit(1), double(seeds=(1, 13, 3)), Spoilt(), rescue=rescue)
    assert whole.failed.tolist() == [0, 0, 0]
    assert found.failed.tolist() == [0, 3, 0]
    torch.testing.assert_close(found.images[[0, 2]], whole.images[[0, 2]], rtol=0, atol=1e-9)
    assert not found.scores[1].isfinite()


def test_a_score_that_is_not_finite_at_the_end_alone_fails_the_last_step(model):
    class LastStep(Spoilt):
        def draw(self, steps, seeds, images=1):
            return torch.zeros(steps, len(seeds), 1)

        def clean(self, images):
            return images * torch.tensor([1.0, torch.inf]).to(images)[:, None, None, None]

    assert run(model, Logit(1), double(seeds=(1, 2)), LastStep()).failed.tolist() == [0, 8]


# --- names and mistakes -------------------------------------------------------------------------------------------


def test_names_are_resolved():
    model = wrapped(networks.plain(), labels=("ant", "bee", "cat", "dog", "elk"), aliases={"late": "3"})
    named, exact = run(model, Logit("bee") + Channel("late", 1)), run(model, Logit(1) + Channel("3", 1))
    assert torch.equal(named.images, exact.images)


@pytest.mark.parametrize("objective", [Logit("top1"), Logit("top1") * 2 - Channel("0", 1)], ids=repr)
def test_top1_needs_an_image(objective, model):
    with pytest.raises(ValueError, match="target top1 or label needs an image: name a class"):
        run(model, objective)


@pytest.mark.parametrize(
    "objective", [Channel("9", 0), Channel("0", 6), Logit(5), Logit("bee"), Direction("0", (1.0,))], ids=repr
)
def test_what_the_network_lacks_is_refused_before_the_first_step(objective, model):
    told = []
    with pytest.raises(LookupError):
        visualise(model, objective, double(), Unchanged(), adam, None, told.append)
    assert told == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "task.steps is 0; it must be a whole number from 1 on"),
        ({"steps": 1.5}, "task.steps is 1.5"),
        ({"steps": True}, "task.steps is True"),
        ({"steps": 8, "snapshots": (9,)}, "snapshot at step 9; steps are 1 to 8"),
        ({"steps": 8, "snapshots": (0,)}, "snapshot at step 0"),
        ({"precision": "float16"}, "compute.precision is 'float16'; it is float32 or bfloat16"),
        ({"compile": "maybe"}, "compute.compile is 'maybe'; it is true or false"),
        ({"stop": 2}, "task.stop is 2; it is a share from 0 to below 1, as 0.01"),
        ({"stop": True}, "task.stop is True"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)


# --- views, early stop, importance, frames, tiles, schedules ------------------------------------------------------


@dataclass(frozen=True)
class Twice(Transform):
    """Every image as it is, and flipped."""

    size: None = None
    views: int = 2

    def draw(self, steps, seeds, images=1):
        return torch.zeros(steps, len(seeds) * images, 0)

    def __call__(self, images, parameters):
        return torch.cat([images, images.flip(3)])


def test_the_score_of_several_views_is_their_mean(model):
    objective = Objective.stack([Channel("3", 2) - 0.3 * TotalVariation(), Channel("3", 5) - 0.3 * TotalVariation()])
    parameterisation = double(seeds=(1, 2), std=1.0)
    images = parameterisation()
    found = run(model, objective, parameterisation, Twice(), steps=1, history_every=1, rescue=False)
    views = [score(model, objective, view) for view in (images, images.flip(3))]
    views = [torch.stack(views).mean(0)]
    torch.testing.assert_close(found.history[1][0], views[0].detach())


def test_a_run_alone_equals_the_run_in_a_batch_with_views_and_several_images(model):
    objective = Objective.stack(STACKED)
    together = run(model, objective, double(images=2, seeds=SEEDS), Twice(), steps=32)
    for place, seed in enumerate(SEEDS):
        alone = run(model, STACKED[place], double(images=2, seeds=(seed,)), Twice(), steps=32)
        torch.testing.assert_close(together.images[2 * place : 2 * place + 2], alone.images, rtol=0, atol=1e-9)


def test_an_image_that_has_converged_stops_and_the_others_go_on(model):
    still = partial(torch.optim.SGD, lr=0.0)
    found = run(model, Logit(1), double(seeds=(1, 2), std=1.0), optimizer=still, steps=96, stop=0.01)
    assert found.steps.tolist() == [48, 48], "nothing changes from the first stretch on"
    shown = run(model, Logit(1), double(std=1.0), optimizer=still, steps=96, stop=0.01, snapshots=(16, 90), frames=6)
    assert shown.frames.shape[0] == 6 and torch.equal(shown.snapshots[90], shown.images)
    rising = run(model, STACKED[0], double(seeds=(1,), std=1.0), steps=96, stop=0.0)
    full = run(model, STACKED[0], double(seeds=(1,), std=1.0), steps=int(rising.steps[0]))
    torch.testing.assert_close(rising.images, full.images, rtol=0, atol=0)


def test_whether_a_neighbour_stops_changes_nothing(model):
    seeds, units = (1, 2, 3, 4), [STACKED[0], STACKED[1], STACKED[0], STACKED[3]]
    settings = {"steps": 160, "stop": 0.02}
    together = run(model, Objective.stack(units), double(seeds=seeds), mild, **settings)
    assert len(set(together.steps.tolist())) > 1, "some stop before others"
    for place, seed in enumerate(seeds):
        alone = run(model, units[place], double(seeds=(seed,)), mild, **settings)
        assert alone.steps[0] == together.steps[place]
        torch.testing.assert_close(together.images[place : place + 1], alone.images, rtol=0, atol=1e-7)
        torch.testing.assert_close(together.scores[place : place + 1], alone.scores, rtol=0, atol=1e-7)


def test_the_images_of_one_run_stop_together(model):
    found = run(model, STACKED[0], double(images=3, seeds=(1, 2)), mild, steps=160, stop=0.02)
    assert found.steps.view(2, 3).unique(dim=1).shape == (2, 1)


def test_importance_is_the_mean_length_of_the_gradient(model):
    found = run(model, STACKED[0], double(std=1.0), steps=1, importance=True, rescue=False)
    images = double(std=1.0)().detach().requires_grad_()
    score(model, STACKED[0], images).sum().backward()
    torch.testing.assert_close(found.importance, images.grad.abs().sum(1))
    assert run(model, STACKED[0], double(std=1.0), steps=1).importance is None


def test_the_corner_that_a_neuron_sees_is_what_matters(model):
    found = run(model, Neuron("0", 1, 0, 0), double(std=1.0), steps=8, importance=True)
    assert (
        found.importance[0, :2, :2].min() > 0 and found.importance[0, 2:].max() == found.importance[0, :, 2:].max() == 0
    )


def test_frames_are_spread_over_the_steps_and_end_with_the_last(model):
    found = run(model, STACKED[0], double(std=1.0), steps=10, frames=4)
    assert found.frames.shape == (4, 1, 3, 16, 12) and found.frames.dtype == torch.uint8
    assert torch.equal(found.frames[-1], (found.images * 255).round().to(torch.uint8))
    assert Schedule(10, frames=4).frame_steps == {2, 5, 8, 10}
    assert len(Schedule(3, frames=32).frame_steps) == 3


def test_a_tile_as_large_as_the_image_changes_nothing(model):
    whole, tiled = (run(model, STACKED[0], double(std=1.0), mild, tile=tile) for tile in (None, 64))
    torch.testing.assert_close(whole.images, tiled.images, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.scores, tiled.scores)


def test_tiles_raise_the_score_of_the_whole(model):
    start = double(size=(40, 30), std=0.1)
    before = score(model, Channel("2", 1), start())
    found = run(model, Channel("2", 1), start, tile=16, steps=24)
    assert score(model, Channel("2", 1), found.images) > before + 0.1 * before.abs()


def test_tiles_pull_as_strongly_as_the_whole(model):
    start = double(size=(32, 32), std=0.1)
    pulls = [
        run(model, Channel("image", 1), start, tile=tile, steps=1, importance=True, rescue=False).importance
        for tile in (None, 16)
    ]
    torch.testing.assert_close(*pulls)


def test_tiles_suit_no_objective_that_compares_with_a_picture(model):
    with pytest.raises(ValueError, match=r"task\.tile suits objectives that look at parts"):
        run(model, Inversion("3", Shapes(0)), tile=16)


def test_a_learning_rate_schedule_steps_after_every_step(model):
    stopped = partial(torch.optim.lr_scheduler.StepLR, step_size=4, gamma=0.0)
    schedule = Schedule(12, snapshots=(4, 12))
    found = visualise(model, STACKED[0], double(), Unchanged(), adam, schedule, lr_scheduler=stopped)
    torch.testing.assert_close(found.snapshots[4], found.snapshots[12], rtol=0, atol=0)
    assert (run(model, STACKED[0], steps=12).images != found.images).any()


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, torch.optim.Adafactor])
def test_an_optimizer_that_mixes_runs_is_refused(kind, model):
    with pytest.raises(ValueError, match=f"{kind.__name__} mixes the runs of a batch"):
        run(model, STACKED[0], optimizer=kind)


def test_weights_change_on_the_way(model):
    """A weight that goes from one term to another ends where the other alone leads."""
    parameterisation = partial(double, std=1.0)
    moving = Sum((Channel("3", 0), TotalVariation()), ((1.0, 0.0), (0.0, -1.0)))
    found = run(model, moving, parameterisation(), steps=64)
    torch.testing.assert_close(found.scores, score(model, -TotalVariation(), found.images))
    assert found.scores > -score(model, TotalVariation(), parameterisation()())


def test_a_size_other_than_its_own_needs_a_parameterisation_without_one(model):
    with pytest.raises(ValueError, match="task.render_size needs parameterisation=cppn, not Fourier"):
        visualise(model, STACKED[0], double(), Unchanged(), adam, Schedule(1), render_size=32)
    found = visualise(model, STACKED[0], double(Cppn), Unchanged(), adam, Schedule(3), render_size=(40, 30))
    assert found.rendered.shape == (1, 3, 40, 30) and found.images.shape == (1, 3, 16, 12)


def test_what_an_objective_compares_with_is_seen_through_the_same_transform(model):
    """The distance of a picture from itself is nothing, however both are moved."""
    source = Shapes(3)
    own = Image(source, size=16).double()
    found = run(
        model, Inversion("3", source), own, mild, steps=4, history_every=1, optimizer=partial(torch.optim.SGD, lr=0.0)
    )
    assert found.history[1].abs().max() < 1e-5
    other = run(model, Inversion("3", Shapes(4)), own, mild, steps=4, history_every=1)
    assert other.history[1].max() < -1e-3
