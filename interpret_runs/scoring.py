"""What a network says of images, leaving the network as it was found."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from interpret_runs.activations import Activations, capture, class_scores, evaluating
from interpret_runs.objective import Objective
from interpret_runs.pixel_convolution import quick_to_pixels
from interpret_runs.references import reference
from interpret_runs.summary import OPACITY, OUTPUT

# What a network raises whose head refuses images of a size.
REFUSED = (RuntimeError, ValueError, AssertionError)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode with fixed weights, which makes gradients of pixels quicker.

    Modes and requires_grad are put back afterwards.
    """
    grads = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with evaluating(model), quick_to_pixels(model):
            yield
    finally:
        for parameter, needed in grads:
            parameter.requires_grad_(needed)


def class_probabilities(model: nn.Module, images: Tensor) -> Tensor | None:
    """What the network says of each image, (B, K), on the CPU; None where its head refuses the size of the images."""
    with frozen(model), torch.no_grad(), capture(model, [OUTPUT]) as forward:
        try:
            output = forward(images)[OUTPUT]
        except torch.OutOfMemoryError:
            raise
        except REFUSED:
            return None
    return class_scores(output).softmax(1).cpu()


def score(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """The objective's score of each image, (B,); image i with unit ``rows[i]``. Differentiable in `images`."""
    return objective(activations(model, objective, images, rows))


def activations(
    model: nn.Module, objective: Objective, images: Tensor, rows: Tensor | None, also: Collection[str] = ()
) -> Activations:
    """What `objective` reads of images, and the outputs of the layers in `also`."""
    with capture(model, {*objective.layers, *also} - {OPACITY}) as forward:
        references = {}
        for source in objective.sources:
            with torch.no_grad():
                references[source] = forward(reference(source, rows, images))
        seen = forward(images, rows)
    return Activations(seen, rows, seen.image_size, references=references)
