"""What a layer says at some positions of many images, and for which classes that speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interpret_runs.activations import Activations, capture, class_scores
from interpret_runs.dataset_examples import batches
from interpret_runs.images import ImageSet
from interpret_runs.models import VisionModel
from interpret_runs.randomness import generator
from interpret_runs.scoring import frozen
from interpret_runs.summary import OUTPUT
from interpret_runs.variants import fitting, in_pieces


@dataclass(frozen=True)
class LayerSamples:
    """Activations of one layer at positions of images; everything on the CPU, one row a sample.

    Attributes:
        activations: (N, C) float32.
        images: places in the set, (N,).
        positions: row and column on the layer's grid, (N, 2).
        classes: the classes that the network ranks first for the sample's image, (N, K).
        attributed: for each of them how much the sample adds to its logit, to first order: the activation times
            the logit's gradient there, (N, K).
        skipped: images that could not be read, each with the reason.
    """

    activations: Tensor
    images: Tensor
    positions: Tensor
    classes: Tensor
    attributed: Tensor
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.activations)

    @property
    def active(self) -> LayerSamples:
        """The samples whose activation is not 0; the others point nowhere."""
        rows = self.activations.any(1)
        own = {name: getattr(self, name)[rows] for name in ("activations", "images", "positions")}
        return replace(self, **own, classes=self.classes[rows], attributed=self.attributed[rows])


def layer_samples(
    model: VisionModel,
    layer: str,
    dataset: Sequence[ImageSet],
    positions: int,
    seed: int,
    classes: int = 3,
    batch_size: int = 32,
    progress: Callable[[float], None] | None = None,
) -> LayerSamples:
    """Read `layer` at `positions` random positions of every image; those of an image depend on `seed` and it alone.

    A layer with fewer positions gives all that it has. Images stream through the network; memory grows with the
    samples. The model is left as it was found.

    Args:
        classes: of how many of the classes that the network ranks first the attribution is taken.
        progress: called with the part that is done, 0 to 1, after every batch.

    Raises:
        ValueError: none of the images can be read.
        LookupError: no such layer.
    """
    layer = model.summary.layer(layer).path
    skipped: list[tuple[str, str]] = []
    found: list[tuple[Tensor, ...]] = []
    with frozen(model), capture(model, {layer, OUTPUT}) as forward:
        for indices, pixels in batches(dataset, model.preprocessing, batch_size, skipped):
            images = pixels.to(model.mean)

            def read(start: int, stop: int, images: Tensor = images, indices: Tensor = indices) -> None:
                with torch.enable_grad():
                    seen = forward(images[start:stop].requires_grad_())
                    found.append(_samples(seen, layer, indices[start:stop], positions, seed, classes))

            in_pieces(len(images), read, fitting(model, {layer, OUTPUT}, images))
            if progress:
                progress((int(indices[-1]) + 1) / len(dataset))
    if not found:
        raise ValueError(f"none of the {len(dataset)} images can be read; the first: {skipped[0][1]}")
    activations, images, places, ranked, pulls = (torch.cat(parts) for parts in zip(*found, strict=True))
    return LayerSamples(activations, images, places, ranked, pulls, tuple(skipped))


def _samples(
    seen: Activations, layer: str, indices: Tensor, positions: int, seed: int, classes: int
) -> tuple[Tensor, ...]:
    """The fields of `LayerSamples` for one batch of images, `indices` of the set."""
    scores = class_scores(seen[OUTPUT])
    grid = seen.grid(layer).flatten(2)
    rows, columns = seen.grid(layer).shape[2:]
    drawn = [torch.randperm(rows * columns, generator=generator(seed, f"positions {index}")) for index in indices]
    chosen = torch.stack(drawn)[:, :positions]
    count = chosen.shape[1]
    places = chosen.to(grid.device)[:, None].expand(-1, grid.shape[1], -1)
    ranked = scores.topk(min(classes, scores.shape[1])).indices
    pulls = []
    for place in range(ranked.shape[1]):
        wanted = scores.gather(1, ranked[:, place : place + 1]).sum()
        (slope,) = torch.autograd.grad(wanted, seen[layer], retain_graph=True, materialize_grads=True)
        slopes = Activations({layer: slope}, image_size=seen.image_size).grid(layer).flatten(2)
        pulls.append((grid * slopes).gather(2, places).sum(1).flatten())
    return (
        grid.gather(2, places).transpose(1, 2).flatten(0, 1).detach().float().cpu(),
        indices.repeat_interleave(count),
        torch.stack([chosen // columns, chosen % columns], -1).flatten(0, 1),
        ranked.repeat_interleave(count, 0).cpu(),
        torch.stack(pulls, 1).detach().float().cpu(),
    )
