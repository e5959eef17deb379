"""Gradients whose backward pass is changed, by hooks on the graph of one forward pass; the network is not touched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from interpret_runs.attribution import Attribution, check_number, largest_colour
from interpret_runs.cams import GradCam
from interpret_runs.nonlinearities import (
    BATCH_NORMS,
    MAX_POOLING,
    PRODUCTS,
    Pass,
    kind,
    refuse_curved,
    refuse_others,
    tensors_in,
    trace,
    upstream,
)
from interpret_runs.objective import Objective
from interpret_runs.summary import PIXELS
from interpret_runs.variants import fitting, in_pieces

RECTIFIERS = frozenset({"Relu", "LeakyRelu", "PreluKernel"})
# What a linear layer is to autograd; products of single numbers are none.
WEIGHTED = BATCH_NORMS | PRODUCTS.keys() - {"Mul", "Div"}


class RectifierRule(Attribution):
    """The gradient at the image with another rule for ReLU; at each pixel that of the colour where it is largest.

    The rule holds for every ReLU between the pixels and the layers that the objective reads, whether it is a module, a
    function or in place, and for one module that runs often.

    Raises:
        LookupError: the network computes something there that is neither linear nor ReLU nor max pooling. The rule is
            not defined for GELU, SiLU or ReLU6, nor for products of activations.
    """

    name: ClassVar[str]

    @abstractmethod
    def through(self, passed: Tensor, arriving: Tensor) -> Tensor:
        """What a ReLU hands down: from the gradient where its input is above 0, else 0, and the gradient itself."""

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        def explain(images: Tensor, rows: Tensor) -> Tensor:
            found = trace(model, objective, images, rows)
            refuse_others(model, found, {"Relu", *MAX_POOLING}, self.name, "ReLU and max pooling")
            for node in found.nodes:
                if kind(node) == "Relu":
                    node.register_hook(lambda passed, arriving: (self.through(passed[0], arriving[0]),))
            return largest_colour(found.gradient())

        return by_parts(explain, images, rows, fitting(model, objective.layers, images))

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        self(model, objective, image)


@dataclass(frozen=True)
class GuidedBackprop(RectifierRule):
    """Gradient of which a ReLU passes what is above 0, where its input is: ``g * [x > 0] * [g > 0]``.

    Springenberg et al. (2015). Shows edges rather than evidence: hardly depends on the weights near the output
    (Adebayo et al., 2018).
    """

    name: ClassVar[str] = "guided_backprop"

    def through(self, passed: Tensor, arriving: Tensor) -> Tensor:
        return passed.relu()


@dataclass(frozen=True)
class Deconvnet(RectifierRule):
    """Gradient of which a ReLU passes what is above 0, whatever its input is: ``g * [g > 0]``.

    Zeiler and Fergus (2014).
    """

    name: ClassVar[str] = "deconvnet"

    def through(self, passed: Tensor, arriving: Tensor) -> Tensor:
        return arriving.relu()


@dataclass(frozen=True)
class GuidedGradCam(Attribution):
    """The map of `GuidedBackprop` times that of Grad-CAM at `layer`, scaled up bilinearly (Selvaraju et al., 2017).

    Args:
        layer: dotted name; its output must be channels on a grid.
    """

    layer: str

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        guided, cam = self._factors()
        return guided.maps(model, objective, images, rows) * cam.maps(model, objective, images, rows)

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        for factor in self._factors():
            factor.check(model, objective, image)

    def _factors(self) -> tuple[Attribution, Attribution]:
        return GuidedBackprop(), GradCam(self.layer)


@dataclass(frozen=True)
class Lrp(Attribution):
    """Layer-wise relevance propagation by the epsilon rule, summed over colours (Bach et al., 2015).

    ``R_i = sum_j x_i w_ij / (z_j + epsilon * sign(z_j)) * R_j`` for linear layers, modules or functions: x their
    input, z their output with its bias, to which its share of the relevance is lost. A batch norm behind a
    convolution or a linear layer counts as one layer with it. ReLU and max pooling hand relevance on. Additions and
    means share it in proportion to what they add. x of the first layer is the image as the network sees it, so the
    colour that the model normalises to zero has no relevance.

    With epsilon 0 the map is the image's difference from that colour times the gradient (Ancona et al., 2018), and
    sums to the score where there are no biases. Larger values take from units with little output.

    Args:
        epsilon: in units of a layer's output, from 0 on.

    Raises:
        LookupError: the network computes something on the way that is neither linear nor ReLU (leaky or not) nor max
            pooling; an objective that is not linear in the layers that it reads, or reads pixels; with epsilon above
            0, a linear layer whose output cannot be told.
    """

    exact: ClassVar[bool] = True
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_number("epsilon", self.epsilon)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        if PIXELS in objective.layers:
            raise LookupError(f"attribution=lrp explains layers of a network, and {objective!r} reads pixels")

        def explain(images: Tensor, rows: Tensor) -> Tensor:
            with _Linear() if self.epsilon else nullcontext() as linear:
                found = trace(model, objective, images, rows)
            refuse_others(model, found, RECTIFIERS | MAX_POOLING, "lrp", "ReLU and max pooling")
            refuse_curved(objective, found, "lrp")
            if linear is not None:
                linear.damp(found, self.epsilon)
            mean = getattr(model, "mean", None)
            seen = images - mean if isinstance(mean, Tensor) else images
            return (seen * found.gradient()).sum(1)

        return by_parts(explain, images, rows, fitting(model, objective.layers, images))

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        self(model, objective, image)


def by_parts(explain: Callable[[Tensor, Tensor], Tensor], images: Tensor, rows: Tensor, at_once: int) -> Tensor:
    """``explain(images, rows)``, (B, H, W), of as many images at once as fit."""
    maps = torch.zeros_like(images[:, 0])

    def work(start: int, stop: int) -> None:
        maps[start:stop] = explain(images[start:stop], rows[start:stop])

    in_pieces(len(images), work, at_once)
    return maps


class _Linear(TorchFunctionMode):
    """Keeps how large the outputs of the linear layers of a forward pass are, modules and functions alike.

    Attributes:
        layers: by the node of a layer's output, the node that multiplies by its weights, and the output's magnitude.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[Node, tuple[Node, Tensor]] = {}
        self.known: set[Node] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        before = [tensor.grad_fn for tensor in tensors_in((args, kwargs)) if tensor.grad_fn is not None]
        output = func(*args, **kwargs)
        if isinstance(output, Tensor) and output.grad_fn is not None:
            # A view that was changed in place depends on more than the arguments: on layers that are known.
            products = {node for node in upstream([output], before) if kind(node) in WEIGHTED} - self.known
            self.known |= products
            if len(products) == 1:
                self.layers[output.grad_fn] = products.pop(), output.detach().abs()
        return output

    def damp(self, found: Pass, epsilon: float) -> None:
        """Let gradients lose ``epsilon / (|z| + epsilon)`` at each linear layer with output z.

        Relevance is an activation times this gradient: ``z / (z + epsilon * sign(z))`` is all by which the epsilon
        rule differs from the gradient of a linear layer, and the ratio of a ReLU's output to its input is its gradient.

        Raises:
            LookupError: there is a layer whose output was not seen.
        """
        nodes = set(found.nodes)
        layers = {output: layer for output, layer in self.layers.items() if output in nodes}
        unseen = {kind(node) for node in nodes - {product for product, _ in layers.values()}} & WEIGHTED
        if unseen:
            raise LookupError(
                f"attribution=lrp has no epsilon rule for a linear layer of this network ({min(unseen)}), whose output "
                "is hidden inside another function or changed in place; take attribution.epsilon=0"
            )
        dampings = {output: _Damping(size / (size + epsilon)) for output, (_, size) in layers.items()}
        for output, (product, _) in layers.items():
            output.register_prehook(dampings[output])
            if kind(product) in BATCH_NORMS and (behind := _copied(product.next_functions[0][0])) in dampings:
                product.register_hook(dampings[behind].spare)


class _Damping:
    """Multiplies the gradient that arrives at a linear layer, all but what comes from batch norms behind it."""

    def __init__(self, factor: Tensor) -> None:
        self.factor = factor
        self.spared: Tensor | float = 0.0

    def spare(self, passed: tuple[Tensor, ...], _arriving: tuple[Tensor, ...]) -> None:
        self.spared = self.spared + passed[0]

    def __call__(self, arriving: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (self.spared + self.factor * (arriving[0] - self.spared),)


def _copied(node: Node | None) -> Node | None:
    """What made the values that `node` hands on unchanged: an objective that reads a layer reads a copy."""
    while node is not None and kind(node) == "Clone":
        node = node.next_functions[0][0]
    return node
