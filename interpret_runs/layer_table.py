"""Which layers a network has, in the order they finish, and which of them stand for early, middle and late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpret_runs.activations import as_grid, evaluating, first_tensor
from interpret_runs.summary import OUTPUT, Layer

_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)


@dataclass
class _Seen:
    """What one module returned last.

    Two modules return the same values where they return one tensor at one version: in-place operations
    in between raise the version.
    """

    path: str
    module: nn.Module
    shape: tuple[int, ...] | None
    output: Tensor | None
    version: int = 0

    def same(self, other: _Seen) -> bool:
        return self.output is other.output and self.version == other.version


@torch.no_grad()
def trace(network: nn.Module, images: Tensor) -> tuple[tuple[Layer, ...], dict[str, str], int]:
    """Layers of `network` in the order they finish, aliases, and the number of outputs.

    `images` is one normalised image, (1, 3, H, W), on the network's device. Hooks and modes are left
    as they were.
    """
    seen: dict[str, _Seen] = {}
    calls: Counter[str] = Counter()
    size = (images.shape[2], images.shape[3])

    def record(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            calls[path] += 1
            seen.pop(path, None)
            try:
                tensor = first_tensor(output, path)
                seen[path] = _Seen(path, module, tuple(as_grid(tensor, size).shape[1:]), tensor, tensor._version)
            except TypeError:
                seen[path] = _Seen(path, module, None, None)

        return hook

    handles = [module.register_forward_hook(record(path)) for path, module in network.named_modules() if path]
    try:
        with evaluating(network):
            output = first_tensor(network(images), OUTPUT)
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(Layer(row.path, type(row.module).__name__, row.shape, calls[row.path]) for row in seen.values())
    once = [row for row in seen.values() if calls[row.path] == 1]
    classes = output[0].numel() if output.ndim <= 2 else output.shape[1]
    return layers, {**_find_aliases(once, classes), "logits": OUTPUT}, classes


def _find_aliases(rows: list[_Seen], classes: int) -> dict[str, str]:
    """Stage outputs at about a quarter, a half and the end of the network.

    A stage is a stretch of layers with one grid size, and its output the last of its outermost layers;
    networks with fewer than three (transformers) use their repeated blocks instead.
    """
    grids = [row for row in rows if row.shape and row.shape[1] * row.shape[2] > 1 and row.shape[0] != classes]
    stages: dict[tuple[int, ...], list[_Seen]] = {}
    for row in grids:
        if row.shape and not isinstance(_innermost(row, grids).module, _POOLING):
            stages.setdefault(row.shape[1:], []).append(row)
    ends = [_innermost(_outermost(stage)[-1], grids).path for stage in stages.values()]
    if len(ends) < 3:
        ends = _repeated_blocks(grids) or ends
    if not ends:
        return {}
    early, last = min(max(1, len(ends) // 4), len(ends) - 1), len(ends) - 1
    middle = (early + last + 1) // 2
    return {"early": ends[early], "middle": ends[middle], "late": ends[last]}


def _outermost(rows: list[_Seen]) -> list[_Seen]:
    depth = min(row.path.count(".") for row in rows)
    return [row for row in rows if row.path.count(".") == depth]


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
