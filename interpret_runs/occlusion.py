"""What a score loses when a part of the image is hidden."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution, check_count
from interpret_runs.baselines import FIXED, check_name, fixed
from interpret_runs.objective import Objective
from interpret_runs.variants import scores_of


@dataclass(frozen=True)
class Occlusion(Attribution):
    """``score(image) - score(image with a window replaced by a baseline)`` (Zeiler and Fergus, 2014).

    A pixel gets the mean over the windows that hide it. Windows start at every `stride`-th pixel; the last of a row
    or column is smaller where it reaches over the border. It takes a forward pass for each window: 729 for 224 x 224
    pixels with the defaults.

    Args:
        window: side of a window in pixels, at most that of the image.
        stride: from window to window, at most `window`, so that no pixel is left out.
        baseline: what hides: ``black``, ``white``, ``mean`` or ``blur``; see `baselines.fixed`.
    """

    window: int = 16
    stride: int = 8
    baseline: str = "black"

    def __post_init__(self) -> None:
        check_count("window", self.window)
        check_count("stride", self.stride)
        check_name(self.baseline, FIXED)
        if self.stride > self.window:
            raise ValueError(
                f"attribution.stride is {self.stride}; it must be at most attribution.window, {self.window}, "
                "or pixels between the windows are left out"
            )

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        fixed(self.baseline, model, image)
        self._windows(image)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        down, across = self._windows(images)
        blank = fixed(self.baseline, model, images)

        def make(places: Tensor, numbers: Tensor) -> Tensor:
            top, left = numbers // len(across), numbers % len(across)
            hidden = down[top][:, None, :, None] & across[left][:, None, None, :]
            return torch.where(hidden, blank[places], images[places])

        whole = scores_of(model, objective, images, rows, 1, lambda places, numbers: images[places])
        drops = whole - scores_of(model, objective, images, rows, len(down) * len(across), make)
        drops = drops.view(len(images), len(down), len(across))
        with torch.autocast(images.device.type, enabled=False):
            sums = torch.einsum("bij,ih,jw->bhw", drops, down.to(drops), across.to(drops))
        return sums / torch.outer(down.sum(0), across.sum(0))

    def _windows(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows and which columns of the image each window hides, (windows, H) and (windows, W)."""
        height, width = images.shape[2:]
        if self.window > min(height, width):
            raise ValueError(
                f"attribution.window is {self.window}; it must be at most the image's shorter side, {height}x{width}"
            )
        return self._hidden(height, images.device), self._hidden(width, images.device)

    def _hidden(self, side: int, device: torch.device) -> Tensor:
        starts = torch.arange(0, side - self.window + self.stride, self.stride, device=device)[:, None]
        pixels = torch.arange(side, device=device)
        return (starts <= pixels) & (pixels < starts + self.window)
