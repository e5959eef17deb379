"""Training of small classifiers on the CPU; the same arguments give the same weights on one machine."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.randomness import generator

BATCH = 64
RATE = 5e-3


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Minimise cross-entropy with Adam and one cycle of the learning rate; `model` ends in evaluation mode.

    Args:
        images: RGB in [0, 1], (N, 3, H, W); an epoch shows each once, in an order drawn from `seed`.
        labels: class indices, (N,).
    """
    order = generator(seed, "order of training")
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    steps = max(2, epochs * ceil(len(images) / BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train()
    with torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(images), generator=order), BATCH):
                loss = functional.cross_entropy(model(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    model.eval()


@torch.no_grad()
def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """What a model in evaluation mode says of images, (N, classes)."""
    return torch.cat([model(part).softmax(1) for part in torch.split(images, 256)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images, 0 to 1, whose most probable class is their label."""
    return float((probabilities(model, images).argmax(1) == labels).double().mean())
