"""What lies between the pixels and an objective, read off the graph that autograd keeps of a forward pass.

The graph knows how a network computes, not how it is written: functions, methods, operators and modules look alike,
in place or not, run once or often, and what the objective does not depend on is not in it. What has no derivative of
its own stays unseen: a mask made of activations, as in ``x * (x > 0)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from interpret_runs.activations import Activations, capture, network_of
from interpret_runs.objective import Objective
from interpret_runs.pixel_convolution import torchs_own
from interpret_runs.randomness import generator
from interpret_runs.scoring import activations, frozen

MAX_POOLING = frozenset({"MaxPool2DWithIndices", "MaxPool3DWithIndices", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D"})
LINEAR = re.compile(
    "AccumulateGrad|Add|Sub|Rsub|Neg|Mean|Sum|Cumsum|Cat|Stack|"
    "Clone|Copy|CopySlices|ToCopy|Alias|AsStrided|View|UnsafeView|ReshapeAlias|Permute|Transpose|T|Squeeze|Unsqueeze|"
    "Expand|Repeat|Select|Slice|Split|SplitWithSizes|Unbind|Unfold|Diagonal|Index|IndexSelect|Gather|"
    "Roll|Flip|Rot90|PixelShuffle|PixelUnshuffle|(Native)?ChannelShuffle|Im2Col|Col2Im|"
    "ConstantPadNd|(Reflection|Replication)Pad[123]D|(Mkldnn)?(Adaptive)?AvgPool[23]D|Upsample[A-Z][a-z]+2D(Aa)?"
)
BATCH_NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"})
# Linear as long as one factor alone depends on the image: the places of the factors among a node's inputs.
PRODUCTS = {
    **dict.fromkeys(("Mul", "Div", "Mm", "Bmm", "Mv", "Dot", "Linear", "MkldnnLinear"), (0, 1)),
    **dict.fromkeys(("Convolution", "CudnnConvolution", "MkldnnConvolution"), (0, 1)),
    **dict.fromkeys(("Addmm", "Baddbmm", "Addbmm", "Addmv"), (1, 2)),
}


@dataclass(frozen=True)
class Use:
    """One non-linear step: autograd's name of it, and the innermost module that took it, with the module's class."""

    kind: str
    layer: str
    module: str

    def __str__(self) -> str:
        where = f"layer {self.layer!r} ({self.module})" if self.layer else "the network itself"
        what = f"a product of activations ({self.kind})" if self.kind in PRODUCTS else self.kind
        return f"{where} computes {what}"


@dataclass(frozen=True)
class Pass:
    """A forward pass up to an objective.

    Attributes:
        images: a leaf of the graph, (B, 3, H, W).
        seen: the layers that the objective reads.
        nodes: of the graph between `images` and these layers; those of the objective are not among them.
        scores: of the images, (B,).
    """

    images: Tensor
    seen: Activations
    nodes: tuple[Node, ...]
    scores: Tensor

    def gradient(self) -> Tensor:
        """``d score_i / d image_i``, (B, 3, H, W), by whatever rules the nodes were given."""
        if not self.scores.requires_grad:
            return torch.zeros_like(self.images)
        found: Tensor | None = torch.autograd.grad(self.scores.sum(), self.images, allow_unused=True)[0]
        return torch.zeros_like(self.images) if found is None else found


def trace(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Pass:
    """Score images with a frozen model, and keep the graph."""
    with torch.enable_grad(), torchs_own():
        images = images.detach().requires_grad_()
        seen = activations(model, objective, images, rows)
        return Pass(images, seen, tuple(upstream(seen.values())), objective(seen))


def upstream(tensors: Iterable[Tensor], until: Iterable[Node] = ()) -> Iterator[Node]:
    """Each node on which one of `tensors` depends, once; without those in `until` and what only they depend on."""
    waiting = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    known = set(until)
    while waiting:
        node = waiting.pop()
        if node not in known:
            known.add(node)
            yield node
            waiting.extend(before for before, _ in node.next_functions if before is not None)


def kind(node: Node) -> str:
    """Autograd's name of what a node computes: ``Relu``, ``MaxPool2DWithIndices``, ``Convolution``."""
    return re.sub(r"Backwards?\d*$", "", node.name().rpartition("::")[2])


def is_linear(node: Node) -> bool:
    """Whether a node is known to be linear, or affine, in what depends on the image; weights must be frozen."""
    name = kind(node)
    if name in PRODUCTS:
        inputs = node.next_functions
        dependent = [place for place in PRODUCTS[name] if place < len(inputs) and inputs[place][0] is not None]
        return len(dependent) < 2 and not (name == "Div" and dependent == [1])
    if name in BATCH_NORMS:
        return not getattr(node, "_saved_training", False)  # else its statistics are those of the batch
    return LINEAR.fullmatch(name) is not None


def is_affine(objective: Objective, seen: Activations) -> bool:
    """Whether an objective is linear, up to a constant, in the layers that it reads.

    By its value between two random activations: an affine objective takes the mean of its values at both.
    """
    if objective.sources:
        return False
    draws = generator(0, "affine")

    def random() -> dict[str, Tensor]:
        shapes = {layer: (1, *value.shape[1:]) for layer, value in seen.items()}
        return {layer: torch.randn(shape, generator=draws, dtype=torch.float64) for layer, shape in shapes.items()}

    def value(outputs: Mapping[str, Tensor]) -> Tensor:
        there = {layer: output.to(seen[layer].device) for layer, output in outputs.items()}
        rows = None if seen.rows is None else seen.rows[:1]
        with torch.no_grad():
            return objective(Activations(there, rows, seen.image_size))

    one, other = random(), random()
    between = {layer: (one[layer] + other[layer]) / 2 for layer in one}
    ends = value(one), value(other)
    return bool((2 * value(between) - ends[0] - ends[1]).abs() <= 1e-6 * (ends[0].abs() + ends[1].abs()))


def nonlinearities(model: nn.Module, layers: Collection[str], images: Tensor) -> tuple[Use, ...]:
    """All that is not linear between the pixels and `layers`, in the order in which it runs."""
    network = network_of(model)
    kinds = {path: type(module).__name__ for path, module in network.named_modules()}
    owners: dict[Node, str] = {}
    inside = [""]

    def claim(values: Any, path: str) -> None:
        waiting = [tensor.grad_fn for tensor in tensors_in(values) if tensor.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            if node not in owners:
                owners[node] = path
                waiting.extend(before for before, _ in node.next_functions if before is not None)

    def enter(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            claim((args, kwargs), inside[-1])
            inside.append(path)

        return hook

    def leave(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            claim(output, path)
            inside.pop()

        return hook

    with torch.enable_grad(), torchs_own(), frozen(model), ExitStack() as stack, capture(model, layers) as forward:
        for path, module in network.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(path), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave(path)).remove)
        outputs = forward(images.detach().requires_grad_())
        claim(outputs, "")
        order = sorted((node for node in upstream(outputs.values()) if not is_linear(node)), key=_number)
    return tuple(Use(kind(node), owners[node], kinds[owners[node]]) for node in order)


def refuse_others(
    model: nn.Module,
    found: Pass,
    passes: Collection[str],
    method: str,
    knows: str,
    instead: str = "integrated_gradients",
) -> None:
    """Raise LookupError where a pass holds a non-linear step that is not in `passes`; the text names where it is."""
    others = {kind(node) for node in found.nodes if not is_linear(node)} - set(passes)
    if others:
        uses = nonlinearities(model, found.seen.keys(), found.images)
        first = next((use for use in uses if use.kind in others), Use(min(others), "", ""))
        raise LookupError(f"attribution={method} knows {knows} only, and {first}; take {instead}")


def refuse_curved(objective: Objective, found: Pass, method: str) -> None:
    """Raise LookupError where an objective is not linear in the layers that it reads."""
    if not is_affine(objective, found.seen):
        raise LookupError(
            f"attribution={method} needs an objective that is linear in what it reads, and {objective!r} is not; "
            f"take integrated_gradients, or a channel, neuron, direction or logit"
        )


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among the arguments or in the output of a function, however they are nested."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list, Mapping)):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from tensors_in(value)


def _number(node: Node) -> int:
    return int(node._sequence_nr())
