"""A run: one grid point, closed over everything that makes it, and named by it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from interpret_runs import photographs
from interpret_runs.runner.cache import canonical, file_digest, short_digest
from interpret_runs.runner.summaries import summarise
from interpret_runs.summary import EMBEDDED, EMBEDDED_WEIGHTS, ModelSummary, is_weights_file

Config = dict[str, Any]

ALL = "all"
PRECISIONS = ("float32", "bfloat16")
FILES = ("interpret_runs.images.File", "interpret_runs.images.Folder")
SHAPES_ITEMS = 1200
# Keys of which runs in one batch may differ.
UNITS = ("channel", "row", "column", "target", "direction")


@dataclass(frozen=True)
class Run:
    """A closed plain config with its digests of files, Hydra's group choices, and the labels people read.

    `config` holds what the task uses and nothing else; `digests` the content of files by config key.
    """

    id: str
    config: Config
    digests: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    unit: str = ""

    def batch_key(self) -> str:
        """Equal for runs that share everything but unit, seed and input image."""
        shared = {key: value for key, value in self.config.items() if key not in ("seed", "images")}
        if "objective" in shared:
            shared["objective"] = _without_units(shared["objective"])
        return canonical([shared, {key: value for key, value in self.digests.items() if key != "images"}])

    def to_json(self) -> Config:
        return {"id": self.id, **{key: getattr(self, key) for key in ("config", "digests", "choices", "unit")}}


def close(config: Mapping[str, Any], choices: Mapping[str, str]) -> list[Run]:
    """The runs that a composed, resolved config stands for: one, or several where a value is ``all``.

    Names are made exact (layer, class, weights), files get digests, and what the task does not use goes.

    Raises:
        LookupError, ValueError, OSError: a value that does not exist in the network or on disk.
    """
    return [_closed(point, choices, config) for point in _expand_all(_used(dict(config)))]


def task_name(config: Mapping[str, Any]) -> str:
    """`visualise` for interpret_runs.runner.tasks.Visualise."""
    return str(config["task"]["_target_"]).rpartition(".")[2].lower()


def _expand_all(config: Config) -> Iterator[Config]:
    """`config` with every ``all`` replaced by each value that it stands for."""
    axes: list[tuple[tuple[str, ...], Sequence[Any]]] = []
    for path, node in _nodes(config.get("objective"), ("objective",)):
        if node.get("channel") == ALL:
            axes.append(((*path, "channel"), range(summarise(config["model"]).channels(node["layer"]))))
        if node.get("target") == ALL:
            axes.append(((*path, "target"), range(summarise(config["model"]).classes)))
    images = config.get("images", {})
    if images.get("item") == ALL:
        count = len(photographs.files(images["path"])) if "path" in images else SHAPES_ITEMS
        axes.append((("images", "item"), range(count)))
    for values in product(*(values for _, values in axes)):
        point = deepcopy(config) if axes else config
        for (path, _), value in zip(axes, values, strict=True):
            _node(point, path[:-1])[path[-1]] = value
        yield point


def _used(config: Config) -> Config:
    """The part of `config` that its task names."""
    used: Config = {"task": {key: value for key, value in config["task"].items() if key != "uses"}}
    for name in config["task"].get("uses", ()):
        head, _, leaf = name.partition(".")
        if leaf:
            used.setdefault(head, {})[leaf] = config[head][leaf]
        else:
            used[name] = config[name]
    used = deepcopy(used)
    for path, node in _nodes(used, ()):
        for key, value in node.items():
            if value == "???":
                raise ValueError(f"{'.'.join((*path, key))} is not set; give it a value: {'.'.join((*path, key))}=...")
    return used


def _closed(config: Config, choices: Mapping[str, str], composed: Mapping[str, Any]) -> Run:
    digests: dict[str, str] = {}
    summary = _close_model(config, digests)
    for path, node in _nodes(config.get("objective"), ("objective",)):
        _node(config, path).update(summary.resolve(node))
        if "terms" in node:
            _node(config, path)["weights"] = _weights(node)
    if "attribution" in config:
        config["attribution"] = summary.resolve(config["attribution"])
    _close_images(config, digests)
    _close_sizes(config, summary)
    if "snapshots" in config["task"]:
        config["task"]["snapshots"] = _steps(config["task"]["snapshots"])
    if config.get("compute", {}).get("precision", PRECISIONS[0]) not in PRECISIONS:
        raise ValueError(f"compute.precision is {config['compute']['precision']!r}; it is {' or '.join(PRECISIONS)}")
    if "seed" in config:
        config["seed"] = _seed(config["seed"])
    named = {group: choice for group, choice in choices.items() if group.partition("@")[0] in config}
    read = [node["layer"] for _, node in _nodes(config, ()) if isinstance(node.get("layer"), str)]
    if read:
        # What was asked for: an alias, or the path where the objective names one itself.
        asked = str((composed.get("layer") or {}).get("path"))
        named["layer"] = asked if summary.aliases.get(asked, asked) in read else read[0]
    name = short_digest(canonical(_numbers(_identity(config, digests))))
    return Run(name, config, digests, named, unit_label(config.get("objective", {}), summary))


def _close_model(config: Config, digests: dict[str, str]) -> ModelSummary:
    """Make `config["model"]` exact; its weights' digest, if they are a file, goes to `digests`."""
    model = config["model"]
    summary = summarise(model)
    weights = model["weights"]
    if weights is not None and is_weights_file(weights):
        digests["model.weights"] = file_digest(weights, "model.weights")
    else:
        model["weights"] = summary.weights
        if model["name"] == EMBEDDED and summary.weights is not None:
            # A later version may train it anew.
            digests["model.weights"] = file_digest(str(EMBEDDED_WEIGHTS), "model.weights")
    model.update(mean=list(summary.mean), std=list(summary.std), input_size=list(summary.input_size))
    return summary


def _close_images(config: Config, digests: dict[str, str]) -> None:
    images = config.get("images", {})
    if "path" in images:
        file = photographs.find(images["path"], images["item"]) if "item" in images else images["path"]
        digests["images"] = file_digest(str(file), "images.path")
    elif "item" in images and not (isinstance(images["item"], int) and images["item"] >= 0):
        raise LookupError(f"images.item is {images['item']!r}; the embedded images are numbered from 0 on, or all")


def _close_sizes(config: Config, summary: ModelSummary) -> None:
    """Sizes as [height, width]; a transform's None becomes the size that the network will see, if it differs."""
    if "parameterisation" not in config:
        return
    own = _sides(config["parameterisation"].get("size"))
    config["parameterisation"]["size"] = own
    transform = config.get("transform", {})
    if "size" in transform:
        seen = own if summary.any_size else list(summary.input_size)
        wanted = _sides(transform["size"]) if transform["size"] is not None else seen
        transform["size"] = None if wanted == own else wanted


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
    return {**dict.fromkeys(objective["terms"], 1.0), **weights}


def _identity(config: Config, digests: Mapping[str, str]) -> Config:
    """What the run id hashes: files by content, and nothing that only changes names or speed."""
    identity = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    model = identity["model"]
    for key in ("layers", "labels"):
        model.pop(key, None)
    if model.get("weights") is not None:
        model.pop("seed", None)
    if "model.weights" in digests:
        model["weights"] = {"sha256": digests["model.weights"]}
    if "images" in digests:
        images = {key: value for key, value in identity["images"].items() if key not in ("path", "item")}
        if images["_target_"] in FILES:
            del images["_target_"]  # one picture, however it was found
        identity["images"] = {**images, "sha256": digests["images"]}
    if "objective" in identity:
        identity["objective"] = _unnamed(identity["objective"])
    return identity


def _unnamed(objective: Any) -> Any:
    """An objective with the terms of its sums in a fixed order, without the names that they have in YAML."""
    if not isinstance(objective, dict):
        return objective
    plain = {key: _unnamed(value) for key, value in objective.items()}
    if isinstance(plain.get("terms"), dict):
        weights = plain.pop("weights")
        pairs = [[term, weights.get(name)] for name, term in plain["terms"].items()]
        extra = {name: weight for name, weight in weights.items() if name not in plain["terms"]}
        plain |= {"terms": sorted(pairs, key=canonical), **({"weights": extra} if extra else {})}
    return plain


def _numbers(value: Any) -> Any:
    """1.0 and 1 are one spelling."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def unit_label(objective: Mapping[str, Any], summary: ModelSummary) -> str:
    """What people call the unit: `channel 12`, `channel 12 (3, 4)`, a class label, or the terms of a sum."""
    if "terms" in objective:
        weights = objective.get("weights") or {}
        return _sum_label([(unit_label(term, summary), weights.get(name)) for name, term in objective["terms"].items()])
    if "target" in objective:
        target = objective["target"]
        return summary.label(target) if isinstance(target, int) else str(target)
    if "channel" in objective:
        place = [objective.get("row"), objective.get("column")]
        return f"channel {objective['channel']}" + (f" ({place[0]}, {place[1]})" if place != [None, None] else "")
    kind = str(objective.get("_target_", "")).rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower()


def _sum_label(terms: Sequence[tuple[str, float | None]]) -> str:
    """`channel 5 - 0.1 total variation`."""
    text = ""
    for label, weight in terms:
        size = 1.0 if weight is None else float(weight)
        sign = (" - " if size < 0 else " + ") if text else "-" * (size < 0)
        text += f"{sign}{label}" if abs(size) == 1 else f"{sign}{abs(size):g} {label}"
    return text


def _without_units(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_units(value) for key, value in node.items() if key not in UNITS}
    return [_without_units(value) for value in node] if isinstance(node, list) else node


def _nodes(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Config]]:
    """Every mapping inside `node`, outermost first, with its path."""
    if isinstance(node, dict):
        yield path, node
        for key, value in list(node.items()):
            yield from _nodes(value, (*path, key))


def _node(config: Config, path: Sequence[str]) -> Config:
    for key in path:
        config = config[key]
    return config
