"""Images that an objective scores highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from time import perf_counter
from typing import Any, cast

import torch

from interpret_runs import memory
from interpret_runs.animation import mp4_bytes
from interpret_runs.dataset_examples import survey
from interpret_runs.images import ImageSet
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Parameterisation, SizeFree
from interpret_runs.randomness import generator
from interpret_runs.runner.build import build
from interpret_runs.runner.layout import fast_model_of
from interpret_runs.runner.objects import architecture_of, model_of, objective_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import (
    refused,
    require_one_image,
    require_readable,
    require_size,
    require_whole,
    try_look,
    try_optimizer,
)
from interpret_runs.runner.tasks.fresh_looks import fresh_looks
from interpret_runs.runner.tasks.task import COMPUTED, Filing, Outcome, Progress, Task, in_threads, schedule_of
from interpret_runs.runner.tasks.visualised import Result
from interpret_runs.runner.tuning import tuning
from interpret_runs.schedule import Schedule
from interpret_runs.size import height_and_width
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform
from interpret_runs.visualisation import visualise

ANIMATIONS = ("gif", "mp4")
# A part of the runs executed at once: so many have to end early before others begin, together as they share a step.
GROUPS = 4
# Steps of a trial: in a new process, about eight pass before memory is taken from what was given back.
TRIAL = 10


@dataclass(frozen=True)
class Visualise(Task):
    """Optimise one image or more a run; most fields are those of `Schedule`.

    Args:
        attempts: how many seeds are tried for each run; what is kept scores best through fresh transforms.
        render_size: the image is also made at this size, where the parameterisation can.
        animation: ``gif`` or ``mp4`` of the optimisation, of `frames` frames.
        raw: also write the image as ``.npy``, float32 (images, 3 or 4, H, W).
        data: a set of images among which the score gets its percentile.
    """

    steps: int = 128
    snapshots: tuple[int, ...] = ()
    frames: int = 32
    history_every: int = 16
    rescue: bool = True
    stop: float | None = None
    importance: bool = False
    tile: int | None = None
    attempts: int = 1
    render_size: Any = None
    animation: str | None = None
    raw: bool = False
    data: ImageSet | None = None

    def schedule(self, run: Run) -> Schedule:
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name in SCHEDULE}
        if self.animation is None:
            own["frames"] = 0
        return schedule_of(run, **own)

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        first, model = runs[0], model_of(runs[0], device)
        self._check_own(first)
        objective = objective_of(first, model)
        self._require_suitable(objective)
        settings = first.config["parameterisation"]
        require_whole("parameterisation.images", images := settings.get("images", 1))
        # Before anything as large is made.
        memory.check(model, {PIXELS}, height_and_width(settings["size"]), images, device)
        made = self.parameterisation(runs[:1])
        if self.render_size is not None and not isinstance(made, SizeFree):
            raise ValueError("task.render_size needs images without a size of their own: parameterisation=cppn")
        transform: Transform = build(first.config["transform"])
        together = made.images * self.attempts
        seen = self._seen(made, transform)
        with refused(model, seen):
            fits = memory.check(model, objective.layers, seen, together * transform.views, device) // transform.views
        fits = min(fits, memory.check(model, {PIXELS}, made.size, together, device, made.copies))
        if self.render_size is not None:
            memory.check(model, {PIXELS}, height_and_width(self.render_size), 1, device, made.copies)
        fits = min(fits, self._fit_with_frames(first, made.size, together))
        self._look_once(model, objective, made.to(device), transform, seen)
        try_optimizer(first, made.parameters(), self.steps)
        return max(1, fits // together)

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        config, transform = runs[0].config, cast(Transform, build(runs[0].config["transform"]))
        at_once = tuning().at_once or len(runs) if self.refills else len(runs)
        made, *later = map(self.parameterisation, _groups(runs, at_once))
        objectives = [objective_of(run, model_of(run, device)) for run in runs]
        objective = Objective.stack([one for one in objectives for _ in range(self.attempts)])
        seen = self._seen(made, transform)
        model = fast_model_of(runs[0], device, objective.layers, seen)
        found = visualise(
            model,
            objective,
            made,
            transform,
            build(config["optimizer"]),
            self.schedule(runs[0]),
            lambda step: progress(step / self.steps),
            build(config["lr_scheduler"]),
            self.render_size,
            later,
        )
        looks, probabilities = fresh_looks(model, objective, found, [made, *later], seen, self.tile)
        among = survey(model, objectives, self.data.items(), k=1, keep_scores=True).scores if self.data else None
        frame_steps = sorted(self.schedule(runs[0]).frame_steps)
        result = Result(model, found, looks, probabilities, self, frame_steps)

        def outcome(place: int) -> Outcome:
            own = None if among is None else among[:, place]
            run = runs[place]
            return filing.file(run, result.outcome(place, made.images, objectives[place], own, filing.text(run)))

        return in_threads(outcome, len(runs))

    def alike(self, run: Run, device: torch.device) -> list[Any]:
        """Plain values: runs of which these are equal take equally long; no weights among them, nor units or seeds."""
        made, transform = self.parameterisation([run]), cast(Transform, build(run.config["transform"]))
        objective = objective_of(run, model_of(run, device))
        seen, together = self._seen(made, transform), made.images * self.attempts
        network = [*architecture_of(run), sorted(objective.layers), seen, run.config["compute"]["precision"]]
        image = {key: value for key, value in run.config["parameterisation"].items() if key != "source"}
        step = [type(objective).__name__, type(transform).__name__, transform.views, run.config["optimizer"]]
        return [*network, tuning().memory_format, *step, image, made.size, together]

    def trial(self, run: Run, device: torch.device, count: int) -> float:
        """Seconds that a step of `count` runs like `run` takes on a CPU, undisturbed; nothing is kept of it."""
        config, transform = run.config, cast(Transform, build(run.config["transform"]))
        made = self.parameterisation([run] * count)
        objective = Objective.stack([objective_of(run, model_of(run, device))] * count * self.attempts)
        model = fast_model_of(run, device, objective.layers, self._seen(made, transform))
        few = Schedule(TRIAL, history_every=0, rescue=False, tile=self.tile, precision=config["compute"]["precision"])
        ends: list[float] = []
        optimizer = build(config["optimizer"])
        visualise(model, objective, made, transform, optimizer, few, lambda _: ends.append(perf_counter()))
        return min(end - begin for begin, end in pairwise(ends))

    @property
    def refills(self) -> bool:
        # The frames of all runs of a batch are kept at once.
        return self.stop is not None and self.tile is None and self.animation is None

    def parameterisation(self, runs: Sequence[Run]) -> Parameterisation:
        """The images of `runs`, each as many times as there are attempts."""
        tried = [(run.config, number) for run in runs for number in range(self.attempts)]
        settings = dict(runs[0].config["parameterisation"])
        if "source" in settings:
            settings["source"] = [config["parameterisation"]["source"] for config, _ in tried]
        made: Parameterisation = build(settings, seeds=[_attempt(config["seed"], number) for config, number in tried])
        return made

    def _seen(self, made: Parameterisation, transform: Transform) -> tuple[int, int]:
        """(height, width) of what the network sees at once."""
        if transform.size is not None:
            return height_and_width(transform.size)
        height, width = made.size
        return min(height, self.tile or height), min(width, self.tile or width)

    def _check_own(self, run: Run) -> None:
        self.schedule(run)
        if self.animation is not None and self.animation not in ANIMATIONS:
            raise ValueError(f"task.animation is {self.animation!r}; it is {' or '.join(ANIMATIONS)}, or null")
        if self.animation is not None and self.frames < 2:
            raise ValueError(f"task.frames is {self.frames}; an animation has at least 2")
        if self.animation == "mp4":
            mp4_bytes([torch.zeros(3, 2, 2)])  # an ffmpeg that cannot do it is better known before the work
        require_whole("task.attempts", self.attempts)
        if self.render_size is not None:
            require_size("task.render_size", self.render_size)
        if self.data is not None:
            if not isinstance(self.data, ImageSet):
                raise TypeError(f"task.data is {self.data!r}; it is a set of images: task.data='${{images}}'")
            require_readable(self.data)

    def _require_suitable(self, objective: Objective) -> None:
        if objective.needs_output:
            raise ValueError("objective.target=top1 or label needs an image: name a class, or use task=attribute")
        if self.tile is not None and (objective.sources or OPACITY in objective.layers):
            rule = "task.tile suits objectives that look at parts of an image; not transparency, nor pictures"
            raise ValueError(f"{rule}: task.tile=null")
        if self.data is not None:
            require_one_image(objective, "task.data scores one at a time: task.data=null")

    def _fit_with_frames(self, run: Run, size: tuple[int, int], together: int) -> int:
        """How many images have room for their frames on the host, where they are kept and then joined."""
        host = torch.device("cpu")
        each = 2 * 3 * size[0] * size[1] * max(1, len(self.schedule(run).frame_steps))
        free = memory.available(host)
        if each * together > free:
            raise ValueError(
                f"task.frames={self.frames} of {size[0]}x{size[1]} need about {each * together / 2**30:.1f} GiB, "
                f"and {free / 2**30:.1f} GiB are free; about {self.frames * free // (each * together)} frames fit"
            )
        return free // each

    def _look_once(
        self,
        model: VisionModel,
        objective: Objective,
        made: Parameterisation,
        transform: Transform,
        seen: tuple[int, int],
    ) -> None:
        """Score the first images, so that what does not fit the network fails before anything is written."""
        with torch.no_grad():
            made.step = 0
            images, count = made(), made.images
            images = images[:, :, : self.tile, : self.tile][:count]
            opacity = None if made.opacity is None else made.opacity[:count, :, : self.tile, : self.tile]
            made.step = None
        try_look(model, objective, transform, images, made.seeds[0], seen, opacity)


SCHEDULE = {field.name for field in fields(Schedule)} - set(COMPUTED)


def _groups(runs: Sequence[Run], at_once: int) -> list[Sequence[Run]]:
    """Runs that begin together: first as many as are executed at once, then some at a time for those that end."""
    few = max(1, at_once // GROUPS)
    return [runs[:at_once], *(runs[place : place + few] for place in range(at_once, len(runs), few))]


def _attempt(seed: int, number: int) -> int:
    """The seed of one attempt; the first is the run's own."""
    if number == 0:
        return seed
    return int(torch.randint(2**62, (), generator=generator(seed, f"attempt {number}")))
