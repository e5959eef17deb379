"""A run: one grid point, closed over everything that makes it, and named by it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from interpret_runs.runner import image_sets
from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.files import digests_of
from interpret_runs.runner.identity import identity
from interpret_runs.runner.image_sets import ALL
from interpret_runs.runner.labels import unit_label
from interpret_runs.runner.nodes import Config, Path, node_at, nodes
from interpret_runs.runner.summaries import summarise
from interpret_runs.schedule import PRECISIONS
from interpret_runs.summary import ModelSummary, is_weights_file

# Keys of which runs in one batch may differ.
UNITS = ("channel", "row", "column", "target", "against", "direction", "source")
# Groups of which a run has one option.
CHOSEN = ("task", "model", "objective", "parameterisation", "transform", "optimizer", "attribution", "images")
# Where a layer is asked for.
ASKED = (("layer", "path"), ("objective", "layer"), ("attribution", "layer"))
# Settings of objectives that are objectives themselves, beside the terms of a sum.
PARTS = ("of", "left", "right", "first", "last")
# Attributions that share one pass through the network, whatever their settings.
SHARED_PASS = (
    *("interpret_runs.cams.", "interpret_runs.gradient_maps.Saliency"),
    "interpret_runs.gradient_maps.InputXGradient",
)
# Transforms that return images of the size they get where no size is asked for.
KEEP_SIZE = ("interpret_runs.transforms.", "interpret_runs.corruptions.")


@dataclass(frozen=True)
class Run:
    """A closed plain config with its digests of files, Hydra's group choices, and the labels people read.

    `config` holds what the task uses and nothing else; `digests` the content of files by config key;
    `overrides` are the lines that a sweep made the run of.
    """

    id: str
    config: Config
    digests: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    unit: str = ""
    overrides: tuple[str, ...] = ()

    def batch_key(self) -> str:
        """Equal for runs that share everything but unit, seed and input image, or but maps made from one pass."""
        shared = {key: value for key, value in self.config.items() if key not in ("seed", "images")}
        if self.shares_pass:
            shared["attribution"] = SHARED_PASS[0]
        for key in {"objective", "parameterisation"} & shared.keys():
            shared[key] = _without_units(shared[key])
        own = {key: value for key, value in self.digests.items() if key.split(".")[-1] not in ("images", "source")}
        return canonical([shared, own])

    @property
    def shares_pass(self) -> bool:
        """Whether one pass serves this run and others that differ from it in the attribution alone."""
        method = str(self.config.get("attribution", {}).get("_target_"))
        return "images" in self.config and method.startswith(SHARED_PASS)

    def to_json(self) -> Config:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Run":
        """A run out of what `to_json` gives, whatever else is there."""
        values = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        return cls(**{**values, "overrides": tuple(data.get("overrides", ()))})


def close(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    overrides: Sequence[str] = (),
    wanted: Callable[[Mapping[str, Any]], bool] = lambda values: True,
) -> list[Run]:
    """The runs that a composed, resolved config stands for: one, or several where a value is ``all``.

    Of several, those are left out for whose values by dotted key `wanted` says no.

    Names are made exact (layer, class, weights), files get digests, and what the task does not use goes.

    Raises:
        LookupError, ValueError, OSError: a value that does not exist in the network or on disk.
    """
    for group in CHOSEN:
        if group in config and group not in choices:  # Hydra merges a list of options, and names none
            raise ValueError(f"{group}=[...] would mix several options: take one of them, or -m and {group}=a,b")
    return [
        replace(_closed(point, choices, config), overrides=_replaced(overrides, values))
        for point, values in _expand_all(used_part(dict(config)))
        if wanted(values)
    ]


def count(config: Mapping[str, Any]) -> int:
    """How many runs a composed config stands for; one where that cannot be told."""
    try:
        return sum(1 for _ in _expand_all(used_part(dict(config))))
    except (LookupError, ValueError, OSError):
        return 1


def _replaced(overrides: Sequence[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Override lines, with one value in each that stands for all."""
    keys = [line.partition("=")[0] for line in overrides]
    return tuple(f"{key}={values[key]}" if key in values else line for key, line in zip(keys, overrides, strict=True))


def task_name(config: Mapping[str, Any]) -> str:
    """`visualise` for interpret_runs.runner.tasks.Visualise."""
    return str(config["task"]["_target_"]).rpartition(".")[2].lower()


def _expand_all(config: Config) -> Iterator[tuple[Config, dict[str, Any]]]:
    """`config` with every ``all`` replaced by each value that it stands for, and these values by their dotted keys."""
    axes: list[tuple[list[Path], Sequence[Any]]] = image_sets.axes(config)
    for path, node in nodes(config.get("objective"), ("objective",)):
        if node.get("channel") == ALL:
            axes.append(([(*path, "channel")], range(summarise(config["model"]).channels(node["layer"]))))
        for key in ("target", "against"):
            if node.get(key) == ALL:
                axes.append(([(*path, key)], range(summarise(config["model"]).classes)))
    for values in product(*(values for _, values in axes)):
        point = deepcopy(config) if axes else config
        chosen = [(path, value) for (paths, _), value in zip(axes, values, strict=True) for path in paths]
        for path, value in chosen:
            node_at(point, path[:-1])[path[-1]] = value
        yield point, {".".join(path): value for path, value in chosen}


def used_part(config: Config) -> Config:
    """The part of `config` that its task names; ValueError where a value in it is missing."""
    used: Config = {"task": {key: value for key, value in config["task"].items() if key != "uses"}}
    for name in config["task"].get("uses", ()):
        head, _, leaf = name.partition(".")
        if leaf:
            used.setdefault(head, {})[leaf] = config[head][leaf]
        else:
            used[name] = config[name]
    used = deepcopy(used)
    for path, node in nodes(used, ()):
        for key, value in node.items():
            if value == "???":
                # An image set that stands elsewhere is the one of group `images`.
                shared = "_target_" in node and (config.get("images") or {}).get(key) == "???"
                name = f"images.{key}" if shared else ".".join((*path, key))
                raise ValueError(f"{name} is not set; give it a value: {name}=...")
    return used


def _closed(config: Config, choices: Mapping[str, str], composed: Mapping[str, Any]) -> Run:
    named = {group: choice for group, choice in choices.items() if group.partition("@")[0] in config}
    unit = ""
    if "model" in config:
        summary = _close_model(config)
        _close_objective(config, summary)
        if "layer" in config["task"]:
            config["task"] = summary.resolve(config["task"])
        _close_sizes(config, summary)
        unit = unit_label(config.get("objective", {}), summary)
        read = [path for _, node in nodes(config) for path in _layers_read(node)]
        if read:
            # As it was asked for: an alias, or a path.
            asked = [str((composed.get(part) or {}).get(key)) for part, key in ASKED]
            named["layer"] = next((name for name in asked if summary.aliases.get(name, name) in read), read[0])
    digests = digests_of(config)
    if "size" in config["task"]:
        config["task"]["size"] = _sides(config["task"]["size"])
    if "snapshots" in config["task"]:
        config["task"]["snapshots"] = _steps(config["task"]["snapshots"])
    if config.get("compute", {}).get("precision", PRECISIONS[0]) not in PRECISIONS:
        raise ValueError(f"compute.precision is {config['compute']['precision']!r}; it is {' or '.join(PRECISIONS)}")
    if "seed" in config:
        config["seed"] = _seed(config["seed"])
    name = short_digest(canonical(identity(config, digests)))
    return Run(name, config, digests, named, unit)


def _layers_read(node: Config) -> Sequence[str]:
    """The layers that an objective or a method names."""
    named = node.get("layer") or node.get("paths")
    return [named] if isinstance(named, str) else named if isinstance(named, list) else ()


def _close_objective(config: Config, summary: ModelSummary) -> None:
    for path, node in nodes(config.get("objective"), ("objective",)):
        _require_parts(node, path)
        node_at(config, path).update(summary.resolve(node))
        if "terms" in node:
            node_at(config, path)["weights"] = _weights(node)
    if "attribution" in config:
        config["attribution"] = summary.resolve(config["attribution"])


def _require_parts(node: Config, path: Path) -> None:
    """Refuse an objective of objectives of which one is missing."""
    if not str(node.get("_target_")).startswith("interpret_runs."):
        return
    key = ".".join(path)
    terms = node.get("terms", {})
    if not isinstance(terms, dict):
        raise ValueError(f"{key}.terms is {terms!r}; add a term with +objective@{key}.terms.a=channel")
    parts = {name: node[name] for name in PARTS if name in node}
    parts |= {f"terms.{name}": term for name, term in terms.items()}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{key}.{name} is {part!r}; choose an objective: objective@{key}.{name}=channel")


def _close_model(config: Config) -> ModelSummary:
    """Make `config["model"]` exact."""
    model = config["model"]
    summary = summarise(model)
    if model["weights"] is None or not is_weights_file(model["weights"]):
        model["weights"] = summary.weights
    model.update(mean=list(summary.mean), std=list(summary.std), input_size=list(summary.input_size))
    return summary


def _close_sizes(config: Config, summary: ModelSummary) -> None:
    """Sizes as [height, width]; a transform's None becomes the size that the network will see, if it differs."""
    own = None
    if "parameterisation" in config:
        own = config["parameterisation"]["size"] = _sides(config["parameterisation"].get("size"))
    task, transform = config["task"], config.get("transform", {})
    if task.get("render_size") is not None:
        task["render_size"] = _sides(task["render_size"])
    for path, node in nodes(transform):
        if path and "size" in node:
            node["size"] = _sides(node["size"])  # of a part of a chain, which gives its own size to those without
    if "size" in transform:
        seen = own if summary.any_size else list(summary.input_size)
        wanted = seen if transform["size"] is None else _sides(transform["size"])
        # Where a network takes one size only, it is said: not all transforms keep an image's size.
        needless = summary.any_size and wanted == own and (transform["size"] is None or _keeps_size(transform))
        transform["size"] = None if needless else wanted


def _keeps_size(transform: Config) -> bool:
    """Whether a transform returns images of the size it gets, so that to ask for that size says nothing."""
    return str(transform.get("_target_")).startswith(KEEP_SIZE)


def _steps(snapshots: Any) -> list[int]:
    if not isinstance(snapshots, list) or not all(isinstance(step, int) for step in snapshots):
        raise ValueError(f"task.snapshots is {snapshots!r}; it is a list of steps, as in task.snapshots=[16,64]")
    return sorted(set(snapshots))


def _seed(seed: Any) -> int:
    whole = seed.is_integer() if isinstance(seed, float) else isinstance(seed, int)
    if isinstance(seed, bool) or not whole or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}; it is a whole number of at most 64 bits")
    return int(seed)


def _sides(size: Any) -> Any:
    return [size, size] if isinstance(size, int) and not isinstance(size, bool) else size


def _weights(objective: Mapping[str, Any]) -> Config:
    """Weights of the terms there are; a weight given to no term stays, for the error it will cause."""
    given = objective.get("weights") or {}
    weights = {name: weight for name, weight in given.items() if weight is not None}
    return {**dict.fromkeys(objective["terms"], 1.0), **{name: _steady(weight) for name, weight in weights.items()}}


def _steady(weight: Any) -> Any:
    """A weight that changes from a number to the same number is that number."""
    pair = isinstance(weight, (list, tuple)) and len(weight) == 2 and weight[0] == weight[1]
    return weight[0] if pair else weight


def _without_units(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_units(value) for key, value in node.items() if key not in UNITS}
    return [_without_units(value) for value in node] if isinstance(node, list) else node
