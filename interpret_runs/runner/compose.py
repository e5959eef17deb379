"""Configs of grid points: composed by Hydra once per distinct choice of groups, then changed leaf by leaf."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf, open_dict

from interpret_runs.runner.nodes import Config


@dataclass(frozen=True)
class Setting:
    """One override of one grid point: its text, as on the command line, and its parsed value."""

    key: str
    text: str
    value: Any
    changes: bool

    @classmethod
    def each(cls, override: Override) -> list["Setting"]:
        """One setting for each value of a sweep, or the only one of a plain override.

        Raises:
            ValueError: a sweep that holds no value, or that cannot be enumerated.
        """
        key = override.get_key_element()
        changes = override.type == OverrideType.CHANGE and override.package is None
        if not override.is_sweep_override():
            text = override.input_line or f"{key}={override.get_value_element_as_str()}"
            return [cls(key, text, override.value(), changes)]
        if not override.is_discrete_sweep():
            raise ValueError(f"{override.input_line}: an interval has no end of values; give a list or range(...)")
        elements: list[Any] = list(override.sweep_iterator())  # once: a shuffle has another order each time
        settings = [
            cls(key, f"{key}={Override._get_value_element_as_str(one)}", Override._convert_value(one), changes)
            for one in elements
        ]
        if not settings:
            raise ValueError(f"{override.input_line} has no values")
        return settings


class Composer:
    """Composes grid points to exactly what Hydra itself composes for the same overrides.

    Hydra composes the settings that choose groups, add, delete or touch what others refer to; a
    setting that only changes a plain leaf is set directly.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._groups: dict[str, bool] = {}

    def compose(self, settings: Sequence[Setting]) -> tuple[Config, Mapping[str, str]]:
        """The resolved config of one grid point and Hydra's group choices. Callers may not change either."""
        leaves = self._leaves(settings)
        rest = [setting for setting in settings if setting not in leaves]
        base = self._base(tuple(setting.text for setting in rest))
        if not all(base.holds(leaf.key) for leaf in leaves):
            leaves, base = [], self._base(tuple(setting.text for setting in settings))
        config = base.config
        for leaf in leaves:
            config = _with(config, leaf.key.split("."), leaf.value)
        return config, base.choices

    def _leaves(self, settings: Sequence[Setting]) -> list[Setting]:
        """Settings that may be set directly: plain values for keys that no other setting touches.

        Choices of groups do not count as touching: Hydra makes them first, whatever the order.
        """
        values = [setting for setting in settings if not self._chooses(setting)]
        plain = []
        for setting in values:
            alone = not any(_related(setting.key, other.key) for other in values if other is not setting)
            if alone and setting.changes and _is_plain(setting.value):
                plain.append(setting)
        return plain

    def _chooses(self, setting: Setting) -> bool:
        """Whether `setting` chooses, adds or deletes an option of a group; a mapping changes values instead."""
        key = setting.key.lstrip("+~").partition("@")[0]
        return self._is_group(key) and not isinstance(setting.value, dict)

    def _is_group(self, key: str) -> bool:
        if key not in self._groups:
            self._groups[key] = "/" in key or bool(self._loader.get_group_options(key))
        return self._groups[key]

    def _base(self, texts: tuple[str, ...]) -> "_Base":
        if texts not in self._bases:
            config = self._loader.load_sweep_config(self._master, list(texts))
            self._bases[texts] = _Base.of(config)
        return self._bases[texts]


@dataclass(frozen=True)
class _Base:
    """A composed config, resolved; its keys that nothing refers to; and Hydra's group choices."""

    config: Config
    choices: Mapping[str, str]
    referred: frozenset[str]

    @classmethod
    def of(cls, config: DictConfig) -> "_Base":
        choices = {key: str(value) for key, value in config.hydra.runtime.choices.items()}
        plain = resolved(config)
        with open_dict(config):
            del config["hydra"]
        raw = OmegaConf.to_container(config, resolve=False)
        return cls(plain, choices, frozenset(_words(raw)))

    def holds(self, key: str) -> bool:
        """Whether `key` is a plain leaf to which no other value refers."""
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return not isinstance(node, (dict, list)) and self.referred.isdisjoint(key.split("."))


def resolved(config: DictConfig) -> Config:
    """A composed config as plain values without the `hydra` node, interpolations resolved."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            app = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        plain = OmegaConf.to_container(app, resolve=True)
    finally:
        HydraConfig.instance().cfg = before
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def parse(lines: Sequence[str], loader: ConfigLoader) -> list[Override]:
    """Overrides in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    Plugins.instance()
    return OverridesParser.create(config_loader=loader).parse_overrides(overrides=list(lines))


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, (bool, int, float))


def _related(key: str, other: str) -> bool:
    """Whether one of two override keys is inside of the other."""
    other = other.lstrip("+~").partition("@")[0]
    return key == other or key.startswith(other + ".") or other.startswith(key + ".")


def _words(node: Any) -> Iterator[str]:
    """Every word inside of an interpolation: more than the keys referred to, never fewer."""
    if isinstance(node, str) and "${" in node:
        yield from re.findall(r"\w+", node)
    children: Iterable[Any] = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _words(child)


def _with(config: Config, path: Sequence[str], value: Any) -> Config:
    """A copy of `config` with one leaf changed; whatever is beside the path is shared."""
    head, *rest = path
    return {**config, head: _with(config[head], rest, value) if rest else value}
