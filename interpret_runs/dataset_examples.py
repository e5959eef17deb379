"""The images of a set that excite units most and least: one pass over the set for any number of units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpret_runs.activations import Activations, capture
from interpret_runs.image_sets import loaded
from interpret_runs.images import ImageSet
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.references import reference
from interpret_runs.scoring import frozen
from interpret_runs.summary import OPACITY
from interpret_runs.variants import in_pieces


@dataclass(frozen=True)
class Extremes:
    """The k images at one end of each unit's scores, the most extreme first; of equals the first in the set.

    Attributes:
        scores: (k, units); NaN where fewer than k images have a score.
        images: places in the set, (k, units); -1 where the score is NaN.
        places: (k, units, 2), row and column on the layer's grid: a unit's own position where it has one, else where
            its channel is strongest, or weakest; -1 without a channel, or where several positions are so.
    """

    scores: Tensor
    images: Tensor
    places: Tensor


@dataclass(frozen=True)
class Survey:
    """How a set of images excites some units; everything on the CPU.

    Attributes:
        strongest, weakest: the images with the largest and with the smallest scores.
        layers: for each unit the layer on whose grid its places lie; None for a unit without places.
        skipped: images that could not be read, each with the reason.
        scores: all scores, (images, units) in float32, NaN for images that could not be read; None unless asked for.
    """

    strongest: Extremes
    weakest: Extremes
    layers: tuple[str | None, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    scores: Tensor | None = None


def survey(
    model: VisionModel,
    objectives: Sequence[Objective],
    dataset: Sequence[ImageSet],
    k: int,
    batch_size: int = 32,
    progress: Callable[[float], None] | None = None,
    keep_scores: bool = False,
) -> Survey:
    """Score every image of `dataset` with every one of `objectives`, the units, and keep the `k` at either end.

    Each batch of images goes through the network once, up to the last layer that a unit reads; memory does
    not grow with the set, `keep_scores` apart. Scores that are NaN are left out. The model is left as it was found.

    Args:
        progress: called with the part that is done, 0 to 1, after every batch.

    Raises:
        ValueError: no image, none that can be read, no unit, one that needs an image (`top1`), `k` or
            `batch_size` below 1.
        LookupError: a unit that the network does not have.
    """
    _check(objectives, dataset, k, batch_size)
    objectives = [objective.resolve(model.summary) for objective in objectives]
    strongest, weakest = _Running(k, len(objectives), 1), _Running(k, len(objectives), -1)
    scores = torch.full((len(dataset), len(objectives)), torch.nan) if keep_scores else None
    skipped: list[tuple[str, str]] = []
    layers = frozenset[str]().union(*(objective.layers for objective in objectives)) - {OPACITY}
    with torch.no_grad(), frozen(model), capture(model, layers) as forward:
        units = _Units(objectives, forward, torch.zeros(1, 3, *model.preprocessing.size).to(model.mean))
        for indices, images in batches(dataset, model.preprocessing, batch_size, skipped):
            found, highest, lowest = _in_pieces(units, images.to(model.mean))
            strongest.add(found, indices, highest)
            weakest.add(found, indices, lowest)
            if scores is not None:
                scores[indices] = found.float()
            if progress:
                progress((int(indices[-1]) + 1) / len(dataset))
    if len(skipped) == len(dataset):
        raise ValueError(f"none of the {len(dataset)} images can be read; the first: {skipped[0][1]}")
    return Survey(strongest.result(), weakest.result(), units.layers, tuple(skipped), scores)


def _check(objectives: Sequence[Objective], dataset: Sequence[ImageSet], k: int, batch_size: int) -> None:
    if not objectives:
        raise ValueError("no unit to find examples of; give at least one objective")
    if not dataset:
        raise ValueError("no image to find examples among; give at least one")
    for name, value in (("k", k), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be a whole number from 1 on")
    if any(objective.needs_output for objective in objectives):
        raise ValueError("target top1 or label differs from image to image; name a class")


def _in_pieces(units: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> list[Tensor]:
    """What `units` say of `images`, asked in smaller parts where memory runs out."""
    said: list[tuple[Tensor, ...]] = []
    in_pieces(len(images), lambda start, stop: said.append(units(images[start:stop])), len(images))
    return [torch.cat(parts) for parts in zip(*said, strict=True)]


class _Units:
    """Scores all units of a survey; the channels of a layer together."""

    def __init__(
        self, objectives: Sequence[Objective], forward: Callable[[Tensor], Activations], example: Tensor
    ) -> None:
        self.objectives, self.forward = objectives, forward
        self.layers = tuple(_layer_of_places(objective) for objective in objectives)
        channels: dict[str, dict[int, int]] = defaultdict(dict)
        for unit, objective in enumerate(objectives):
            if isinstance(objective, Channel) and isinstance(objective.channel, int):
                channels[objective.layer][unit] = objective.channel
        self.channels = {layer: (list(units), list(units.values())) for layer, units in channels.items()}
        self.others = sorted(set(range(len(objectives))).difference(*channels.values()))
        sources = frozenset[Any]().union(*(objective.sources for objective in objectives))
        self.references = {source: forward(reference(source, None, example)) for source in sources}

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, (B, units), and the places where each is highest and lowest, (B, units, 2); on the CPU."""
        seen = self.forward(images)
        references = {source: _repeated(one, len(images)) for source, one in self.references.items()}
        outputs = {**seen, OPACITY: torch.ones_like(images[:, :1])}
        seen = Activations(outputs, None, seen.image_size, references=references)
        scores = images.new_empty(len(images), len(self.objectives))
        highest, lowest = torch.full((2, *scores.shape, 2), -1, device=images.device)
        for layer, (units, channels) in self.channels.items():
            grid = seen.grid(layer)[:, channels]
            scores[:, units] = grid.flatten(2).mean(2)
            highest[:, units], lowest[:, units] = _summits(grid), _summits(-grid)
        for unit in self.others:
            scores[:, unit] = self.objectives[unit](seen)
            if (own := self.layers[unit]) is not None:
                highest[:, unit], lowest[:, unit] = _places(self.objectives[unit], seen.grid(own))
        return scores.cpu(), highest.cpu(), lowest.cpu()


def _layer_of_places(objective: Objective) -> str | None:
    layer = getattr(objective, "layer", None)
    return layer if hasattr(objective, "channel") or hasattr(objective, "row") else None


def _places(objective: Any, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Where one unit is highest and lowest, (B, 2) each: its own position, or those of its channel."""
    if hasattr(objective, "row"):
        own = [
            side // 2 if place is None else place
            for place, side in zip((objective.row, objective.column), grid.shape[2:], strict=True)
        ]
        place = torch.tensor(own, device=grid.device)
        return place, place
    channel = grid[:, [objective.channel]]
    return _summits(channel)[:, 0], _summits(-channel)[:, 0]


def _summits(values: Tensor) -> Tensor:
    """Row and column of the largest value on each grid, (B, C, 2) of (B, C, H, W); -1 where several are largest."""
    flat = values.flatten(2)
    largest, place = flat.max(2)
    places = torch.stack([place // values.shape[3], place % values.shape[3]], -1)
    several = (flat == largest[..., None]).sum(2) > 1
    return places.masked_fill(several[..., None], -1)


def _repeated(one: Activations, count: int) -> Activations:
    """The activations of one picture as those of `count` such pictures."""
    outputs = {layer: output.expand(count, *output.shape[1:]) for layer, output in one.items()}
    return Activations(outputs, None, one.image_size)


class _Running:
    """The k best of what has been added: with sign 1 the largest scores, with -1 the smallest."""

    def __init__(self, k: int, units: int, sign: int) -> None:
        self.k, self.sign = k, sign
        self.keys = torch.full((k, units), -torch.inf, dtype=torch.float64)
        self.images = torch.full((k, units), -1)
        self.places = torch.full((k, units, 2), -1)

    def add(self, scores: Tensor, indices: Tensor, places: Tensor) -> None:
        """Scores (B, units) and places (B, units, 2) of images `indices`, (B,), in the order of the set."""
        unknown = scores.isnan()
        keys = torch.cat([self.keys, (self.sign * scores.double()).masked_fill(unknown, -torch.inf)])
        images = torch.cat([self.images, indices[:, None].expand_as(scores).masked_fill(unknown, -1)])
        best = keys.sort(dim=0, descending=True, stable=True).indices[: self.k]  # of equals, the first stays first
        self.keys, self.images = keys.gather(0, best), images.gather(0, best)
        self.places = torch.cat([self.places, places]).gather(0, best[..., None].expand(-1, -1, 2))

    def result(self) -> Extremes:
        missing = self.images < 0
        scores = (self.sign * self.keys).masked_fill(missing, torch.nan).float()
        return Extremes(scores, self.images, self.places.masked_fill(missing[..., None], -1))


def batches(
    dataset: Sequence[ImageSet], preprocessing: Preprocessing, size: int, skipped: list[tuple[str, str]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices (B,) and pixels (B, 3, H, W) of the images that can be read; the others are added to `skipped`."""
    indices: list[int] = []
    pixels: list[Tensor] = []
    for index, loading in enumerate(loaded(dataset, preprocessing, 2 * size)):
        try:
            pixels.append(loading.result().pixels)
        except (OSError, LookupError, ValueError) as error:
            skipped.append((repr(dataset[index]), str(error)))
            continue
        indices.append(index)
        if len(indices) == size:
            yield torch.tensor(indices), torch.stack(pixels)
            indices, pixels = [], []
    if indices:
        yield torch.tensor(indices), torch.stack(pixels)
