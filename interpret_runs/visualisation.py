"""Feature visualisation: the only place with an optimiser, a loop and a minus sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from interpret_runs.activations import Activations, capture
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Fourier
from interpret_runs.rescue import Rescue
from interpret_runs.scoring import frozen
from interpret_runs.summary import PIXELS
from interpret_runs.transforms import Standard, Transform

RESCUE_EVERY = 16
# An image whose values spread less than this has not begun; after so many steps it may be meant to be flat.
FLAT = 0.05
FLAT_STEPS = 32
ADAM = partial(torch.optim.Adam, lr=0.05)


@dataclass(frozen=True)
class Schedule:
    """How long to optimise, and what to keep on the way.

    Args:
        steps: optimisation steps, at least 1.
        snapshots: steps after which the images are kept as well, each from 1 to `steps`.
        history_every: the score is noted at step 1 and then every so many steps; 0 never.
        rescue: redirect gradients of dead ReLUs.
        precision: ``float32``, or ``bfloat16`` for the network alone.
    """

    steps: int = 128
    snapshots: tuple[int, ...] = ()
    history_every: int = 16
    rescue: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "snapshots", tuple(self.snapshots))
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"task.steps is {self.steps!r}; it must be a whole number from 1 on")
        wrong = [step for step in self.snapshots if not isinstance(step, int) or not 1 <= step <= self.steps]
        if wrong:
            raise ValueError(f"snapshot at step {wrong[0]!r}; steps are 1 to {self.steps}")
        every = self.history_every
        if isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise ValueError(f"task.history_every is {every!r}; it must be a whole number, 0 for never")
        if not isinstance(self.rescue, (bool, int)):
            raise ValueError(f"task.rescue is {self.rescue!r}; it is true or false")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision {self.precision!r}; it is float32 or bfloat16")


@dataclass(frozen=True)
class Visualisation:
    """What one batch of runs found; everything on the CPU.

    Attributes:
        images: RGB in [0, 1], (runs * images, 3, H, W).
        scores: the objective on the final images without any transform, (runs * images,).
        history: steps noted, and the score under transforms at each, (noted, runs * images).
        snapshots: images by step.
        failed: for each image the first step at which its score was not finite, or 0.
    """

    images: Tensor
    scores: Tensor
    history: tuple[tuple[int, ...], Tensor]
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    failed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


def visualise(
    model: VisionModel,
    objective: Objective,
    parameterisation: Parameterisation | None = None,
    transform: Transform | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = ADAM,
    schedule: Schedule | None = None,
    progress: Callable[[int], None] | None = None,
) -> Visualisation:
    """Change the parameters until the images score as high as they can.

    Maximises ``objective`` over images ``transform(parameterisation())``; the loss is minus the sum of
    the scores, so images do not influence each other. Runs come from `parameterisation.seeds`; an
    objective made by `Objective.stack` gives each run its unit. The model is left as it was found.

    Args:
        parameterisation: one Fourier image of 128 pixels by default.
        transform: the standard set by default, at the network's own size where it takes no other.
        optimizer: called with the parameters; must act on each element by itself, as Adam does.
        progress: called with the number of steps done, after every step.

    Raises:
        LookupError, ValueError: the objective or a setting does not fit the network.
    """
    schedule = schedule or Schedule()
    device = model.mean.device
    objective = objective.resolve(model.summary)
    if objective.needs_output:
        raise ValueError("target top1 needs an image: name a class, or use task=attribute")
    parameterisation = (parameterisation or Fourier()).to(device)
    transform = transform or Standard(size=None if model.summary.any_size else model.preprocessing.size)
    runs = len(parameterisation.seeds)
    rows = torch.arange(runs, device=device).repeat_interleave(parameterisation.images)
    table = transform.draw(schedule.steps, parameterisation.seeds, parameterisation.images).to(device)
    with torch.enable_grad(), frozen(model), capture(model, objective.layers - {PIXELS}) as forward:
        look = _Look(forward, objective, transform, rows, schedule.precision)
        loop = _Loop(look, parameterisation, optimizer(parameterisation.parameters()), schedule)
        for step in range(schedule.steps):
            loop.step(step, table[step])
            if progress:
                progress(step + 1)
        return loop.result()


@dataclass(frozen=True)
class _Look:
    """Scores images through the network, with or without a transform."""

    forward: Callable[..., Activations]
    objective: Objective
    transform: Transform
    rows: Tensor
    precision: str

    def __call__(self, images: Tensor, parameters: Tensor | None = None) -> Tensor:
        seen = self.transform.clean(images) if parameters is None else self.transform(images, parameters)
        half = self.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16) if half else nullcontext():
            activations = self.forward(seen, self.rows)
        outputs: dict[str, Tensor] = {name: tensor.to(images.dtype) for name, tensor in activations.items()}
        # Penalties on pixels read the image itself, not what a transform made of it.
        outputs[PIXELS] = images
        return self.objective(Activations(outputs, self.rows, (seen.shape[2], seen.shape[3])))


class _Loop:
    """State of one optimisation; nothing of it is read on the host before the end, the rescue's check apart."""

    def __init__(
        self,
        look: _Look,
        parameterisation: Parameterisation,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
    ) -> None:
        self.look, self.parameterisation, self.optimizer, self.schedule = look, parameterisation, optimizer, schedule
        device, count = look.rows.device, len(look.rows)
        self.alive = torch.zeros(count, dtype=torch.bool, device=device)
        self.spared = self.alive.clone()
        self.failed = torch.zeros(count, dtype=torch.long, device=device)
        self.rescue = Rescue(self.alive) if schedule.rescue else None
        self.rescuing = schedule.rescue
        self.noted: list[tuple[int, Tensor]] = []
        self.snapshots: dict[int, Tensor] = {}

    def step(self, step: int, parameters: Tensor) -> None:
        self.optimizer.zero_grad()
        with self.rescue if self.rescue is not None and self.rescuing else nullcontext():
            images = self.parameterisation()
            scores = self.look(images, parameters)
        torch.autograd.backward(-scores.sum())
        self.optimizer.step()
        self._watch(step, images.detach(), scores.detach())
        if step + 1 in self.schedule.snapshots:
            with torch.no_grad():
                self.snapshots[step + 1] = self.parameterisation().cpu()

    def _watch(self, step: int, images: Tensor, scores: Tensor) -> None:
        self.failed.masked_fill_((self.failed == 0) & ~scores.isfinite(), step + 1)
        alive = scores > 0
        if step < FLAT_STEPS:
            alive &= images[:, :, ::4, ::4].flatten(1).std(1) >= FLAT  # every fourth pixel tells as well
        if self.schedule.rescue and (step + 1) % RESCUE_EVERY == 0:
            # An image can die again under a harder transform, so the patch comes back when one has. Until
            # the next check whoever lives now is spared: no image may depend on whether others need the patch.
            self.spared.copy_(alive)
            self.rescuing = not bool(alive.all())
        self.alive.copy_(alive | self.spared)
        every = self.schedule.history_every
        if every and (step == 0 or (step + 1) % every == 0):
            self.noted.append((step + 1, scores))

    @torch.no_grad()
    def result(self) -> Visualisation:
        images = self.parameterisation()
        scores = self.look(images)
        steps = tuple(step for step, _ in self.noted)
        history = torch.stack([noted for _, noted in self.noted]).cpu() if self.noted else torch.zeros(0, len(scores))
        self.failed.masked_fill_((self.failed == 0) & ~scores.isfinite(), self.schedule.steps)
        return Visualisation(images.cpu(), scores.cpu(), (steps, history), self.snapshots, self.failed.cpu())
