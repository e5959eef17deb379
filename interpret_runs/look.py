"""What an objective says of images that the network sees through a transform."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from interpret_runs.activations import Activations
from interpret_runs.objective import Objective
from interpret_runs.references import Source, reference
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform


@dataclass(frozen=True)
class Look:
    """Scores images through the network, with or without a transform.

    Attributes:
        forward: what `capture` yields, for the layers of `objective`.
        rows: the unit of each image, (B,).
        images: how many images in a row belong to one run.
        precision: ``bfloat16`` runs the network, and nothing else, in it.
    """

    forward: Callable[..., Activations]
    objective: Objective
    transform: Transform
    rows: Tensor
    images: int = 1
    precision: str = "float32"

    def __call__(
        self,
        images: Tensor,
        parameters: Tensor | None = None,
        rows: Tensor | None = None,
        opacity: Tensor | None = None,
        progress: float | Tensor = 1.0,
    ) -> Tensor:
        """One score per image, (B,): the mean over the views that the transform makes of it.

        Args:
            parameters: of the transform, for each image; None looks at the images as they are.
            rows: other than the look's own, where `images` are some of its images only.
            opacity: (B, 1, H, W), for objectives that read it.
            progress: for weights that change, from 0 to 1; one number, or one for each image.
        """
        rows = self.rows if rows is None else rows
        views = 1 if parameters is None else self.transform.views
        rows = rows.repeat(views)

        def through(shown: Tensor) -> Activations:
            seen = self.transform.clean(shown) if parameters is None else self.transform(shown, parameters)
            # Penalties on pixels read the image itself, not what a transform made of it.
            return self._activations(seen, shown.repeat(views, 1, 1, 1) if views > 1 else shown, rows)

        own = through(images)
        outputs = dict(own)
        if opacity is not None:
            outputs[OPACITY] = opacity.repeat(views, 1, 1, 1)
        references = {}
        for source in self.objective.sources:
            with torch.no_grad():
                references[source] = through(_picture(source, rows, images))
        if isinstance(progress, Tensor) and progress.ndim:
            progress = progress.repeat(views)
        scores = self.objective(Activations(outputs, rows, own.image_size, self.images, progress, references))
        return scores.reshape(views, -1).mean(0)

    def _activations(self, seen: Tensor, pixels: Tensor, rows: Tensor) -> Activations:
        if seen.requires_grad and not seen.is_leaf:
            # The transform's backward pass is slower in other formats.
            seen.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        half = self.precision == "bfloat16"
        with torch.autocast(seen.device.type, torch.bfloat16) if half else nullcontext():
            activations = self.forward(seen, rows)
        outputs = {name: tensor.to(seen.dtype) for name, tensor in activations.items()}
        return Activations({**outputs, PIXELS: pixels}, rows, activations.image_size)


def _picture(source: Source, rows: Tensor, images: Tensor) -> Tensor:
    return reference(source, rows[: len(images)], images)
