"""XAI-TRIS: tetrominoes in noise, of which some pixels tell of others without telling the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution
from interpret_runs.localisation import RelevanceRank
from interpret_runs.metric import Explained
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objectives import Logit
from interpret_runs.problem import Problem, Question, check_counts
from interpret_runs.tetrominoes import NOISES, SCENARIOS, SIZE, tetrominoes
from interpret_runs.trained import half_way, network
from interpret_runs.training import accuracy, probabilities, train

CHANNELS, HIDDEN = 16, 32
DEVIATION = 0.1  # of grey values, of all scenarios and noises; without it training may never begin to learn
TESTS = 1000


@dataclass(frozen=True)
class Tris(Problem):
    """Precision on XAI-TRIS of 8 x 8 pixels (Clark et al., 2024): the share of the K highest ``|map|`` that matter.

    K is the number of pixels that matter; see `tetrominoes`. Pixels of equal value count for the share of them that
    finds room. Correlated noise makes suppressors: pixels that tell the network what the noise is, and nothing of the
    class. One network of two convolutions and two linear layers for each scenario and noise. Chance is K / 64.

    Args:
        samples: test images that are explained, for their own class; all are classified rightly.
        scenarios: of ``linear``, ``multiplicative``, ``rigid`` and ``xor``.
        noises: of ``white`` and ``correlated``.
        images: each network is trained on.
        epochs: of training.
    """

    higher: ClassVar[Mapping[str, bool]] = {"precision": True}
    samples: int = 64
    scenarios: tuple[str, ...] = SCENARIOS
    noises: tuple[str, ...] = NOISES
    images: int = 32000
    epochs: int = 4

    def __post_init__(self) -> None:
        check_counts(self, "samples", "images", "epochs")
        for field, valid in (("scenarios", SCENARIOS), ("noises", NOISES)):
            given = getattr(self, field)
            names = (given,) if isinstance(given, str) else tuple(given)
            if not names or not set(names) <= set(valid):
                raise ValueError(f"problem.{field} is {given!r}; it must be some of {', '.join(valid)}")
            object.__setattr__(self, field, names)

    def blank(self) -> VisionModel:
        return _model()

    def questions(self, seed: int) -> tuple[Question, ...]:
        return tuple(self._question(seed, scenario, noise) for scenario in self.scenarios for noise in self.noises)

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        rows = torch.arange(len(maps), device=maps.device)
        explained = Explained(
            question.model, question.objective, question.images, rows, maps.abs(), method, question.truth
        )
        return {f"precision_{question.name}": values for values in RelevanceRank()(explained).values()}

    def chance(self, question: Question) -> dict[str, float]:
        return {f"precision_{question.name}": float(question.truth.float().mean())}

    def _question(self, seed: int, scenario: str, noise: str) -> Question:
        drawn = self.images + TESTS + 4 * self.samples
        images, labels, truth = tetrominoes(drawn, scenario, noise, seed)
        tested = slice(self.images, self.images + TESTS)

        def fit(model: nn.Module) -> float:
            train(model, images[: self.images], labels[: self.images], self.epochs, seed)
            return accuracy(model, images[tested], labels[tested])

        key = {"data": "tetrominoes", "scenario": scenario, "noise": noise, "drawn": drawn}
        trained = network({**key, "images": self.images, "epochs": self.epochs, "seed": seed}, _model, fit, half_way(2))
        model = trained.network
        assert isinstance(model, VisionModel)
        images, labels, truth = (values[self.images + TESTS :] for values in (images, labels, truth))
        right = (probabilities(model, images).argmax(1) == labels).nonzero().flatten()[: self.samples]
        if len(right) < self.samples:
            raise ValueError(
                f"the network of problem.scenarios={scenario} is right about {len(right)} of {len(images)} images, and "
                f"problem.samples={self.samples} are wanted; raise problem.epochs or problem.images"
            )
        objective = Logit(tuple(labels[right].tolist()))
        return Question(f"{scenario}_{noise}", model, objective, images[right], truth[right], trained)


def _model() -> VisionModel:
    layers = (
        nn.Conv2d(3, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(CHANNELS * SIZE**2, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 2),
    )
    preprocessing = Preprocessing((SIZE, SIZE), SIZE, (0.5,) * 3, (DEVIATION,) * 3)
    return VisionModel(nn.Sequential(*layers), preprocessing, "tris", aliases={"late": "3"}).eval()
