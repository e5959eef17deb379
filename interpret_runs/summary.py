"""What is known of a model without running it: layers, classes, sizes. Imports no torch."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path
from typing import Any

PIXELS = "image"
OPACITY = "opacity"  # of the pixels, where a parameterisation has transparency
OUTPUT = "logits"
# Fields of an objective that hold a class.
CLASSES = ("target", "against")
# The target that stands for what an image is said to show.
OWN_LABEL = "label"
EMBEDDED = "shapes"
SHAPES_ITEMS = 1200  # the embedded data set never ends; so many of its images are "all"
EMBEDDED_WEIGHTS = Path(__file__).parent / "assets" / "shapes.safetensors"
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def nearest(name: str, names: list[str]) -> str:
    """The three names closest to `name`, for an error message."""
    lower = {candidate.lower(): candidate for candidate in names}
    close = get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    return ", ".join(lower[match] for match in close) or ", ".join(names[:8]) or "none"


def rank_asked(target: object) -> int | None:
    """The rank in a target such as ``top1`` or ``top5``; None of any other target."""
    found = re.fullmatch(r"top([1-9][0-9]*)", target) if isinstance(target, str) else None
    return int(found[1]) if found else None


def is_known_by_image(target: object) -> bool:
    """Whether a target is a class that each image brings: by the network's opinion (`top1`), or by its `label`."""
    return target == OWN_LABEL or rank_asked(target) is not None


def plain_label(label: str) -> str:
    """Labels are compared without case and apostrophes; an underscore stands for a space."""
    return label.lower().replace("'", "").replace("_", " ").strip()


def is_weights_file(weights: str) -> bool:
    """Whether a weights setting names a file rather than an entry of torchvision."""
    return weights.endswith(WEIGHTS_SUFFIXES) or "/" in weights or "\\" in weights or Path(weights).is_file()


@dataclass(frozen=True)
class Layer:
    """One module of a network as a forward pass saw it.

    `shape` is the output without the batch: (C, H, W), H and W 1 for vectors; None where the
    output holds no channels for each image. `calls` counts how often one forward pass runs the module.
    """

    path: str
    kind: str
    shape: tuple[int, ...] | None
    calls: int = 1


@dataclass(frozen=True)
class ModelSummary:
    """Layers in the order they finish, classes and preprocessing of one model.

    Sizes are (height, width) in pixels; `mean` and `std` normalise RGB in [0, 1]. `any_size` tells
    whether the network takes images of other sizes than `input_size`.
    """

    name: str
    weights: str | None
    layers: tuple[Layer, ...]
    aliases: Mapping[str, str]
    classes: int
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...] = field(default=(), repr=False)
    any_size: bool = True

    def layer(self, name: str) -> Layer:
        """The layer called `name`: a dotted path, the same with slashes, or an alias.

        Raises:
            LookupError: no such layer, or one that runs several times in a forward pass.
        """
        if not isinstance(name, str):
            raise LookupError(f"layer {name!r} is not a name; quote names that look like numbers: layer.path=\"'5'\"")
        path = self.aliases.get(name, name).replace("/", ".")
        if path == PIXELS:
            return Layer(PIXELS, "pixels", (3, *self.input_size))
        if path == OUTPUT:
            return Layer(OUTPUT, "output", (self.classes,))
        for layer in self.layers:
            if layer.path == path:
                return _usable(layer)
        names = [*self.aliases, *(layer.path for layer in self.layers), PIXELS, OUTPUT]
        raise LookupError(f"no layer {name!r} in {self.name}; closest: {nearest(path, names)} (task=layers lists all)")

    def class_index(self, target: int | str) -> int:
        """The index of a class given as an index or a label.

        Raises:
            LookupError: no such class, or a label that several classes share.
        """
        if isinstance(target, bool) or not isinstance(target, (int, str)):
            raise LookupError(f"class {target!r} is neither an index, 0 to {self.classes - 1}, nor a label")
        if isinstance(target, int) or target.lstrip("-").isdigit():
            if not 0 <= int(target) < self.classes:
                raise LookupError(f"class {target} is out of range: {self.name} has classes 0 to {self.classes - 1}")
            return int(target)
        wanted = plain_label(target)
        found = [index for index, label in enumerate(self.labels) if label == target]
        found = found or [index for index, label in enumerate(self.labels) if plain_label(label) == wanted]
        if len(found) > 1:
            raise LookupError(f"label {target!r} names classes {', '.join(map(str, found))}; give one of these indices")
        if not found:
            names = nearest(target, list(self.labels)) if self.labels else "none, the model has no labels"
            raise LookupError(
                f"no class {target!r} in {self.name}; closest: {names} (or an index, 0 to {self.classes - 1})"
            )
        return found[0]

    def label(self, index: int) -> str:
        """The label of class `index`, or its number where the model has no labels."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def channels(self, layer: str) -> int:
        """How many channels `layer` has."""
        shape = self.layer(layer).shape
        if not shape:
            raise LookupError(without_channels(layer))
        return shape[0]

    def check_channel(self, layer: str, channel: int) -> int:
        """`channel` as an int, or LookupError where `layer` has no such channel."""
        count = self.channels(layer)
        if isinstance(channel, bool) or not isinstance(channel, Integral):
            raise LookupError(f"channel {channel!r} is not a whole number; layer {layer!r} has 0 to {count - 1}")
        if not 0 <= int(channel) < count:
            raise LookupError(f"channel {channel!r} is out of range: layer {layer!r} has channels 0 to {count - 1}")
        return int(channel)

    def resolve(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields` of an objective with names made exact: layers to their paths, classes to their indices.

        Units that the network does not have raise LookupError; `top1`, `label` and the like need an image, and stay.
        """
        resolved = dict(fields)
        if isinstance(resolved.get("layer"), (list, tuple)):
            resolved["layer"] = [self.layer(str(one)).path for one in resolved["layer"]]
        elif isinstance(resolved.get("layer"), (str, int)):
            resolved["layer"] = self.layer(str(resolved["layer"])).path  # YAML reads 2 as a number
            if resolved.get("channel") is not None:
                resolved["channel"] = self._exact_channel(resolved["layer"], resolved["channel"])
            if "direction" in resolved:
                self._check_direction(resolved["layer"], resolved["direction"])
        if "paths" in resolved:
            paths = resolved["paths"] if isinstance(resolved["paths"], (list, tuple)) else [resolved["paths"]]
            resolved["paths"] = [self.layer(str(path)).path for path in paths]
        for name in CLASSES:
            if name in resolved and not is_known_by_image(resolved[name]):
                wanted = resolved[name]
                exact = tuple(map(self.class_index, wanted)) if isinstance(wanted, tuple) else self.class_index(wanted)
                resolved[name] = exact
        return resolved

    def _exact_channel(self, layer: str, channel: Any) -> int | tuple[int, ...]:
        if isinstance(channel, (list, tuple)):
            return tuple(self.check_channel(layer, one) for one in channel)
        return self.check_channel(layer, channel)

    def _check_direction(self, layer: str, direction: Any) -> None:
        several = isinstance(direction, (list, tuple)) and direction and isinstance(direction[0], (list, tuple))
        for row in direction if several else [direction]:
            if not isinstance(row, (list, tuple)):
                raise LookupError(f"direction is {row!r}; it is a list of numbers, one for each channel of {layer!r}")
            if len(row) != self.channels(layer):
                raise LookupError(
                    f"direction has {len(row)} numbers, but layer {layer!r} has {self.channels(layer)} channels"
                )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelSummary":
        layers = tuple(
            Layer(row["path"], row["kind"], None if row["shape"] is None else tuple(row["shape"]), row["calls"])
            for row in data["layers"]
        )
        sequences = {key: tuple(data[key]) for key in ("input_size", "mean", "std", "labels")}
        return cls(**{**data, **sequences, "layers": layers})


def runs_again(path: str, calls: int) -> str:
    """Why a layer that one forward pass runs several times cannot be read, and what to name instead."""
    parent = path.rpartition(".")[0] or OUTPUT
    return f"layer {path!r} runs {calls} times in one forward pass; name {parent!r} instead"


def without_channels(path: str) -> str:
    """Why a layer that does not return channels for each image cannot be read, and what to name instead."""
    parent = path.rpartition(".")[0] or OUTPUT
    return f"layer {path!r} returns no channels for each image (windows perhaps, or no tensor); name {parent!r} instead"


def _usable(layer: Layer) -> Layer:
    if layer.calls > 1:
        raise LookupError(runs_again(layer.path, layer.calls))
    return layer
