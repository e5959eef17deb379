"""Interpolations that are the whole value, as in ``seed: ${seed}``, resolved without OmegaConf, which takes long."""

import re
from copy import deepcopy
from typing import Any

from interpret_runs.runner.nodes import Config, value_at

WHOLE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}")


class TooHardError(Exception):
    """An interpolation that OmegaConf has to resolve."""


def plainly_resolved(raw: Config) -> Config | None:
    """`raw` with each reference in the place of what it refers to; what holds none is shared.

    None where that is for OmegaConf to tell: resolvers, relative references, text around a reference, a value that is
    missing, or nothing there.
    """
    try:
        found = _resolved(raw, raw, ())
    except TooHardError:
        return None
    assert isinstance(found, dict)
    return found


def _resolved(node: Any, root: Config, within: tuple[str, ...]) -> Any:
    """`within` are the references that led here."""
    if isinstance(node, dict):
        values = {key: _resolved(value, root, within) for key, value in node.items()}
        return values if any(values[key] is not node[key] for key in values) else node
    if isinstance(node, list):
        elements = [_resolved(value, root, within) for value in node]
        return elements if any(one is not other for one, other in zip(elements, node, strict=True)) else node
    if not isinstance(node, str) or "${" not in node:
        return node
    reference = WHOLE.fullmatch(node)
    if reference is None or node in within:
        raise TooHardError
    try:
        target = value_at(root, reference[1].split("."))
    except LookupError:
        raise TooHardError from None
    found = _resolved(target, root, (*within, node))
    if isinstance(found, str) and found == "???":
        raise TooHardError
    # A mapping that stands in two places is two: what closes a config changes the one, and not the other.
    return deepcopy(found) if isinstance(found, (dict, list)) else found
