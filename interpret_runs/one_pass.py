"""Maps that are read off one forward and one backward pass, and the pass that any number of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from interpret_runs.activations import Activations
from interpret_runs.attribution import Attribution
from interpret_runs.objective import Objective
from interpret_runs.scoring import activations, frozen
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.variants import fitting, in_pieces

# Bytes of a layer's outputs that are worked on at a time: each of a method's steps reads what the last one wrote.
CACHE = 8_000_000


@dataclass(frozen=True)
class Passed:
    """What one pass brings to light of images (B, 3, H, W).

    Attributes:
        seen: the outputs of layers.
        gradients: of the sum of scores there; None where it does not depend on one.
        shared: what one method has worked out of it and others may use.
    """

    images: Tensor
    seen: Activations
    gradients: Mapping[str, Tensor | None]
    shared: dict[str, Any] = field(default_factory=dict)

    def parts(self) -> Iterator[Passed]:
        """What the pass says of a few images at a time: on a CPU as many as its cache holds, on a GPU of all."""
        count, tensors = len(self.images), list(self.seen.values())
        each = max(tensor[0].numel() * tensor.element_size() for tensor in tensors)
        step = max(1, CACHE // each) if self.images.device.type == "cpu" else count
        for part in (slice(start, start + step) for start in range(0, count, step)):
            rows = None if self.seen.rows is None else self.seen.rows[part]
            seen = Activations({layer: tensor[part] for layer, tensor in self.seen.items()}, rows, self.seen.image_size)
            gradients = {layer: None if found is None else found[part] for layer, found in self.gradients.items()}
            yield Passed(self.images[part], seen, gradients)


class OnePass(Attribution):
    """An attribution that needs the outputs of some layers and the gradients of the score there, and no more."""

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The layers that are read; ``image`` is the pixels."""

    @abstractmethod
    def draw(self, model: nn.Module, passed: Passed) -> tuple[Tensor, ...]:
        """What `finished` makes maps of, of each image one entry of each tensor."""

    def finished(self, drawn: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """The maps, (B, H, W), of all images; `size` is their height and width."""
        return drawn[0]

    def require(self, model: nn.Module, objective: Objective, passed: Passed) -> None:
        """Raise LookupError where there is nothing to draw."""

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        return maps_in_one_pass(model, [self], objective, images, rows)[0]


def maps_in_one_pass(
    model: nn.Module, methods: Sequence[OnePass], objective: Objective, images: Tensor, rows: Tensor | None = None
) -> list[Tensor]:
    """The maps of each method, (B, H, W), from one forward and one backward pass for all methods and layers.

    Raises:
        LookupError: a layer of which a method can draw nothing.
    """
    rows = torch.arange(len(images), device=images.device) if rows is None else rows
    layers = tuple(dict.fromkeys(layer for method in methods for layer in method.layers))
    pieces: list[list[tuple[Tensor, ...]]] = [[] for _ in methods]

    def work(start: int, stop: int) -> None:
        passed = one_pass(model, objective, layers, images[start:stop], rows[start:stop])
        for method in methods:
            method.require(model, objective, passed)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            for part in passed.parts():
                for mine, method in zip(pieces, methods, strict=True):
                    mine.append(method.draw(model, part))

    with torch.enable_grad(), frozen(model):
        in_pieces(len(images), work, fitting(model, {*layers, *objective.layers} - {PIXELS, OPACITY}, images))
    size = (images.shape[2], images.shape[3])
    drawn = [tuple(torch.cat(parts) for parts in zip(*mine, strict=True)) for mine in pieces]
    with torch.no_grad():
        return [method.finished(tensors, size) for method, tensors in zip(methods, drawn, strict=True)]


def map_of_each(
    model: nn.Module, methods: Sequence[OnePass], objective: Objective, images: Tensor, keys: Sequence[Hashable]
) -> Tensor:
    """Map i is that of ``methods[i]`` for image i and unit i, (B, H, W).

    Equal `keys` promise the same image and unit, which then pass through the network once, whatever the methods.
    """
    place_of: dict[Hashable, int] = {}
    places = [place_of.setdefault(key, len(place_of)) for key in keys]
    rows = torch.tensor([places.index(place) for place in range(len(place_of))], device=images.device)
    distinct = list(dict.fromkeys(methods))
    maps = dict(zip(distinct, maps_in_one_pass(model, distinct, objective, images[rows], rows), strict=True))
    return torch.stack([maps[method][place] for method, place in zip(methods, places, strict=True)])


def one_pass(
    model: nn.Module, objective: Objective, layers: Collection[str], images: Tensor, rows: Tensor | None
) -> Passed:
    """The layers' outputs, and the gradient of the sum of scores there."""
    # With frozen weights only images that ask for gradients give the layers a graph.
    seen = activations(model, objective, images.detach().requires_grad_(), rows, {PIXELS, *layers})
    total = objective(seen).sum()
    asked = [layer for layer in layers if seen[layer].requires_grad and total.requires_grad]
    found = torch.autograd.grad(total, [seen[layer] for layer in asked], allow_unused=True) if asked else ()
    return Passed(images.detach(), seen, {**dict.fromkeys(layers), **dict(zip(asked, found, strict=True))})
