"""Columns of an index in a figure: which there are, the order of their values, and what both are called."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.print_names import in_print, in_words
from interpret_runs.summary import nearest

if TYPE_CHECKING:
    import pandas as pd

# Columns that most indexes have.
OTHERS = ("parameterisation", "objective", "transform", "layer", "model")
# Aliases of layers, in the order of the network.
DEPTH = ("early", "middle", "late", "logits")
GAP = "–"
# What a setting of these names is called by its value alone.
NAMES = ("path", "name", "picture", "unit")


def plain(value: Any) -> str:
    """A value in few letters: 12.0, which a column with gaps makes of 12, is 12; a gap is nothing."""
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    return f"{value:.15g}" if isinstance(value, float) else " ".join(str(value).split())


def named(names: object, setting: str) -> tuple[str, ...]:
    """One name or several, as a setting gives them.

    Raises:
        ValueError: neither.
    """
    if names is None:
        return ()
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise ValueError(
            f"figure.{setting} is {names!r}; it is a column of the index or a list of them: {setting}=layer"
        )
    return tuple(listed)


def require_columns(index: pd.DataFrame, names: Iterable[str], setting: str, usual: str = "") -> None:
    """Raises LookupError where the index lacks a column, with the nearest there are; `usual` is the default."""
    known = list(map(str, index.columns))
    for name in names:
        if name not in known and name == usual:
            others = ", ".join(other for other in OTHERS if other in known)
            raise LookupError(
                f"figure.{setting} is {usual!r} by default, a column that no run here has; set figure.{setting} to "
                f"another, such as {others or 'task'}"
            )
        if name not in known:
            raise LookupError(
                f"figure.{setting}: the index has no column {name!r}; closest: {nearest(name, known)} "
                "(columns are those of index.csv: choices, metrics and dotted config keys)"
            )


def queried(index: pd.DataFrame, query: str, setting: str) -> pd.DataFrame:
    """The rows that a pandas query selects.

    Raises:
        ValueError: no query over these columns; names the nearest.
    """
    try:
        found: pd.DataFrame = index.query(query)
    except Exception as error:  # pandas raises whatever Python, numpy or itself does
        reason = str(error).replace("BACKTICK_QUOTED_STRING_", "").replace("_DOT_", ".")
        columns = nearest(reason.partition("'")[2].partition("'")[0] or query, list(map(str, index.columns)))
        ticks = " (names with dots stand in backticks: `layer.path`)" if "." in columns and "`" not in query else ""
        raise ValueError(f"{setting}: {reason}; columns like it: {columns}{ticks}") from error
    return found


def shown_runs(index: pd.DataFrame, query: str | None) -> pd.DataFrame:
    """The runs of a figure: those of `index` that figure.filter selects.

    Raises:
        ValueError: there are none, or a wrong query.
    """
    if index.empty:
        raise ValueError("there are no runs to draw; run something first, or give another store: name=...")
    found = queried(index, query, "figure.filter") if query else index
    if found.empty:
        raise ValueError(
            f"figure.filter={query!r} selects none of {number_of(len(index), 'run')}; loosen it or leave it out"
        )
    return found


@dataclass(frozen=True)
class Labels:
    """What columns and values are called in a figure, as far as that is not what they are.

    Args:
        texts: of names of columns and of values, ``{fourier: Fourier, score: Activation}``; for the values of one
            column alone ``{objective.channel: {12: stripes}}``.
        usual: what values of a column are called where `texts` have nothing on them.
    """

    texts: Mapping[Any, Any] = field(default_factory=dict)
    usual: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.texts, Mapping):
            raise ValueError(f"figure.labels is {self.texts!r}; it is a map, as in figure.labels={{fourier: Fourier}}")
        inside = {str(key): value for key, value in self.texts.items()}
        object.__setattr__(self, "texts", inside)

    def name(self, column: str) -> str:
        """Of a column: its label, or the last part of its name in words."""
        label = self.texts.get(column)
        return in_words(column.rpartition(".")[2]) if label is None or isinstance(label, Mapping) else str(label)

    def value(self, column: str, value: str) -> str:
        """Of a value: its label, or the value; with the column's name where the value alone says little."""
        if (label := self._own(column).get(value, self._common(value))) is not None:
            return str(label)
        if (label := self.usual.get(column, {}).get(value)) is not None:
            return label
        if not value and column != "model.weights":
            return GAP
        told = _number(value) is None and value not in ("True", "False")
        by_itself = told or column.rpartition(".")[2] in NAMES
        return in_print(column, value) if by_itself else f"{self.name(column)} {value}"

    def ordered(self, column: str, values: Iterable[str]) -> list[str]:
        """Distinct values: by number, or in the order of the labels, of layers in a network, and else of appearance."""
        distinct = list(dict.fromkeys(values))
        if (numbers := _numbers([value for value in distinct if value])) is not None:
            return sorted(distinct, key=lambda value: (not value, numbers.get(value, 0.0)))
        # Between other layers, whose depth is not known here, the aliases change places among themselves.
        aliases = iter(alias for alias in DEPTH if alias in distinct)
        distinct = [next(aliases) if value in DEPTH else value for value in distinct]
        known = [*self._own(column), *self.texts]
        return sorted(distinct, key=lambda value: known.index(value) if value in known else len(known))

    def _own(self, column: str) -> Mapping[str, Any]:
        label = self.texts.get(column)
        return {str(key): text for key, text in label.items()} if isinstance(label, Mapping) else {}

    def _common(self, value: str) -> Any:
        label = self.texts.get(value)
        return None if isinstance(label, Mapping) else label


def names_of_items(index: pd.DataFrame) -> dict[str, str]:
    """What the pictures of ``images.item`` are called: by their file, or else by their class.

    Empty where an item is another picture in another run.
    """
    names = ["images.item", "picture", "picture_label"]
    if not set(names[:2]) <= set(index.columns):
        return {}
    found: dict[str, str] = {}
    for row in index.reindex(columns=names).itertuples(index=False, name=None):
        item, picture, label = map(plain, row)
        called = in_print("picture", picture if PurePath(picture).suffix else label or picture)
        if picture and found.setdefault(item, called) != called:
            return {}
    several = Counter(found.values())
    return {item: f"{called} ({item})" if several[called] > 1 else called for item, called in found.items()}


def _numbers(values: Sequence[str]) -> dict[str, float] | None:
    """The numbers that all values are, or end in behind the same words: ``channel 12``."""
    parts = [value.rpartition(" ") for value in values]
    found = {value: _number(last) for value, (_, _, last) in zip(values, parts, strict=True)}
    if len({first for first, _, _ in parts}) > 1 or None in found.values():
        return None
    return {value: number for value, number in found.items() if number is not None}


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
