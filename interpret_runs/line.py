"""The straight line from one image to another, and the gradients on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from interpret_runs.attribution import gradients
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.pixel_convolution import answering
from interpret_runs.variants import in_pieces


class Line:
    """Points ``start + t * (end - start)`` of two images, (3, H, W), as a network sees them that begins with `first`.

    A convolution takes a line to a line. So `first` sees both ends alone, and what the points between are to the layers
    after it lies between its answers; their gradients are added up before they pass through it, once. That is equal
    but for rounding, and what else a network makes of its pixels is left as it is.

    Args:
        first: a convolution of `model`. Where it is shown anything but the very images that the network is given, it
            answers by itself.
    """

    def __init__(self, model: nn.Module, first: nn.Conv2d, start: Tensor, end: Tensor) -> None:
        self.model, self.first, self.start, self.end = model, first, start, end
        with torch.no_grad():
            self.answers = self._asked(torch.stack([start, end]))

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
            passed: Tensor = torch.autograd.grad(self._asked(end), end, inside)[0][0]
        return total + passed

    @contextmanager
    def _between(self, points: Tensor, way: Tensor) -> Iterator[list[Tensor]]:
        """Within, `first` is not asked about `points`; the gradients of its answers, summed, go to what this gives."""
        expected, sums, shown = self._normalised(points), list[Tensor](), list[Tensor]()

        def note(_network: nn.Module, given: tuple[Tensor, ...]) -> None:
            shown[:] = given[:1]

        def answer(pixels: Tensor) -> Tensor | None:
            # Equal images may have come another way, with other gradients; the network also sees others, as references.
            if not (shown and pixels is shown[0] and torch.equal(pixels, expected)):
                return None
            answers: Tensor = _Between.apply(pixels, self.answers, way, sums)
            return answers

        network = self.model.network if isinstance(self.model, VisionModel) else self.model
        noting = network.register_forward_pre_hook(note, prepend=True)
        try:
            with answering(self.first, answer):
                yield sums
        finally:
            noting.remove()

    def _asked(self, images: Tensor) -> Tensor:
        """What `first` makes of images, without what hooks and subclasses make of that."""
        made: Tensor = self.first._conv_forward(self._normalised(images), self.first.weight, self.first.bias)
        return made

    def _normalised(self, images: Tensor) -> Tensor:
        """What the network is given; what others do before it need not take a line to a line."""
        return self.model.normalise(images) if isinstance(self.model, VisionModel) else images


class _Between(torch.autograd.Function):
    """Answers between those of two ends; adds the sum of their gradients to a list, and passes none on."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, ends: Tensor, way: Tensor, sums: list[Tensor]) -> Tensor:
        ctx.sums, ctx.shape = sums, pixels.shape
        return torch.lerp(ends[:1], ends[1:], way.to(ends.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        # One after the other: torch's sum over the first axis of a tensor that is laid out channels last is slow.
        ctx.sums.append(reduce(torch.add, torch.split(grads[0], 1)))
        return grads[0].new_zeros(()).expand(ctx.shape), None, None, None
