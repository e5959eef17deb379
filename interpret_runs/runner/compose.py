"""Configs of grid points: composed by Hydra once per distinct choice of groups, then changed leaf by leaf."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from interpret_runs.runner.keys import keys, lacks
from interpret_runs.runner.nodes import Config, value_at, with_value
from interpret_runs.runner.options import Options
from interpret_runs.runner.references import plainly_resolved


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

    Hydra composes the settings that add, delete or touch what others hold. A plain option of a group is exchanged for
    another, and a plain leaf is set, in what it composed.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._options = Options(loader)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._frames: dict[tuple[str, ...], _Base | None] = {}
        self._groups: dict[str, bool] = {}
        self._missing: dict[tuple[tuple[str, ...], ...], frozenset[str]] = {}

    def compose(self, settings: Sequence[Setting]) -> tuple[Config, Mapping[str, str]]:
        """The resolved config of one grid point and Hydra's group choices. Callers may not change either."""
        base, leaves = self._shared(settings) or (self._base(settings), [])
        config = base.config
        for leaf in leaves:
            config = with_value(config, leaf.key.split("."), leaf.value)
        return config, base.choices

    def missing(self, settings: Sequence[Setting]) -> frozenset[str]:
        """Keys that plain settings give a value, and that the config which the others make does not have."""
        values: list[Setting] = []
        others: list[Setting] = []
        for setting in settings:
            (values if setting.changes and not self._chooses(setting) else others).append(setting)
        known = tuple(setting.text for setting in others), tuple(setting.key for setting in values)
        if known not in self._missing:
            try:
                config = self._base(others).config
            except (HydraException, OmegaConfBaseException):  # a value may wait for a setting, or it is a mistake
                config = {}
            self._missing[known] = frozenset(key for key in known[1] if config and lacks(config, key))
        return self._missing[known]

    def keys(self) -> set[str]:
        """Every key and group of what was composed so far."""
        return {key for base in self._bases.values() for key in (*keys(base.config), *base.choices)}

    def _shared(self, settings: Sequence[Setting]) -> "tuple[_Base, list[Setting]] | None":
        """A base out of what other points share, and the leaves to set in it; None where only Hydra can tell it."""
        leaves = self._leaves(settings)
        try:
            base = self._base([setting for setting in settings if setting not in leaves])
        except (HydraException, OmegaConfBaseException):  # a value may wait for a leaf
            return None
        referred = [leaf for leaf in leaves if not base.holds(leaf.key)]
        changed = base.with_leaves(referred) if referred else base
        return None if changed is None else (changed, [leaf for leaf in leaves if leaf not in referred])

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

    def _base(self, settings: Sequence[Setting]) -> "_Base":
        texts = tuple(setting.text for setting in settings)
        if texts not in self._bases:
            self._bases[texts] = self._exchanged(settings) or _Base.of(self._load(texts))
        return self._bases[texts]

    def _exchanged(self, settings: Sequence[Setting]) -> "_Base | None":
        """The base of `settings` out of one that other points share; None where only Hydra can tell it."""
        chosen = [setting for setting in settings if self._is_option(setting, settings)]
        while chosen:
            frame = self._frame(tuple(setting.text for setting in settings if setting not in chosen))
            if frame is None:
                return None
            if all(setting.key in frame.exchangeable for setting in chosen):
                return frame.with_options({one.key: (one.value, self._content(one) or {}) for one in chosen})
            chosen = [setting for setting in chosen if setting.key in frame.exchangeable]
        return None

    def _is_option(self, setting: Setting, settings: Sequence[Setting]) -> bool:
        """Whether `setting` chooses a plain option of a group that no other setting touches."""
        if not setting.changes or self._content(setting) is None:
            return False
        return not any(_related(setting.key, other.key) for other in settings if other is not setting)

    def _content(self, setting: Setting) -> Config | None:
        return self._options.content(setting.key, setting.value)

    def _frame(self, texts: tuple[str, ...]) -> "_Base | None":
        """What Hydra composes without some choices of options; None where it cannot."""
        if texts not in self._frames:
            try:
                base = _Base.of(self._load(texts))
                overrides = [*self._master.hydra.overrides.hydra, *texts]
                name = self._master.hydra.job.config_name
                defaults = self._loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults
                exchangeable = self._options.exchangeable(defaults, base.choices)
                self._frames[texts] = replace(base, exchangeable=exchangeable)
            except (HydraException, OmegaConfBaseException):
                self._frames[texts] = None
        return self._frames[texts]

    def _load(self, texts: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, list(texts))


@dataclass(frozen=True)
class _Base:
    """A composed config, resolved and as it is written; its keys that something refers to; and Hydra's group choices.

    `plain` tells whether references alone make `config` of `raw`; `exchangeable` are groups, see `Options`.
    """

    config: Config
    choices: Mapping[str, str]
    referred: frozenset[str]
    raw: Config
    plain: bool = True
    exchangeable: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: DictConfig) -> "_Base":
        choices = {key: str(value) for key, value in config.hydra.runtime.choices.items()}
        found = resolved(config)
        with open_dict(config):
            del config["hydra"]
        written = OmegaConf.to_container(config, resolve=False)
        assert isinstance(written, dict)
        raw = {str(key): value for key, value in written.items()}
        return cls(found, choices, frozenset(_words(raw)), raw, plain=plainly_resolved(raw) == found)

    def with_options(self, options: Mapping[str, tuple[str, Config]]) -> "_Base | None":
        """The base with other options, by group, with what they hold; None where that is not told by references."""
        raw = {**self.raw, **{group: content for group, (_, content) in options.items()}}
        choices = {**self.choices, **{group: option for group, (option, _) in options.items()}}
        config = plainly_resolved(raw) if self.plain else None
        return None if config is None else _Base(config, choices, frozenset(_words(raw)), raw)

    def with_leaves(self, leaves: Sequence[Setting]) -> "_Base | None":
        """The base with other values of leaves that may be referred to; None where that is not told by references."""
        raw = self.raw
        for leaf in leaves:
            if not self._has_leaf(leaf.key):
                return None
            raw = with_value(raw, leaf.key.split("."), leaf.value)
        config = plainly_resolved(raw) if self.plain else None
        # Fewer references than before, perhaps: `referred` may hold more than there is.
        return None if config is None else replace(self, config=config, raw=raw)

    def holds(self, key: str) -> bool:
        """Whether `key` is a plain leaf to which no other value refers."""
        return self._has_leaf(key) and self.referred.isdisjoint(key.split("."))

    def _has_leaf(self, key: str) -> bool:
        """Whether `key` is a leaf, and not of what another key stands for."""
        try:
            values = [value_at(config, key.split(".")) for config in (self.config, self.raw)]
        except LookupError:
            return False
        return not any(isinstance(value, (dict, list)) for value in values)


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
