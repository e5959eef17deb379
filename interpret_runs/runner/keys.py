"""Keys of configs by their dotted names, and what to say of one that does not exist."""

from collections.abc import Iterable, Iterator
from typing import Any

from interpret_runs.runner.nodes import Config
from interpret_runs.summary import nearest

# Keys that no one sets.
OWN = ("_target_", "_partial_", "uses")


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a plain config, outermost first."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key not in OWN:
            yield f"{prefix}{key}"
            yield from keys(value, f"{prefix}{key}.")


def lacks(config: Config, key: str) -> bool:
    """Whether a mapping on the way to a dotted key does not have it; what is inside of other values is not told."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or "[" in name:
            return False
        if name not in node:
            return True
        node = node[name]
    return False


def unknown_key(key: str, names: Iterable[str]) -> str:
    """One line about a key that is not among `names`; its neighbours are closer than others."""
    known = sorted(set(names))
    inside = [name for name in known if name.startswith(key.rpartition(".")[0] + ".")] if "." in key else []
    return f"no key or group {key!r}; closest: {nearest(key, inside or known)} (--cfg job shows all)"
