"""From override lines to the points of a grid."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, Quote, QuotedString

from interpret_runs.runner.compose import Setting, parse

Axis = list[Setting]

# Prefixes of keys that name no run: to sweep them would run the same thing again, or write it elsewhere.
NOT_IDENTITY = ("name", "outputs", "sweep", "batch", "hydra", "compute", "figure")
IDENTITY = ("compute.precision",)


def points(
    arguments: Sequence[str],
    params: Mapping[str, Any] | None,
    grids: Sequence[Mapping[str, Any]],
    loader: ConfigLoader,
) -> Iterator[list[Setting]]:
    """The points of a sweep: the command line times `params` times the union of `grids`.

    A key on the command line replaces that key in `params` and `grids`.

    Raises:
        ValueError: a sweep without values, or over a key that is not part of a run's identity.
    """
    given = {axis[0].key: axis for axis in map(Setting.each, parse(arguments, loader))}
    for axis in given.values():
        _check(axis, swept=len(axis) > 1)
    preset = _axes(params or {}, loader, given)
    for axis in preset:
        _check(axis, swept=len(axis) > 1)
    for grid in grids or [{}]:
        axes = _axes(grid, loader, given)
        for axis in axes:
            _check(axis, swept=True)
        for point in product(*axes, *preset, *given.values()):
            yield list(point)


def _axes(grid: Mapping[str, Any], loader: ConfigLoader, given: Mapping[str, Axis]) -> list[Axis]:
    """One axis for each key of a YAML map that the command line does not give."""
    if not isinstance(grid, Mapping):
        raise ValueError(f"sweep.grids holds {grid!r}; each grid is a map of keys to values")
    lines = {str(key): _lines(str(key), value) for key, value in grid.items()}
    return [
        [setting for override in parse(texts, loader) for setting in Setting.each(override)]
        for key, texts in lines.items()
        if key not in given
    ]


def _lines(key: str, value: Any) -> list[str]:
    """Override lines for one key: text in Hydra's grammar as it stands, a list as one line an element."""
    if isinstance(value, str):
        return [f"{key}={value}"]
    if isinstance(value, Sequence):
        if not value:
            raise ValueError(f"{key} has no values")
        return [f"{key}={_text(element)}" for element in value]
    return [f"{key}={_text(value)}"]


def _text(value: Any) -> str:
    """A YAML value in Hydra's grammar; text in quotes, so that it stays the text it is."""
    return Override._get_value_element_as_str(_quoted(value))


def _quoted(value: Any) -> Any:
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, Mapping):
        return {key: _quoted(inner) for key, inner in value.items()}
    return [_quoted(inner) for inner in value] if isinstance(value, Sequence) else value


def _check(axis: Axis, swept: bool) -> None:
    key = axis[0].key.lstrip("+~").partition("@")[0]
    if swept and key not in IDENTITY and key.replace("/", ".").partition(".")[0] in NOT_IDENTITY:
        raise ValueError(f"{key} cannot be swept: it is not part of what a run is; give it one value")
