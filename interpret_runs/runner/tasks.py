"""What one batch of runs does: visualise or attribute."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from torch import Tensor

from interpret_runs import memory
from interpret_runs.activations import capture, class_scores
from interpret_runs.attributions import Attribution
from interpret_runs.heat_maps import enlarged, heat_map, overlay, robust_limit
from interpret_runs.images import Picture, png_bytes, to_pil
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.objects import build, model_of, objective_of, stacked
from interpret_runs.runner.runs import Run
from interpret_runs.scoring import frozen, predictions, score
from interpret_runs.size import height_and_width
from interpret_runs.summary import OUTPUT, PIXELS
from interpret_runs.transforms import Transform
from interpret_runs.visualisation import Schedule, Visualisation, visualise

# Standard deviation of an image's values below which it shows nothing.
FLATTEST = 0.02

Progress = Callable[[float], None]
Text = dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What one run came to: a score, numbers for the index, and files by artefact name."""

    score: float | None
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    steps: int | None = None
    unit: str | None = None
    history: dict[str, list[float]] | None = None
    error: str | None = None


class Task(ABC):
    """Settings of a kind of run; a batch of runs is checked, then executed together."""

    @abstractmethod
    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        """Build what `runs` need, without computing; returns how many of them fit into memory together.

        Raises:
            LookupError, ValueError, TypeError, OSError: a setting is wrong.
        """

    @abstractmethod
    def execute(
        self, runs: Sequence[Run], device: torch.device, text: Callable[[Run], Text], progress: Progress
    ) -> list[Outcome]:
        """The outcomes of `runs`, in order. `text` gives the metadata of a run's images; `progress` takes 0 to 1."""


@dataclass(frozen=True)
class Visualise(Task):
    """Optimise one image or more a run; the fields are those of `Schedule`."""

    steps: int = 128
    snapshots: tuple[int, ...] = ()
    history_every: int = 16
    rescue: bool = True

    def schedule(self, run: Run) -> Schedule:
        own = {name.name: getattr(self, name.name) for name in fields(self)}
        return Schedule(**own, precision=run.config["compute"]["precision"])

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        first, model = runs[0], model_of(runs[0], device)
        self.schedule(first)
        objective = objective_of(first, model)
        if objective.needs_output:
            raise ValueError("objective.target=top1 needs an image: name a class, or use task=attribute")
        config = first.config["parameterisation"]
        own = height_and_width(config["size"])
        transform: Transform = build(first.config["transform"])
        seen = own if transform.size is None else height_and_width(transform.size)
        with _refused(model, seen):
            fits = memory.check(model, objective.layers, seen, int(config["images"]), device)
        fits = min(fits, memory.check(model, {PIXELS}, own, int(config["images"]), device))
        grey = torch.full((1, 3, *own), 0.5, device=device)
        with _refused(model, seen):
            _try(model, objective, transform(grey, transform.draw(1, [0])[0].to(device)))
        parameterisation = self._parameterisation(runs[:1])
        try:
            build(first.config["optimizer"])(parameterisation.parameters()).step()
        except (TypeError, ValueError, InstantiationException) as error:
            raise ValueError(f"optimizer: {str(error.__cause__ or error).splitlines()[0]}") from error
        return max(1, fits // parameterisation.images)

    def execute(
        self, runs: Sequence[Run], device: torch.device, text: Callable[[Run], Text], progress: Progress
    ) -> list[Outcome]:
        model, config = model_of(runs[0], device), runs[0].config
        transform: Transform = build(config["transform"])
        found = visualise(
            model,
            stacked(runs, model),
            self._parameterisation(runs),
            transform,
            build(config["optimizer"]),
            self.schedule(runs[0]),
            lambda step: progress(step / self.steps),
        )
        top = predictions(model, transform.clean(found.images.to(device)))
        return [self._outcome(i, run, found, model, top, text(run)) for i, run in enumerate(runs)]

    def _parameterisation(self, runs: Sequence[Run]) -> Parameterisation:
        seeds = [run.config["seed"] for run in runs]
        made: Parameterisation = build(runs[0].config["parameterisation"], seeds=seeds)
        return made

    def _outcome(
        self,
        place: int,
        run: Run,
        found: Visualisation,
        model: VisionModel,
        top: list[tuple[int, float]] | None,
        text: Text,
    ) -> Outcome:
        count = run.config["parameterisation"]["images"]
        mine = slice(place * count, (place + 1) * count)
        steps, history = found.history
        if failed := int(found.failed[mine].max()):
            return Outcome(None, steps=failed, error=f"score is not finite from step {failed} on; lower optimizer.lr")
        spread, value = float(found.images[mine].std(dim=(1, 2, 3)).min()), float(found.scores[mine].mean())
        metrics: dict[str, Any] = {"image_std": spread, "alive": value > 0 and spread >= FLATTEST}
        if top is not None:
            index, probability = top[place * count]
            metrics |= {"predicted": model.summary.label(index), "predicted_class": index}
            metrics["predicted_probability"] = probability
        files = {"image": ("image.png", picture(found.images[mine], text))}
        for step in sorted(found.snapshots):
            name = f"snapshot-{step:04d}"
            files[name] = (f"{name}.png", picture(found.snapshots[step][mine], text))
        scores = [round(float(value), 6) for value in history[:, mine].mean(1)] if len(steps) else []
        return Outcome(
            value,
            metrics,
            files,
            self.steps,
            history={"step": list(map(float, steps)), "score": scores},
        )


@dataclass(frozen=True)
class Attribute(Task):
    """Explain one image a run."""

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        model = model_of(runs[0], device)
        objective = objective_of(runs[0], model)
        method: Attribution = build(runs[0].config["attribution"]).resolve(model.summary)
        size = model.preprocessing.size
        fits = memory.check(model, objective.layers, size, 1, device)
        image = torch.zeros(1, 3, *size, device=device)
        (first,), _ = _with_classes([objective], model, image)
        _try(model, first, image)
        method.check(model, first, image)
        if len({canonical(run.config["images"]) for run in runs}) == 1:
            self._picture(runs[0], model)
        return fits

    def execute(
        self, runs: Sequence[Run], device: torch.device, text: Callable[[Run], Text], progress: Progress
    ) -> list[Outcome]:
        model = model_of(runs[0], device)
        pictures = [self._picture(run, model) for run in runs]
        images = torch.stack([picture.pixels for picture in pictures]).to(device)
        objectives, output = _with_classes([objective_of(run, model) for run in runs], model, images)
        objective = Objective.stack(objectives)
        method: Attribution = build(runs[0].config["attribution"]).resolve(model.summary)
        half = runs[0].config["compute"]["precision"] == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            maps = method(model, objective, images).float()
            with frozen(model), torch.no_grad():
                scores = score(model, objective, images, torch.arange(len(images), device=device)).float()
            measured = method.measure(model, objective, images, maps)
        progress(1.0)
        top = class_scores(output).softmax(1).max(1)
        outcomes = []
        for place, run in enumerate(runs):
            metrics: dict[str, Any] = {"picture": pictures[place].name, "picture_label": pictures[place].label}
            metrics |= {name: values[place].item() for name, values in measured.items()}
            metrics |= {
                "predicted": model.summary.label(int(top.indices[place])),
                "predicted_class": int(top.indices[place]),
                "predicted_probability": float(top.values[place]),
            }
            unit = _label_of_top(run, objectives[place], model)
            outcomes.append(
                _map_outcome(float(scores[place]), maps[place].cpu(), pictures[place], metrics, unit, text(run))
            )
        return outcomes

    def _picture(self, run: Run, model: VisionModel) -> Picture:
        found: Picture = build(run.config["images"])(model.preprocessing)
        return found


def picture(images: Tensor, text: Text) -> bytes:
    """One PNG of a run's images, side by side."""
    return png_bytes(to_pil(torch.cat(list(images), 2)), text)


@contextmanager
def _refused(model: VisionModel, size: tuple[int, int]) -> Iterator[None]:
    """Say of what torch says about shapes which images it is about."""
    try:
        yield
    except (torch.OutOfMemoryError, NotImplementedError):
        raise
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{model.name} refuses images of {size[0]}x{size[1]}: {line}") from error


def _try(model: VisionModel, objective: Objective, image: Tensor) -> None:
    """Score one image, so that what does not fit the network fails before anything is written."""
    with frozen(model), torch.no_grad():
        value = score(model, objective, image)
    if not value.isfinite().all():
        raise ValueError(f"the score of a plain image is {float(value)}: a setting of model or transform is not finite")


def _with_classes(objectives: list[Objective], model: VisionModel, images: Tensor) -> tuple[list[Objective], Tensor]:
    """Objectives with `top1` made a class, and what the network says of the images."""
    with frozen(model), torch.no_grad(), capture(model, [OUTPUT]) as forward:
        output = forward(images)[OUTPUT]
    return [objective.for_images(output[i : i + 1]) for i, objective in enumerate(objectives)], output


def _label_of_top(run: Run, objective: Objective, model: VisionModel) -> str | None:
    if not objective_of(run, model).needs_output:
        return None
    target = getattr(objective, "target", None)
    return model.summary.label(target) if isinstance(target, int) else None


def _map_outcome(
    value: float, values: Tensor, shown: Picture, metrics: dict[str, Any], unit: str | None, text: Text
) -> Outcome:
    if not values.isfinite().all() or not np.isfinite(value):
        return Outcome(None, metrics, error="the map or the score is not finite", unit=unit)
    raw, limit = io.BytesIO(), robust_limit(values)
    np.save(raw, values.numpy())
    files = {
        "map": ("map.npy", raw.getvalue()),
        "heat_map": ("heat_map.png", png_bytes(heat_map(values, limit), text)),
        "overlay": ("overlay.png", png_bytes(enlarged(overlay(shown.pixels, values, limit)), text)),
    }
    return Outcome(value, {**metrics, "limit": limit}, files, unit=unit)
