"""What images are worth, as numbers: functions of images (B, 3, H, W), RGB in [0, 1], with one value an image, (B,)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import log2, sqrt
from typing import Self

import torch
from torch import Tensor

from interpret_runs.activations import Activations, capture, class_scores
from interpret_runs.images import to_pil
from interpret_runs.look import Look
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.penalties import TotalVariation
from interpret_runs.randomness import generator
from interpret_runs.scoring import REFUSED, frozen
from interpret_runs.summary import OPACITY, OUTPUT, PIXELS
from interpret_runs.transform import Transform

RINGS_PER_OCTAVE = 2
# Standard deviation of what rounding to 8 bits adds to a pixel.
ROUNDING = 1 / (255 * sqrt(12))


def total_variation(images: Tensor) -> Tensor:
    """The score of the `TotalVariation` objective."""
    return TotalVariation().score(images)


def spectrum_distance(images: Tensor) -> Tensor:
    """How far the amplitude spectrum is from photographs' law, 1/f (Field, 1987), in decades; 0 where it follows it.

    By the law amplitude times frequency f is constant. The amplitude is ``|fft2|``, the mean over colours, and at
    least what rounding to 8 bits adds; f is in cycles per pixel. The products are averaged over rings half an octave
    wide, up to f = 0.5, and the distance is the standard deviation of the rings' log10: contrast does not matter.
    At 128 pixels photographs have about 0.2 and white noise 0.55. NaN below 4 pixels, where there is but one ring.
    """
    height, width = images.shape[2:]
    count = int(RINGS_PER_OCTAVE * log2(max(height, width) / 2))
    if count < 2:
        return images.new_full((len(images),), torch.nan)
    down, across = (torch.fft.fftfreq(side, dtype=images.dtype, device=images.device) for side in (height, width))
    frequency = torch.hypot(down[:, None], across[None]).flatten()
    inside = (frequency > 0) & (frequency <= 0.5)
    frequency = frequency[inside]
    ring = (RINGS_PER_OCTAVE * (frequency * max(height, width)).log2() + 1e-6).long().clamp(max=count - 1)
    amplitude = torch.fft.fft2(images).abs().mean(1).flatten(1)[:, inside].clamp(min=ROUNDING * sqrt(height * width))
    totals = amplitude.new_zeros(len(images), count).index_add_(1, ring, amplitude * frequency)
    members = ring.bincount(minlength=count)
    filled = members > 0  # a thin image has no frequency in some of the first rings
    distance: Tensor = (totals[:, filled] / members[filled]).log10().std(1, correction=0)
    return distance


def jpeg_bytes(images: Tensor, quality: int = 90) -> Tensor:
    """Bytes per pixel of each image as a JPEG file; to be compared among images of one size, as headers count.

    Raises:
        ValueError: values that are not finite.
    """
    sizes = []
    for image in images:
        file = BytesIO()
        to_pil(image).save(file, "JPEG", quality=quality)
        sizes.append(file.tell() / image[0].numel())
    return torch.tensor(sizes)


@dataclass(frozen=True)
class Fresh:
    """What a network says of images under fresh random transforms; on the CPU.

    Attributes:
        scores: (draws, B).
        predictions: the class ranked first, (draws, B); None where the network's head refuses the size.
    """

    scores: Tensor
    predictions: Tensor | None

    @classmethod
    def mean(cls, parts: Iterable[Fresh]) -> Self:
        """Of looks at parts of the same images: their mean scores, and the predictions of all parts."""
        looks = list(parts)
        predictions = [one.predictions for one in looks if one.predictions is not None]
        scores = torch.stack([one.scores for one in looks]).mean(0)
        return cls(scores, torch.cat(predictions) if predictions else None)

    @classmethod
    def joined(cls, parts: Sequence[Fresh]) -> Self:
        """Of looks at images one after the other."""
        predictions = [one.predictions for one in parts if one.predictions is not None]
        return cls(torch.cat([one.scores for one in parts], 1), torch.cat(predictions, 1) if predictions else None)


def robustness(
    model: VisionModel,
    objective: Objective,
    images: Tensor,
    transform: Transform,
    seeds: Sequence[int],
    draws: int = 8,
    images_per_run: int = 1,
    opacity: Tensor | None = None,
    first: int = 0,
) -> Fresh:
    """Score images under draws of `transform` that no optimisation with the same `seeds` has seen.

    The draws of an image depend on its run's seed alone. Several views of an image count as their mean. The
    model is left as it was found.

    Args:
        objective: with one unit a run, or one for all.
        images: (runs * images_per_run, 3, H, W), on the model's device.
        seeds: one a run.
        opacity: (runs * images_per_run, 1, H, W), for objectives that read it.
        first: the unit of the first run.
    """
    table = transform.draw(draws, [generator(seed, "fresh").initial_seed() for seed in seeds], images_per_run)
    rows = (first + torch.arange(len(seeds))).repeat_interleave(images_per_run).to(images.device)
    objective = objective.resolve(model.summary)
    layers = objective.layers - {PIXELS, OPACITY}

    def seen_through(layers: frozenset[str]) -> Fresh:
        outputs: list[Tensor] = []

        def noting(seen: Tensor, rows: Tensor) -> Activations:
            activations = forward(seen, rows)
            if OUTPUT in layers:
                outputs.append(class_scores(activations[OUTPUT]))
            return activations

        scores, predictions = [], []
        with torch.no_grad(), frozen(model), capture(model, layers) as forward:
            look = Look(noting, objective, transform, rows, images_per_run)
            for parameters in table.to(images.device):
                scores.append(look(images, parameters, opacity=opacity))
                if outputs:  # the first is of the images, others of pictures that they are compared with
                    predictions.append(outputs[0].reshape(transform.views, len(images), -1).mean(0).argmax(1))
                    outputs.clear()
        return Fresh(torch.stack(scores).cpu(), torch.stack(predictions).cpu() if predictions else None)

    try:
        return seen_through(layers | {OUTPUT})
    except torch.OutOfMemoryError:
        raise
    except REFUSED:
        if OUTPUT in layers:
            raise
        return seen_through(layers)  # a head that refuses the size says nothing of the layers before it


def rank_and_probability(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The rank of each image's target class, from 1, and its probability, (B,) each; equals share the best rank.

    Args:
        probabilities: (B, K), as `class_probabilities` gives them.
        targets: class indices, (B,).
    """
    own = probabilities.gather(1, targets[:, None])
    return (probabilities > own).sum(1) + 1, own[:, 0]


def percentile(score: Tensor, among: Tensor) -> Tensor:
    """The share in % of the scores `among`, (n, B), that lie below `score`, (B,); an equal one counts half.

    NaN among them is left out; what cannot be compared is NaN.
    """
    below = ((among < score).sum(0) + (among == score).sum(0) / 2) / (~among.isnan()).sum(0)
    return (100 * below).masked_fill(score.isnan(), torch.nan)
