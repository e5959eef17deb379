"""The images of XAI-TRIS (Clark et al., 2024) of 8 x 8 pixels, drawn anew: tetrominoes in noise."""

from __future__ import annotations

import torch
from torch import Tensor

from interpret_runs.randomness import generator

SIZE = 8
T = ((1, 0), (1, 1), (1, 0))
L = ((1, 0), (1, 0), (1, 1))
PLACES = (1, 1), (4, 5)  # row and column of the T and of the L that do not move
SMOOTHING = 3.0  # pixels
# How strong the signal is, by scenario and noise, as in the paper's own configuration.
STRENGTH = {
    "linear": {"white": 0.18, "correlated": 0.0125},
    "multiplicative": {"white": 0.7, "correlated": 0.1},
    "rigid": {"white": 0.65, "correlated": 0.2},
    "xor": {"white": 0.35, "correlated": 0.15},
}
SCENARIOS, NOISES = tuple(STRENGTH), ("white", "correlated")


def tetrominoes(count: int, scenario: str, noise: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and truth of `count` samples.

    With the noise h of unit energy and a tetromino a: ``linear``, ``rigid`` and ``xor`` are ``s a + (1 - s) h``, a of
    unit energy, and ``multiplicative`` is ``(1 - s a) h``. The class is which of T and L there is, at a place of its
    own, or anywhere and turned (``rigid``); for ``xor`` both are there, and the class is whether their signs differ.

    Returns:
        RGB in [0, 1], (N, 3, 8, 8): the paper's grey values, which are in [-1, 1], halved, around grey, in all colours;
        the class, (N,), in turns; and which pixels matter, (N, 8, 8): the tetromino, or both where they do not move,
        as then the one that is missing tells as much.
    """
    source = generator(seed, f"tetrominoes {scenario} {noise}")
    labels = torch.arange(count) % 2
    signal, truth = _signal(scenario, labels, source)
    field = 0.5 * torch.randn(count, SIZE, SIZE, generator=source)
    if noise == "correlated":
        blur = _blur()
        field = blur @ field @ blur.T
    strength = STRENGTH[scenario][noise]
    if scenario == "multiplicative":
        values = (1 - strength * signal) * field
    else:
        values = strength * _unit(signal) + (1 - strength) * _unit(field)
    grey = 0.5 + 0.5 * values / values.abs().max()
    return grey[:, None].repeat(1, 3, 1, 1), labels, truth


def _signal(scenario: str, labels: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    fixed = torch.stack([_placed(torch.tensor(shape), *place) for shape, place in zip((T, L), PLACES, strict=True)])
    both = (fixed.sum(0) > 0).expand(len(labels), SIZE, SIZE)
    if scenario == "xor":
        first = 2 * torch.randint(2, labels.shape, generator=source) - 1
        signs = torch.stack([first, first * (1 - 2 * labels)], 1).to(fixed.dtype)
        return torch.einsum("nk,khw->nhw", signs, fixed), both
    if scenario == "rigid":
        options = torch.stack([_everywhere(torch.tensor(shape)) for shape in (T, L)])
        signal = options[labels, torch.randint(options.shape[1], labels.shape, generator=source)]
        return signal, signal > 0
    return fixed[labels], both


def _everywhere(shape: Tensor) -> Tensor:
    """A tetromino at every place in its four orientations, (168, 8, 8)."""
    turned = [torch.rot90(shape, quarters) for quarters in range(4)]
    return torch.stack(
        [
            _placed(one, row, column)
            for one in turned
            for row in range(SIZE - one.shape[0] + 1)
            for column in range(SIZE - one.shape[1] + 1)
        ]
    )


def _placed(shape: Tensor, row: int, column: int) -> Tensor:
    image = torch.zeros(SIZE, SIZE)
    image[row : row + shape.shape[0], column : column + shape.shape[1]] = shape.float()
    return image


def _unit(values: Tensor) -> Tensor:
    """Values, (N, 8, 8), whose squares add up to 1 an image, on average."""
    return values / values.square().sum((1, 2)).mean().sqrt()


def _blur() -> Tensor:
    """A Gaussian blur of a line of pixels that is mirrored at its ends, (8, 8), out to four standard deviations."""
    reach = int(4 * SMOOTHING + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets / SMOOTHING).square())
    lines = torch.arange(SIZE)[:, None]
    around = (lines + offsets) % (2 * SIZE)
    around = torch.where(around < SIZE, around, 2 * SIZE - 1 - around)
    return torch.zeros(SIZE, SIZE).scatter_add_(1, around, (weights / weights.sum()).expand(SIZE, -1).contiguous())
