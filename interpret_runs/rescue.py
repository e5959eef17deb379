"""Dead-ReLU rescue: a gradient where a ReLU passes none, without touching the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RELU: set[Callable[..., Any]] = {
    functional.relu,
    functional.relu_,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}
_RELU6: set[Callable[..., Any]] = {functional.relu6}
_HARDTANH: set[Callable[..., Any]] = {functional.hardtanh, functional.hardtanh_}


class Rescue(TorchFunctionMode):
    """While active, ReLU and ReLU6, module or functional, redirect gradients that would vanish.

    For an image that is not yet alive, where a ReLU would pass no gradient at all for it, the gradient
    passes instead wherever it does not push an input further into the flat part: below 0, or above 6
    for ReLU6 (after Lucid's redirected ReLU). Values never change, nor gradients of living images.

    Args:
        alive: (B,) bool, one entry an image, changed in place by whoever knows.
    """

    def __init__(self, alive: Tensor) -> None:
        super().__init__()
        self.alive = alive

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        top = _ceiling(func, args, kwargs)
        values = args[0] if args else kwargs.get("input")
        if top is None or not isinstance(values, Tensor) or len(values) != len(self.alive):
            return func(*args, **kwargs)
        return _RedirectedReLU.apply(values, self.alive, top)


def _ceiling(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float | None:
    """The value at which `func` becomes flat again: infinity for a ReLU, 6 for ReLU6, None for all else."""
    if func in _RELU:
        return float("inf")
    if func in _RELU6:
        return 6.0
    if func in _HARDTANH:
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
        return float(high) if low == 0 else None
    return None


class _RedirectedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, alive: Tensor, top: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.alive, ctx.top = alive, top
        return values.clamp(0, top) if top != float("inf") else values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (values,), (grad,) = ctx.saved_tensors, grads
        below, above = values <= 0, values >= ctx.top
        passed = grad.masked_fill(below | above, 0)
        # Descent moves inputs against the gradient: a positive one pushes them down, a negative one up.
        redirected = grad.masked_fill((below & (grad > 0)) | (above & (grad < 0)), 0)
        blocked = (passed.flatten(1) == 0).all(1) & ~ctx.alive
        return torch.where(blocked.view(-1, *[1] * (grad.ndim - 1)), redirected, passed), None, None
