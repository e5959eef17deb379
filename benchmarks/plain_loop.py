"""Feature visualisation as it is commonly done: one image at a time, and every step by itself.

Lucid's published defaults (Olah et al., 2017) in the scheme of its ports to PyTorch: a hook on every module, weights
that ask for gradients, the whole network forward, padding, shift, scale, rotation and shift as five operations and the
network's size as a sixth, each image normalised by itself, a Fourier spectrum optimised by Adam at 0.05.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, radians, sin
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.image_statistics import COLOUR
from interpret_runs.lucid import ANGLES, JITTER, LATE_JITTER, PADDING, SCALES
from interpret_runs.models import VisionModel


@contextmanager
def all_outputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The output of every module by its name, refilled by each forward pass."""
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _module, _args, output, name=name: seen.update({name: output}))
        for name, module in model.named_modules()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class PlainImage:
    """An image on its way to exciting one channel.

    Args:
        size: of the image, in pixels a side.
        seen: side in pixels to which what the network sees is brought.
    """

    def __init__(self, model: VisionModel, layer: str, channel: int, size: int, seen: int, seed: int = 0) -> None:
        self.model, self.layer, self.channel, self.size, self.seen = model, layer, channel, size, seen
        self.random = Random(seed)
        self.colour = COLOUR.to(model.mean)
        down, across = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
        self.scale = (size / torch.hypot(down, across).clamp_min(1 / size)).to(model.mean)
        drawn = 0.01 * torch.randn(1, 3, *self.scale.shape, 2, generator=torch.Generator().manual_seed(seed))
        self.spectrum = drawn.to(model.mean).requires_grad_()
        self.optimizer = torch.optim.Adam([self.spectrum], lr=0.05)

    def image(self) -> Tensor:
        """RGB in [0, 1], (1, 3, size, size)."""
        waves = torch.fft.irfft2(torch.view_as_complex(self.spectrum) * self.scale, s=(self.size, self.size)) / 4
        return torch.einsum("oc,bchw->bohw", self.colour, waves).sigmoid()

    def climb(self, steps: int) -> None:
        with all_outputs(self.model.network) as seen:
            for _ in range(steps):
                self.optimizer.zero_grad()
                changed = self._changed(self.image())
                self.model.network(torch.stack([self.model.normalise(one) for one in changed]))
                loss = -seen[self.layer][:, self.channel].mean()
                loss.backward()
                self.optimizer.step()

    def _changed(self, image: Tensor) -> Tensor:
        image = functional.pad(image, [PADDING] * 4, value=0.5)
        image = self._cropped(image, JITTER)
        image = functional.interpolate(image, scale_factor=self.random.choice(SCALES), mode="bilinear")
        image = self._rotated(image, radians(self.random.choice(ANGLES)))
        image = self._cropped(image, LATE_JITTER)
        return functional.interpolate(image, size=[self.seen, self.seen], mode="bilinear")

    def _cropped(self, image: Tensor, width: int) -> Tensor:
        """`width` pixels less on each axis, from a random place."""
        top, left = self.random.randint(0, width), self.random.randint(0, width)
        height, across = image.shape[2] - width, image.shape[3] - width
        return image[:, :, top : top + height, left : left + across]

    def _rotated(self, image: Tensor, angle: float) -> Tensor:
        matrix = image.new_tensor([[[cos(angle), -sin(angle), 0], [sin(angle), cos(angle), 0]]])
        grid = functional.affine_grid(matrix, list(image.shape), align_corners=False)
        return functional.grid_sample(image, grid, align_corners=False)
