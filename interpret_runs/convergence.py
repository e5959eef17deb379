"""Whether scores still rise."""

from __future__ import annotations

import torch
from torch import Tensor


class Convergence:
    """Compares the mean scores of stretches of steps; stays on the scores' device.

    Args:
        share: a stretch in which the mean score rose by less than this share of itself is a quiet one.
    """

    QUIET = 2

    def __init__(self, share: float) -> None:
        self.share = share
        self.total: Tensor | None = None
        self.steps = 0
        self.before: Tensor | None = None
        self.quiet: Tensor | None = None

    def add(self, scores: Tensor) -> None:
        """Note the scores of one step, (B,)."""
        self.total = scores if self.total is None else self.total + scores
        self.steps += 1

    def settled(self) -> Tensor:
        """End a stretch; whether it and the one before were quiet, for each image, (B,) bool."""
        if self.total is None:
            raise ValueError("no scores since the last stretch ended")
        mean = self.total / self.steps
        self.total, self.steps = None, 0
        if self.before is None or self.quiet is None:
            self.quiet = torch.zeros_like(mean, dtype=torch.long)
        else:
            self.quiet = torch.where(mean - self.before < self.share * mean.abs(), self.quiet + 1, 0)
        self.before = mean
        return self.quiet >= self.QUIET
