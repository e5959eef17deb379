"""What a layer says at each position of a picture, drawn where it says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from interpret_runs.activations import capture, class_scores
from interpret_runs.atlas import unit_directions
from interpret_runs.images import ImageSet, Picture, to_pil
from interpret_runs.models import VisionModel
from interpret_runs.png import png_bytes
from interpret_runs.runner.build import build
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.objects import model_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.icons import Icons
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, Text, npy
from interpret_runs.scoring import frozen
from interpret_runs.summary import OUTPUT

# How much of the picture is white behind the cells, so that these stand out.
PALE = 0.45
# The smallest cell that is drawn, in pixels; a smaller one shows nothing.
SMALLEST = 3


@dataclass(frozen=True)
class ActivationGrid(Task):
    """Activation grid of an image (Olah et al., 2018): an icon of the activation's direction at each position.

    Args:
        layer: whose positions are the cells.
        steps: of each icon.
        cosine_power: see `objectives.Direction`.
        rescue: see `Schedule`.
        scale: whether the area of a cell is in proportion to the length of the activation there.
    """

    layer: str
    steps: int = 64
    cosine_power: float = 2
    rescue: bool = True
    scale: bool = True

    @property
    def icons(self) -> Icons:
        return Icons(self.layer, self.steps, self.cosine_power, self.rescue)

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        model = model_of(runs[0], device)
        if not isinstance(self.scale, bool):
            raise ValueError(f"task.scale is {self.scale!r}; it is true or false")
        self.icons.check(runs[0], model, device)
        rows, columns = _activation(model, self.layer, torch.zeros(3, *model.preprocessing.size))[0].shape[1:]
        if rows * columns == 1:
            with_grid = [one.path for one in model.summary.layers if one.shape and max(one.shape[1:], default=1) > 1]
            near = ", ".join(with_grid[-3:]) or "none"
            raise ValueError(f"layer {self.layer!r} has no grid of positions; the last that have one: {near}")
        if len({canonical(run.config["images"]) for run in runs}) == 1:
            _picture(runs[0], model)
        return len(runs)

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        outcomes = []
        for place, run in enumerate(runs):
            outcomes.append(self._execute(run, device, filing.text(run), partial(_tell, progress, place, len(runs))))
        return outcomes

    def _execute(self, run: Run, device: torch.device, text: Text, progress: Progress) -> Outcome:
        """One run; what comes of it does not depend on the others of its batch."""
        model = model_of(run, device)
        picture = _picture(run, model)
        activation, output = _activation(model, self.layer, picture.pixels)
        lengths = torch.linalg.vector_norm(activation, dim=0)
        active = (lengths > 0).flatten().nonzero().flatten()
        if not len(active):
            return Outcome(None, error=f"layer {self.layer} is 0 at every position of {picture.name}")
        directions = unit_directions(activation.flatten(1).T[active])
        images, scores = self.icons.make(run, model, directions, device, progress)
        sizes = (lengths / lengths.max()).sqrt() if self.scale else torch.ones_like(lengths)
        cells = {divmod(place, lengths.shape[1]): image for place, image in zip(active.tolist(), images, strict=True)}
        predicted = int(output.argmax())
        numbers = {
            "picture": picture.name,
            "picture_label": picture.label,
            "rows": lengths.shape[0],
            "columns": lengths.shape[1],
            "longest": float(lengths.max()),
            "predicted": model.summary.label(predicted),
            "predicted_class": predicted,
            "predicted_probability": float(output.softmax(0)[predicted]),
        }
        files = {
            "image": ("image.png", png_bytes(drawn(picture.pixels, cells, sizes), text)),
            "picture": ("picture.png", png_bytes(to_pil(picture.pixels), text)),
            "lengths": ("lengths.npy", npy(lengths)),
        }
        return Outcome(float(scores.mean()), numbers, files, self.steps)


def drawn(picture: Tensor, cells: dict[tuple[int, int], Tensor], sizes: Tensor) -> Image.Image:
    """Cells (3, h, w) over a pale picture (3, H, W), each in the middle of its place, its sides times its size.

    `sizes`, from 0 to 1, is (rows, columns), and the whole rows * h by columns * w.
    """
    height, width = next(iter(cells.values())).shape[1:]
    rows, columns = sizes.shape
    whole = to_pil(picture + (1 - picture) * PALE)
    sheet = whole.resize((columns * width, rows * height), Image.Resampling.BICUBIC)
    for (row, column), image in cells.items():
        tall, wide = (round(side * float(sizes[row, column])) for side in (height, width))
        if min(tall, wide) >= SMALLEST:
            small = to_pil(image).resize((wide, tall), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * width + (width - wide) // 2, row * height + (height - tall) // 2))
    return sheet


def _picture(run: Run, model: VisionModel) -> Picture:
    source: ImageSet = build(run.config["images"])
    return source(model.preprocessing)


def _activation(model: VisionModel, layer: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """A layer on its grid, (C, H, W), and the class scores, (K,), of one image; on the CPU."""
    with frozen(model), torch.no_grad(), capture(model, {layer, OUTPUT}) as forward:
        seen = forward(pixels[None].to(model.mean))
        return seen.grid(layer)[0].float().cpu(), class_scores(seen[OUTPUT])[0].float().cpu()


def _tell(progress: Progress, place: int, total: int, part: float) -> None:
    progress((place + part) / total)
