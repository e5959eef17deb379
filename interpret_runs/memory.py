"""How much memory an optimisation will take, from one traced forward pass that computes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from math import sqrt
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from interpret_runs.activations import capture
from interpret_runs.scoring import frozen
from interpret_runs.summary import OPACITY, PIXELS

# Parameters of an image, their gradient, two states of Adam, and the image on its way through colour, sigmoid and
# warp, forward and backward: copies of 3 * H * W numbers, counted once and rounded up.
COPIES_OF_AN_IMAGE = 16
# Room for what the estimate does not see: the allocator's slack and the backward pass's working space.
MARGIN = 1.25
# What torch's allocators, CUDA's driver, cuBLAS and cuDNN say when none is left.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "_ALLOC_FAILED")


_known: WeakKeyDictionary[nn.Module, dict[tuple[frozenset[str], tuple[int, int]], int]] = WeakKeyDictionary()


def bytes_per_image(
    model: nn.Module, layers: Collection[str], size: tuple[int, int], copies: int = COPIES_OF_AN_IMAGE
) -> int:
    """Bytes that one more image of `size` (height, width) adds to a batch that is optimised up to `layers`.

    `copies` is how many numbers a parameterisation holds for each number of an image.
    """
    read = frozenset(layers) - {PIXELS, OPACITY}
    known = _known.setdefault(model, {})
    if (read, size) not in known:
        known[read, size] = _saved_bytes(model, read, size) if read else 0
    return int(MARGIN * (known[read, size] + copies * 3 * size[0] * size[1] * 4))


def _saved_bytes(model: nn.Module, layers: Collection[str], size: tuple[int, int]) -> int:
    """Bytes that a forward pass keeps for its backward pass, of one more image."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True), frozen(model), capture(model, layers) as forward:

        def saved(images: int) -> int:
            kept: dict[int, int] = {}

            def keep(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                kept[storage._cdata] = storage.nbytes()
                return tensor

            with saved_tensors_hooks(keep, lambda tensor: tensor):
                _alive = forward(torch.empty(images, 3, *size, device=device, requires_grad=True))
            return sum(kept.values())

        saved(1)  # a pass in which a layer is first found to be changed in place is made twice
        return saved(2) - saved(1)


def available(device: torch.device) -> int:
    """Free bytes on `device`; on the CPU what the machine or its control group leaves."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))))
    with suppress(OSError, ValueError, StopIteration):
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text())
        # What was read from files counts as used, and is given up when memory is asked for.
        lines = (group / "memory.stat").read_text().splitlines()
        cached = int(next(line.split()[1] for line in lines if line.startswith("inactive_file ")))
        limits.append(int((group / "memory.max").read_text()) - used + cached)
    return max(0, min(limits))


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out; but for CUDA's allocator, torch says so in words only."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def check(
    model: nn.Module,
    layers: Collection[str],
    size: tuple[int, int],
    images: int,
    device: torch.device,
    copies: int = COPIES_OF_AN_IMAGE,
) -> int:
    """How many images of `size` fit at once, where a run needs `images` of them together.

    Raises:
        ValueError: not even one run fits; the text names the largest size that does.
    """
    free = available(device)
    each = bytes_per_image(model, layers, size, copies)
    if each * images <= free:
        return free // each
    height, width = size
    shrink = min(1.0, sqrt(free / (each * images)))
    largest = (0, 0)
    for _ in range(16):
        largest = (int(height * shrink) // 8 * 8, int(width * shrink) // 8 * 8)
        if min(largest) < 8 or bytes_per_image(model, layers, largest, copies) * images <= free:
            break
        shrink *= 0.95
    fits = f"the largest size that fits is {largest[0]}x{largest[1]}" if min(largest) >= 8 else "no size fits"
    raise ValueError(
        f"{images} image(s) of {height}x{width} need about {each * images / 2**30:.1f} GiB, "
        f"and {device} has {free / 2**30:.1f} GiB free; {fits}"
    )
