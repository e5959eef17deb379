"""The embedded network: a small plain convolution network for the classes of `shapes`."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class ShapesNetwork(nn.Module):
    """Six blocks of convolution, batch norm and ReLU, the mean over positions, one linear layer.

    Between the last block and the logits there is only the mean and `head`, so the class activation map of
    Zhou et al. (2016), ``sum_k head.weight[class, k] * features[k]``, is Grad-CAM at the last ReLU, before
    Grad-CAM's own ReLU and up to a constant factor. No module is used twice and none works in
    place: each can be read and hooked by its name.

    Input (B, 3, H, W), at least 16 x 16, RGB with 0.5 taken off and divided by 0.25; output (B, classes) logits.
    A unit of the last block sees 50 x 50 pixels. Trained by ``scripts/train_shapes.py`` on 64 x 64.

    Args:
        classes: number of logits.
    """

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(3, 32),
            nn.MaxPool2d(2),
            *_block(32, 64),
            *_block(64, 64),
            nn.MaxPool2d(2),
            *_block(64, 128),
            *_block(128, 128),
            nn.MaxPool2d(2),
            *_block(128, 128),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Same size out as in; the convolution needs no bias, batch norm adds its own."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
