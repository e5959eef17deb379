"""Missing pixels filled in from their neighbours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

COARSEST = 8  # a grid with a side of so many cells or fewer is not made coarser
KERNEL = (0.25, 0.75, 0.75, 0.25)  # along each axis, between a grid and the one of twice the step
LOOK_EVERY = 8  # steps between two looks at whether all is solved: a GPU waits for each


def linear_imputation(images: Tensor, known: Tensor) -> Tensor:
    """Images in which each missing pixel is the weighted mean of its eight neighbours (Rong et al., 2022).

    Neighbours beside a pixel weigh 1/6, diagonal ones 1/12; those outside of the image count for nothing. The
    equations of all missing pixels hold at once. They are solved on the images' device, each image by itself, until
    the residual is below ``eps ** 0.75`` of the right-hand side, with the eps of the dtype.

    Args:
        images: (B, C, H, W); what missing pixels hold is not read.
        known: false where a pixel is missing, (B, H, W).

    Raises:
        ValueError: an image without a known pixel.
    """
    if not known.flatten(1).any(1).all():
        raise ValueError("an image has no known pixel to fill the others from; leave at least one")
    missing = (~known[:, None]).to(images.dtype)
    images = images.masked_fill(~known[:, None], 0)
    total = _neighbours(torch.ones_like(missing))
    grids = _coarser(missing)

    def apply(values: Tensor) -> Tensor:
        return missing * (total * values - _neighbours(values))

    return images + _conjugate_gradients(apply, missing * _neighbours(images), lambda rest: _all_grids(rest, grids))


def _neighbours(values: Tensor) -> Tensor:
    """The weighted sum over the eight neighbours, zero outside."""
    padded = functional.pad(values, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * values) / 12


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], right: Tensor, precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """Solve ``apply(x) = right`` for each image, (B, C, H, W); both functions are symmetric and positive."""
    solved, residual = torch.zeros_like(right), right
    direction = changed = precondition(residual)
    size, goal = _dot(residual, changed), torch.finfo(right.dtype).eps ** 1.5 * _dot(right, right)
    for step in range(right[0].numel()):
        going = _dot(residual, residual) > goal
        if step % LOOK_EVERY == 0 and not going.any():
            break
        applied = apply(direction)
        # What is solved rests, so that no image depends on how long the others take.
        length = torch.where(going, size / _dot(direction, applied), 0)
        solved = solved + length * direction
        residual = residual - length * applied
        changed = precondition(residual)
        rest = torch.where(going, _dot(residual, changed), size)
        direction = changed + torch.where(going, rest / size, 0) * direction
        size = rest
    return solved


def _coarser(missing: Tensor) -> list[Tensor]:
    """Where pixels are missing, (B, 1, H, W), on coarser and coarser grids: where all four cells of the finer are."""
    found = [missing]
    while min(found[-1].shape[2:]) > COARSEST:
        found.append(-functional.max_pool2d(-found[-1], 2))
    return found


def _all_grids(residual: Tensor, missing: list[Tensor]) -> Tensor:
    """A residual summed up over all grids, so that far pixels hear of it in one step (Bramble, Pasciak and Xu, 1990).

    What goes up is the transpose of what goes down; so the whole is symmetric.
    """
    if len(missing) == 1:
        return residual
    channels, odd = residual.shape[1], [side % 2 for side in residual.shape[2:]]
    kernel = residual.new_tensor(KERNEL)
    kernel = (kernel[:, None] * kernel).expand(channels, 1, -1, -1)
    coarse = missing[1] * functional.conv2d(residual, kernel, stride=2, padding=1, groups=channels)
    coarse = _all_grids(coarse, missing[1:])
    back = functional.conv_transpose2d(coarse, kernel, stride=2, padding=1, output_padding=odd, groups=channels)
    return residual + missing[0] * back


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2, 3), keepdim=True)
