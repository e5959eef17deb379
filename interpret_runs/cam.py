"""Maps that are drawn from the channels of a layer, and one pass through the network for any number of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.activations import Activations, as_grid
from interpret_runs.attribution import Attribution
from interpret_runs.layer_table import trace
from interpret_runs.objective import Objective
from interpret_runs.scoring import REFUSED, activations, frozen
from interpret_runs.summary import OPACITY, OUTPUT, PIXELS
from interpret_runs.variants import fitting, in_pieces

FUSIONS = ("mean", "max")

Grids = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LayerAttribution(Attribution):
    """A map drawn on the grid of a layer, (B, h, w), and scaled up bilinearly to the image, (B, H, W).

    Args:
        layer: dotted name; its output must be channels on a grid: convolutional, channels-last, or tokens, of which
            class tokens are left out. The maps of several layers are fused.
        relu: keep only what speaks for the objective, before scaling up; else the map is signed.
        fuse: ``mean`` or ``max`` over layers, each divided by its largest magnitude on the image, so that a fused
            map is within [-1, 1]. The map of one layer keeps its scale.
    """

    layer: str | tuple[str, ...]
    relu: bool = True
    fuse: str = "mean"

    def __post_init__(self) -> None:
        names: Any = (self.layer,) if isinstance(self.layer, str) else self.layer
        if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"attribution.layer is {self.layer!r}; it must be the name of a layer or a list of names")
        if self.fuse not in FUSIONS:
            raise ValueError(f"attribution.fuse is {self.fuse!r}; it is mean or max")
        object.__setattr__(self, "layer", names[0] if len(names) == 1 else tuple(names))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names in `layer`."""
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    def drawn(self, cams: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """One map per image, (B, H, W), from one on the grid of each layer, (B, h, w)."""
        maps = [enlarged(cam.relu() if self.relu else cam, size) for cam in cams]
        if len(maps) == 1:
            return maps[0]
        tiny = torch.finfo(maps[0].dtype).tiny
        scaled = torch.stack([one / one.abs().amax((1, 2), keepdim=True).clamp_min(tiny) for one in maps])
        return scaled.mean(0) if self.fuse == "mean" else scaled.amax(0)


@dataclass(frozen=True)
class Cam(LayerAttribution):
    """A class activation map: activations A of a layer, weighted by the gradients g of the score there.

    For any objective downstream of `layer`, or on it. Scores are those of the objective, without the softmax or the
    exponential that some papers put around them, and maps are raw, neither shifted nor scaled.
    """

    @abstractmethod
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The signed map on the layer's grid, (B, h, w), from A and g, (B, C, h, w) both."""

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        with torch.enable_grad(), frozen(model):
            rows = torch.zeros(1, dtype=torch.long, device=image.device)
            _activations_and_gradients(model, objective, self.layers, image, rows)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        return cam_maps(model, [self], objective, images, rows)[0]


def cam_maps(
    model: nn.Module, methods: Sequence[Cam], objective: Objective, images: Tensor, rows: Tensor | None = None
) -> list[Tensor]:
    """The maps of each method, (B, H, W), from one forward and one backward pass for all methods and layers.

    Raises:
        LookupError: a layer without a grid, not upstream of the objective, or upstream through class tokens alone.
    """
    rows = torch.arange(len(images), device=images.device) if rows is None else rows
    layers = tuple(dict.fromkeys(layer for method in methods for layer in method.layers))
    pieces: list[list[Tensor]] = [[] for _ in methods]
    size = (images.shape[2], images.shape[3])

    def work(start: int, stop: int) -> None:
        grids = _activations_and_gradients(model, objective, layers, images[start:stop], rows[start:stop])
        with torch.autocast(images.device.type, enabled=False):
            found = [method.drawn([method.combine(*grids[name]) for name in method.layers], size) for method in methods]
        for maps, one in zip(pieces, found, strict=True):
            maps.append(one)

    with torch.enable_grad(), frozen(model):
        in_pieces(len(images), work, fitting(model, {*layers, *objective.layers} - {PIXELS, OPACITY}, images))
    return [torch.cat(maps) for maps in pieces]


def cam_map_of_each(
    model: nn.Module, methods: Sequence[Cam], objective: Objective, images: Tensor, keys: Sequence[Hashable]
) -> Tensor:
    """Map i is that of ``methods[i]`` for image i and unit i, (B, H, W).

    Equal `keys` promise the same image and unit, which then pass through the network once, whatever the methods.
    """
    place_of: dict[Hashable, int] = {}
    places = [place_of.setdefault(key, len(place_of)) for key in keys]
    rows = torch.tensor([places.index(place) for place in range(len(place_of))], device=images.device)
    distinct = list(dict.fromkeys(methods))
    maps = dict(zip(distinct, cam_maps(model, distinct, objective, images[rows], rows), strict=True))
    return torch.stack([maps[method][place] for method, place in zip(methods, places, strict=True)])


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w) at `size` (height, width), bilinearly, the corners of cells on the corners of the image."""
    return functional.interpolate(maps[:, None], size=list(size), mode="bilinear", align_corners=False).squeeze(1)


def has_grid(activation: Tensor, size: tuple[int, int]) -> bool:
    """Whether a layer's output is channels at several places of images of `size`."""
    if activation.ndim not in (3, 4):
        return False
    rows, columns = as_grid(activation, size).shape[2:]
    # Tokens for which there is no grid stand in one column, whatever the image.
    no_grid = activation.ndim == 3 and columns == 1 and rows * size[1] != size[0]
    return rows * columns > 1 and not no_grid


def refuse_gridless(model: nn.Module, objective: Objective, layers: Sequence[str], seen: Activations) -> None:
    """Raise LookupError for a layer among `layers` without a grid, naming one that has one."""
    for layer in layers:
        if layer in (PIXELS, OUTPUT) or not has_grid(seen[layer], (seen[PIXELS].shape[2], seen[PIXELS].shape[3])):
            near = _nearest_usable(model, objective, layer, seen)
            raise LookupError(f"layer {layer!r} has no feature maps to draw on; {near}")


def _activations_and_gradients(
    model: nn.Module, objective: Objective, layers: Sequence[str], images: Tensor, rows: Tensor
) -> Grids:
    """Each layer's output on its grid and the score's gradient there, (B, C, h, w) both, in one pass."""
    seen, gradients = _pass(model, objective, layers, images, rows)
    refuse_gridless(model, objective, layers, seen)
    size = (images.shape[2], images.shape[3])
    grids = {}
    for layer in layers:
        gradient = gradients[layer]
        if gradient is None:
            near = _nearest_usable(model, objective, layer, seen)
            raise LookupError(f"layer {layer!r} is not upstream of {objective!r}; {near}")
        if _class_tokens_alone(gradient, size):
            near = _nearest_usable(model, objective, layer, seen)
            raise LookupError(f"layer {layer!r} reaches {objective!r} through its class token alone; {near}")
        # In the images' precision, whatever the network ran in: maps are sums of many small terms.
        grids[layer] = as_grid(seen[layer], size).detach().to(images.dtype), as_grid(gradient, size).to(images.dtype)
    return grids


def _pass(
    model: nn.Module, objective: Objective, layers: Collection[str], images: Tensor, rows: Tensor | None
) -> tuple[Activations, dict[str, Tensor | None]]:
    """The layers' outputs, and the gradient of the sum of scores there; None where the sum does not depend on one."""
    # With frozen weights only images that ask for gradients give the layers a graph.
    seen = activations(model, objective, images.detach().requires_grad_(), rows, {PIXELS, *layers})
    total = objective(seen).sum()
    asked = [layer for layer in layers if seen[layer].requires_grad and total.requires_grad]
    found = torch.autograd.grad(total, [seen[layer] for layer in asked], allow_unused=True) if asked else ()
    return seen, {**dict.fromkeys(layers), **dict(zip(asked, found, strict=True))}


def _class_tokens_alone(gradient: Tensor, size: tuple[int, int]) -> bool:
    """Whether the class tokens of some image have a gradient and its patches have none."""
    if gradient.ndim != 3:
        return False
    patches = as_grid(gradient, size).flatten(1).any(1)
    return bool((gradient.flatten(1).any(1) & ~patches).any())


def usable_layers(
    model: nn.Module, objective: Objective, image: Tensor, rows: Tensor | None = None
) -> tuple[list[str], list[str]]:
    """The layers with channels that run once, and those of them of which a map of (1, 3, H, W) can be drawn, in order.

    Raises:
        RuntimeError, ValueError, AssertionError: the network refuses the image's size.
    """
    size = (image.shape[2], image.shape[3])
    summary = getattr(model, "summary", None)
    table = trace(model, image.detach())[0] if summary is None else summary.layers
    names = [row.path for row in table if row.calls == 1 and row.shape]
    outputs, gradients = _pass(model, objective, names, image, rows)
    usable = [
        name
        for name in names
        if has_grid(outputs[name], size)
        and (gradient := gradients[name]) is not None
        and not _class_tokens_alone(gradient, size)
    ]
    return names, usable


def _nearest_usable(model: nn.Module, objective: Objective, layer: str, seen: Activations) -> str:
    """Which layer to name instead: the last before `layer` of which a map can be drawn, or the first of all."""
    try:
        names, usable = usable_layers(model, objective, seen[PIXELS][:1], None if seen.rows is None else seen.rows[:1])
    except REFUSED:
        return "name an earlier one (task=layers lists them)"
    if not usable:
        return "no layer of this network serves"
    path = layer.replace("/", ".")
    before = names[: names.index(path)] if path in names else () if path == PIXELS else names
    nearest = ([name for name in usable if name in before] or usable[:1])[-1]
    return f"the nearest layer that serves: {nearest!r}"
