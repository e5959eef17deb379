"""What a network says of images, leaving the network as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from interpret_runs.activations import capture, class_scores, evaluating
from interpret_runs.objective import Objective
from interpret_runs.summary import OUTPUT


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode with fixed weights; modes and requires_grad are put back afterwards."""
    grads = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for parameter, needed in grads:
            parameter.requires_grad_(needed)


def predictions(model: nn.Module, images: Tensor) -> list[tuple[int, float]] | None:
    """The class that the network ranks first for each image and its probability; None where it cannot tell.

    A network whose head refuses the size of the images has no prediction for them.
    """
    with frozen(model), torch.no_grad(), capture(model, [OUTPUT]) as forward:
        try:
            output = forward(images)[OUTPUT]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None
    probability, index = class_scores(output).softmax(1).max(1)
    return list(zip(index.tolist(), probability.tolist(), strict=True))


def score(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """The objective's score of each image, (B,); image i with unit ``rows[i]``. Differentiable in `images`."""
    with capture(model, objective.layers) as forward:
        return objective(forward(images, rows))
