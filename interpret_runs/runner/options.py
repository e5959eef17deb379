"""Options of groups that may be exchanged in a composed config, without composing it again."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from omegaconf import DictConfig, OmegaConf

from interpret_runs.runner.nodes import Config


class Options:
    """The YAML files of a config loader, each read once."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._read = lru_cache(maxsize=None)(self._load)

    def content(self, group: str, option: Any) -> Config | None:
        """What a plain option of a group puts under the group's name: a file with values, and nothing else.

        None where the option has a defaults list or a package of its own, or is not to be found.
        """
        if not isinstance(option, str) or not re.fullmatch(r"\w+", option) or not group.isidentifier():
            return None
        raw = self._read(f"{group}/{option}")
        return None if raw is None or raw["package"] or "defaults" in raw["values"] else raw["values"]

    def exchangeable(self, defaults: Iterable[ResultDefault], choices: Mapping[str, str]) -> frozenset[str]:
        """Groups of which another plain option would change what stands under the group's name, and nothing else.

        Nothing but the option chosen writes there, and no defaults list depends on any choice.

        Args:
            defaults: the files that a config was composed from.
            choices: Hydra's, of that config.
        """
        writers: dict[str, list[ResultDefault]] = {}
        for default in defaults:
            if default.config_path is None:
                continue
            raw = self._read(default.config_path)
            if raw is None or "${" in str(raw["values"].get("defaults")):
                return frozenset()
            head = (default.package or "").partition(".")[0]
            for name in [head] if head else raw["values"]:
                writers.setdefault(str(name), []).append(default)
        return frozenset(
            group
            for group, option in choices.items()
            if self.content(group, option) is not None
            and [(one.package, one.config_path) for one in writers.get(group, ())] == [(group, f"{group}/{option}")]
        )

    def _load(self, path: str) -> dict[str, Any] | None:
        """A file's values as they are written, and the package that it names; None where it is no plain mapping."""
        source = next((source for source in self._loader.get_sources() if source.is_config(path)), None)
        if source is None:
            return None
        found = source.load_config(path)
        if not isinstance(found.config, DictConfig):
            return None
        if path.partition("/")[0] != "hydra" and OmegaConf.get_type(found.config) is not dict:
            return None  # a schema, which checks what is put in
        return {"values": OmegaConf.to_container(found.config), "package": found.header["package"]}
