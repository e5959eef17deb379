"""Class activation maps without gradients: what the network says of the image seen through each channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs.activations import Activations, capture
from interpret_runs.attribution import scores
from interpret_runs.cam import LayerAttribution, enlarged, refuse_gridless
from interpret_runs.objective import Objective
from interpret_runs.scoring import frozen
from interpret_runs.summary import PIXELS
from interpret_runs.variants import fitting, in_pieces, over_variants


@dataclass(frozen=True)
class ScoreCam(LayerAttribution):
    """A layer's channels weighted by the score of the image seen through each (Wang et al., 2020).

    ``relu(sum_k w_k A_k)`` with ``w = softmax_k(score(x * M_k))`` and M_k the channel scaled up to the image and to
    [0, 1]; what M_k hides is black. A channel that is the same everywhere hides nothing in particular: it has weight
    0. The paper's softmax is over differences to the score of a baseline, which gives the same weights. Costs a
    forward pass per channel. As no gradient is asked for, `layer` need not lie upstream of the objective.
    """

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        with torch.enable_grad(), frozen(model):
            rows = torch.zeros(1, dtype=torch.long, device=image.device)
            _activations(model, objective, self.layers, image, rows)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        at_once = fitting(model, {*self.layers, *objective.layers} - {PIXELS}, images)
        maps: list[Tensor] = []

        def work(start: int, stop: int) -> None:
            part, units = images[start:stop], rows[start:stop]
            seen = _activations(model, objective, self.layers, part, units)
            cams = [_cam(model, objective, seen.grid(layer), part, units, at_once) for layer in self.layers]
            maps.append(self.finished(cams, (images.shape[2], images.shape[3])))

        in_pieces(len(images), work, at_once)
        return torch.cat(maps)


def _activations(
    model: nn.Module, objective: Objective, layers: tuple[str, ...], images: Tensor, rows: Tensor
) -> Activations:
    with capture(model, {PIXELS, *layers}) as forward, torch.no_grad():
        seen = forward(images, rows)
    refuse_gridless(model, objective, layers, seen)
    return seen


def _cam(
    model: nn.Module, objective: Objective, activation: Tensor, images: Tensor, rows: Tensor, at_once: int
) -> Tensor:
    """``sum_k w_k A_k`` on the layer's grid, (B, h, w)."""
    size = (images.shape[2], images.shape[3])
    found = images.new_zeros(activation.shape[:2])

    def make(places: Tensor, numbers: Tensor) -> Tensor:
        return images[places] * _mask(activation[places, numbers], size)[:, None]

    def answer(variants: Tensor, units: Tensor) -> Tensor:
        return scores(model, objective, variants, units)

    def take(places: Tensor, numbers: Tensor, answers: Tensor) -> None:
        found[places, numbers] = answers.to(found.dtype)

    over_variants(activation.shape[1], rows, make, answer, take, at_once)
    # By the channel itself: one that is constant is no longer quite so when it was scaled up.
    varies = activation.amax((2, 3)) > activation.amin((2, 3))
    weights = found.masked_fill(~varies, -torch.inf).softmax(1)
    return torch.einsum("bc,bchw->bhw", torch.where(varies, weights, 0), activation)


def _mask(channels: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels (n, h, w) scaled up to `size` and each to [0, 1]."""
    large = enlarged(channels, size)
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return (large - low) / (high - low).clamp_min(torch.finfo(large.dtype).tiny)
