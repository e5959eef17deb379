"""Dead-ReLU rescue: a gradient where a ReLU passes none, without touching the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_IN_PLACE: set[Callable[..., Any]] = {functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_}
_RELU: set[Callable[..., Any]] = {functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6: set[Callable[..., Any]] = {functional.relu6}
_HARDTANH: set[Callable[..., Any]] = {functional.hardtanh, functional.hardtanh_}
# Where the flag `inplace` stands among the positional arguments of those that have it.
_FLAG = {functional.relu: 1, functional.relu6: 1, functional.hardtanh: 3}


class Rescue(TorchFunctionMode):
    """While active, ReLU and ReLU6, module or functional, redirect gradients that would vanish.

    For an image that is not yet alive, at each position where a ReLU would pass no gradient at all, the
    gradient passes instead wherever it does not push an input further into the flat part: below 0, or
    above 6 for ReLU6. Lucid's redirected ReLU asks so of a whole image, and leaves one flat that lives in
    a corner only. Values never change, nor gradients of living images.

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
        if top is None or not isinstance(values, Tensor) or values.shape[:1] != self.alive.shape:
            return func(*args, **kwargs)
        place = _FLAG.get(func)
        flag = args[place] if place is not None and len(args) > place else kwargs.get("inplace", False)
        if func not in _IN_PLACE and not flag:
            return _RedirectedReLU.apply(values, self.alive, top, False)
        if values._is_view():  # autograd lets no function of ours change a view, but it lets a copy
            return values.copy_(_RedirectedReLU.apply(values, self.alive, top, False))
        return _RedirectedReLU.apply(values, self.alive, top, True)


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
    def forward(ctx: Any, values: Tensor, alive: Tensor, top: float, in_place: bool) -> Tensor:
        if in_place:
            ctx.mark_dirty(values)
        capped = top < float("inf")
        result = functional.hardtanh(values, 0, top, in_place) if capped else functional.relu(values, in_place)
        # What torch itself keeps: a network may overwrite the other one.
        ctx.save_for_backward(values if capped and not in_place else result)
        ctx.alive, ctx.top = alive, top
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (result,), (grad,) = ctx.saved_tensors, grads  # of ReLU6 perhaps its input, flat at the same places
        capped = ctx.top < float("inf")
        passed: Tensor = (
            torch.ops.aten.hardtanh_backward(grad, result, 0, ctx.top)
            if capped
            else torch.ops.aten.threshold_backward(grad, result, 0)
        )
        on_host = grad.device.type == "cpu"
        if on_host and bool(ctx.alive.all()):
            return passed, None, None, None
        blocked = _nothing_passes(passed) & ~ctx.alive.view(-1, *[1] * (grad.ndim - 1))
        # On a GPU to ask would be to wait, so the work below is done whether needed or not.
        if on_host and not bool(blocked.any()):
            return passed, None, None, None
        # Descent moves inputs against the gradient: a positive one pushes them down, a negative one up. Where
        # nothing passes, whatever has a gradient lies below 0, or above the ceiling if there is one.
        redirected = grad.clamp(max=0)
        if capped:
            redirected = torch.where(result >= ctx.top, grad.clamp(min=0), redirected)
        return passed.addcmul_(redirected, blocked.to(grad.dtype)), None, None, None


def _nothing_passes(gradient: Tensor) -> Tensor:
    """Where a gradient is 0 in all channels: by position for (B, C, H, W), by image for other ranks."""
    if gradient.ndim == 4:
        return gradient.abs().amax(1, keepdim=True) == 0
    return (gradient.reshape(len(gradient), -1) == 0).all(1).view(-1, *[1] * (gradient.ndim - 1))
