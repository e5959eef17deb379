"""What the network is to see of an optimisation in one step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from interpret_runs.look import Look
from interpret_runs.rescue import Rescue


@dataclass(frozen=True)
class Offer:
    """What the network is to see of a climb in a step: the images that go on, their units, which of them live.

    Attributes:
        images: all that there are, also those that do not go on.
    """

    images: Tensor
    shown: Tensor
    parameters: Tensor
    rows: Tensor
    alive: Tensor
    opacity: Tensor | None
    progress: float | Tensor

    @classmethod
    def joined(cls, offers: Sequence[Offer]) -> Offer:
        """One after the other; each image has its own progress."""
        images, shown, parameters, rows, alive = (
            torch.cat([getattr(offer, name) for offer in offers])
            for name in ("images", "shown", "parameters", "rows", "alive")
        )
        opacities = [offer.opacity for offer in offers if offer.opacity is not None]
        progress = torch.cat([shown.new_full((len(offer.shown),), float(offer.progress)) for offer in offers])
        opacity = torch.cat(opacities) if opacities else None
        return cls(images, shown, parameters, rows, alive, opacity, progress)

    def climbed(self, look: Look) -> Tensor:
        """Give each parameter its gradient; returns the scores, (B,). The loss is minus their sum."""
        scores = look(self.shown, self.parameters, self.rows, self.opacity, self.progress)
        torch.autograd.backward(-scores.sum())
        return scores.detach()

    def rescued(self, look: Look, rescuing: bool) -> AbstractContextManager[object]:
        """Where `rescuing`, gradients of images that do not live are redirected, for the length of a ``with``."""
        return Rescue(self.alive.repeat(look.transform.views)) if rescuing else nullcontext()
