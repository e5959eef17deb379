"""Optimisers of images: those that treat each element by itself, as fast as torch has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

# What they do to one element depends on others, and so on the other runs of a batch.
NOT_ELEMENT_WISE = ("Adafactor", "LBFGS", "Muon", "SparseAdam")
# Those with one kernel for a whole step, on CPUs too; a third of the time.
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
FUSED_ON = ("cpu", "cuda")
# Those whose steps need no number of the host: they can be captured although they have no setting for it.
HOST_FREE = (torch.optim.SGD,)


def started(
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """``optimizer(parameters)``, told to work in one kernel where it may choose.

    Raises:
        ValueError: it mixes the elements of a parameter.
    """
    made = optimizer(parameters)
    if (name := type(made).__name__) in NOT_ELEMENT_WISE:
        raise ValueError(f"{name} mixes the runs of a batch; take another, such as Adam: optimizer=adam")
    if type(made) in FUSED:
        for group in made.param_groups:
            free = group["fused"] is None and group["foreach"] is None and not group["differentiable"]
            group["fused"] = group["fused"] or (free and all(_may_be_fused(one) for one in group["params"]))
    return made


def _may_be_fused(parameter: Tensor) -> bool:
    """Whether one kernel takes the usual steps: on a CPU it pairs numbers and gradients as they lie in memory."""
    return parameter.device.type in FUSED_ON and parameter.is_contiguous()


def make_capturable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a CUDA graph can hold the steps of `optimizer`; it is told so, which must be before its first step."""
    if type(optimizer) not in HOST_FREE and not all("capturable" in group for group in optimizer.param_groups):
        return False
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    return True
