"""DeepLIFT: what a network's units contribute to the difference between an image and a baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from interpret_runs.attribution import Attribution, relative_error, scores
from interpret_runs.backward_rules import by_parts
from interpret_runs.baselines import FIXED, check_name, fixed
from interpret_runs.nonlinearities import refuse_curved, refuse_others, trace
from interpret_runs.objective import Objective
from interpret_runs.randomness import generator
from interpret_runs.scoring import frozen
from interpret_runs.variants import fitting

TOLERANCE = 1e-3  # of the difference of the scores, by which the sum of a map may miss it

_KNOWN = "activation functions of one number and max pooling"
_NAMES = re.compile(
    "(relu6?|leaky_relu|prelu|elu|selu|celu|gelu|silu|mish|softplus|softsign|sigmoid|logsigmoid|tanh|hardtanh|"
    "hardswish|hardsigmoid)_?"
)
# Under each name by which it can be called; those that end in _ work in place.
ELEMENTWISE = frozenset(
    getattr(home, name) for home in (functional, torch, Tensor) for name in dir(home) if _NAMES.fullmatch(name)
)
POOLING = frozenset({functional.max_pool2d, torch.max_pool2d, functional.adaptive_max_pool2d})


@dataclass(frozen=True)
class DeepLift(Attribution):
    """Contributions of the pixels to ``score(x) - score(b)``, by the rescale rule, summed over colours.

    Shrikumar et al. (2017): the gradient of ``f(z)`` is replaced by ``(f(z) - f(z')) / (z - z')``, z' being z at the
    baseline b, and by itself where they are equal; max pooling shares its difference among the two winners, as DeepSHAP
    does (Lundberg and Lee, 2017). The map is ``x - b`` times the multipliers at the pixels, and sums to
    ``score(x) - score(b)``, exactly but for rounding. It makes no difference whether an activation function is a
    module, a function or in place, nor how often a module runs.

    Args:
        baseline: ``black``, ``white``, ``mean`` or ``blur``; see `baselines.fixed`.

    Raises:
        LookupError: something on the way is neither linear nor an activation function of one number nor max pooling,
            such as softmax, layer norm or a product of activations; or the objective is not linear in the layers
            that it reads.
    """

    exact: ClassVar[bool] = True
    baseline: str = "black"

    def __post_init__(self) -> None:
        check_name(self.baseline, FIXED)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        def explain(images: Tensor, rows: Tensor) -> Tensor:
            baselines = fixed(self.baseline, model, images)
            with _Rescaled(len(images)):
                found = trace(model, objective, torch.cat([images, baselines]), rows.repeat(2))
                refuse_others(model, found, {_Rescale.__name__, _Shared.__name__}, "deep_lift", _KNOWN)
            refuse_curved(objective, found, "deep_lift")
            # The scores of the baselines have the same multipliers, on their own half of the graph.
            return ((images - baselines) * found.gradient()[: len(images)]).sum(1)

        return by_parts(explain, images, rows, max(1, fitting(model, objective.layers, images) // 2))

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        # Where the image is its own baseline, any map adds up.
        image = torch.rand(image.shape, generator=generator(0, "check"), dtype=image.dtype).to(image.device)
        maps = self(model, objective, image)
        gain = self._gain(model, objective, image, torch.zeros(1, dtype=torch.long, device=image.device))
        found, size = maps.sum().item(), maps.abs().sum().item()
        # Rounding grows with the size of what is added up.
        if not abs(found - gain.item()) <= TOLERANCE * max(abs(gain.item()), size / 10):
            raise LookupError(
                f"attribution=deep_lift does not add up on {objective!r}: the map sums to {found:.4g} and the score "
                f"rises by {gain.item():.4g} from baseline {self.baseline}; take integrated_gradients"
            )

    def measure(
        self, model: nn.Module, objective: Objective, images: Tensor, maps: Tensor, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`completeness_error`: how far the map's sum is from the difference of the scores, relative to that."""
        if rows is None:
            rows = torch.arange(len(images), device=images.device)
        gain = self._gain(model, objective, images, rows)
        return {"completeness_error": relative_error(maps, gain)}

    def _gain(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        with frozen(model):
            there = scores(model, objective, fixed(self.baseline, model, images), rows)
            return scores(model, objective, images, rows) - there


class _Rescaled(TorchFunctionMode):
    """Activation functions and max pooling with multipliers for gradients, for `images` and as many baselines.

    Images and their baselines stay in the two halves of the first axis, also where windows or tokens are folded into
    it; what has another first axis is left alone, and then found in the graph.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = _Rescale if func in ELEMENTWISE else _Shared if func in POOLING else None
        values = args[0] if args else kwargs.get("input")
        if rule is None or not isinstance(values, Tensor) or values.ndim == 0 or values.shape[0] % (2 * self.images):
            return func(*args, **kwargs)
        others = {name: value for name, value in kwargs.items() if name != "input"}
        output = rule.apply(values, partial(_applied, func, args[1:], others))
        # No activation function has another flag.
        in_place = func.__name__.endswith("_") or any(value is True for value in (*args[1:], kwargs.get("inplace")))
        return values.copy_(output) if in_place and rule is _Rescale else output


def _applied(func: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any], values: Tensor) -> Tensor:
    return func(values.clone(), *args, **kwargs)


class _Rescale(torch.autograd.Function):
    """A function of single numbers whose gradient is its slope between an image and its baseline."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = values.detach().requires_grad_()
            output = function(leaf)
            (slope,) = torch.autograd.grad(output.sum(), leaf)
        rise, (output, other) = _difference(values), output.detach().chunk(2)
        secant = torch.where(_equal(values), slope.chunk(2)[0], (output - other) / rise)
        ctx.save_for_backward(secant)
        return torch.cat([output, other])

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None]:
        (secant,) = ctx.saved_tensors
        return arriving[0] * torch.cat([secant, secant]), None


class _Shared(torch.autograd.Function):
    """Max pooling whose difference between an image and its baseline is shared by the winners of both."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            # Copies: whatever changes the network's own tensors in place does not change these.
            ctx.leaf = values.detach().clone().requires_grad_()
            ctx.output = function(ctx.leaf)
        return ctx.output.detach().clone()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None]:
        first = arriving[0].chunk(2)[0]
        output, other = ctx.output.detach().chunk(2)
        largest = torch.maximum(output, other)

        def down(gradient: Tensor) -> Tensor:
            found: Tensor = torch.autograd.grad(ctx.output, ctx.leaf, gradient, retain_graph=True)[0]
            return found

        shares = down(torch.cat([first * (largest - other), first * (output - largest)])).chunk(2)
        leaf = ctx.leaf.detach()
        plain = down(arriving[0]).chunk(2)[0]
        multiplied = torch.where(_equal(leaf), plain, (shares[0] + shares[1]) / _difference(leaf))
        return torch.cat([multiplied, multiplied]), None


def _difference(pairs: Tensor) -> Tensor:
    image, baseline = pairs.chunk(2)
    return image - baseline


def _equal(pairs: Tensor) -> Tensor:
    """Where an image and its baseline differ by rounding at most, and a slope between them would be noise."""
    image, baseline = pairs.chunk(2)
    return (image - baseline).abs() <= 16 * torch.finfo(pairs.dtype).eps * torch.maximum(image.abs(), baseline.abs())
