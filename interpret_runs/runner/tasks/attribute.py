"""Which pixels of given images drive an objective."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from interpret_runs import memory
from interpret_runs.activations import Activations, capture, class_scores
from interpret_runs.attribution import Attribution
from interpret_runs.image_sets import loaded
from interpret_runs.images import Picture
from interpret_runs.metric import Explained, Metric
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.one_pass import OnePass, map_of_each
from interpret_runs.png import png_bytes
from interpret_runs.rendering import Rendering
from interpret_runs.runner.build import build
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.layout import fast_model_of
from interpret_runs.runner.objects import model_of, objective_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import require_one_image, try_score
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, Text, drawers, npy
from interpret_runs.scoring import frozen, score
from interpret_runs.summary import OPACITY, OUTPUT, PIXELS

# Runs that a GPU computes at least while the files of those before them are made; fewer would not fill it.
PIECE = 16


@dataclass(frozen=True)
class Attribute(Task):
    """Explain one image a run."""

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        model = model_of(runs[0], device)
        objective = objective_of(runs[0], model)
        require_one_image(objective, "task=attribute explains one; take another objective")
        _metrics(runs[0])
        build(runs[0].config["rendering"])
        size = model.preprocessing.size
        fits = memory.check(model, objective.layers, size, 1, device)
        image = torch.zeros(1, 3, *size, device=device)
        first = _Seen(model, [objective], image, [0]).objectives([0])[0]  # whichever its label will be
        try_score(model, first, image)
        for method, mine in _by_method(runs, model):
            if method.exact and runs[0].config["compute"]["precision"] != "float32":
                name = runs[mine[0]].choices["attribution"]
                raise ValueError(f"attribution={name} adds up in single precision only: compute.precision=float32")
            method.check(model, first, image)
        if len({canonical(run.config["images"]) for run in runs}) == 1:
            _picture(runs[0], model)
        return fits

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        model = model_of(runs[0], device)
        keys = [canonical(run.config["images"]) for run in runs]
        asked = [objective_of(run, model) for run in runs]
        layers = set[str]().union(*(one.layers for one in asked))
        fast_model_of(runs[0], device, layers, model.preprocessing.size)
        made: list[Future[Outcome]] = []
        with closing(_pictures(runs, keys, model)) as shown, drawers() as threads:
            for piece in _pieces([_pass_of(run) for run in runs], device):
                pictures = list(islice(shown, piece.stop - piece.start))
                left = _explained(runs[piece], model, asked[piece], pictures, keys[piece], filing)
                made += (threads.submit(_filed, filing, *one) for one in zip(runs[piece], left, strict=True))
                progress(piece.stop / len(runs))
            return [one.result() for one in made]


def _pictures(runs: Sequence[Run], keys: Sequence[str], model: VisionModel) -> Generator[Picture]:
    """The picture of each run; equal `keys` promise equal ones, which are read once. Those to come are read ahead."""
    sets = {key: build(run.config["images"]) for key, run in zip(keys, runs, strict=True)}
    reading = loaded(sets.values(), model.preprocessing, len(sets))
    read: dict[str, Picture] = {}
    for key in keys:
        if key not in read:
            read[key] = next(reading).result()
        yield read[key]


def _pass_of(run: Run) -> str:
    """Equal for runs that differ in their method alone, and so for those that one pass may serve."""
    return canonical([run.config["objective"], run.config["images"]])


def _pieces(keys: Sequence[Hashable], device: torch.device) -> list[slice]:
    """Runs to compute at once; those next to each other that have equal `keys` stay together.

    On a CPU, whose cores draw and compute, there is nothing to gain from more than one.
    """
    ends, start = [], 0
    for place in range(1, len(keys)):
        if device.type != "cpu" and place - start >= PIECE and keys[place] != keys[place - 1]:
            ends.append(start := place)
    return [slice(begin, end) for begin, end in pairwise([0, *ends, len(keys)])]


def _explained(
    runs: Sequence[Run],
    model: VisionModel,
    asked: Sequence[Objective],
    pictures: Sequence[Picture],
    keys: Sequence[str],
    filing: Filing,
) -> list[Callable[[], Outcome]]:
    """What is left to do for the outcome of each run, after all that needs the network."""
    images = torch.stack([picture.pixels for picture in pictures]).to(model.mean.device)
    seen = _Seen(model, asked, images, keys)
    objectives = seen.objectives(_labels(asked, model, pictures))
    objective = Objective.stack(objectives)
    scores = seen.scores(objective).cpu()
    half = runs[0].config["compute"]["precision"] == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16) if half else nullcontext():
        maps = _maps(runs, model, objective, images).float()
    numbers = _numbers(runs, seen, objective, maps, pictures)
    top, maps = class_scores(seen.output).softmax(1).cpu().max(1), maps.cpu()
    left: list[Callable[[], Outcome]] = []
    for place, run in enumerate(runs):
        said = {
            "picture": pictures[place].name,
            "picture_label": pictures[place].label,
            **numbers[place],
            "predicted": model.summary.label(int(top.indices[place])),
            "predicted_class": int(top.indices[place]),
            "predicted_probability": float(top.values[place]),
        }
        unit = _label_of_top(run, objectives[place], model)
        value = float(scores[place])
        left.append(partial(_map_outcome, run, value, maps[place], pictures[place], said, unit, filing.text(run)))
    return left


def _filed(filing: Filing, run: Run, outcome: Callable[[], Outcome]) -> Outcome:
    return filing.file(run, outcome())


def _picture(run: Run, model: VisionModel) -> Picture:
    found: Picture = build(run.config["images"])(model.preprocessing)
    return found


def _metrics(run: Run) -> Mapping[str, Metric]:
    made = {name: build(settings) for name, settings in run.config["metrics"].items()}
    for name, metric in made.items():
        if not isinstance(metric, Metric):
            raise TypeError(f"metrics.{name}._target_ makes a {type(metric).__name__}, not a Metric")
    return made


def _by_method(runs: Sequence[Run], model: VisionModel) -> Iterator[tuple[Attribution, list[int]]]:
    """Each distinct method of a batch, and the places of its runs."""
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(canonical(run.config["attribution"]), []).append(place)
    for mine in places.values():
        method = build(runs[mine[0]].config["attribution"])
        if not isinstance(method, Attribution):
            raise TypeError(f"attribution._target_ makes a {type(method).__name__}, not an Attribution")
        yield method.resolve(model.summary), mine


def _maps(runs: Sequence[Run], model: VisionModel, objective: Objective, images: Tensor) -> Tensor:
    methods = {place: method for method, mine in _by_method(runs, model) for place in mine}
    if not runs[0].shares_pass:
        return methods[0](model, objective, images)
    keys = [_pass_of(run) for run in runs]
    return map_of_each(model, [cast(OnePass, methods[place]) for place in range(len(runs))], objective, images, keys)


def _numbers(
    runs: Sequence[Run], seen: _Seen, objective: Objective, maps: Tensor, pictures: Sequence[Picture]
) -> list[dict[str, Any]]:
    """What method and metrics say of each map, by index column; what is not defined for a map is left out."""
    model, images = seen.model, seen.images
    known = torch.tensor([picture.mask is not None for picture in pictures], device=images.device)
    empty = torch.zeros(images.shape[2:], dtype=torch.bool)
    masks = torch.stack([empty if picture.mask is None else picture.mask for picture in pictures]).to(images.device)
    found: list[dict[str, Any]] = [{} for _ in runs]
    for method, mine in _by_method(runs, model):
        rows = torch.tensor(mine, device=images.device)
        explained = Explained(
            model, objective, images[rows], rows, maps[rows], method, masks[rows], known[rows], seen.of(rows)
        )
        measured = dict(method.measure(model, objective, explained.images, explained.maps, rows))
        for key, metric in _metrics(runs[mine[0]]).items():
            for name, values in metric(explained).items():
                # Of a second metric of one kind the columns carry its key.
                measured[name if name not in measured else f"{key}_{name}"] = values
        for name, values in measured.items():
            for place, value in zip(mine, values.tolist(), strict=True):
                if value == value:
                    found[place][name] = value
    return found


def _labels(objectives: Sequence[Objective], model: VisionModel, pictures: Sequence[Picture]) -> list[int | None]:
    """The true class of each picture, where an objective asks for it: other pictures may show no class of the model."""
    found: list[int | None] = []
    for objective, picture in zip(objectives, pictures, strict=True):
        if objective.needs_label and picture.label is None:
            labels = "sub-folders, images.labels=FILE.csv or images.label=CLASS"
            raise LookupError(
                f"target label: {picture.name!r} has none: name a class, or top1, or give labels ({labels})"
            )
        found.append(picture.class_index(model.summary) if objective.needs_label else None)
    return found


class _Seen:
    """What the network and some objectives, one an image, say of images in one forward pass.

    Equal `keys` promise equal images, which pass once.
    """

    def __init__(
        self, model: VisionModel, asked: Sequence[Objective], images: Tensor, keys: Sequence[Hashable]
    ) -> None:
        self.model, self.asked, self.images = model, asked, images
        places = {key: place for place, key in reversed(list(enumerate(keys)))}
        first = sorted(places.values())
        layers = {OUTPUT, PIXELS}.union(*(one.layers for one in asked)) - {OPACITY}
        with frozen(model), torch.no_grad(), capture(model, layers) as forward:
            seen = forward(images[first])
        mine = torch.tensor([first.index(places[key]) for key in keys], device=images.device)
        self.outputs = {name: outputs[mine] for name, outputs in seen.items()}
        self.output = self.outputs[OUTPUT]

    def objectives(self, labels: Sequence[int | None]) -> list[Objective]:
        """The objectives with `top1` and `label` made classes."""
        return [one.for_images(self.output[i : i + 1], labels[i : i + 1]) for i, one in enumerate(self.asked)]

    def scores(self, objective: Objective) -> Tensor:
        """The scores of `objective`, of which row i is for image i, (B,)."""
        rows = torch.arange(len(self.images), device=self.images.device)
        with frozen(self.model), torch.no_grad():
            if objective.sources:  # there are other pictures to be seen
                return score(self.model, objective, self.images, rows)
            return objective(self.of(rows))

    def of(self, rows: Tensor) -> Activations:
        """What the network says of the images in these places."""
        size = (self.images.shape[2], self.images.shape[3])
        return Activations({name: outputs[rows] for name, outputs in self.outputs.items()}, rows, size)


def _label_of_top(run: Run, objective: Objective, model: VisionModel) -> str | None:
    if not objective_of(run, model).needs_output:
        return None
    target = getattr(objective, "target", None)
    return model.summary.label(target) if isinstance(target, int) else None


def _map_outcome(
    run: Run, value: float, values: Tensor, shown: Picture, numbers: dict[str, Any], unit: str | None, text: Text
) -> Outcome:
    if not values.isfinite().all() or not np.isfinite(value):
        return Outcome(None, numbers, error="the map or the score is not finite", unit=unit)
    rendering: Rendering = build(run.config["rendering"])
    heat_map, drawn, limit = rendering.pictures(shown.pixels, values)
    if (drawn.height, drawn.width) == values.shape:  # not enlarged
        drawn = shown.in_whole(drawn)
    files = {
        "map": ("map.npy", npy(values)),
        "heat_map": ("heat_map.png", png_bytes(heat_map, text)),
        "overlay": ("overlay.png", png_bytes(drawn, text)),
    }
    return Outcome(value, {**numbers, "limit": limit}, files, unit=unit)
