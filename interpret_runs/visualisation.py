"""Feature visualisation: the only place with an optimiser, a loop and a minus sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from interpret_runs.activations import capture
from interpret_runs.compiled import Compiled
from interpret_runs.convergence import Convergence
from interpret_runs.look import Look
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.optimisers import make_capturable, started
from interpret_runs.parameterisation import Parameterisation, SizeFree
from interpret_runs.parameterisations import Fourier
from interpret_runs.rescue import Rescue
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen
from interpret_runs.size import Size
from interpret_runs.step_graph import StepGraph
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.tiles import windows
from interpret_runs.transform import Transform
from interpret_runs.transforms import Standard
from interpret_runs.visualised import Visualisation as Visualisation

CHECK_EVERY = 16
# An image whose values spread less than this has not begun; after so many steps it may be meant to be flat.
FLAT = 0.05
FLAT_STEPS = 32
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
    parameterisation = (parameterisation or Fourier()).to(device)
    if render_size is not None and not isinstance(parameterisation, SizeFree):
        raise ValueError(f"task.render_size needs parameterisation=cppn, not {type(parameterisation).__name__}")
    transform = transform or Standard(size=None if model.summary.any_size else model.preprocessing.size)
    rows = torch.arange(len(parameterisation.seeds), device=device).repeat_interleave(parameterisation.images)
    table = transform.draw(schedule.steps, parameterisation.seeds, parameterisation.images).to(device)
    layers = objective.layers - {PIXELS, OPACITY}
    with torch.enable_grad(), frozen(model), capture(model, layers) as forward:
        look = Look(forward, objective, transform, rows, parameterisation.images, schedule.precision)
        fast = replace(look, forward=Compiled(model, layers, forward)) if schedule.compile else look
        made = started(optimizer, parameterisation.parameters())
        rates = lr_scheduler(made) if lr_scheduler else None
        loop = _Loop(look, fast, parameterisation, made, schedule, render_size, steady=rates is None)
        for step in range(schedule.steps):
            if loop.running:
                loop.step(step, table[step])
                if rates is not None:
                    rates.step()
            loop.show(step + 1)
            if progress:
                progress(step + 1)
        return loop.result()


class _Loop:
    """State of one optimisation; nothing of it is read on the host before the end, its check every 16 steps apart."""

    def __init__(
        self,
        look: Look,
        fast: Look,
        parameterisation: Parameterisation,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        render_size: Size | None,
        steady: bool,
    ) -> None:
        """`fast` is as `look` where no gradient is rescued; the rate of a `steady` optimiser never changes."""
        self.fast = fast
        self.look, self.parameterisation, self.optimizer, self.schedule = look, parameterisation, optimizer, schedule
        self.render_size = render_size
        count = len(look.rows)
        self.alive = torch.zeros(count, dtype=torch.bool, device=look.rows.device)
        self.spared = self.alive.clone()
        self.failed = torch.zeros(count, dtype=torch.long, device=look.rows.device)
        self.rescue = Rescue(self.alive) if schedule.rescue else None
        self.rescuing = schedule.rescue
        self.active: Tensor | None = None  # indices of the images that go on; None is all
        self.scores = torch.zeros(count, device=look.rows.device)
        self.kept: Tensor | None = None  # what `_shown` gave of the images that do not
        self.rendered: Tensor | None = None
        self.taken = torch.full_like(self.failed, schedule.steps)
        self.convergence = Convergence(schedule.stop) if schedule.stop is not None else None
        self.importance: Tensor | None = None
        self.noted: list[tuple[int, Tensor]] = []
        self.snapshots: dict[int, Tensor] = {}
        self.frames: list[Tensor] = []
        self.graph = StepGraph(self._advance) if steady and self._is_static() and make_capturable(optimizer) else None

    def step(self, step: int, parameters: Tensor) -> None:
        progress = step / max(1, self.schedule.steps - 1)
        if self.graph is None:
            images, scores = self._advance(parameters, step, progress)
        else:
            now = [torch.tensor(number, device=parameters.device) for number in (step, progress)]
            images, scores = self.graph(self.rescuing, parameters, *now)
        self._watch(step, images, scores)

    def _is_static(self) -> bool:
        """Whether every step does the same, and can so be replayed on a GPU."""
        schedule, device = self.schedule, self.look.rows.device
        changes = schedule.stop is not None or schedule.tile is not None or schedule.importance
        return device.type == "cuda" and schedule.cuda_graphs and not changes

    def _advance(self, parameters: Tensor, step: int | Tensor, progress: float | Tensor) -> tuple[Tensor, Tensor]:
        """Change the parameters by one step; returns the images before it, and their scores."""
        self.optimizer.zero_grad()
        self.parameterisation.step = step
        with self.rescue if self.rescue is not None and self.rescuing else nullcontext():
            images = self.parameterisation()
            scores = self._climb(images, parameters, step, progress)
        self.optimizer.step()
        self.parameterisation.step = None
        return images.detach(), scores

    @property
    def running(self) -> bool:
        return self.active is None or len(self.active) > 0

    def show(self, step: int) -> None:
        if step in self.schedule.snapshots:
            self.snapshots[step] = _over_grey(self._shown()).cpu()
        if step in self.schedule.frame_steps:
            self.frames.append((_over_grey(self._shown()) * 255).round().to(torch.uint8).cpu())

    def _climb(self, images: Tensor, parameters: Tensor, step: int | Tensor, progress: float | Tensor) -> Tensor:
        """Give each parameter its gradient; returns the scores, of images that have stopped their last ones."""
        active, opacity = self.active, self.parameterisation.opacity
        rows, alive = self.look.rows, self.alive
        shown = images
        if self.schedule.importance:
            images.retain_grad()
        if active is not None:
            shown, parameters, rows, alive = shown[active], parameters[active], rows[active], alive[active]
            opacity = None if opacity is None else opacity[active]
        if self.rescue is not None:
            self.rescue.alive = alive.repeat(self.look.transform.views)
        look = self.look if self.rescuing else self.fast
        if self.schedule.tile is None:
            scores = look(shown, parameters, rows, opacity, progress)
            torch.autograd.backward(-scores.sum())
            scores = scores.detach()
        else:
            scores = self._climb_in_tiles(look, shown, parameters, rows, int(step), progress)
        if self.schedule.importance and images.grad is not None:
            pull = images.grad.abs().sum(1)
            self.importance = pull if self.importance is None else self.importance.add_(pull)
        self.scores = scores if active is None else self.scores.index_copy(0, active, scores)
        return self.scores

    def _climb_in_tiles(
        self, look: Look, shown: Tensor, parameters: Tensor, rows: Tensor, step: int, progress: float | Tensor
    ) -> Tensor:
        """As one look at the whole, in windows; where they overlap the gradient is their mean."""
        leaf = shown.detach().requires_grad_()
        covered = torch.zeros_like(leaf[:1, :1])
        total = torch.zeros(len(leaf), device=leaf.device, dtype=leaf.dtype)
        spots = windows((leaf.shape[2], leaf.shape[3]), self.schedule.tile or 0, step)
        for row, column in spots:
            scores = look(leaf[..., row, column], parameters, rows, progress=progress)
            torch.autograd.backward(-scores.sum(), inputs=leaf)
            covered[..., row, column] += 1
            total += scores.detach() / len(spots)
        if leaf.grad is not None:
            # A window's mean weighs each of its positions more than the whole's mean would.
            share = leaf[..., spots[0][0], spots[0][1]].numel() / leaf.numel()
            torch.autograd.backward(shown, leaf.grad * share / covered)
        return total

    def _watch(self, step: int, images: Tensor, scores: Tensor) -> None:
        self.failed.masked_fill_((self.failed == 0) & ~scores.isfinite(), step + 1)
        alive = scores > 0
        if step < FLAT_STEPS:
            alive &= images[:, :, ::4, ::4].flatten(1).std(1) >= FLAT  # every fourth pixel tells as well
        if self.convergence is not None:
            self.convergence.add(scores)
        if (step + 1) % CHECK_EVERY == 0:
            if self.schedule.rescue:
                # An image can die again under a harder transform, so the patch comes back when one has. Until
                # the next check whoever lives now is spared: no image may depend on whether others need the patch.
                self.spared.copy_(alive)
                self.rescuing = not bool(alive.all())
            if self.convergence is not None:
                settled = self.convergence.settled()
                self._retire(settled & alive if self.look.objective.dies else settled, step + 1)
        self.alive.copy_(alive | self.spared)
        every = self.schedule.history_every
        if every and (step == 0 or (step + 1) % every == 0):
            self.noted.append((step + 1, scores.clone()))

    @torch.no_grad()
    def _retire(self, settled: Tensor, step: int) -> None:
        """Keep the images of the runs all of whose images have settled, and optimise them no more."""
        images = self.look.images
        together = settled.view(-1, images).all(1).repeat_interleave(images)
        active = torch.arange(len(settled), device=settled.device) if self.active is None else self.active
        leaving = active[together[active]]
        if not len(leaving):
            return
        self.kept = self._shown()
        self._render(leaving)
        self.taken[leaving] = step
        self.active = active[~together[active]]

    @torch.no_grad()
    def _shown(self) -> Tensor:
        """The images as they are now, or were when their run ended, with opacity if they have any."""
        made = self.parameterisation()
        straight, opacity = self.parameterisation.straight, self.parameterisation.opacity
        shown = made if straight is None or opacity is None else torch.cat([straight, opacity], 1)
        if self.active is None or self.kept is None:
            return shown
        return self.kept.index_copy(0, self.active, shown[self.active])

    def _render(self, which: Tensor) -> None:
        """Make images of the size asked for; one at a time, as they may be large."""
        if self.render_size is None or not isinstance(self.parameterisation, SizeFree):
            return
        for image in which.tolist():
            made = self.parameterisation.render(self.render_size, image).cpu()
            if self.rendered is None:
                self.rendered = made.new_empty(len(self.taken), *made.shape[1:])
            self.rendered[image] = made[0]

    @torch.no_grad()
    def result(self) -> Visualisation:
        picture = self._shown()
        self._render(torch.arange(len(self.taken)) if self.active is None else self.active)
        images = _over_grey(picture)
        opacity = picture[:, 3:] if picture.shape[1] == 4 else None
        scores = self._final_scores(images, opacity)
        steps = tuple(step for step, _ in self.noted)
        history = torch.stack([noted for _, noted in self.noted]).cpu() if self.noted else torch.zeros(0, len(scores))
        self.failed.masked_fill_((self.failed == 0) & ~scores.isfinite(), self.schedule.steps)
        return Visualisation(
            images.cpu(),
            scores.cpu(),
            (steps, history),
            self.snapshots,
            torch.stack(self.frames) if self.frames else None,
            self.taken.cpu(),
            self.failed.cpu(),
            None if opacity is None else picture.cpu(),
            self.rendered,
            None if self.importance is None else (self.importance / self.taken.view(-1, 1, 1)).cpu(),
        )

    def _final_scores(self, images: Tensor, opacity: Tensor | None) -> Tensor:
        if self.schedule.tile is None:
            return self.look(images, opacity=opacity)
        spots = windows((images.shape[2], images.shape[3]), self.schedule.tile, 0)
        return torch.stack([self.look(images[..., row, column]) for row, column in spots]).mean(0)


def _over_grey(picture: Tensor) -> Tensor:
    """Images as RGB, (B, 3, H, W); what is transparent shows mid-grey."""
    if picture.shape[1] == 3:
        return picture
    colours, opacity = picture[:, :3], picture[:, 3:]
    return colours * opacity + 0.5 * (1 - opacity)
