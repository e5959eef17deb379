"""DiFull: a network that can see one cell of each image only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution
from interpret_runs.localisation import OneCell, cell_mass
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objectives import Logit
from interpret_runs.problem import Problem, Question, check_counts
from interpret_runs.randomness import generator
from interpret_runs.training import probabilities

CELL, GRID, CLASSES = 32, 2, 8
CHANNELS = 12, 16


@dataclass(frozen=True)
class Difull(Problem):
    """The share of a map's positive mass in the one cell of four that the score depends on (Rao et al., 2022).

    Networks are untrained, images of 64 x 64 pixels are noise, and the class is the one that the network ranks first.
    Convolutions keep the resolution, so that no class activation map is scaled up over the border of a cell: methods
    that are exact have 1, chance is 0.25.

    Args:
        samples: images; their cells take turns.
    """

    higher: ClassVar[Mapping[str, bool]] = {"cell_mass": True}
    samples: int = 32

    def __post_init__(self) -> None:
        check_counts(self, "samples")

    def blank(self) -> VisionModel:
        return _model(0, 0)

    def questions(self, seed: int) -> tuple[Question, ...]:
        side = CELL * GRID
        images = torch.rand(self.samples, 3, side, side, generator=generator(seed, "difull images"))
        cells = torch.arange(self.samples) % GRID**2
        return tuple(_question(_model(cell, seed), images[cells == cell], cell) for cell in sorted(set(cells.tolist())))

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        return {"cell_mass": cell_mass(maps, question.truth, GRID)}

    def chance(self, question: Question) -> dict[str, float]:
        return {"cell_mass": 1 / GRID**2}


def _question(model: VisionModel, images: Tensor, cell: int) -> Question:
    labels = probabilities(model, images).argmax(1)
    return Question(f"cell {cell}", model, Logit(tuple(labels.tolist())), images, torch.full_like(labels, cell))


def _model(cell: int, seed: int) -> VisionModel:
    first, last = CHANNELS
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, "difull network").initial_seed())
        features = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1), nn.ReLU(), nn.Conv2d(first, last, 3, padding=1), nn.ReLU()
        )
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, CLASSES))
    network = OneCell(features, head, cell, GRID)
    preprocessing = Preprocessing((CELL * GRID,) * 2, CELL * GRID, (0.5,) * 3, (0.25,) * 3)
    return VisionModel(network, preprocessing, "difull", aliases={"late": "mosaic"}).eval()
