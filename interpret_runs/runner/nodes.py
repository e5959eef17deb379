"""Walking plain configs: mappings inside mappings."""

from collections.abc import Iterator, Sequence
from typing import Any

Config = dict[str, Any]
Path = tuple[str, ...]


def nodes(config: Any, path: Path = ()) -> Iterator[tuple[Path, Config]]:
    """Every mapping inside `config`, outermost first, with its path."""
    if isinstance(config, dict):
        yield path, config
        for key, value in list(config.items()):
            yield from nodes(value, (*path, key))


def node_at(config: Config, path: Sequence[str]) -> Config:
    """The mapping at `path`."""
    for key in path:
        config = config[key]
    return config


def value_at(config: Config, path: Sequence[str]) -> Any:
    """What is at `path`, through mappings.

    Raises:
        LookupError: nothing is there.
    """
    node: Any = config
    for key in path:
        if not isinstance(node, dict) or key not in node:
            raise LookupError(f"there is no {'.'.join(path)}")
        node = node[key]
    return node


def with_value(config: Config, path: Sequence[str], value: Any) -> Config:
    """A copy of `config` with one leaf changed; whatever is beside the path is shared."""
    key, *rest = path
    return {**config, key: with_value(config[key], rest, value) if rest else value}
