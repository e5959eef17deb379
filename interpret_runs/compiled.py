"""The part of a network that some layers need, as a graph of its own, compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from interpret_runs.activations import Activations, first_tensor, network_of
from interpret_runs.pixel_convolution import slow_again
from interpret_runs.summary import OUTPUT, PIXELS

# Compiled code rounds otherwise; more than this, relative to the largest number, is another result.
CLOSE = 1e-3
CLOSE_SLOPE = 2e-2
ROUGHER = 30  # in 16 bits
# Of torch.compile.
BACKEND = "inductor"


Hooks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Graph:
    compiled: Callable[[Tensor], tuple[Any, ...]]
    hooks: Hooks  # those that were traced


_graphs: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], _Graph]] = WeakKeyDictionary()
_noted: ContextVar[set[tuple[str, ...]] | None] = ContextVar("noted", default=None)


@contextmanager
def noted() -> Iterator[Collection[tuple[str, ...]]]:
    """The choices of layers that compiled code computed in the length of a ``with``; empty until one is."""
    found: set[tuple[str, ...]] = set()
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def subgraph(model: nn.Module, layers: Collection[str]) -> fx.GraphModule:
    """What of `model` computes `layers`, dotted names and ``logits``, and nothing else.

    Called with images it returns a tuple of what the layers return, in the order of `layers`, which no later operation
    changes. It shares the weights of `model`, and the hooks that its modules have by now, not those that they get.

    Raises:
        LookupError: a layer that does not run.
        Exception: whatever tracing raises where a network's code depends on the values or the size of its input.
    """
    tracer = _Tracer({network_of(model).get_submodule(path): path for path in layers if path != OUTPUT})
    graph = tracer.trace(model)
    (end,) = graph.find_nodes(op="output")
    found: Mapping[str, Any] = {**tracer.seen, OUTPUT: end.args[0]}
    if missing := [path for path in layers if path not in found]:
        raise LookupError(f"layer {missing[0]!r} does not run in a forward pass; name another one")
    end.args = (tuple(found[path] for path in layers),)
    # What comes before stays, used or not: it may change in place what is used.
    for node in reversed(graph.nodes):
        if node in end.args[0]:
            break
        if node is not end:
            graph.erase_node(node)
    targets = {str(node.target): _apart(model, node) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    return fx.GraphModule(targets, graph)


def _apart(model: nn.Module, node: fx.Node) -> Any:
    """What a node uses of `model`; a module with hooks of its own, which else are those of whoever reads the model."""
    owner, _, name = str(node.target).rpartition(".")
    used = getattr(model.get_submodule(owner), name)
    if node.op == "get_attr":
        return used
    same = copy(used)
    slow_again(same)
    for hooks in [key for key in vars(used) if key.endswith("_hooks")]:
        setattr(same, hooks, copy(getattr(used, hooks)))
    return same


class _Tracer(fx.Tracer):
    """Keeps a copy of what some modules return, taken where they return it."""

    def __init__(self, wanted: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.wanted, self.seen = wanted, dict[str, Any]()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if m in self.wanted:
            self.seen[self.wanted[m]] = output.clone().node
        return output


class Compiled:
    """Passes as `usual` makes them, through a compiled graph where there can be one.

    A network that cannot be traced, or whose graph says something else of the first images, is passed through as usual,
    with a warning; images that are not finite tell nothing of it, and are passed through as usual until others come.
    Hooks that come after the first images are not run. What is compiled is kept as long as `model` lives, and traced
    again where other hooks are on it.

    Args:
        usual: what `capture` yields for `layers`.
    """

    def __init__(self, model: nn.Module, layers: Collection[str], usual: Callable[..., Activations]) -> None:
        self._model, self._usual = model, usual
        self._paths = {layer: layer.replace("/", ".") for layer in layers}
        self._inner = tuple(sorted({*self._paths.values()} - {PIXELS}))
        self._graph: _Graph | None = None
        self._proven = False
        if self._inner:
            with self._else_as_usual():
                self._graph = self._traced()

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Activations:
        """The activations of images, (B, 3, H, W), for units `rows`."""
        if self._graph is not None and not self._proven:
            with self._else_as_usual():
                self._proven = self._agrees(self._graph, images)
        if self._graph is None or not self._proven:
            return self._usual(images, rows)
        if (found := _noted.get()) is not None:
            found.add(self._inner)
        outputs = {PIXELS: images, **self._named(self._graph.compiled(images))}
        height, width = images.shape[-2:]
        return Activations({layer: outputs[path] for layer, path in self._paths.items()}, rows, (height, width))

    @contextmanager
    def _else_as_usual(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a network's own code, or a compiler's
            self._graph = None
            reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"compute.compile: not compiled, as {reason}", stacklevel=3)

    def _traced(self) -> _Graph:
        known, hooks = _graphs.setdefault(self._model, {}), _hooks(self._model)
        found = known.get(self._inner)
        if found is None or found.hooks != hooks:
            made = torch.compile(subgraph(self._model, self._inner), backend=BACKEND)
            found = known[self._inner] = _Graph(made, hooks)
        return found

    def _agrees(self, graph: _Graph, images: Tensor) -> bool:
        """Whether `graph` says what the network says of images, which those that are not finite do not tell.

        Raises:
            ValueError: it says something else.
        """
        if (images.is_cuda and torch.cuda.is_current_stream_capturing()) or not _finite(images).any():
            return False
        with warnings.catch_warnings(action="ignore"):  # of torch, at how it looks at what it compiles
            given, given_slope = _with_slope(lambda leaf: self._named(graph.compiled(leaf)), images)
        expected, slope = _with_slope(self._as_usual, images)
        rows = torch.stack([_finite(one) for one in (images, slope, *expected.values())]).all(0)
        if not rows.any():
            return False
        for path in self._inner:
            if not _same(given[path], expected[path], rows):
                raise ValueError(f"its traced graph says something else of {path}")
        if not _same_slope(given_slope[rows], slope[rows], half=any(map(_is_half, expected.values()))):
            raise ValueError("its traced graph has another gradient")
        return True

    def _as_usual(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self._usual(images)
        return {path: outputs[layer] for layer, path in self._paths.items() if path != PIXELS}

    def _named(self, outputs: tuple[Any, ...]) -> dict[str, Tensor]:
        return {path: first_tensor(output, path) for path, output in zip(self._inner, outputs, strict=True)}


def _hooks(model: nn.Module) -> Hooks:
    """The hooks on the modules of `model`, by the numbers that torch gives them, each once."""
    return tuple(
        tuple(kept)
        for module in model.modules()
        for name, kept in vars(module).items()
        if name.endswith("_hooks") and isinstance(kept, dict)
    )


def _with_slope(passes: Callable[[Tensor], dict[str, Tensor]], images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What `passes` gives, and the gradient of a sum of it in which no two numbers weigh the same."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        outputs = passes(leaf)
    weights = [torch.arange(one.numel(), device=one.device).cos().view(one.shape).to(one) for one in outputs.values()]
    with torch.autocast(leaf.device.type, enabled=False):
        (slope,) = torch.autograd.grad(list(outputs.values()), leaf, weights)
    return {path: one.detach() for path, one in outputs.items()}, slope


def _finite(values: Tensor) -> Tensor:
    """Of which images all values are finite, (B,)."""
    return values.isfinite().flatten(1).all(1)


def _is_half(values: Tensor) -> bool:
    return values.dtype in (torch.bfloat16, torch.float16)


def _same(given: Tensor, expected: Tensor, rows: Tensor) -> bool:
    """Whether the images `rows` agree, by the largest difference."""
    if given.shape != expected.shape:
        return False
    allowed = (ROUGHER if _is_half(expected) else 1) * CLOSE * expected[rows].abs().max()
    return bool((given - expected)[rows].abs().max() <= allowed)


def _same_slope(given: Tensor, expected: Tensor, half: bool) -> bool:
    """By the length of the difference: where one of two equal numbers is the maximum, a pixel gets all or nothing."""
    return bool((given - expected).norm() <= (ROUGHER if half else 1) * CLOSE_SLOPE * expected.norm())
