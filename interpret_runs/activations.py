"""Reading a network's layers during a forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import isqrt
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from interpret_runs.summary import OUTPUT, PIXELS, nearest, runs_again, without_channels

MOST_PREFIX_TOKENS = 5

# Layers whose outputs a network changes in place further on.
_overwritten_of: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()
_calls_of: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Counter[str]]] = WeakKeyDictionary()


class Activations(Mapping[str, Tensor]):
    """Layer outputs of one forward pass, by layer name.

    Attributes:
        rows: the unit that image i is scored with, for objectives that hold one unit per row
            (`Objective.stack`); None means image i belongs to row i.
        image_size: (height, width) in pixels, by which a channels-last layer is told from a channels-first one.
        images: how many images in a row belong to one run.
        progress: how much of an optimisation is done, from 0 to 1, for weights that change on the way.
        references: activations of other pictures, for objectives that compare with one; see `of`.
    """

    def __init__(
        self,
        outputs: Mapping[str, Tensor],
        rows: Tensor | None = None,
        image_size: tuple[int, int] | None = None,
        images: int = 1,
        progress: float | Tensor = 1.0,
        references: Mapping[Any, Activations] | None = None,
    ) -> None:
        self._outputs = outputs
        self.rows = rows
        self.image_size = image_size
        self.images = images
        self.progress = progress
        self.references = references or {}

    def of(self, source: Any) -> Activations:
        """The activations of the picture `source` (one a row, if a tuple), seen as image i was; row i for image i."""
        return self.references[source]

    def grid(self, layer: str) -> Tensor:
        """The output of `layer` as channels on a grid, (B, C, H, W); see `as_grid`."""
        return as_grid(self[layer], self.image_size)

    def __getitem__(self, layer: str) -> Tensor:
        return self._outputs[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


class _Complete(BaseException):
    """Ends a forward pass whose last needed layer has run; no `except Exception` of a network swallows it."""


def network_of(model: nn.Module) -> nn.Module:
    """The module whose dotted names are layer names: the network inside a VisionModel, else `model`."""
    inner = getattr(model, "network", None)
    return inner if isinstance(inner, nn.Module) and hasattr(model, "normalise") else model


@contextmanager
def capture(model: nn.Module, layers: Collection[str]) -> Iterator[Callable[..., Activations]]:
    """Yield ``forward(images, rows=None) -> Activations`` for the length of a ``with``.

    Layers are dotted module names (slashes do too), ``image`` for the pixels and ``logits`` for the
    output. The pass stops after the last layer needed. What is recorded is what the layer returned:
    in-place operations further on work on a copy, for which the first pass that meets one is made again.
    A layer that returns several values is its first tensor.

    Raises:
        LookupError: unknown layer, or one that runs more than once or not at all, or whose output has no
            row for each image (at the first forward pass).
        TypeError: a layer whose output holds no tensor.
    """
    modules = dict(network_of(model).named_modules())
    paths = {layer: layer.replace("/", ".") for layer in layers}
    inner = sorted(set(paths.values()) - {PIXELS, OUTPUT})
    for path in inner:
        if path not in modules or not path:
            raise LookupError(f"no layer {path!r}; closest: {nearest(path, [name for name in modules if name])}")
    seen: dict[str, Tensor] = {}
    versions: dict[str, int] = {}
    overwritten = _overwritten_of.setdefault(model, set())
    stops = OUTPUT not in paths.values()
    handles: list[RemovableHandle] = []

    def record(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            seen[name] = first_tensor(output, name)
            if stops and len(seen) == len(inner):
                raise _Complete
            if name not in overwritten and not seen[name].is_inference():
                versions[name] = seen[name]._version
                return None
            # Two copies: the network's other branches still hold the original, and may change it in place.
            seen[name] = seen[name].clone()
            return replace_first_tensor(output, seen[name].clone())

        return hook

    def passed(images: Tensor) -> dict[str, Tensor]:
        seen.clear()
        versions.clear()
        outputs = {}
        with suppress(_Complete):
            outputs[OUTPUT] = first_tensor(model(images), OUTPUT)
        outputs.update(seen)
        seen.clear()
        if changed := {name for name, version in versions.items() if outputs[name]._version != version}:
            overwritten.update(changed)
            outputs.clear()  # else two passes are in memory at once
            return passed(images)
        return outputs

    def forward(images: Tensor, rows: Tensor | None = None) -> Activations:
        if inner and not handles:
            _refuse_reused(model, inner, images)
            handles.extend(modules[name].register_forward_hook(record(name)) for name in inner)
        outputs = {PIXELS: images}
        if inner or not stops:
            outputs.update(passed(images))
        for path in inner:
            if path not in outputs:
                raise LookupError(f"layer {path!r} does not run in a forward pass; name another one")
            if outputs[path].shape[:1] != images.shape[:1]:
                raise LookupError(without_channels(path))
        height, width = images.shape[-2:]
        return Activations({layer: outputs[path] for layer, path in paths.items()}, rows, (height, width))

    try:
        yield forward
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode for the length of a ``with``; each module's mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def calls(model: nn.Module, image: Tensor) -> Counter[str]:
    """How often one forward pass of `model` runs each of its modules; counted once per model and image size."""
    known = _calls_of.setdefault(model, {})
    size = tuple(image.shape[1:])
    if size in known:
        return known[size]
    counts: Counter[str] = Counter()

    def count(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, _args: counts.update([name])

    handles = [module.register_forward_pre_hook(count(name)) for name, module in network_of(model).named_modules()]
    try:
        with torch.no_grad(), evaluating(model):  # in training mode, batch norm would count the image
            model(image)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        pass  # a head that refuses this image size says nothing of the layers before it
    finally:
        for handle in handles:
            handle.remove()
    known[size] = counts
    return counts


def _refuse_reused(model: nn.Module, layers: list[str], images: Tensor) -> None:
    counts = calls(model, images[:1].detach())
    for layer in layers:
        if counts[layer] > 1:
            raise LookupError(runs_again(layer, counts[layer]))


def class_scores(output: Tensor) -> Tensor:
    """A network's output as one number per class, (B, K); the mean over positions of a map (B, K, ...)."""
    return output if output.ndim == 2 else output.flatten(2).mean(2)


def first_tensor(output: Any, layer: str) -> Tensor:
    """The first tensor of a module's output: itself, or inside a tuple, list or dict."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for value in values:
        if isinstance(value, Tensor):
            return value
    raise TypeError(f"layer {layer!r} returns {type(output).__name__}, which holds no tensor; name a module inside it")


def replace_first_tensor(output: Any, tensor: Tensor) -> Any:
    """`output` with its first tensor exchanged, in its own type."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        key = next(key for key, value in output.items() if isinstance(value, Tensor))
        return type(output)({**output, key: tensor})  # type: ignore[call-arg]
    place = next(index for index, value in enumerate(output) if isinstance(value, Tensor))
    values = [*output[:place], tensor, *output[place + 1 :]]
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)


def as_grid(activation: Tensor, image_size: tuple[int, int] | None = None) -> Tensor:
    """Any layer's output as channels on a grid, (B, C, H, W).

    Vectors (B, C) are one position. Tokens (B, T, C) lose their class and register tokens, the first
    ones, and stand on the largest grid with the proportions of `image_size`, else the largest square.
    Rank 4 is channels-first, unless only its first two axes have those proportions: then it is
    channels-last.

    Raises:
        TypeError: an output of another rank.
    """
    if activation.ndim == 4:
        _, first, second, last = activation.shape
        last_is_channels = _fits(first, second, image_size) and not _fits(second, last, image_size)
        return activation.permute(0, 3, 1, 2) if last_is_channels else activation
    if activation.ndim == 3:
        rows, columns = _token_grid(activation.shape[1], image_size)
        patches = activation[:, activation.shape[1] - rows * columns :]
        return patches.transpose(1, 2).reshape(len(activation), -1, rows, columns)
    if activation.ndim == 2:
        return activation[:, :, None, None]
    raise TypeError(f"a layer of shape {tuple(activation.shape)} has no channels on a grid; name another layer")


def _token_grid(tokens: int, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns on which all but the first few of `tokens` stand; one column where no grid fits."""
    for height, width in (image_size or (1, 1), (1, 1)):
        for patches in range(tokens, max(tokens - MOST_PREFIX_TOKENS, 1) - 1, -1):
            rows = isqrt(patches * height // width)
            if rows * rows * width == patches * height and patches % rows == 0:
                return rows, patches // rows
    return tokens, 1


def _fits(rows: int, columns: int, image_size: tuple[int, int] | None) -> bool:
    """Whether a grid has the image's proportions, to within less than one cell."""
    if image_size is None:
        return False
    height, width = image_size
    return abs(rows * width - columns * height) < max(height, width) and rows <= height
