"""The part of a network that some layers need, as a graph of its own, compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from interpret_runs.activations import Activations, first_tensor, network_of
from interpret_runs.summary import OUTPUT, PIXELS

# Compiled code rounds otherwise; more than this, relative to the largest number, is another result.
CLOSE = 1e-3
# Of torch.compile.
BACKEND = "inductor"


@dataclass(frozen=True)
class _Graph:
    compiled: Callable[[Tensor], tuple[Any, ...]]
    proven: bool = False


_graphs: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], _Graph | None]] = WeakKeyDictionary()


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
    vars(same).pop("_conv_forward", None)  # of `quick_to_pixels`
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

    A network that cannot be traced, or whose graph says something else, is passed through as usual, with a warning.
    What is compiled stays so as long as `model` lives.

    Args:
        usual: what `capture` yields for `layers`.
    """

    def __init__(self, model: nn.Module, layers: Collection[str], usual: Callable[..., Activations]) -> None:
        self._model, self._usual = model, usual
        self._paths = {layer: layer.replace("/", ".") for layer in layers}
        self._inner = tuple(sorted({*self._paths.values()} - {PIXELS}))
        self._known = _graphs.setdefault(model, {})
        if self._inner and self._inner not in self._known:
            self._known[self._inner] = self._attempt(self._traced)

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Activations:
        """The activations of images, (B, 3, H, W), for units `rows`."""
        graph = self._known.get(self._inner)
        if graph is not None and not graph.proven:
            graph = self._known[self._inner] = self._attempt(partial(self._proven, graph, images))
        if graph is None:
            return self._usual(images, rows)
        outputs = {PIXELS: images, **self._named(graph.compiled(images))}
        height, width = images.shape[-2:]
        return Activations({layer: outputs[path] for layer, path in self._paths.items()}, rows, (height, width))

    def _attempt(self, make: Callable[[], _Graph]) -> _Graph | None:
        try:
            return make()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a network's own code, or a compiler's
            reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"compute.compile: not compiled, as {reason}", stacklevel=2)
            return None

    def _traced(self) -> _Graph:
        return _Graph(torch.compile(subgraph(self._model, self._inner), backend=BACKEND))

    def _proven(self, graph: _Graph, images: Tensor) -> _Graph:
        """`graph`, once it has said what the network says of `images`.

        Raises:
            ValueError: it says something else.
        """
        with warnings.catch_warnings(action="ignore"):  # of torch, at how it looks at what it compiles
            # With its gradient, else it would be compiled again for that.
            given = self._named(graph.compiled(images))
        with torch.no_grad():
            expected = self._usual(images.detach())
        for layer, path in self._paths.items():
            if path != PIXELS and not _same(given[path], expected[layer]):
                raise ValueError(f"its traced graph says something else of {layer}")
        return replace(graph, proven=True)

    def _named(self, outputs: tuple[Any, ...]) -> dict[str, Tensor]:
        return {path: first_tensor(output, path) for path, output in zip(self._inner, outputs, strict=True)}


def _same(given: Tensor, expected: Tensor) -> bool:
    if given.shape != expected.shape:
        return False
    half = expected.dtype in (torch.bfloat16, torch.float16)
    allowed = (30 if half else 1) * CLOSE * expected.abs().max()
    return bool((given - expected).abs().max() <= allowed)
