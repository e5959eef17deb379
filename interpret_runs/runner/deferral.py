"""Settings for keys that only some options of a sweep have, and that Hydra would try on the default option first."""

import re
from collections.abc import Sequence

from hydra.errors import HydraException

from interpret_runs.runner.grid import NOT_IDENTITY, quoted_text


def deferred(error: Exception, arguments: Sequence[str]) -> list[str] | None:
    """`arguments` again after `error` found no place for a setting: each single value as a sweep over it alone.

    Hydra leaves sweeps to the sweeper, which knows the options of each point. None where `error` is another, or no
    plain setting is its cause.
    """
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    lines = [_as_sweep(line) for line in arguments]
    keys = {line.partition("=")[0] for line, before in zip(lines, arguments, strict=True) if line != before}
    return lines if unknown and unknown[1] in keys else None


def _as_sweep(line: str) -> str:
    """`line` as a sweep where it is a value inside of what makes a run; there is no sweep over null alone."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, equals, _ = line.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)+", key) or key.partition(".")[0] in NOT_IDENTITY:
        return line
    try:
        override = OverridesParser.create().parse_override(line)
    except HydraException:
        return line
    if override.is_sweep_override() or override.value() is None:
        return line
    return f"{key}=choice({quoted_text(override.value())})"
