"""Convolutions of pixels with a stride, of which torch computes the gradient slowly on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_wanted: ContextVar[bool] = ContextVar("wanted", default=True)

# Of more input channels torch's own gradient is the faster one.
MOST_CHANNELS = 4


@contextmanager
def quick_to_pixels(model: nn.Module) -> Iterator[None]:
    """Within, a network's strided convolutions of pixels pass their gradient on in less time on a CPU.

    That is what most networks begin with. The same sums in another order, so equal but for rounding; elsewhere, and
    where weights need gradients, nothing changes.
    """
    slow = [module for module in model.modules() if isinstance(module, nn.Conv2d) and _is_slow(module)]
    for module in slow:
        vars(module)["_conv_forward"] = partial(_convolved, module)
    try:
        yield
    finally:
        for module in slow:
            del vars(module)["_conv_forward"]


@contextmanager
def torchs_own() -> Iterator[None]:
    """Within, graphs of autograd hold what a network computes by the names that torch has for it."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


@contextmanager
def answering(module: nn.Conv2d, answer: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within, a convolution that `quick_to_pixels` has changed answers as `answer` does, else by itself."""
    itself = vars(module)["_conv_forward"]

    def forward(pixels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        answered = answer(pixels)
        result: Tensor = itself(pixels, weight, bias) if answered is None else answered
        return result

    vars(module)["_conv_forward"] = forward
    try:
        yield
    finally:
        vars(module)["_conv_forward"] = itself


def pixel_convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of pixels that `quick_to_pixels` has changed."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d) and _is_quick(module)]


def slow_again(module: nn.Module) -> None:
    """Undo on a copy of a module what `quick_to_pixels` has done to the module."""
    if _is_quick(module):
        del vars(module)["_conv_forward"]


def _is_quick(module: nn.Module) -> bool:
    return getattr(vars(module).get("_conv_forward"), "func", None) is _convolved


def _is_slow(module: nn.Conv2d) -> bool:
    height, width = module.stride
    usual = module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    usual = usual and module.dilation == (1, 1) and height == width > 1 and module.in_channels <= MOST_CHANNELS
    # Whoever has one of their own keeps it; so does a module that is quick already.
    return usual and type(module)._conv_forward is nn.Conv2d._conv_forward and "_conv_forward" not in vars(module)


def _convolved(module: nn.Conv2d, pixels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    usual = pixels.device.type == "cpu" and pixels.ndim == 4 and pixels.requires_grad and torch.is_grad_enabled()
    result: Tensor
    if not (usual and _wanted.get()) or weight.requires_grad or (bias is not None and bias.requires_grad):
        result = nn.Conv2d._conv_forward(module, pixels, weight, bias)
    else:
        result = _PixelConvolution.apply(pixels, weight, bias, module.stride[0], module.padding)
    return result


class _PixelConvolution(torch.autograd.Function):
    """A convolution with stride s, whose gradient is one convolution without.

    Pixel ``s q + r`` has the gradient ``sum over m of grad[q - m] weight[r + s m]``: for each remainder r a
    convolution with every s-th weight. All s squared of them are the channels of a single one, laid side by side as
    in sub-pixel convolution (Shi et al., 2016).
    """

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.size, ctx.dtype = stride, padding, pixels.shape[2:], pixels.dtype
        return functional.conv2d(pixels, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,), (grad,) = ctx.saved_tensors, grads
        kernels = _by_remainder(weight.to(grad.dtype), ctx.stride)
        rows, columns = kernels.shape[2:]
        whole = functional.pixel_shuffle(functional.conv2d(grad, kernels, padding=(rows - 1, columns - 1)), ctx.stride)
        (top, left), (height, width) = ctx.padding, ctx.size
        # Pixels that no window of the convolution reaches have no gradient.
        right, bottom = width + left - whole.shape[3], height + top - whole.shape[2]
        return functional.pad(whole, (-left, right, -top, bottom)).to(ctx.dtype), None, None, None, None


def _by_remainder(weight: Tensor, stride: int) -> Tensor:
    """Weights (O, C, h, w) as (C s s, O, ceil(h / s), ceil(w / s)): of each remainder its own, last ones first."""
    outputs, channels, height, width = weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    weight = functional.pad(weight, (0, columns * stride - width, 0, rows * stride - height))
    weight = weight.view(outputs, channels, rows, stride, columns, stride).flip(2, 4)
    return weight.permute(1, 3, 5, 0, 2, 4).reshape(-1, outputs, rows, columns)
