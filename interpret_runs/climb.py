"""One optimisation: images that began together, and the steps of their optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from interpret_runs.convergence import Convergence
from interpret_runs.look import Look
from interpret_runs.offer import Offer
from interpret_runs.optimisers import make_capturable
from interpret_runs.parameterisation import Parameterisation, SizeFree
from interpret_runs.rescue import Rescue
from interpret_runs.schedule import Schedule
from interpret_runs.size import Size
from interpret_runs.step_graph import StepGraph
from interpret_runs.tiles import windows
from interpret_runs.visualised import Visualisation

CHECK_EVERY = 16
# An image whose values spread less than this has not begun; after so many steps it may be meant to be flat.
FLAT = 0.05
FLAT_STEPS = 32


class Climb:
    """Images that began together, and their optimiser.

    Nothing of it is read on the host before the end, its check every 16 steps apart.

    Args:
        look: at the images of this climb.
        fast: as `look`, where no gradient is rescued.
        table: of the transform's parameters, (steps, B, k).
        rates: changes the optimiser's learning rate after each step; None never does.
    """

    def __init__(
        self,
        look: Look,
        fast: Look,
        parameterisation: Parameterisation,
        table: Tensor,
        optimizer: torch.optim.Optimizer,
        rates: LRScheduler | None,
        schedule: Schedule,
        render_size: Size | None,
    ) -> None:
        self.look, self.fast, self.parameterisation, self.table = look, fast, parameterisation, table
        self.optimizer, self.rates, self.schedule, self.render_size = optimizer, rates, schedule, render_size
        self.done = 0
        count = len(look.rows)
        self.alive = torch.zeros(count, dtype=torch.bool, device=look.rows.device)
        self.spared = self.alive.clone()
        self.failed = torch.zeros(count, dtype=torch.long, device=look.rows.device)
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
        # As the table: on the device, where a graph reads them without waiting for the host.
        self.numbers = torch.arange(schedule.steps, device=look.rows.device)
        self.shares = self.numbers.double() / max(1, schedule.steps - 1)
        self.graph = StepGraph(look.rows.device) if self._is_static() and make_capturable(optimizer) else None

    def _is_static(self) -> bool:
        """Whether every step does the same, and can so be replayed on a GPU."""
        schedule, device = self.schedule, self.look.rows.device
        changes = schedule.stop is not None or schedule.tile is not None or schedule.importance
        return device.type == "cuda" and schedule.cuda_graphs and self.rates is None and not changes

    @property
    def going(self) -> int:
        """How many images go on."""
        if self.done == self.schedule.steps:
            return 0
        return len(self.alive) if self.active is None else len(self.active)

    def step(self) -> None:
        """One step of the images that go on, if any."""
        if self.going:
            if self.graph is None:
                images, scores = self._advance(*self.inputs())
            else:
                tables = (self.table, self.numbers, self.shares)
                images, scores = self.graph(self.rescuing, self._advance, *(table[self.done] for table in tables))
            self.watch(images, scores)
        self.end_step()

    def inputs(self) -> tuple[Tensor, int, float]:
        """Of the next step: the transform's parameters, its number, and how much is done before it."""
        return self.table[self.done], self.done, self.done / max(1, self.schedule.steps - 1)

    def _advance(self, parameters: Tensor, step: int | Tensor, progress: float | Tensor) -> tuple[Tensor, Tensor]:
        """Change the parameters by one step; returns the images before it, and their scores."""
        offer = self.offer(parameters, step, progress)
        look = self.look if self.rescuing else self.fast
        with offer.rescued(look, self.rescuing):
            scores = offer.climbed(look) if self.schedule.tile is None else self._climb_in_tiles(offer, look, int(step))
        return self.accept(offer, scores)

    def offer(self, parameters: Tensor, step: int | Tensor, progress: float | Tensor) -> Offer:
        """What the network is to see in this step."""
        self.optimizer.zero_grad()
        self.parameterisation.step = step
        with Rescue(self.alive) if self.rescuing else nullcontext():
            images = self.parameterisation()
        if self.schedule.importance:
            images.retain_grad()
        shown, opacity, rows, active = images, self.parameterisation.opacity, self.look.rows, self.active
        alive = self.alive if self.rescuing else torch.ones_like(self.alive)
        if active is not None:
            shown, parameters, rows, alive = shown[active], parameters[active], rows[active], alive[active]
            opacity = None if opacity is None else opacity[active]
        return Offer(images, shown, parameters, rows, alive, opacity, progress)

    def accept(self, offer: Offer, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Follow the gradients; returns all images, and their scores, of those that have stopped their last ones."""
        if self.schedule.importance and offer.images.grad is not None:
            pull = offer.images.grad.abs().sum(1)
            self.importance = pull if self.importance is None else self.importance.add_(pull)
        self.scores = scores if self.active is None else self.scores.index_copy(0, self.active, scores)
        self.optimizer.step()
        # A graph of autograd that is kept remembers the stream of its step.
        self.parameterisation.step = self.parameterisation.opacity = None
        return offer.images.detach(), self.scores

    def end_step(self) -> None:
        if self.rates is not None and self.going:
            self.rates.step()
        self.done += 1
        self.show(self.done)

    def show(self, step: int) -> None:
        if step in self.schedule.snapshots:
            self.snapshots[step] = _over_grey(self._shown()).cpu()
        if step in self.schedule.frame_steps:
            self.frames.append((_over_grey(self._shown()) * 255).round().to(torch.uint8).cpu())

    def _climb_in_tiles(self, offer: Offer, look: Look, step: int) -> Tensor:
        """As one look at the whole, in windows; where they overlap the gradient is their mean."""
        leaf = offer.shown.detach().requires_grad_()
        covered = torch.zeros_like(leaf[:1, :1])
        total = torch.zeros(len(leaf), device=leaf.device, dtype=leaf.dtype)
        spots = windows((leaf.shape[2], leaf.shape[3]), self.schedule.tile or 0, step)
        for row, column in spots:
            scores = look(leaf[..., row, column], offer.parameters, offer.rows, progress=offer.progress)
            torch.autograd.backward(-scores.sum(), inputs=leaf)
            covered[..., row, column] += 1
            total += scores.detach() / len(spots)
        if leaf.grad is not None:
            # A window's mean weighs each of its positions more than the whole's mean would.
            share = leaf[..., spots[0][0], spots[0][1]].numel() / leaf.numel()
            torch.autograd.backward(offer.shown, leaf.grad * share / covered)
        return total

    def watch(self, images: Tensor, scores: Tensor) -> None:
        """Note who lives, who has failed and, where it is time, who has settled."""
        step = self.done + 1
        self.failed.masked_fill_((self.failed == 0) & ~scores.isfinite(), step)
        alive = scores > 0
        if step <= FLAT_STEPS:
            alive &= images[:, :, ::4, ::4].flatten(1).std(1) >= FLAT  # every fourth pixel tells as well
        if self.convergence is not None:
            self.convergence.add(scores)
        if step % CHECK_EVERY == 0:
            if self.schedule.rescue:
                # An image can die again under a harder transform, so the patch comes back when one has. Until
                # the next check whoever lives now is spared: no image may depend on whether others need the patch.
                self.spared.copy_(alive)
                self.rescuing = not bool(alive.all())
            if self.convergence is not None:
                settled = self.convergence.settled()
                self._retire(settled & alive if self.look.objective.dies else settled, step)
        self.alive.copy_(alive | self.spared)
        every = self.schedule.history_every
        if every and (step == 1 or step % every == 0):
            self.noted.append((step, scores.clone()))

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


def climb_together(climbs: Sequence[Climb]) -> None:
    """One step of several climbs through the same network: one forward and one backward pass for all their images."""
    several = [climb for climb in climbs if climb.going]
    if len(several) > 1:
        offers = [climb.offer(*climb.inputs()) for climb in several]
        joint, rescuing = Offer.joined(offers), any(climb.rescuing for climb in several)
        look = several[0].look if rescuing else several[0].fast
        with joint.rescued(look, rescuing):
            scores = torch.split(joint.climbed(look), [len(offer.shown) for offer in offers])
        for climb, offer, own in zip(several, offers, scores, strict=True):
            climb.watch(*climb.accept(offer, own))
            climb.end_step()
    for climb in climbs:
        if len(several) == 1 or climb not in several:
            climb.step()


def _over_grey(picture: Tensor) -> Tensor:
    """Images as RGB, (B, 3, H, W); what is transparent shows mid-grey."""
    if picture.shape[1] == 3:
        return picture
    colours, opacity = picture[:, :3], picture[:, 3:]
    return colours * opacity + 0.5 * (1 - opacity)
