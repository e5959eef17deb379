"""The objects that configs describe. The only place that builds them; imports no torch."""

import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from interpret_runs.runner.nodes import Config
from interpret_runs.summary import nearest

# Packages of which objects are built here, which takes a fraction of the time that Hydra takes over one.
KNOWN = ("interpret_runs.", "torch.optim.")
# Instructions to Hydra, beside `_target_` and `_partial_`.
INSTRUCTIONS = {"_args_", "_convert_", "_recursive_"}


class _ForHydraError(Exception):
    """A config, or a failure, that is left to Hydra."""


def build(config: Config, **extra: Any) -> Any:
    """The object that a config describes; errors are those of its constructor.

    Raises:
        whatever the constructor raises, and LookupError where `_target_` names nothing.
    """
    try:
        return _built({**config, **extra}) if config else config
    except (ValueError, LookupError, TypeError, OSError):
        raise
    except Exception:  # left to Hydra, or for it to put into words
        pass
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


def _built(value: Any) -> Any:
    """What Hydra makes of a plain value with the classes of `KNOWN` packages alone."""
    if isinstance(value, (list, tuple)):
        return [_built(one) for one in value]
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise _ForHydraError
    if not isinstance(value, dict):
        return value
    if INSTRUCTIONS & value.keys():
        raise _ForHydraError
    settings = {key: _built(one) for key, one in value.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in value:
        return settings
    target = _known(value["_target_"])
    return partial(target, **settings) if value.get("_partial_") else target(**settings)


def _known(target: Any) -> Callable[..., Any]:
    module, _, name = str(target).rpartition(".")
    if not str(target).startswith(KNOWN):
        raise _ForHydraError
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise _ForHydraError from None
    # What a module imports from elsewhere is for Hydra to allow or refuse.
    if not callable(found) or not str(getattr(found, "__module__", "")).startswith(KNOWN):
        raise _ForHydraError
    return found  # type: ignore[no-any-return]


def _not_found(target: str) -> str:
    """What a `_target_` that names nothing may have meant."""
    module, _, name = target.rpartition(".")
    try:
        names = [name for name, value in vars(import_module(module)).items() if callable(value)]
    except Exception as error:  # a module may raise anything
        return f"cannot find _target_ {target!r}: {error}; give a class as package.module.Class"
    return f"cannot find _target_ {target!r}; closest in {module}: {nearest(name, names)}"
