"""The straight line from one image to another, and the gradients on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from interpret_runs.attribution import gradients
from interpret_runs.objective import Objective
from interpret_runs.pixel_convolution import answering
from interpret_runs.variants import in_pieces


class Line:
    """Points ``start + t * (end - start)`` of two images, (3, H, W), as a network sees them that begins with `first`.

    A convolution takes a line to a line. So `first` sees both ends alone, and what the points between are to the layers
    after it lies between its answers; their gradients are added up before they pass through it, once. That is equal
    but for rounding, and what else a network makes of its pixels is left as it is.

    Args:
        first: a convolution of `model`. Where it is shown anything but the normalised images it answers by itself.
    """

    def __init__(self, model: nn.Module, first: nn.Conv2d, start: Tensor, end: Tensor) -> None:
        self.model, self.first, self.start, self.end = model, first, start, end
        with torch.no_grad():
            self.answers = first.forward(self._normalised(torch.stack([start, end])))

    def gradients(self, objective: Objective, row: Tensor, way: Tensor, at_once: int) -> Tensor:
        """``d score / d image`` summed over the points with t in `way`, (3, H, W), for unit `row`, (1,)."""
        total, inside = torch.zeros_like(self.end), torch.zeros_like(self.answers[:1])

        def work(begin: int, stop: int) -> None:
            part = way[begin:stop].view(-1, 1, 1, 1)
            points = torch.lerp(self.start, self.end, part)
            with self._between(points, part) as sums:
                found = gradients(self.model, objective, points, row.expand(len(part)))
            total.add_(found.sum(0))
            for one in sums:
                inside.add_(one)

        in_pieces(len(way), work, at_once)
        with torch.enable_grad():
            end = self.end[None].detach().requires_grad_()
            passed: Tensor = torch.autograd.grad(self.first.forward(self._normalised(end)), end, inside)[0][0]
        return total + passed

    @contextmanager
    def _between(self, points: Tensor, way: Tensor) -> Iterator[list[Tensor]]:
        """Within, `first` is not asked about `points`; the gradients of its answers, summed, go to what this gives."""
        expected, sums = self._normalised(points), list[Tensor]()

        def answer(pixels: Tensor) -> Tensor | None:
            if pixels.dtype != expected.dtype or not torch.equal(pixels, expected):
                return None
            answers: Tensor = _Between.apply(pixels, self.answers, way, sums)
            return answers

        with answering(self.first, answer):
            yield sums

    def _normalised(self, images: Tensor) -> Tensor:
        normalise = getattr(self.model, "normalise", None)
        normalised: Tensor = images if normalise is None else normalise(images)
        return normalised


class _Between(torch.autograd.Function):
    """Answers between those of two ends; adds the sum of their gradients to a list, and passes none on."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, ends: Tensor, way: Tensor, sums: list[Tensor]) -> Tensor:
        ctx.sums, ctx.shape = sums, pixels.shape
        return torch.lerp(ends[:1], ends[1:], way)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        # One after the other: torch's sum over the first axis of a tensor that is laid out channels last is slow.
        ctx.sums.append(reduce(torch.add, torch.split(grads[0], 1)))
        return grads[0].new_zeros(()).expand(ctx.shape), None, None, None
