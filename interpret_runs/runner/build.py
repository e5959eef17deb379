"""The objects that configs describe. The only place that builds them; imports no torch."""

import re
from importlib import import_module
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from interpret_runs.runner.nodes import Config
from interpret_runs.summary import nearest


def build(config: Config, **extra: Any) -> Any:
    """The object that a config describes; errors are those of its constructor.

    Raises:
        whatever the constructor raises, and LookupError where `_target_` names nothing.
    """
    try:
        return instantiate(config, **extra, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, LookupError, TypeError, OSError)):
            raise cause from None
        if missing := re.search(r"Error locating target '([^']+)'", str(error)):
            raise LookupError(_not_found(missing[1])) from None
        reason = f": {str(cause).splitlines()[0]}" if str(cause or "").strip() else ""
        raise LookupError(str(error).splitlines()[0].partition(", set env var")[0] + reason) from None


def _not_found(target: str) -> str:
    """What a `_target_` that names nothing may have meant."""
    module, _, name = target.rpartition(".")
    try:
        names = [name for name, value in vars(import_module(module)).items() if callable(value)]
    except Exception as error:  # a module may raise anything
        return f"cannot find _target_ {target!r}: {error}; give a class as package.module.Class"
    return f"cannot find _target_ {target!r}; closest in {module}: {nearest(name, names)}"
