"""What an objective is, and how objectives combine: one score per image, higher is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from interpret_runs.activations import Activations, class_scores
from interpret_runs.summary import TOP, ModelSummary

Kind = TypeVar("Kind", bound="Objective")


class Objective(ABC):
    """A score per image, (B,), read from the layers it names; permuting the images permutes the scores.

    Objectives add, subtract, negate and multiply, with each other (image by image) and with numbers;
    operands never change. The fields named in `units` may hold a tuple instead of one value: the
    objective then scores image i with value `activations.rows[i]`.
    """

    units: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def layers(self) -> frozenset[str]:
        """The layers that a call reads."""

    @abstractmethod
    def __call__(self, activations: Activations) -> Tensor:
        """One score per image, (B,)."""

    def __add__(self, other: Objective) -> Sum:
        return Sum((self, other), (1.0, 1.0)) if isinstance(other, Objective) else NotImplemented

    def __radd__(self, other: int) -> Objective:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where sum() starts

    def __sub__(self, other: Objective) -> Sum:
        return Sum((self, other), (1.0, -1.0)) if isinstance(other, Objective) else NotImplemented

    def __neg__(self) -> Sum:
        return Sum((self,), (-1.0,))

    def __mul__(self, other: Objective | float) -> Objective:
        if isinstance(other, Objective):
            return Product(self, other)
        return Sum((self,), (float(other),)) if _is_number(other) else NotImplemented

    def __rmul__(self, other: float) -> Objective:
        return self * other

    def __truediv__(self, other: float) -> Objective:
        return self * (1 / other) if _is_number(other) else NotImplemented

    def resolve(self, summary: ModelSummary) -> Self:
        """The same objective with layers and classes made exact; see `ModelSummary.resolve`."""
        values = {field.name: getattr(self, field.name) for field in _fields(self)}
        return _replace(self, summary.resolve(values))

    def for_images(self, output: Tensor) -> Self:
        """The same objective with `top1` replaced by the classes that the network's `output` ranks first."""
        if getattr(self, "target", None) != TOP:
            return self
        best = class_scores(output).argmax(1).tolist()
        return _replace(self, {"target": best[0] if len(set(best)) == 1 else tuple(best)})

    @property
    def needs_output(self) -> bool:
        """Whether `for_images` must be called before scoring."""
        return getattr(self, "target", None) == TOP

    @staticmethod
    def stack(objectives: Sequence[Objective]) -> Objective:
        """One objective whose row i is ``objectives[i]``; they may differ in their units only.

        Raises:
            TypeError: they differ in something else.
        """
        first = objectives[0]
        if any(type(other) is not type(first) for other in objectives):
            raise TypeError(f"cannot stack {first!r} with objectives of other types")
        stacked = {}
        for name in (field.name for field in _fields(first)):
            values = [getattr(objective, name) for objective in objectives]
            if all(value == values[0] for value in values):
                stacked[name] = values[0]
            elif name in first.units:
                stacked[name] = tuple(values)
            elif isinstance(values[0], Objective):
                stacked[name] = Objective.stack(values)
            elif name == "terms" and len({len(terms) for terms in values}) == 1:
                stacked[name] = tuple(Objective.stack(terms) for terms in zip(*values, strict=True))
            else:
                raise TypeError(f"cannot stack objectives that differ in {name!r}: {values[0]!r} and others")
        return _replace(first, stacked)


@dataclass(frozen=True)
class Sum(Objective):
    """Weighted sum of objectives, ``sum(weight * term)``; one forward pass serves all terms.

    Without `weights` all are 1. A sum among the terms is replaced by its own terms.
    """

    terms: tuple[Objective, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a sum needs terms; add one with +objective@objective.terms.a=channel")
        if len(self.weights or self.terms) != len(self.terms):
            raise ValueError(f"{len(self.terms)} terms, but {len(self.weights)} weights")
        weights = self.weights or (1.0,) * len(self.terms)
        flat = [pair for term, weight in zip(self.terms, weights, strict=True) for pair in _weighted(term, weight)]
        object.__setattr__(self, "terms", tuple(term for term, _ in flat))
        object.__setattr__(self, "weights", tuple(weight for _, weight in flat))

    @classmethod
    def of(cls, terms: Mapping[str, Objective], weights: Mapping[str, float | None] | None = None) -> Sum:
        """A sum with named terms, as in YAML; a weight that is None or not given is 1.

        Raises:
            LookupError: a weight without a term.
        """
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        for name in given.keys() - terms.keys():
            raise LookupError(f"weight {name!r} has no term; terms: {', '.join(terms) or 'none'}")
        return cls(tuple(terms.values()), tuple(float(given.get(name, 1.0)) for name in terms))

    @property
    def layers(self) -> frozenset[str]:
        return frozenset().union(*(term.layers for term in self.terms))

    def __call__(self, activations: Activations) -> Tensor:
        scores = [weight * term(activations) for term, weight in zip(self.terms, self.weights, strict=True)]
        return torch.stack(scores).sum(0)

    def resolve(self, summary: ModelSummary) -> Sum:
        return Sum(tuple(term.resolve(summary) for term in self.terms), self.weights)

    def for_images(self, output: Tensor) -> Sum:
        return Sum(tuple(term.for_images(output) for term in self.terms), self.weights)

    @property
    def needs_output(self) -> bool:
        return any(term.needs_output for term in self.terms)


@dataclass(frozen=True)
class Product(Objective):
    """Product of two objectives, image by image."""

    left: Objective
    right: Objective

    @property
    def layers(self) -> frozenset[str]:
        return self.left.layers | self.right.layers

    def __call__(self, activations: Activations) -> Tensor:
        return self.left(activations) * self.right(activations)

    def resolve(self, summary: ModelSummary) -> Product:
        return Product(self.left.resolve(summary), self.right.resolve(summary))

    def for_images(self, output: Tensor) -> Product:
        return Product(self.left.for_images(output), self.right.for_images(output))

    @property
    def needs_output(self) -> bool:
        return self.left.needs_output or self.right.needs_output


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, Tensor))


def _fields(objective: Objective) -> tuple[Any, ...]:
    return fields(objective)  # type: ignore[arg-type]


def _replace(objective: Kind, values: Mapping[str, Any]) -> Kind:
    return replace(objective, **values)  # type: ignore[type-var]  # every final objective is a dataclass


def _weighted(term: Objective, weight: float) -> list[tuple[Objective, float]]:
    """A term with its weight; a sum inside a sum gives its own terms."""
    if isinstance(term, Sum):
        return [(inner, weight * own) for inner, own in zip(term.terms, term.weights, strict=True)]
    return [(term, float(weight))]
