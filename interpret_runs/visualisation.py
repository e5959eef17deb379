"""Feature visualisation: images that climb until an objective is as high as they can take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler

from interpret_runs.activations import capture
from interpret_runs.climb import Climb, climb_together
from interpret_runs.compiled import Compiled
from interpret_runs.look import Look
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.optimisers import started
from interpret_runs.parameterisation import Parameterisation, SizeFree
from interpret_runs.parameterisations import Fourier
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen
from interpret_runs.size import Size
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform
from interpret_runs.transforms import Standard
from interpret_runs.visualised import Visualisation as Visualisation

ADAM = partial(torch.optim.Adam, lr=0.05)


def visualise(
    model: VisionModel,
    objective: Objective,
    parameterisation: Parameterisation | None = None,
    transform: Transform | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = ADAM,
    schedule: Schedule | None = None,
    progress: Callable[[int], None] | None = None,
    lr_scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    render_size: Size | None = None,
    later: Sequence[Parameterisation] = (),
) -> Visualisation:
    """Change the parameters until the images score as high as they can.

    Maximises ``objective`` over images ``transform(parameterisation())``; the loss is minus the sum of
    the scores, so images of different runs do not influence each other. Runs come from
    `parameterisation.seeds`; an objective made by `Objective.stack` gives each run its unit. The model is
    left as it was found.

    Args:
        parameterisation: one Fourier image of 128 pixels by default.
        transform: the standard set by default, at the network's own size where it takes no other.
        optimizer: called with the parameters; must act on each element by itself, as Adam does.
        progress: called with the number of steps done, after every step.
        lr_scheduler: called with the optimizer; steps after each of its steps.
        render_size: the images are also made at this size, by parameterisations that can.
        later: images of further runs, whose units are further rows of `objective`; each of these begins when as many
            images as it has have stopped early, so that the network never sees more than those of `parameterisation`.

    Raises:
        LookupError, ValueError: the objective or a setting does not fit the network.
    """
    schedule = schedule or Schedule()
    device = model.mean.device
    objective = objective.resolve(model.summary)
    if schedule.tile is not None and (objective.sources or OPACITY in objective.layers):
        raise ValueError("task.tile suits objectives that look at parts of an image; not transparency, nor pictures")
    if objective.needs_output:
        raise ValueError("target top1 or label needs an image: name a class, or use task=attribute")
    parameterisation = parameterisation or Fourier()
    if later and (schedule.stop is None or schedule.tile is not None):
        raise ValueError("later images begin where others stop: task.stop, without task.tile")
    if render_size is not None and not isinstance(parameterisation, SizeFree):
        raise ValueError(f"task.render_size needs parameterisation=cppn, not {type(parameterisation).__name__}")
    transform = transform or Standard(size=None if model.summary.any_size else model.preprocessing.size)
    layers = objective.layers - {PIXELS, OPACITY}
    with torch.enable_grad(), frozen(model), capture(model, layers) as forward:
        fast = Compiled(model, layers, forward) if schedule.compile else forward

        def begin(made: Parameterisation, first: int) -> Climb:
            rows = first + torch.arange(len(made.seeds), device=device).repeat_interleave(made.images)
            look = Look(forward, objective, transform, rows, made.images, schedule.precision)
            table = transform.draw(schedule.steps, made.seeds, made.images).to(device)
            steps = started(optimizer, made.to(device).parameters())
            rates = lr_scheduler(steps) if lr_scheduler else None
            if isinstance(rates, ConstantLR) and rates.factor == 1:
                rates = None
            return Climb(look, replace(look, forward=fast), made, table, steps, rates, schedule, render_size)

        return _in_turns([parameterisation, *later], begin, progress or (lambda _: None), schedule.steps)


def _in_turns(
    groups: Sequence[Parameterisation],
    begin: Callable[[Parameterisation, int], Climb],
    progress: Callable[[int], None],
    steps: int,
) -> Visualisation:
    """Begin the first of `groups`, and each other one when as many images have stopped as it has; `begin` gets its row.

    `progress` is told the mean of the steps done.
    """
    sizes = [len(made.seeds) * made.images for made in groups]
    climbs: dict[int, Climb] = {}
    ended: dict[int, Visualisation] = {}
    while len(ended) < len(groups):
        while (place := len(climbs) + len(ended)) < len(groups):
            going = sum(climb.going for climb in climbs.values())
            if going and going + sizes[place] > sizes[0]:
                break
            first = sum(len(made.seeds) for made in groups[:place])
            climbs[place] = begin(groups[place], first)
        climb_together(list(climbs.values()))
        done = sum(climb.done * sizes[place] for place, climb in climbs.items())
        progress((done + steps * sum(sizes[place] for place in ended)) // sum(sizes))
        for place in [place for place, climb in climbs.items() if climb.done == steps]:
            ended[place] = climbs.pop(place).result()  # and its memory is free
    return Visualisation.joined([ended[place] for place in range(len(groups))])
