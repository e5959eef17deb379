"""What a network says of finished images, through transforms that they were not optimised with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interpret_runs import metrics
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.scoring import class_probabilities
from interpret_runs.tiles import windows
from interpret_runs.transforms import Standard
from interpret_runs.visualisation import Visualisation

# Looks at the finished image through the standard transforms, whichever it was made with, so that runs compare.
DRAWS = 8

Said = tuple[metrics.Fresh, Tensor | None]


def fresh_looks(
    model: VisionModel,
    objective: Objective,
    found: Visualisation,
    groups: Sequence[Parameterisation],
    seen: tuple[int, int],
    tile: int | None,
) -> Said:
    """What the network says of the images under draws not optimised with, and of the images as they are.

    Group by group, as many as it saw at once when it made them.

    Args:
        seen: (height, width) of what the network sees at once.
        tile: side of the windows in which it saw larger images; None is the whole.
    """
    looks, said, end, row = [], [], 0, 0
    for made in groups:
        start, end = end, end + len(made.seeds) * made.images
        images = found.images[start:end].to(model.mean.device)
        opacity = None if found.transparent is None else found.transparent[start:end, 3:].to(images)
        fresh, probabilities = _of_group(model, objective, images, opacity, made, row, seen, tile)
        looks.append(fresh)
        said.append(probabilities)
        row += len(made.seeds)
    known = [one for one in said if one is not None]
    return metrics.Fresh.joined(looks), torch.cat(known) if known else None


def _of_group(
    model: VisionModel,
    objective: Objective,
    images: Tensor,
    opacity: Tensor | None,
    made: Parameterisation,
    row: int,
    seen: tuple[int, int],
    tile: int | None,
) -> Said:
    """Of images whose first run is unit `row`; where they are larger than a tile, the mean over the windows."""
    fresh, looks, said = Standard(size=seen), [], []
    for down, across in windows(made.size, tile or max(made.size), 0):
        part = images[..., down, across]
        covered = None if opacity is None else opacity[..., down, across]
        looks.append(metrics.robustness(model, objective, part, fresh, made.seeds, DRAWS, made.images, covered, row))
        said.append(class_probabilities(model, fresh.clean(part)))
    known = [one for one in said if one is not None]
    return metrics.Fresh.mean(looks), torch.stack(known).mean(0) if known else None
