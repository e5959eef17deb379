"""Problems on scenes of one shape and one marker, and on one small network that was trained to name either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs import randomisation
from interpret_runs.attribution import Attribution
from interpret_runs.faithfulness import Deletion, Insertion
from interpret_runs.localisation import PointingGame, RelevanceMass, RelevanceRank, cell_mass, mosaics
from interpret_runs.metric import Explained
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objectives import Logit
from interpret_runs.problem import Problem, Question, check_counts
from interpret_runs.randomness import generator
from interpret_runs.scenes import KINDS, SIZE, Scenes, scenes
from interpret_runs.trained import Trained, half_way, network
from interpret_runs.training import accuracy, probabilities, train

CHANNELS = 16, 32, 64
TESTS = 1000  # images on which a network's accuracy is measured
DRAWN = 8  # images drawn for each that is wanted, as not all are classified with confidence
GRID = 2


@dataclass(frozen=True)
class SceneProblem(Problem):
    """A problem on a network of three convolutions, trained on scenes of 32 x 32 pixels.

    Args:
        samples: images that are explained, for their own class; all are classified rightly, and with confidence.
        confidence: least probability of their class, from 0 up to 1.
        images: the network is trained on.
        epochs: of training.
    """

    samples: int = 64
    confidence: float = 0.9
    images: int = 6000
    epochs: int = 12

    def __post_init__(self) -> None:
        check_counts(self, "samples", "images", "epochs")
        if not isinstance(self.confidence, (int, float)) or not 0 <= self.confidence < 1:
            raise ValueError(f"problem.confidence is {self.confidence!r}; it must be a number from 0 up to 1")

    def blank(self) -> VisionModel:
        return _model()

    def trained(self, seed: int, cause: str) -> Trained:
        """The network of a training seed that names the ``shape`` or the ``marker``; a `VisionModel`."""

        def fit(model: nn.Module) -> float:
            data, tests = scenes(self.images, seed, "train"), scenes(TESTS, seed, "validation")
            train(model, data.images, data.labels[cause], self.epochs, seed)
            return accuracy(model, tests.images, tests.labels[cause])

        key = {"data": "scenes", "cause": cause, "images": self.images, "epochs": self.epochs, "seed": seed}
        return network(key, _model, fit, half_way(KINDS))

    def question(self, seed: int, cause: str = "shape") -> tuple[Question, Scenes]:
        """The first `samples` test scenes that are classified with confidence, and what they show; no truth yet."""
        trained = self.trained(seed, cause)
        shown = scenes(DRAWN * self.samples, seed, "test")
        places = self.confident(trained, shown, cause)[: self.samples]
        labels = {name: values[places] for name, values in shown.labels.items()}
        chosen = Scenes(shown.images[places], labels, {name: masks[places] for name, masks in shown.masks.items()})
        objective = Logit(tuple(labels[cause].tolist()))
        return Question(cause, _vision(trained), objective, chosen.images, chosen.masks[cause], trained), chosen

    def confident(self, trained: Trained, shown: Scenes, cause: str) -> Tensor:
        """The places of scenes whose class has the probability wanted.

        Raises:
            ValueError: fewer than `samples`.
        """
        said, labels = probabilities(trained.network, shown.images), shown.labels[cause]
        own = said[torch.arange(len(labels)), labels]
        places = ((own == said.amax(1)) & (own >= self.confidence)).nonzero().flatten()
        if len(places) < self.samples:
            raise ValueError(
                f"the network is right and at least {self.confidence} sure of {len(places)} in {len(labels)} scenes, "
                f"and problem.samples={self.samples} are wanted; lower problem.confidence, or raise problem.epochs"
            )
        return places


@dataclass(frozen=True)
class GridPg(SceneProblem):
    """GridPG: the share of a map's positive mass in the cell that shows its class (Boehle et al., 2021).

    Images are mosaics of 64 x 64 pixels, of one scene of each of the four shapes; chance is 0.25.
    """

    higher: ClassVar[Mapping[str, bool]] = {"cell_mass": True}
    samples: int = 32

    def questions(self, seed: int) -> tuple[Question, ...]:
        trained = self.trained(seed, "shape")
        shown = scenes(DRAWN * KINDS * self.samples, seed, "test")
        places = self.confident(trained, shown, "shape")
        columns = [places[shown.labels["shape"][places] == kind][: self.samples] for kind in range(KINDS)]
        count = min(map(len, columns))
        if count < self.samples:
            raise ValueError(
                f"{self.samples} mosaics need as many scenes of each shape, and of one there are {count} of which the "
                f"network is {self.confidence} sure; lower problem.confidence or problem.samples"
            )
        order = torch.rand(self.samples, KINDS, generator=generator(seed, "cells of mosaics")).argsort(1)
        cells = torch.stack(columns, 1).gather(1, order)
        asked = torch.arange(self.samples) % KINDS
        labels = order[torch.arange(self.samples), asked]
        images = mosaics(shown.images[cells.flatten()], GRID)
        return (Question("shape", _vision(trained), Logit(tuple(labels.tolist())), images, asked, trained),)

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        return {"cell_mass": cell_mass(maps, question.truth, GRID)}

    def chance(self, question: Question) -> dict[str, float]:
        return {"cell_mass": 1 / GRID**2}


@dataclass(frozen=True)
class Shapes(SceneProblem):
    """Whether maps lie on the shape that the network names: pointing game, relevance mass and rank; and their curves.

    The object is the shape with the `margin` pixels around it, as an edge is seen from both of its sides; the pointing
    game has no tolerance beyond that. Insertion and deletion are those of `faithfulness`, in `steps` steps.

    Args:
        margin: pixels.
        steps: of insertion and deletion.
    """

    higher: ClassVar[Mapping[str, bool]] = {
        "pointing_game": True,
        "relevance_mass": True,
        "relevance_rank": True,
        "insertion": True,
        "deletion": False,
    }
    margin: int = 1
    steps: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "steps")
        check_counts(self, "margin", least=0)

    def questions(self, seed: int) -> tuple[Question, ...]:
        question, shown = self.question(seed)
        side = 2 * self.margin + 1
        wide = functional.max_pool2d(shown.masks["shape"][:, None].float(), side, 1, self.margin)[:, 0] > 0
        return (Question(**{**vars(question), "truth": wide}),)

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        explained = _explained(question, maps, method)
        metrics = (
            PointingGame(tolerance=0),
            RelevanceMass(),
            RelevanceRank(),
            Insertion(steps=self.steps),
            Deletion(steps=self.steps),
        )
        return {name: values for metric in metrics for name, values in metric(explained).items()}

    def chance(self, question: Question) -> dict[str, float]:
        area = float(question.truth.float().mean())
        return dict.fromkeys(("pointing_game", "relevance_mass", "relevance_rank"), area)


@dataclass(frozen=True)
class Planted(SceneProblem):
    """The share of the mass on the planted cause, of the positive mass on either object.

    Two networks see the same scenes; the one was trained to name the shape, the other to name the marker. After the
    model contrast of Yang and Kim (2019). The objects count with the `margin` pixels around them. Chance is the share
    of the area.
    """

    higher: ClassVar[Mapping[str, bool]] = {"causal_share": True}
    margin: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "margin", least=0)

    def questions(self, seed: int) -> tuple[Question, ...]:
        found = []
        for cause, other in (("shape", "marker"), ("marker", "shape")):
            question, shown = self.question(seed, cause)
            both = torch.stack([shown.masks[cause], shown.masks[other]], 1).float()
            wide = functional.max_pool2d(both, 2 * self.margin + 1, 1, self.margin) > 0
            found.append(Question(**{**vars(question), "truth": wide}))
        return tuple(found)

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        mass = (maps.clamp(min=0)[:, None] * question.truth).sum((2, 3))
        return {f"causal_share_{question.name}": mass[:, 0] / mass.sum(1)}

    def chance(self, question: Question) -> dict[str, float]:
        area = question.truth.float().sum((2, 3))
        return {f"causal_share_{question.name}": float((area[:, 0] / area.sum(1)).mean())}


@dataclass(frozen=True)
class Randomisation(SceneProblem):
    """How alike maps are to those of the same network with all its weights drawn anew (Adebayo et al., 2018).

    Structural similarity and rank correlation of magnitudes; see `randomisation.Randomisation`. A map that ignores the
    network has 1; one that depends on what was learned is near 0.
    """

    higher: ClassVar[Mapping[str, bool]] = {"randomisation_ssim": False, "randomisation_rank": False}
    one_draw: ClassVar[bool] = True

    def questions(self, seed: int) -> tuple[Question, ...]:
        return (self.question(seed)[0],)

    def measure(self, question: Question, maps: Tensor, method: Attribution) -> dict[str, Tensor]:
        found = randomisation.Randomisation(stages=1)(_explained(question, maps, method))
        return {name: found[f"{name}_full"] for name in self.higher}

    def chance(self, question: Question) -> dict[str, float]:
        return {}


def _explained(question: Question, maps: Tensor, method: Attribution) -> Explained:
    rows = torch.arange(len(maps), device=maps.device)
    return Explained(question.model, question.objective, question.images, rows, maps, method, question.truth)


def _vision(trained: Trained) -> VisionModel:
    assert isinstance(trained.network, VisionModel)
    return trained.network


def _model() -> VisionModel:
    first, second, last = CHANNELS
    layers = (
        *_block(3, first),
        nn.MaxPool2d(2),
        *_block(first, second),
        nn.MaxPool2d(2),
        *_block(second, last),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, KINDS),
    )
    preprocessing = Preprocessing((SIZE, SIZE), SIZE, (0.5,) * 3, (0.25,) * 3)
    return VisionModel(nn.Sequential(*layers), preprocessing, "scenes", aliases={"late": "10"}).eval()


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
