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
