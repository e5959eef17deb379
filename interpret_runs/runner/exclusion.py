"""Rules that take runs out of a grid."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interpret_runs.runner.grid import quoted_text
from interpret_runs.runner.keys import keys
from interpret_runs.runner.nodes import Config, value_at
from interpret_runs.runner.runs import CHOSEN


@dataclass(frozen=True)
class Rule:
    """Holds where each of `conditions` does: a key has one of some values.

    A key is a group, whose chosen option is meant, or a dotted key of the config, whose composed value is meant.
    Nothing holds of a group that a run does not use.
    """

    conditions: Mapping[str, tuple[Any, ...]]

    @classmethod
    def each(cls, rules: Any) -> list["Rule"]:
        """The rules of a list of YAML maps.

        Raises:
            ValueError: it is something else, or a rule has no conditions.
        """
        if not isinstance(rules, Sequence) or isinstance(rules, str):
            raise ValueError(f"sweep.exclude is {rules!r}; it is a list of maps, each of keys to values")
        for rule in rules:
            if not isinstance(rule, Mapping) or not rule:
                raise ValueError(f"sweep.exclude holds {rule!r}; a rule is a map of keys to values, as in {{seed: 3}}")
        return [
            cls({str(key): tuple(value) if isinstance(value, list) else (value,) for key, value in rule.items()})
            for rule in rules
        ]

    def holds(self, config: Config, choices: Mapping[str, str], values: Mapping[str, Any]) -> bool:
        """Whether it does for a composed config; `values` are by dotted key what stands for an ``all`` in it."""
        return all(self._has(key, config, choices, values) for key in self.conditions)

    def unknown(self, points: Sequence[tuple[Config, Mapping[str, str]]]) -> str | None:
        """A key that none of `points` has, if there is one."""
        return next((key for key in self.conditions if not any(_knows(key, *point) for point in points)), None)

    def _has(self, key: str, config: Config, choices: Mapping[str, str], values: Mapping[str, Any]) -> bool:
        group = key.replace("@", ".").partition(".")[0]
        if group in CHOSEN and group != "task" and group not in used_groups(config):
            return False
        try:
            found = choices[key] if key in choices else values.get(key, value_at(config, key.split(".")))
        except LookupError:
            return False
        return any(_same(found, value) for value in self.conditions[key])

    def __str__(self) -> str:
        return f"{{{', '.join(f'{key}: {_shown(values)}' for key, values in self.conditions.items())}}}"


@dataclass
class Tally:
    """How many runs each rule removed, by its text; `held` are the rules that held at all."""

    removed: Counter[str] = field(default_factory=Counter)
    held: set[str] = field(default_factory=set)

    def removes(self, holding: Iterable[Rule], runs: int = 1) -> bool:
        """Whether any rule holds for some runs, which count as removed by the first."""
        texts = [str(rule) for rule in holding]
        self.held.update(texts)
        self.removed.update(dict.fromkeys(texts[:1], runs))
        return bool(texts)


def used_groups(config: Config) -> set[str]:
    return {str(name).partition(".")[0] for name in config["task"].get("uses", ())}


def _knows(key: str, config: Config, choices: Mapping[str, str]) -> bool:
    return key in choices or key in keys(config)


def _same(found: Any, value: Any) -> bool:
    """Equality for which true is not 1; the number 1.0 is."""
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)


def _shown(values: Sequence[Any]) -> str:
    texts = [value if isinstance(value, str) else quoted_text(value) for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
