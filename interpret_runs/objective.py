"""What an objective is, and how objectives combine: one score per image, higher is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from interpret_runs.activations import Activations, class_scores
from interpret_runs.summary import CLASSES, OUTPUT, OWN_LABEL, PIXELS, ModelSummary, is_known_by_image, rank_asked

Kind = TypeVar("Kind", bound="Objective")
Weight = float | tuple[float, float]


class Objective(ABC):
    """A score per image, (B,), read from the layers it names; permuting the images permutes the scores.

    Objectives add, subtract, negate and multiply, with each other (image by image) and with numbers;
    operands never change. The fields named in `units` may hold a tuple instead of one value: the
    objective then scores image i with value `activations.rows[i]`. `hidden` objectives score how strongly
    units are excited; see `dies`.
    """

    units: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[bool] = False

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

    @property
    def parts(self) -> tuple[Objective, ...]:
        """The objectives that this one is made of."""
        return tuple(part for field in _fields(self) for part in _parts(getattr(self, field.name)))

    @property
    def sources(self) -> frozenset[Any]:
        """The pictures with which this objective compares: an `ImageSet`, or a tuple with one a row."""
        own = getattr(self, "source", None)
        return frozenset(() if own is None else (own,)).union(*(part.sources for part in self.parts))

    def resolve(self, summary: ModelSummary) -> Self:
        """The same objective with layers and classes made exact; see `ModelSummary.resolve`."""
        made = self._with_parts(lambda part: part.resolve(summary))
        return _replace(made, summary.resolve({field.name: getattr(made, field.name) for field in _fields(made)}))

    def for_images(self, output: Tensor, labels: Sequence[int | None] = ()) -> Self:
        """The same objective with targets that depend on the image made classes.

        `top1`, `top2`, ... become the classes that the network's `output` ranks so, and `label` becomes
        `labels`, the true class of each image.

        Raises:
            LookupError: a rank beyond the number of classes, or `label` of an image without one.
        """
        made = self._with_parts(lambda part: part.for_images(output, labels))
        own = [name for name in CLASSES if getattr(made, name, None) == OWN_LABEL]
        if own:
            if None in labels or not labels:
                raise LookupError("target label of an image that has none: name a class, or top1, or give labels")
            made = _replace(made, dict.fromkeys(own, _one_or_each(list(labels))))
        ranks = {name: rank for name in CLASSES if (rank := rank_asked(getattr(made, name, None))) is not None}
        if not ranks:
            return made
        order = class_scores(output).sort(dim=1, descending=True, stable=True).indices
        if max(ranks.values()) > order.shape[1]:
            raise LookupError(
                f"target top{max(ranks.values())} of {order.shape[1]} classes; the last is top{order.shape[1]}"
            )
        return _replace(made, {name: _one_or_each(order[:, rank - 1].tolist()) for name, rank in ranks.items()})

    @property
    def needs_output(self) -> bool:
        """Whether `for_images` must be called before scoring."""
        own = any(is_known_by_image(getattr(self, name, None)) for name in CLASSES)
        return own or any(part.needs_output for part in self.parts)

    @property
    def needs_label(self) -> bool:
        """Whether `for_images` must be told the true class of each image."""
        own = any(getattr(self, name, None) == OWN_LABEL for name in CLASSES)
        return own or any(part.needs_label for part in self.parts)

    @property
    def dies(self) -> bool:
        """Whether a final score of 0 or less says that nothing is excited.

        So for activations of hidden layers, and for what is made of such objectives alone with weights above
        0: a logit can be negative, and penalties and negative weights make any score so.
        """
        if self.hidden:
            return not self.layers & {PIXELS, OUTPUT}
        excites = all(_at(weight, 1.0) > 0 for weight in getattr(self, "weights", ()))
        return excites and bool(self.parts) and all(part.dies for part in self.parts)

    def _with_parts(self, change: Callable[[Objective], Objective]) -> Self:
        values = {field.name: getattr(self, field.name) for field in _fields(self)}
        return _replace(self, {name: _changed(value, change) for name, value in values.items() if _parts(value)})

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
            elif _parts(values[0]) and len({len(parts) for parts in values}) == 1:
                stacked[name] = tuple(Objective.stack(parts) for parts in zip(*values, strict=True))
            else:
                raise TypeError(f"cannot stack objectives that differ in {name!r}: {values[0]!r} and others")
        return _replace(first, stacked)


class Compound(Objective):
    """An objective that is made of others."""

    @property
    def layers(self) -> frozenset[str]:
        return frozenset().union(*(part.layers for part in self.parts))


@dataclass(frozen=True)
class Sum(Compound):
    """Weighted sum of objectives, ``sum(weight * term)``; one forward pass serves all terms.

    Without `weights` all are 1. A weight of two numbers changes evenly from the first at the start of an
    optimisation to the second at its end, with which the final images are scored. A sum among the terms
    is replaced by its own terms.
    """

    terms: tuple[Objective, ...]
    weights: tuple[Weight, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a sum needs terms; add one with +objective@objective.terms.a=channel")
        if len(self.weights or self.terms) != len(self.terms):
            raise ValueError(f"{len(self.terms)} terms, but {len(self.weights)} weights")
        weights = [_weight(weight) for weight in self.weights or (1.0,) * len(self.terms)]
        flat = [pair for term, weight in zip(self.terms, weights, strict=True) for pair in _weighted(term, weight)]
        object.__setattr__(self, "terms", tuple(term for term, _ in flat))
        object.__setattr__(self, "weights", tuple(weight for _, weight in flat))

    @classmethod
    def of(cls, terms: Mapping[str, Objective], weights: Mapping[str, Any] | None = None) -> Sum:
        """A sum with named terms, as in YAML; a weight that is None or not given is 1.

        Raises:
            LookupError: a weight without a term.
        """
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        for name in given.keys() - terms.keys():
            raise LookupError(f"weight {name!r} has no term; terms: {', '.join(terms) or 'none'}")
        return cls(tuple(terms.values()), tuple(_weight(given.get(name, 1.0)) for name in terms))

    @classmethod
    def negative(cls, of: Objective) -> Sum:
        """What lowers `of` most."""
        return -of

    def __call__(self, activations: Activations) -> Tensor:
        weights = [_at(weight, activations.progress) for weight in self.weights]
        scores = [weight * term(activations) for term, weight in zip(self.terms, weights, strict=True)]
        return torch.stack(scores).sum(0)


@dataclass(frozen=True)
class Product(Compound):
    """Product of two objectives, image by image."""

    left: Objective
    right: Objective

    def __call__(self, activations: Activations) -> Tensor:
        return self.left(activations) * self.right(activations)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, Tensor))


def _fields(objective: Objective) -> tuple[Any, ...]:
    return fields(objective)  # type: ignore[arg-type]


def _replace(objective: Kind, values: Mapping[str, Any]) -> Kind:
    return replace(objective, **values)  # type: ignore[type-var]  # every final objective is a dataclass


def _one_or_each(classes: list[Any]) -> Any:
    """One class where all are the same, else one a row."""
    return classes[0] if len(set(classes)) == 1 else tuple(classes)


def _parts(value: Any) -> tuple[Objective, ...]:
    """The objectives in a field: itself, or all of a tuple's."""
    values = value if isinstance(value, tuple) else (value,)
    return tuple(part for part in values if isinstance(part, Objective))


def _changed(value: Any, change: Callable[[Objective], Objective]) -> Any:
    return tuple(map(change, value)) if isinstance(value, tuple) else change(value)


def _weight(value: Any) -> Weight:
    """A weight as a number, or as a pair of numbers.

    Raises:
        ValueError: neither.
    """
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(numbers) != 2 or not all(_is_number(number) and isfinite(number) for number in numbers):
        raise ValueError(f"weight {value!r} is neither a number nor two, for the start and the end")
    first, last = map(float, numbers)
    return first if first == last else (first, last)


def _at(weight: Weight, progress: float | Tensor) -> Any:
    return weight[0] + (weight[1] - weight[0]) * progress if isinstance(weight, tuple) else weight


def _weighted(term: Objective, weight: Weight) -> list[tuple[Objective, Weight]]:
    """A term with its weight; a sum inside a sum gives its own terms, unless the weights of both change."""
    if not isinstance(term, Sum) or (isinstance(weight, tuple) and any(isinstance(w, tuple) for w in term.weights)):
        return [(term, weight)]
    return [(inner, _times(weight, own)) for inner, own in zip(term.terms, term.weights, strict=True)]


def _times(one: Weight, other: Weight) -> Weight:
    if isinstance(one, tuple) or isinstance(other, tuple):
        ends = [_at(one, progress) * _at(other, progress) for progress in (0, 1)]
        return ends[0], ends[1]
    return one * other
