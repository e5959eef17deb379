"""Errors as one line: the value, the nearest valid ones, the next step."""

import re
from collections.abc import Sequence

from hydra.errors import CompactHydraException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from interpret_runs.runner.keys import keys, unknown_key
from interpret_runs.runner.results import RunsFailedError
from interpret_runs.summary import nearest

# Options that other packages bring.
EXTRAS = {"hydra/sweeper/optuna": "interpret-runs[optuna]"}
EXPECTED = (ValueError, LookupError, TypeError, OSError)


def one_line(error: BaseException, arguments: Sequence[str]) -> str:
    """What to tell the user of `error`; empty where it has been told."""
    if isinstance(error, RunsFailedError):
        return ""
    text = str(error).strip()
    if isinstance(error, MissingConfigException):
        return _missing_option(text)
    if unknown := re.search(r"Could not (?:override|delete)[^']* '([^']+)'", text):
        return _unknown_key(unknown[1], arguments)
    if maps := re.search(r"Error merging override (sweep\.(?:zip|grids|exclude))=", text):
        form = f"{maps[1]}=[{{seed: 'range(0,4)'}}]"
        return f"{maps[1]} is a list of maps, each of keys to values, with functions in quotes: {form}"
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text):
        key, _, values = several[1].partition("=")
        lists = "" if key in _groups() else f"; or quote one value with commas, or take a list: {key}=[{values}]"
        return f"{several[1]} is a sweep: add -m{lists}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: {text.splitlines()[0]} (quote values with spaces or commas)"
    if isinstance(error, (HydraException, CompactHydraException, OmegaConfBaseException)):
        cause = str(error.__cause__ or "").strip().splitlines()[:1]
        return " ".join(dict.fromkeys([text.splitlines()[0], *cause])) if text else type(error).__name__
    if isinstance(error, EXPECTED) and text:
        return text.splitlines()[0]
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''} (HYDRA_FULL_ERROR=1 shows where)"


def _missing_option(text: str) -> str:
    missing = re.search(r"Could not find '([^']+)'", text)
    if not missing:
        return text.splitlines()[0]
    group, _, option = missing[1].rpartition("/")
    options = [line.strip() for line in text.partition("Available options")[2].splitlines()[1:] if line.strip()]
    options = options[: next((i for i, line in enumerate(options) if line.endswith(":")), len(options))]
    if missing[1] in EXTRAS:
        return f"{group}={option} needs a package that is not installed: pip install '{EXTRAS[missing[1]]}'"
    if not options:
        return f"no option {option!r} in group {group!r}"
    return f"no option {option!r} in group {group!r}; closest: {nearest(option, options)} (all: {', '.join(options)})"


def _unknown_key(key: str, arguments: Sequence[str]) -> str:
    if key in (groups := _groups()):
        return f"group {key!r} is not among the defaults: add it with +{key}=OPTION"
    composed = OmegaConf.to_container(_composed(arguments), resolve=False)
    said = unknown_key(key, [*keys(composed), *groups])
    others = _options_with(key)
    return f"{said}; options that have it: {', '.join(others)}" if others else said


def _options_with(key: str) -> list[str]:
    """The options of a group that have a key such as ``group.leaf``; for a metric, how to have it at all."""
    from importlib.resources import files

    group, _, rest = key.partition(".")
    leaf = rest.partition(".")[0]
    folder = files("interpret_runs.conf") / group
    if not folder.is_dir() or not leaf:
        return []
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml") and leaf in OmegaConf.create(entry.read_text()):
            found.append(entry.name.removesuffix(".yaml"))
    return found


def _composed(arguments: Sequence[str]) -> DictConfig:
    """The config with those of the arguments that choose groups, as far as they compose."""
    from hydra import compose, initialize_config_module

    groups = _groups()
    chosen = [line for line in arguments if line.partition("=")[0] in groups and "," not in line]
    with initialize_config_module("interpret_runs.conf", version_base="1.3"):
        try:
            return compose("config", overrides=chosen)
        except (HydraException, OmegaConfBaseException):
            return compose("config")


def _groups() -> list[str]:
    from importlib.resources import files

    found = (entry for entry in files("interpret_runs.conf").iterdir() if entry.is_dir())
    return [entry.name for entry in found if not entry.name.startswith("_")]
