"""What a layer tells apart in a set of images, as a map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from interpret_runs import memory
from interpret_runs.atlas import Cell, bins, cells_of, most_attributed, unit_directions, whitening
from interpret_runs.images import ImageSet, to_pil
from interpret_runs.layer_samples import LayerSamples, layer_samples
from interpret_runs.models import VisionModel
from interpret_runs.png import png_bytes
from interpret_runs.randomness import generator
from interpret_runs.reducers import check_reducer, reduce
from interpret_runs.runner.objects import model_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import require_readable, require_whole
from interpret_runs.runner.tasks.icons import Icons
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, Text
from interpret_runs.summary import OUTPUT

# What part of the whole work the reading of images is said to be.
READING = 0.1
PAPER, INK = (255, 255, 255), (60, 60, 60)
LETTERS, LINES = 9, 2  # of a caption: height in pixels, and how many lines it has


@dataclass(frozen=True)
class Atlas(Task):
    """Activation atlas (Carter et al., 2019) of a layer over a set of images.

    Activations at random positions are laid out in the plane by a reducer, the plane is cut into cells, and the
    whitened mean of each cell is visualised at its place.

    Args:
        data: the set of images.
        layer: whose activations are shown.
        pictures: how many images of the set, drawn by the run's seed; null takes all.
        positions: of each image.
        reducer: ``pca``, ``umap`` or ``tsne``; see `reducers.reduce`.
        cells: along each side of the map.
        least: samples in a cell that is shown.
        whiten: whether directions are whitened; see `atlas.whitening`, also for `ridge`.
        steps, cosine_power, rescue: of the icons; see `Icons`.
    """

    data: ImageSet
    layer: str
    pictures: int | None = None
    positions: int = 4
    reducer: str = "pca"
    cells: int = 12
    least: int = 3
    whiten: bool = True
    ridge: float = 1
    steps: int = 64
    cosine_power: float = 2
    rescue: bool = True

    @property
    def icons(self) -> Icons:
        return Icons(self.layer, self.steps, self.cosine_power, self.rescue)

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        for name in ("positions", "cells", "least", *(["pictures"] if self.pictures is not None else [])):
            require_whole(f"task.{name}", getattr(self, name))
        if not isinstance(self.whiten, bool):
            raise ValueError(f"task.whiten is {self.whiten!r}; it is true or false")
        if isinstance(self.ridge, bool) or not isinstance(self.ridge, (int, float)) or not self.ridge > 0:
            raise ValueError(f"task.ridge is {self.ridge!r}; it must be a number above 0")
        check_reducer(self.reducer)
        model = model_of(runs[0], device)
        self.icons.check(runs[0], model, device)
        memory.check(model, {self.layer, OUTPUT}, model.preprocessing.size, 1, device)
        require_readable(self.data)
        return 1

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        return [self._execute(run, device, filing.text(run), progress) for run in runs]

    def _execute(self, run: Run, device: torch.device, text: Text, progress: Progress) -> Outcome:
        model, seed = model_of(run, device), run.config["seed"]
        items = _drawn_from(self.data.items(), self.pictures, seed)
        samples = layer_samples(
            model, self.layer, items, self.positions, seed, progress=lambda part: progress(READING * part)
        ).active
        places = bins(reduce(unit_directions(samples.activations), self.reducer, seed), self.cells)
        cells = cells_of(places, self.least)
        if not cells:
            rule = "take more pictures or positions, fewer task.cells or a smaller task.least"
            raise ValueError(f"no cell has {self.least} of the {len(samples)} samples in it; {rule}")
        means = torch.stack([samples.activations[cell.members].mean(0) for cell in cells])
        if self.whiten:
            means = (means.double() @ whitening(samples.activations, self.ridge)).float()
        directions = unit_directions(means)
        images, scores = self.icons.make(
            run, model, directions, device, lambda part: progress(READING + (1 - READING) * part)
        )
        told = [_told(cell, samples, model) for cell in cells]
        atlas = {"reducer": self.reducer, "samples": len(samples), "cells": told, "skipped": samples.skipped}
        text = {**text, "interpret-runs.atlas": json.dumps({"reducer": self.reducer, "cells": told})}
        captions = [f"{one['classes'][0][0] if one['classes'] else '-'} {one['samples']}" for one in told]
        files = {
            "image": ("image.png", png_bytes(drawn(cells, images, self.cells), text)),
            "labelled": ("labelled.png", png_bytes(drawn(cells, images, self.cells, captions), text)),
            "atlas": ("atlas.json", json.dumps(atlas, indent=1).encode()),
        }
        numbers = {
            "pictures": len(items) - len(samples.skipped),
            "pictures_skipped": len(samples.skipped),
            "samples": len(samples),
            "samples_shown": sum(len(cell.members) for cell in cells),
            "cells_shown": len(cells),
        }
        return Outcome(float(scores.mean()), numbers, files, self.steps)


def drawn(cells: Sequence[Cell], images: Tensor, side: int, captions: Sequence[str] = ()) -> Image.Image:
    """The images of cells (N, 3, h, w) at their places among side * side on white paper; captions go below them."""
    height, width = images.shape[2:]
    room = LINES * (LETTERS + 2) if captions else 0
    sheet = Image.new("RGB", (side * width, side * (height + room)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTERS)
    for place, (cell, image) in enumerate(zip(cells, images, strict=True)):
        left, top = cell.column * width, cell.row * (height + room)
        sheet.paste(to_pil(image), (left, top))
        for line, text in enumerate(_lines(captions[place], width - 2, font) if captions else ()):
            draw.text((left + 1, top + height + line * (LETTERS + 2) - 1), text, INK, font)
    return sheet


def _lines(caption: str, width: int, font: Any) -> list[str]:
    """A caption, `class count`, in at most two lines; what does not fit is cut, but for the count."""
    name, _, number = caption.rpartition(" ")
    words, first = name.split(), ""
    while words and font.getlength(f"{first} {words[0]}".strip()) <= width:
        first = f"{first} {words.pop(0)}".strip()
    if words and not first:
        return [_cut(words[0], "", width, font), _cut(" ".join(words[1:]), number, width, font)]
    return [first, _cut(" ".join(words), number, width, font)]


def _cut(text: str, number: str, width: int, font: Any) -> str:
    """As many letters of a text as fit before a number."""
    while text and font.getlength(f"{text} {number}") > width:
        text = text[:-1]
    return f"{text} {number}".strip()


def _told(cell: Cell, samples: LayerSamples, model: VisionModel) -> dict[str, Any]:
    """What is noted of a cell: where it is, how many samples of how many images, classes with their attribution."""
    ranked = most_attributed(samples.classes[cell.members], samples.attributed[cell.members])
    return {
        "row": cell.row,
        "column": cell.column,
        "samples": len(cell.members),
        "pictures": len(set(samples.images[cell.members].tolist())),
        "classes": [[model.summary.label(index), round(value, 6)] for index, value in ranked],
    }


def _drawn_from(items: Sequence[ImageSet], most: int | None, seed: int) -> Sequence[ImageSet]:
    """At most so many of the items, in order; at random, as sets are often sorted by class, or take them in turns."""
    if most is None or most >= len(items):
        return items
    chosen = torch.randperm(len(items), generator=generator(seed, "pictures"))[:most]
    return [items[place] for place in chosen.sort().values.tolist()]
