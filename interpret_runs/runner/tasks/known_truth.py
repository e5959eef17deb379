"""What a method's maps are worth on a problem of which the truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from interpret_runs import trained
from interpret_runs.attribution import Attribution
from interpret_runs.models import VisionModel
from interpret_runs.objectives import Logit
from interpret_runs.problem import Problem, Question
from interpret_runs.randomness import generator
from interpret_runs.runner.build import build
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task

# Gradients, plain and with another rule for ReLU.
MAGNITUDES = ("Saliency", "SmoothGrad", "GuidedBackprop", "GuidedGradCam", "Deconvnet")


@dataclass(frozen=True)
class KnownTruth(Task):
    """Ask one attribution method the questions of one problem; the run's seed is that of images and training.

    The score is the first measure's mean over samples, and each measure's mean is a number of its own; samples without
    one (a map without positive mass, say) are left out and counted. File ``values`` holds all numbers of all samples.

    A method with a seed gets another one for each sample, that what it draws is as independent as the samples are.

    Args:
        magnitudes: class names of methods whose maps are measured by their magnitude, as their sign tells the
            direction in which a pixel would have to change, and not whether it speaks for the class.
    """

    magnitudes: Sequence[str] = MAGNITUDES

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        for run in runs:
            model = _blank(_problem(run))
            size = model.preprocessing.size
            image = torch.rand(1, 3, *size, generator=generator(0, "check"))
            _method(run, model).check(model, Logit(0), image)
        return len(runs)

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        outcomes = []
        for done, run in enumerate(runs, 1):
            outcomes.append(self._outcome(run, device))
            progress(done / len(runs))
        return outcomes

    def _outcome(self, run: Run, device: torch.device) -> Outcome:
        problem = _problem(run)
        questions = [question.to(device) for question in _questions(problem, run.config["seed"], trained.folder())]
        found: dict[str, dict[str, Any]] = {}
        started = perf_counter()
        for question in questions:
            method = _method(run, question.model)
            maps = _maps(method, question, problem.one_draw)
            shown = maps.abs() if type(method).__name__ in self.magnitudes else maps
            chances = problem.chance(question)
            for name, values in problem.measure(question, shown, method).items():
                entry = found.setdefault(
                    name, {"values": [], "chances": [], "networks": [], "higher": _higher(problem, name)}
                )
                entry["values"] += [value if value == value else None for value in values.double().tolist()]
                entry["chances"] += [chances[name]] * len(values) if name in chances else []
                entry["networks"] += [question.trained.digest] if question.trained else []
        metrics: dict[str, Any] = {"attribution_seconds": round(perf_counter() - started, 3)}
        measures = {}
        for name, entry in found.items():
            chances = entry.pop("chances")
            measures[name] = {**entry, "chance": sum(chances) / len(chances) if chances else None}
            defined = [value for value in entry["values"] if value is not None]
            if defined:
                metrics[name] = sum(defined) / len(defined)
            metrics[f"{name}_samples"] = len(defined)
        made = {one.trained.digest: one.trained for one in questions if one.trained}
        networks = {
            name: {"seconds": one.seconds, "accuracy": one.accuracy, "least": one.least} for name, one in made.items()
        }
        if made:
            metrics["training_seconds"] = round(sum(one.seconds for one in made.values()), 3)
            metrics["accuracy"] = sum(one.accuracy for one in made.values()) / len(made)
            metrics["networks_not_learned"] = sum(not one.learned for one in made.values())
        said = json.dumps({"measures": measures, "networks": networks}, indent=1).encode()
        files = {"values": ("values.json", said)}
        return Outcome(metrics.get(next(iter(found))), metrics, files, unit=str(next(iter(found))))


def _problem(run: Run) -> Problem:
    made = build(run.config["problem"])
    if not isinstance(made, Problem):
        raise TypeError(f"problem._target_ makes a {type(made).__name__}, not a Problem")
    return made


def _method(run: Run, model: VisionModel) -> Attribution:
    made = build(run.config["attribution"])
    if not isinstance(made, Attribution):
        raise TypeError(f"attribution._target_ makes a {type(made).__name__}, not an Attribution")
    return made.resolve(model.summary)


@lru_cache(maxsize=16)
def _blank(problem: Problem) -> VisionModel:
    return problem.blank()


@lru_cache(maxsize=16)
def _questions(problem: Problem, seed: int, folder: Path | None) -> tuple[Question, ...]:
    """What a problem asks, its networks from `folder`; the last few stay in memory."""
    return problem.questions(seed)


def _maps(method: Attribution, question: Question, one_draw: bool) -> Tensor:
    """The maps of all images, (B, H, W)."""
    seeded = any(field.name == "seed" for field in fields(method))  # type: ignore[arg-type]  # all are dataclasses
    if one_draw or not seeded:
        return method(question.model, question.objective, question.images)
    base = generator(method.seed, f"known truth {question.name}").initial_seed() >> 1  # type: ignore[attr-defined]
    found = []
    for place in range(len(question.images)):
        row = torch.tensor([place], device=question.images.device)
        own = replace(method, seed=base + place)  # type: ignore[type-var]
        found.append(own(question.model, question.objective, question.images[row], row))
    return torch.cat(found)


def _higher(problem: Problem, name: str) -> bool:
    return next(higher for start, higher in problem.higher.items() if name.startswith(start))
