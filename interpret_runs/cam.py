"""Maps that are drawn from the channels of a layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.activations import Activations, as_grid
from interpret_runs.attribution import Attribution
from interpret_runs.layer_table import trace
from interpret_runs.objective import Objective
from interpret_runs.one_pass import OnePass, Passed, one_pass
from interpret_runs.scoring import REFUSED, frozen
from interpret_runs.summary import OUTPUT, PIXELS

FUSIONS = ("mean", "max")


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

    def finished(self, drawn: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """One map per image, (B, H, W), from one on the grid of each layer, (B, h, w)."""
        maps = [enlarged(cam.relu() if self.relu else cam, size) for cam in drawn]
        if len(maps) == 1:
            return maps[0]
        tiny = torch.finfo(maps[0].dtype).tiny
        scaled = torch.stack([one / one.abs().amax((1, 2), keepdim=True).clamp_min(tiny) for one in maps])
        return scaled.mean(0) if self.fuse == "mean" else scaled.amax(0)


@dataclass(frozen=True)
class Cam(LayerAttribution, OnePass):
    """A class activation map: activations A of a layer, weighted by the gradients g of the score there.

    For any objective downstream of `layer`, or on it. Scores are those of the objective, without the softmax or the
    exponential that some papers put around them, and maps are raw, neither shifted nor scaled.
    """

    @abstractmethod
    def combine(self, evidence: Evidence) -> Tensor:
        """The signed map on the layer's grid, (B, h, w)."""

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        rows = torch.zeros(1, dtype=torch.long, device=image.device)
        with torch.enable_grad(), frozen(model):
            self.require(model, objective, one_pass(model, objective, self.layers, image, rows))

    def require(self, model: nn.Module, objective: Objective, passed: Passed) -> None:
        """
        Raises:
            LookupError: a layer without a grid, not upstream of the objective, or upstream through class tokens alone.
        """
        refuse_gridless(model, objective, self.layers, passed.seen)
        size = (passed.images.shape[2], passed.images.shape[3])
        for layer in self.layers:
            gradient = passed.gradients[layer]
            if gradient is None or _class_tokens_alone(gradient, size):
                how = "is not upstream of {}" if gradient is None else "reaches {} through its class token alone"
                near = _nearest_usable(model, objective, layer, passed.seen)
                raise LookupError(f"layer {layer!r} {how.format(repr(objective))}; {near}")

    def draw(self, model: nn.Module, passed: Passed) -> tuple[Tensor, ...]:
        """The map of each layer on its own grid."""
        return tuple(self.combine(_evidence(passed, layer)) for layer in self.layers)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Activations A of a layer and gradients g of the score there, (B, C, h, w), and what several maps are made of."""

    activation: Tensor
    gradient: Tensor

    @cached_property
    def mean_gradient(self) -> Tensor:
        """(B, C)"""
        return self.gradient.mean((2, 3))

    @cached_property
    def averaged(self) -> Tensor:
        """Channels weighted by their mean gradient, (B, h, w)."""
        return self.weighted(self.mean_gradient)

    @cached_property
    def total(self) -> Tensor:
        """The sum of A over positions, (B, C)."""
        return self.activation.sum((2, 3))

    @cached_property
    def product(self) -> Tensor:
        """``g * A``"""
        return self.gradient * self.activation

    @cached_property
    def risen(self) -> Tensor:
        """``relu(g)``"""
        return self.gradient.relu()

    def weighted(self, weights: Tensor) -> Tensor:
        """``sum_k w_k A_k``, (B, h, w), of weights (B, C)."""
        return torch.einsum("bc,bchw->bhw", weights, self.activation)


def _evidence(passed: Passed, layer: str) -> Evidence:
    if layer not in passed.shared:
        size = (passed.images.shape[2], passed.images.shape[3])
        pair = [one for one in (passed.seen[layer], passed.gradients[layer]) if one is not None]
        # In the images' precision, whatever the network ran in: maps are sums of many small terms.
        passed.shared[layer] = Evidence(*(as_grid(one, size).to(passed.images.dtype) for one in pair))
    evidence: Evidence = passed.shared[layer]
    return evidence


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
    found = one_pass(model, objective, names, image, rows)
    outputs, gradients = found.seen, found.gradients
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
