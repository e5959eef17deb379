"""Which layers a network has, in the order they finish, and which of them stand for early, middle and late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import log2, prod
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import Permute

from interpret_runs.activations import as_grid, evaluating, first_tensor
from interpret_runs.summary import OUTPUT, Layer

_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
# What adds nothing to the block before it.
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.LayerNorm, Permute)
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# From this share of all layers on, one stage is the network and what comes before it a stem.
_MOST = 0.9


@dataclass
class _Seen:
    """What one module returned last.

    Two modules return the same values where they return one tensor at one version: in-place operations
    in between raise the version.
    """

    path: str
    module: nn.Module
    depth: int
    shape: tuple[int, ...] | None = None
    output: Tensor | None = None
    version: int = 0

    @property
    def grid(self) -> tuple[int, ...]:
        """Rows and columns; one position where there is no map."""
        return self.shape[1:] if self.shape else (1, 1)

    def same(self, other: _Seen) -> bool:
        return self.output is other.output and self.version == other.version


@torch.no_grad()
def trace(network: nn.Module, image: Tensor) -> tuple[tuple[Layer, ...], dict[str, str], int]:
    """Layers of `network` in the order they finish, aliases, and the number of outputs.

    `image` is one normalised image, (1, 3, H, W), on the network's device; the network sees it twice, as a
    layer keeps images apart if it returns two of whatever it returns. Hooks and modes are left as they were.
    """
    seen: dict[str, _Seen] = {}
    calls: Counter[str] = Counter()
    modules = {path: module for path, module in network.named_modules() if path}
    images = image.repeat(2, 1, 1, 1)
    size = (image.shape[2], image.shape[3])

    def record(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            calls[path] += 1
            seen.pop(path, None)
            row = seen[path] = _Seen(path, module, _depth(path, modules))
            with suppress(TypeError):
                tensor = first_tensor(output, path)
                if tensor.shape[:1] == images.shape[:1]:
                    row.shape = tuple(as_grid(tensor, size).shape[1:])
                    row.output, row.version = tensor, tensor._version

        return hook

    handles = [module.register_forward_hook(record(path)) for path, module in modules.items()]
    try:
        with evaluating(network):
            output = first_tensor(network(images), OUTPUT)
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(Layer(row.path, type(row.module).__name__, row.shape, calls[row.path]) for row in seen.values())
    once = [row for row in seen.values() if calls[row.path] == 1]
    classes = output[0].numel() if output.ndim <= 2 else output.shape[1]
    head = None if getattr(network, "num_classes", None) == 0 else classes  # so do timm's networks without one
    return layers, {**_find_aliases(once, head, size), "logits": OUTPUT}, classes


def _depth(path: str, modules: dict[str, nn.Module]) -> int:
    """How many modules `path` is inside of, not counting lists of modules."""
    parts = path.split(".")
    above = (".".join(parts[:end]) for end in range(1, len(parts)))
    return sum(type(modules[parent]) not in _LISTS for parent in above)


def _find_aliases(rows: list[_Seen], classes: int | None, size: tuple[int, int]) -> dict[str, str]:
    """Stage outputs at about a quarter, a half and the end of the network.

    A stage is all layers that halve the image equally often, and its output the last of its outermost
    layers; what is deeper inside of modules than a later stage is a part of a block. Networks of one stage
    or two (transformers) use their repeated blocks instead. Maps of `classes` channels are a head's.
    """
    grids = [row for row in rows if row.shape and row.shape[0] != classes and _is_map(row, size)]
    stages: dict[int, list[_Seen]] = {}
    for row in grids:
        if not isinstance(_innermost(row, grids).module, _POOLING):
            stages.setdefault(_halvings(row, size), []).append(row)
    last_of = {_output(stage).path for stage in stages.values()}
    outputs = [row for row in grids if row.path in last_of]
    kept = [row for place, row in enumerate(outputs) if all(row.depth <= later.depth for later in outputs[place:])]
    ends = [_innermost(row, grids).path for row in kept]
    if len(ends) < 3 or max(map(len, stages.values())) > _MOST * len(grids):
        ends = _repeated_blocks(grids) or ends
    if not ends:
        return {}
    last = len(ends) - 1
    early = max(min(max(1, len(ends) // 4), last - 2), 0)
    return {"early": ends[early], "middle": ends[(early + last + 1) // 2], "late": ends[last]}


def _is_map(row: _Seen, size: tuple[int, int]) -> bool:
    """Whether a layer makes a map of the image: more than one position, and about the image's proportions."""
    rows, columns = row.grid
    upright = 2 / 3 < rows * size[1] / (columns * size[0]) < 3 / 2
    return rows * columns > 1 and upright and not isinstance(row.module, _PASSING)


def _halvings(row: _Seen, size: tuple[int, int]) -> int:
    """How often the image's sides were halved to give the row's grid."""
    return round(log2(size[0] * size[1] / prod(row.grid)) / 2)


def _output(stage: list[_Seen]) -> _Seen:
    """The last of the layers that the fewest modules are around."""
    outermost = min(row.depth for row in stage)
    return [row for row in stage if row.depth == outermost][-1]


def _innermost(row: _Seen, rows: list[_Seen]) -> _Seen:
    """The deepest layer that returns the values that `row` returns: `layer4.1` rather than `layer4`."""
    inside = [other for other in rows if other.path.startswith(row.path + ".") and other.same(row)]
    return _innermost(inside[-1], rows) if inside else row


def _repeated_blocks(rows: list[_Seen]) -> list[str]:
    """The blocks of a transformer: the largest among the most frequent kinds of layer that have layers inside.

    A plain Sequential is a list of layers, not a kind: lists inside blocks would outnumber the blocks.
    """
    inner = [row for row in rows if any(True for _ in row.module.children())]
    blocks = [row for row in inner if type(row.module) is not nn.Sequential] or inner
    kinds = Counter(type(row.module) for row in blocks)
    if not kinds:
        return []
    largest = max(blocks, key=lambda row: (kinds[type(row.module)], sum(1 for _ in row.module.modules())))
    return [row.path for row in blocks if type(row.module) is type(largest.module)]
