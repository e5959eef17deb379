"""What photographs have in common: how their colours correlate, and how strong each spatial frequency is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Square root of the covariance of ImageNet's colours (Olah et al., 2017), scaled to a largest column norm of 1.
_COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOUR = _COLOUR / _COLOUR.norm(dim=0).max()


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Colour correlation and spectrum of a set of photographs.

    Attributes:
        colour: (3, 3), from decorrelated axes to RGB, its largest column of norm 1.
        magnitude: mean |rfft2| of the decorrelated photographs, (3, h, w // 2 + 1); None is the law ``1 / frequency``.
    """

    colour: Tensor
    magnitude: Tensor | None = None

    @classmethod
    def of(cls, file: str | None) -> Self:
        """The statistics in a file, or ImageNet's colours and a power law."""
        if file is None:
            return cls(COLOUR)
        raise NotImplementedError
