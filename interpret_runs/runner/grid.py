"""From override lines to the points of a grid."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, Quote, QuotedString

from interpret_runs.runner.compose import Setting, parse

# The places of an axis, each with the settings that it makes: one, or those of keys that advance together.
Axis = list[tuple[Setting, ...]]

# Prefixes of keys that name no run: to sweep them would run the same thing again, or write it elsewhere.
NOT_IDENTITY = ("name", "outputs", "sweep", "batch", "hydra", "compute", "figure")
IDENTITY = ("compute.precision",)
# The key of a grid that holds its own paired sweeps.
ZIP = "zip"


def points(
    arguments: Sequence[str],
    params: Mapping[str, Any] | None,
    grids: Sequence[Mapping[str, Any]],
    loader: ConfigLoader,
    zips: Sequence[Mapping[str, Any]] = (),
) -> Iterator[list[Setting]]:
    """The points of a sweep: the command line times `params` times `zips` times the union of `grids`.

    The keys of one map in `zips`, or in the list ``zip`` of a grid, advance together. A key on the command line
    replaces that key everywhere else.

    Raises:
        ValueError: a sweep without values, paired keys with different numbers of values, a key that is paired and has
            values elsewhere too, or that is not part of a run's identity.
    """
    given = {override.get_key_element(): _axis([override]) for override in parse(arguments, loader)}
    preset = _axes(params or {}, loader, given, "hydra.sweeper.params")
    for axis in (*given.values(), *preset):
        _check(axis, swept=len(axis) > 1)
    for grid in _maps("sweep.grids", grids) or [{}]:
        axes = _axes({key: value for key, value in grid.items() if key != ZIP}, loader, given, "sweep.grids")
        pairs = [*_maps("sweep.zip", zips), *_maps(f"{ZIP} of a grid", grid.get(ZIP, ()))]
        paired = [axis for pair in pairs if (axis := _paired(pair, loader, given))]
        for axis in (*axes, *paired):
            _check(axis, swept=True)
        _require_apart(paired, [*axes, *preset])
        for point in product(*axes, *paired, *preset, *given.values()):
            yield list(chain.from_iterable(point))


def per_experiment(arguments: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """`arguments` once for each experiment among which they sweep; as they are where they do not."""
    parsed = parse(arguments, loader)
    swept = [place for place, one in enumerate(parsed) if _is_experiment(one) and one.is_sweep_override()]
    if not swept:
        return [list(arguments)]
    place = swept[-1]
    return [[*arguments[:place], setting.text, *arguments[place + 1 :]] for setting in Setting.each(parsed[place])]


def quoted_text(value: Any) -> str:
    """A plain value in Hydra's grammar; text in quotes, so that it stays the text it is."""
    return Override._get_value_element_as_str(_quoted(value))


def _is_experiment(override: Override) -> bool:
    return override.key_or_group == "experiment"


def _maps(name: str, maps: Any) -> list[Mapping[str, Any]]:
    """`maps`, which has to be a list of maps."""
    listed = isinstance(maps, Sequence) and not isinstance(maps, str)
    for one in maps if listed else [maps]:
        if not isinstance(one, Mapping) or not listed:
            raise ValueError(f"{name} holds {one!r}; it is a list of maps, each of keys to values")
    return list(maps)


def _axes(grid: Mapping[str, Any], loader: ConfigLoader, given: Mapping[str, Axis], name: str) -> list[Axis]:
    """One axis for each key of a YAML map that the command line does not give."""
    (grid,) = _maps(name, [grid])
    return [_axis(parse(_lines(str(key), value), loader)) for key, value in grid.items() if str(key) not in given]


def _axis(overrides: Sequence[Override]) -> Axis:
    return [(setting,) for override in overrides for setting in Setting.each(override)]


def _paired(pair: Mapping[str, Any], loader: ConfigLoader, given: Mapping[str, Axis]) -> Axis:
    """One axis on which all keys of a YAML map advance together."""
    if not pair:
        raise ValueError("sweep.zip holds {}; name the keys that advance together, each with its values")
    axes = _axes(pair, loader, given, "sweep.zip")
    if len({len(axis) for axis in axes}) > 1:
        counts = ", ".join(f"{axis[0][0].key} has {len(axis)}" for axis in axes)
        raise ValueError(f"the keys of one map in sweep.zip need equal numbers of values: {counts}")
    return [tuple(chain.from_iterable(places)) for places in zip(*axes, strict=True)]


def _require_apart(paired: Sequence[Axis], others: Sequence[Axis]) -> None:
    """Refuse a paired key that has values in another place as well."""
    seen = {axis[0][0].key for axis in others}
    for axis in paired:
        for key in (setting.key for setting in axis[0]):
            if key in seen:
                raise ValueError(f"{key} is in sweep.zip and in another place of this sweep; give its values once")
            seen.add(key)


def _lines(key: str, value: Any) -> list[str]:
    """Override lines for one key: text in Hydra's grammar as it stands, a list as one line an element."""
    if isinstance(value, str):
        return [f"{key}={value}"]
    if isinstance(value, Sequence):
        if not value:
            raise ValueError(f"{key} has no values")
        return [f"{key}={quoted_text(element)}" for element in value]
    return [f"{key}={quoted_text(value)}"]


def _quoted(value: Any) -> Any:
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, Mapping):
        return {key: _quoted(inner) for key, inner in value.items()}
    return [_quoted(inner) for inner in value] if isinstance(value, Sequence) else value


def _check(axis: Axis, swept: bool) -> None:
    for setting in axis[0]:
        key = setting.key.lstrip("+~").partition("@")[0]
        if swept and key not in IDENTITY and key.replace("/", ".").partition(".")[0] in NOT_IDENTITY:
            raise ValueError(f"{key} cannot be swept: it is not part of what a run is; give it one value")
