"""In which order a network keeps the numbers of a picture: the same values, at another speed."""

from __future__ import annotations

from collections.abc import Collection
from time import perf_counter

import torch
from torch import Tensor, nn

from interpret_runs.activations import capture
from interpret_runs.scoring import REFUSED, class_probabilities, frozen
from interpret_runs.summary import OPACITY, PIXELS

CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels_last"
FORMATS = {CONTIGUOUS: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
# Images of a measurement, and how often it is made: each a forward and a backward pass.
IMAGES, IMAGES_GPU = 2, 16
REPEATS = 3
# Seconds after which one repeat is enough.
PATIENCE = 2.0
# The share of the time that another format has to save: less may be chance, and rounds otherwise for nothing.
GAIN = 0.1


def lay_out(model: nn.Module, name: str) -> None:
    """Give the weights of convolutions the format `name`, which is then that of what they compute.

    Raises:
        ValueError: no such format.
    """
    if name not in FORMATS:
        raise ValueError(f"memory format {name!r} is none of {', '.join(FORMATS)}")
    model.to(memory_format=FORMATS[name])


def format_of(model: nn.Module) -> str:
    """The format that the weights of a model have; ``contiguous`` where it has no convolutions."""
    weights = (weight for weight in model.parameters() if weight.ndim == 4)
    last = any(
        not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last) for weight in weights
    )
    return CHANNELS_LAST if last else CONTIGUOUS


def fastest(model: nn.Module, layers: Collection[str], size: tuple[int, int], precision: str = "float32") -> str:
    """The format in which a forward and backward pass up to `layers` takes least time, by a short measurement.

    Alternating passes over random images of `size` (height, width); the shortest of each format counts. A network with
    at most one convolution, or that refuses the other format, stays ``contiguous``. The model is left ``contiguous``.
    """
    read = set(layers) - {PIXELS, OPACITY}
    weight = next((one for one in model.parameters() if one.is_floating_point()), torch.zeros(()))
    if not read or weight.device.type == "meta" or sum(one.ndim == 4 for one in model.parameters()) < 2:
        return CONTIGUOUS
    count = IMAGES if weight.device.type == "cpu" else IMAGES_GPU
    pixels = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0)).to(weight.detach())
    try:
        usual, other = _times(model, read, pixels, precision)
    except REFUSED:  # some networks view their tensors as if they were contiguous
        return CONTIGUOUS
    finally:
        lay_out(model, CONTIGUOUS)
    return CHANNELS_LAST if min(other) < (1 - GAIN) * min(usual) else CONTIGUOUS


def _times(model: nn.Module, layers: Collection[str], pixels: Tensor, precision: str) -> list[list[float]]:
    """Seconds of passes in each format, in turns.

    Raises:
        RuntimeError, ValueError, AssertionError: the network refuses a format.
    """
    times: list[list[float]] = [[] for _ in FORMATS]
    begun = perf_counter()
    for turn in range(REPEATS + 1):
        if turn > 1 and perf_counter() - begun > PATIENCE:
            break
        for name, mine in zip(FORMATS, times, strict=True):
            lay_out(model, name)
            seconds = _seconds(model, layers, pixels, precision)
            if turn:  # the first one warms up
                mine.append(seconds)
    # Gradients may need a part of the network only; other questions need all of it.
    whole = class_probabilities(model, pixels[:1])
    lay_out(model, CONTIGUOUS)
    if whole is None and class_probabilities(model, pixels[:1]) is not None:
        raise RuntimeError(f"the network refuses {CHANNELS_LAST}")
    return times


def _seconds(model: nn.Module, layers: Collection[str], pixels: Tensor, precision: str) -> float:
    _wait(pixels.device)
    started = perf_counter()
    with torch.enable_grad(), frozen(model), capture(model, layers) as forward:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            seen = forward(pixels.requires_grad_())
        total = torch.stack([seen[name].float().sum() for name in layers]).sum()
        if total.requires_grad:
            torch.autograd.grad(total, pixels, allow_unused=True)
    _wait(pixels.device)
    return perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
