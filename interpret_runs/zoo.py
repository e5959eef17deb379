"""Networks of torchvision and timm by name: how to build them, their weights, classes and preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from interpret_runs.preprocessing import Preprocessing
from interpret_runs.summary import EMBEDDED, is_weights_file, nearest

# Heads for training alone. Networks are built without; some files of weights have them.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# How the names of torchvision's networks begin that are built for one image size.
_FIXED = ("vit_", "maxvit_")


@dataclass(frozen=True)
class Recipe:
    """What is known of a network before it is built.

    Attributes:
        build: makes the network, with weights where they come from its library.
        preprocessing: that of its weights.
        weights: their exact name, a file, or None (random).
        file: weights to be read into the network once it is built.
        labels: of its classes.
        spare: how names begin that a file may hold though the network does without.
    """

    build: Callable[[], Any]
    preprocessing: Preprocessing
    weights: str | None
    file: str | None = None
    labels: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()


def file_of(weights: str | None) -> str | None:
    """`weights` if it names a file."""
    return weights if weights is not None and is_weights_file(weights) else None


def torchvision(name: str, weights: str | None, size: tuple[int, int] | None, download: bool) -> Recipe:
    """A network of ``torchvision.models``.

    Args:
        weights: a name as in ``ResNet50_Weights``, ``DEFAULT``, None or a file.
        size: (height, width) to build for; only networks of a fixed size care.
        download: whether to fetch weights that go by a name.

    Raises:
        LookupError: unknown name or weights.
        ValueError: a size that the network, or its weights, cannot take.
    """
    from torchvision import models

    if name not in models.list_models():
        raise LookupError(f"no model {name!r}; closest: {nearest(name, [EMBEDDED, *models.list_models()])}")
    members: Any = models.get_model_weights(name).__members__
    file = file_of(weights)
    named = weights is not None and file is None
    exact = (weights or "").rpartition(".")[2]
    if named and exact not in members:
        raise LookupError(f"no weights {weights!r} for {name}; it has {', '.join(members)}, null or a file")
    known: Any = members[exact] if named else next(iter(members.values()), None)
    own = _of_weights(known)
    if named and size not in (None, own.size) and name.startswith(_FIXED):
        raise ValueError(f"model.input_size is {list(size or ())}; {known.name} of {name} takes {list(own.size)} only")
    settings = {**_for_size(name, size or own.size), **_without_auxiliary(name)}

    def build() -> Any:
        if named and download:
            return _built(lambda: models.get_model(name, weights=known), name, size, known.name)
        network = _built(lambda: models.get_model(name, weights=None, **settings), name, size)
        if weights is not None and hasattr(network, "transform_input"):
            network.transform_input = True  # torchvision trained these so
        return network

    labels = tuple(known.meta.get("categories", ())) if known is not None else ()
    return Recipe(build, own, known.name if named else weights, file, labels, _AUXILIARY.get(name, ()))


def _for_size(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """What torchvision's constructors of networks with a fixed size call that size."""
    if name.startswith("vit_"):
        if size[0] != size[1]:
            raise ValueError(f"model.input_size is {list(size)}; {name} takes square images")
        return {"image_size": size[0]}
    return {"input_size": size} if name.startswith("maxvit_") else {}


def _without_auxiliary(name: str) -> dict[str, Any]:
    return {"aux_logits": False, "init_weights": False} if name in _AUXILIARY else {}


def _of_weights(weights: Any) -> Preprocessing:
    """Preprocessing from a torchvision weights entry; ImageNet's where it has none."""
    preset: Any = weights.transforms() if weights is not None else None
    if not hasattr(preset, "crop_size"):
        return Preprocessing((224, 224), 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    side, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocessing((side, side), resize, tuple(preset.mean), tuple(preset.std), preset.interpolation.value)


def timm(name: str, weights: str | None, size: tuple[int, int] | None, download: bool) -> Recipe:
    """A network of ``timm.list_models()``; arguments and errors as of `torchvision`.

    Weights are timm's tags: ``a1_in1k`` for ``resnet18.a1_in1k``, which may be the name as well. Labels are
    not known, and networks without a classifier have their features for classes. Where timm squashes
    photographs to a square, they are cropped.
    """
    try:
        import timm as library
    except ImportError as error:
        raise LookupError("model=timm needs timm: pip install 'interpret-runs[timm]'") from error
    architecture, _, tag = name.partition(".")
    if architecture not in library.list_models():
        raise LookupError(f"no model {name!r} in timm; closest: {nearest(architecture, library.list_models())}")
    file = file_of(weights)
    named = weights is not None and file is None
    if named and weights != "DEFAULT":
        tag = str(weights).removeprefix(f"{architecture}.")
    tags = [full.partition(".")[2] for full in library.list_pretrained(architecture)]
    if tag not in tags if tag else named and not tags:
        choice = [*tags, "DEFAULT"] if tags else []
        raise LookupError(
            f"no weights {tag or weights!r} for {architecture}; it has {', '.join([*choice, 'null or a file'])}"
        )
    exact = f"{architecture}.{tag}" if tag else architecture
    facts = library.get_pretrained_cfg(exact) or library.models.PretrainedCfg()
    settings: dict[str, Any] = {"img_size": size} if size is not None and facts.fixed_input_size else {}
    fetched = (facts.tag or "DEFAULT") if named else None

    def build() -> Any:
        pretrained = named and download
        make = partial(library.create_model, exact, pretrained=pretrained, **settings)
        return _built(make, name, size, fetched if pretrained else None)

    return Recipe(build, _of_facts(facts), fetched or weights, file)


def _of_facts(facts: Any) -> Preprocessing:
    """Preprocessing from a timm configuration of weights."""
    height, width = facts.input_size[1:]
    resize = int(min(height, width) / facts.crop_pct)
    return Preprocessing((height, width), resize, tuple(facts.mean), tuple(facts.std), facts.interpolation)


def _built(build: Callable[[], Any], name: str, size: tuple[int, int] | None, fetched: str | None = None) -> Any:
    """The network; what its library says against a size, or on the way to weights, in terms of the settings."""
    try:
        return build()
    except AssertionError as error:
        raise ValueError(f"{name} cannot be built for model.input_size={size and list(size)}: {error}") from error
    except Exception as error:  # what a hub raises without a network has no common type
        if fetched is None:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"cannot download {fetched} of {name} ({reason}); give a file instead: model.weights=FILE"
        ) from error
