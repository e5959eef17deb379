"""All grid points of a sweep: composed, without settings that do not apply, and closed to runs."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from interpret_runs.runner.compose import Composer, Setting, resolved
from interpret_runs.runner.exclusion import Rule, Tally
from interpret_runs.runner.grid import per_experiment, points
from interpret_runs.runner.keys import keys, unknown_key
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.runs import Run, close, count

# A key, how many points have it, and how many have a value for it.
Partial = tuple[str, int, int]


@dataclass(frozen=True)
class Point:
    """A composed grid point, the override lines that it is made of, and the rules that may remove it."""

    config: Config
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    rules: Sequence[Rule]

    def close(self, tally: Tally) -> list[Run]:
        """Its runs, without those that a rule removes."""
        if not self.rules:
            return close(self.config, self.choices, self.overrides)
        # Before a network is asked what an `all` stands for: that may be what the rule is there for.
        holding = self._holding({})
        if tally.removes(holding, count(self.config) if holding else 0):
            return []
        return close(self.config, self.choices, self.overrides, lambda values: not tally.removes(self._holding(values)))

    def _holding(self, values: Mapping[str, object]) -> list[Rule]:
        return [rule for rule in self.rules if rule.holds(self.config, self.choices, values)]


@dataclass(frozen=True)
class Expansion:
    """The points of a sweep, in order.

    `partial` are keys that some points have and others, with a value for them, have not.
    """

    points: tuple[Point, ...]
    partial: tuple[Partial, ...] = ()

    @classmethod
    def of(cls, arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> "Expansion":
        """The points of a sweep over `arguments`, by the grids, pairs and rules of the config that they compose to.

        Where `arguments` sweep over experiments, each has its own. A setting is left out of the points that have no
        such key; those that are equal without it are one.

        Raises:
            ValueError: a grid or a rule that is wrong.
            LookupError: a setting for a key that no point has.
        """
        composer = Composer(loader, master)
        applying = _Applying(composer)
        kept: list[tuple[list[Setting], Sequence[Rule]]] = []
        several = per_experiment(arguments, loader)
        for lines in several:
            config = master if len(several) == 1 else _with_experiment(lines, master, loader)
            settings, params = resolved(config)["sweep"], OmegaConf.select(config, "hydra.sweeper.params")
            given = OmegaConf.to_container(params) if params else None
            rules = Rule.each(settings["exclude"])
            for point in points(lines, given, settings["grids"], loader, settings["zip"]):  # type: ignore[arg-type]
                if (own := applying.to(point)) is not None:
                    kept.append((own, rules))
        partial = applying.partial()
        composed = (Point(*composer.compose(own), tuple(one.text for one in own), rules) for own, rules in kept)
        return cls(tuple(composed), partial)

    def close(self) -> tuple[list[Run], tuple[tuple[str, int], ...]]:
        """The runs, and how many each rule of ``sweep.exclude`` removed; what several remove counts for the first.

        Warns of a rule that removes nothing.

        Raises:
            ValueError: the rules remove every run.
            LookupError, ValueError, OSError: a rule about a key that no point has, or as `close` of a run.
        """
        tally, rules = Tally(), self._rules()
        runs = [run for point in self.points for run in point.close(tally)]
        removed = tuple((rule, tally.removed[rule]) for rule in rules if tally.removed[rule])
        if removed and not runs:
            said = ", ".join(f"{rule} removes {number}" for rule, number in removed)
            raise ValueError(f"sweep.exclude leaves no run: {said}")
        for rule in rules.keys() - tally.held:
            warnings.warn(f"rule {rule} of sweep.exclude removes nothing", stacklevel=1)
        return runs, removed

    def notes(self, removed: Sequence[tuple[str, int]]) -> list[str]:
        """What the plan says of runs that are not in it."""
        said = [f"{number} removed by {rule}" for rule, number in removed]
        return said + [f"{key} applies to {some} of {every} points" for key, some, every in self.partial]

    def _rules(self) -> dict[str, None]:
        """The texts of all rules, each of which is about keys that there are."""
        places: dict[str, tuple[Rule, list[Point]]] = {}
        for point in self.points:
            for rule in point.rules:
                places.setdefault(str(rule), (rule, []))[1].append(point)
        for rule, own in places.values():
            if key := rule.unknown([(point.config, point.choices) for point in own]):
                names = {name for point in own for name in (*keys(point.config), *point.choices)}
                raise LookupError(f"sweep.exclude: {unknown_key(key, names)}")
        return dict.fromkeys(places)


class _Applying:
    """Leaves settings out of the points that have no such key, and counts them."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._counts: Counter[tuple[tuple[str, ...], frozenset[str]]] = Counter()
        self._seen: set[tuple[str, ...]] = set()

    def to(self, point: list[Setting]) -> list[Setting] | None:
        """What applies of `point`; None where that is a point already seen."""
        keys = tuple(setting.key for setting in point)
        if missing := self._composer.missing(point):
            point = [setting for setting in point if setting.key not in missing]
            texts = tuple(setting.text for setting in point)
            if texts in self._seen:
                return None
            self._seen.add(texts)
        self._counts[keys, missing] += 1
        return point

    def partial(self) -> tuple[Partial, ...]:
        """The keys left out somewhere.

        Raises:
            LookupError: one that was left out everywhere.
        """
        found = []
        for key in sorted({key for _, missing in self._counts for key in missing}):
            every = sum(number for (keys, _), number in self._counts.items() if key in keys)
            without = sum(number for (_, missing), number in self._counts.items() if key in missing)
            if without == every:
                raise LookupError(unknown_key(key, self._composer.keys()))
            found.append((key, every - without, every))
        return tuple(found)


def _with_experiment(lines: Sequence[str], master: DictConfig, loader: ConfigLoader) -> DictConfig:
    """The config that a sweep over `lines` starts from."""
    own = OmegaConf.to_container(master.hydra.overrides.hydra)
    assert isinstance(own, list)
    return loader.load_configuration(master.hydra.job.config_name, [*own, *lines], run_mode=RunMode.MULTIRUN)
