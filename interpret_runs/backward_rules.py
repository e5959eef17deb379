"""Gradients whose backward pass is changed, by hooks on the graph of one forward pass; the network is not touched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from interpret_runs.attribution import Attribution, check_number, largest_colour
from interpret_runs.cams import GradCam
from interpret_runs.nonlinearities import MAX_POOLING, kind, refuse_curved, refuse_others, trace
from interpret_runs.objective import Objective
from interpret_runs.summary import PIXELS
from interpret_runs.variants import fitting, in_pieces

RECTIFIERS = frozenset({"Relu", "LeakyRelu", "PreluKernel"})


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

    ``R_i = sum_j x_i w_ij / (z_j + epsilon * sign(z_j)) * R_j`` for linear layers: x their input, z their output with
    its bias, to which its share of the relevance is lost. A batch norm behind a convolution or a linear layer counts
    as one layer with it. ReLU and max pooling hand relevance on. Additions and means share it in proportion to what
    they add. x of the first layer is the image as the network sees it, so the colour that the model normalises to zero
    has no relevance.

    With epsilon 0 the map is the image's difference from that colour times the gradient (Ancona et al., 2018), and
    sums to the score where there are no biases. Larger values take from units with little output.

    Args:
        epsilon: in units of a layer's output, from 0 on.

    Raises:
        LookupError: the network computes something on the way that is neither linear nor ReLU (leaky or not) nor max
            pooling; an objective that is not linear in the layers that it reads, or reads pixels.
    """

    exact: ClassVar[bool] = True
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_number("epsilon", self.epsilon)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        if PIXELS in objective.layers:
            raise LookupError(f"attribution=lrp explains layers of a network, and {objective!r} reads pixels")

        def explain(images: Tensor, rows: Tensor) -> Tensor:
            with _damped(model, self.epsilon):
                found = trace(model, objective, images, rows)
            refuse_others(model, found, RECTIFIERS | MAX_POOLING, "lrp", "ReLU and max pooling")
            refuse_curved(objective, found, "lrp")
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


@dataclass
class _Damping:
    """What a linear layer's gradient is multiplied by; None for one that is merged with a batch norm."""

    factor: Tensor | None

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient if self.factor is None else gradient * self.factor


@contextmanager
def _damped(model: nn.Module, epsilon: float) -> Iterator[None]:
    """Forward passes whose gradients lose ``epsilon / (|z| + epsilon)`` at each linear layer with output z.

    Relevance is an activation times this gradient: ``z / (z + epsilon * sign(z))`` is all by which the epsilon rule
    differs from the gradient of a linear layer, and the ratio of a ReLU's output to its input is its gradient.
    """
    # The outputs are kept so that no other tensor takes their ids.
    outputs: dict[int, tuple[Tensor, _Damping]] = {}

    def merge(_module: nn.Module, args: Any) -> None:
        if id(args[0]) in outputs:
            outputs[id(args[0])][1].factor = None

    def damp(_module: nn.Module, _args: Any, output: Tensor) -> None:
        if not output.requires_grad:
            return
        size = output.detach().abs()
        damping = _Damping(size / (size + epsilon))
        outputs[id(output)] = output, damping
        output.register_hook(damping)  # type: ignore[no-untyped-call]

    handles = []
    try:
        for module in model.modules() if epsilon else ():
            if isinstance(module, _BatchNorm):
                handles.append(module.register_forward_pre_hook(merge))
            if isinstance(module, (_ConvNd, nn.Linear, _BatchNorm)):
                handles.append(module.register_forward_hook(damp))
        yield
    finally:
        for handle in handles:
            handle.remove()
