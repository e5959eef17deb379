"""Short spellings of objectives, methods and images, for notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from inspect import isabstract
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from interpret_runs import photographs
from interpret_runs.attribution import Attribution
from interpret_runs.cam import usable_layers
from interpret_runs.images import File, ImageSet, Picture, picture_of
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit
from interpret_runs.preprocessing import Preprocessing
from interpret_runs.summary import ModelSummary, is_known_by_image, nearest

# Where the methods are; a subclass of Attribution that was defined elsewhere is found too.
MODULES = (
    "attention",
    "backward_rules",
    "cams",
    "deep_lift",
    "finer_cam",
    "gradient_maps",
    "integrals",
    "occlusion",
    "plain_maps",
    "rise",
    "score_cam",
)

Asked = Objective | str | int
Shown = Tensor | Image.Image | str | Path | Picture | ImageSet


def objective_of(asked: Asked, summary: ModelSummary) -> Objective:
    """An objective with its layers and classes made exact.

    ``"features.10:42"`` is ``Channel("features.10", 42)``; a label, an index, ``"top1"`` and the like are the `Logit`
    of that class.

    Raises:
        LookupError: no such layer, channel or class.
        TypeError: something else.
    """
    if isinstance(asked, Objective):
        return asked.resolve(summary)
    if isinstance(asked, bool) or not isinstance(asked, str | Integral):
        raise TypeError(
            f"objective is {type(asked).__name__}; give 'LAYER:CHANNEL', a class as its index or label, or an Objective"
        )
    if not isinstance(asked, str):
        return Logit(int(asked)).resolve(summary)
    channel = re.fullmatch(r"(.+):(\d+)", asked)
    if channel and asked not in summary.labels:
        return Channel(channel[1], int(channel[2])).resolve(summary)
    try:
        return Logit(asked).resolve(summary)
    except LookupError as error:
        raise LookupError(f"{error}; a channel is 'LAYER:CHANNEL'") from None


def method_names() -> dict[str, type[Attribution]]:
    """Every method by its name: that of its class in snake case, as in ``attribution=grad_cam``."""
    for module in MODULES:
        import_module(f"interpret_runs.{module}")
    return {name_of(kind): kind for kind in _subclasses(Attribution) if not isabstract(kind)}


def name_of(kind: type) -> str:
    """``GradCam`` as ``grad_cam``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def method_of(asked: Attribution | str, model: VisionModel, objective: Objective, image: Tensor) -> Attribution:
    """A method with its layer made exact; by name with its own defaults.

    A method that needs a layer and is given by name takes the alias `late` or, if that does not serve the objective,
    the last layer with a grid upstream of it.

    Args:
        objective: made exact.
        image: the first, (1, 3, H, W).

    Raises:
        LookupError: no such method, layer, or layer with a grid.
        TypeError: neither a name nor a method.
    """
    if isinstance(asked, Attribution):
        return asked.resolve(model.summary)
    if not isinstance(asked, str):
        raise TypeError(f"method is {type(asked).__name__}; give a name such as 'grad_cam', or an Attribution")
    names = method_names()
    if asked not in names:
        raise LookupError(f"no method {asked!r}; closest: {nearest(asked, sorted(names))}")
    kind = names[asked]
    if "layer" not in {field.name for field in fields(kind)}:  # type: ignore[arg-type]  # all are dataclasses
        return kind()
    return kind(layer=_last_layer(model, objective, image))  # type: ignore[call-arg]  # as it has the field


def _last_layer(model: VisionModel, objective: Objective, image: Tensor) -> str:
    _, usable = usable_layers(model, objective, image, torch.zeros(1, dtype=torch.long, device=image.device))
    if not usable:
        raise LookupError(f"no layer of {model.name} has channels on a grid upstream of {objective!r}")
    late = model.summary.aliases.get("late")
    return late if late in usable else usable[-1]


def _subclasses(kind: type) -> Iterator[type[Any]]:
    below: type[Any]
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def pictures_of(shown: Shown, preprocessing: Preprocessing) -> list[Picture]:
    """Images as a network sees them: tensors as they are, photographs resized and cropped to the network's size.

    Raises:
        TypeError: a tensor that does not hold floating point numbers.
        ValueError: another shape, or values outside [0, 1]. Also what `photographs.read` raises.
        OSError: a file that cannot be read.
    """
    if isinstance(shown, Tensor):
        return [Picture(pixels, f"image {place}") for place, pixels in enumerate(_checked(shown).cpu())]
    if isinstance(shown, Picture):
        _checked(shown.pixels)
        return [shown]
    if isinstance(shown, Image.Image):
        return [picture_of(photographs.rgb(shown), preprocessing, "image 0")]
    if isinstance(shown, str | Path):
        return [File(str(shown))(preprocessing)]
    return [shown(preprocessing)]


def size_of(shown: Shown) -> tuple[int, int] | None:
    """(height, width) of images that are shown as they are; None of photographs, which are resized.

    Raises:
        TypeError: something that is no image.
    """
    if not isinstance(shown, Shown):
        raise TypeError(
            f"image is {type(shown).__name__}; give a tensor (3, H, W) or (B, 3, H, W) in [0, 1], a Pillow image "
            "(of a numpy array: Image.fromarray(array)), the path of a file, or a Picture"
        )
    pixels = shown.pixels if isinstance(shown, Picture) else shown
    return (pixels.shape[-2], pixels.shape[-1]) if isinstance(pixels, Tensor) and pixels.ndim in (3, 4) else None


def _checked(images: Tensor) -> Tensor:
    """Images as a batch."""
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or not images.numel():
        raise ValueError(f"image has shape {tuple(images.shape)}; images are (3, H, W) or (B, 3, H, W)")
    if not images.is_floating_point():
        raise TypeError(f"image holds {images.dtype}; images are RGB in [0, 1]: image / 255")
    low, high = torch.aminmax(images.detach())
    if not (low >= 0 and high <= 1):  # nor NaN
        raise ValueError(
            f"image goes from {float(low):.3g} to {float(high):.3g}; images are RGB in [0, 1], not normalised: "
            "the model does that, see wrap(network, mean=, std=)"
        )
    return images.detach() if images.ndim == 4 else images.detach()[None]


def unit_of(objective: Objective, row: int, summary: ModelSummary) -> str:
    """What an objective looks at in image `row`: a class by its label, else the objective itself."""
    target = getattr(objective, "target", None)
    if target is None or is_known_by_image(target):
        return repr(objective)
    named = [_class(target, row, summary)]
    if (against := getattr(objective, "against", None)) is not None:
        named.append(_class(against, row, summary))
    return " rather than ".join(named)


def _class(target: int | tuple[int, ...], row: int, summary: ModelSummary) -> str:
    return summary.label(target[row] if isinstance(target, tuple) else target)
