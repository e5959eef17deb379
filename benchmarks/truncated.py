"""A network up to one of its layers and nothing else: the limit of what reads that layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpret_runs.activations import evaluating
from interpret_runs.memory_format import FORMATS, format_of
from interpret_runs.models import VisionModel
from interpret_runs.pixel_convolution import quick_to_pixels
from interpret_runs.summary import OUTPUT


class _ReachedError(Exception):
    def __init__(self, output: Tensor) -> None:
        self.output = output


@dataclass(frozen=True)
class Truncated:
    """Passes through `model`, in its own memory format, that end at `layer`, a dotted name or ``logits``.

    Gradients are torch's own, or, where `quick`, those that the runner makes its images with.
    """

    model: VisionModel
    layer: str
    quick: bool = False

    def climb(self, images: int, size: tuple[int, int], steps: int, precision: str = "float32") -> None:
        """Forward and backward passes to the pixels, without anything that makes or changes these."""
        pixels = self._pixels(images, size).requires_grad_()
        with self._forward() as forward:
            for _ in range(steps):
                pixels.grad = None
                with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    activation = forward(pixels)
                activation[:, 0].float().sum().backward()

    def look(self, images: int, size: tuple[int, int], at_once: int) -> None:
        """Forward passes over `images`, `at_once` in each, of which nothing is kept."""
        pixels = self._pixels(at_once, size)
        with self._forward() as forward, torch.inference_mode():
            for first in range(0, images, at_once):
                forward(pixels[: images - first])

    @contextmanager
    def _forward(self) -> Iterator[Callable[[Tensor], Tensor]]:
        def end(_module: Any, _args: Any, output: Tensor) -> None:
            raise _ReachedError(output)

        def forward(pixels: Tensor) -> Tensor:
            try:
                self.model(pixels)
            except _ReachedError as reached:
                return reached.output
            raise LookupError(f"{self.layer} does not run")

        module = self.model if self.layer == OUTPUT else self.model.network.get_submodule(self.layer)
        handle = module.register_forward_hook(end)
        self.model.requires_grad_(False)
        try:
            with evaluating(self.model), quick_to_pixels(self.model) if self.quick else nullcontext():
                yield forward
        finally:
            handle.remove()

    def _pixels(self, images: int, size: tuple[int, int]) -> Tensor:
        drawn = torch.rand(images, 3, *size, device=self.model.mean.device)
        return drawn.contiguous(memory_format=FORMATS[format_of(self.model)])
