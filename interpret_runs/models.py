"""Networks with their preprocessing, from torchvision, from files, or anyone's own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interpret_runs.checkpoint import load_state
from interpret_runs.layer_table import trace
from interpret_runs.shapes import CLASSES
from interpret_runs.shapes_network import ShapesNetwork
from interpret_runs.size import Size, height_and_width
from interpret_runs.summary import EMBEDDED, EMBEDDED_WEIGHTS, ModelSummary, is_weights_file, nearest


@dataclass(frozen=True)
class Preprocessing:
    """How photographs become what a network was trained on.

    The short side is resized to `resize` pixels (`interpolation` is bilinear or bicubic), the centre
    cropped to `size` (height, width), then RGB in [0, 1] is normalised with `mean` and `std`.
    """

    size: tuple[int, int]
    resize: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bilinear"


class VisionModel(nn.Module):
    """A network that takes RGB in [0, 1], (B, 3, H, W), and normalises by itself.

    Layer names are the dotted names inside `network`; `summary` knows them, the aliases and the classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        name: str = "model",
        weights: str | None = None,
        labels: Sequence[str] = (),
        aliases: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.weights = weights
        self.labels = tuple(labels)
        self.preprocessing = preprocessing
        self._aliases = {alias: path for alias, path in (aliases or {}).items() if path is not None}
        if 0 in preprocessing.std:
            raise ValueError(f"model.std is {list(preprocessing.std)}; a colour cannot be divided by 0")
        for field in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, field))
            if values.shape != (3,):
                raise ValueError(f"model.{field} has {values.numel()} numbers; it needs three, one a colour")
            self.register_buffer(field, values[:, None, None])

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Any:
        return self.network(self.normalise(images))

    @cached_property
    def summary(self) -> ModelSummary:
        """Layers, aliases and classes, from one forward pass at the network's own size."""
        size = self.preprocessing.size
        example = torch.zeros(1, 3, *size, device=self.mean.device, dtype=self.mean.dtype)
        layers, found, classes = trace(self.network, self.normalise(example))
        if self.labels and len(self.labels) != classes:
            raise ValueError(f"{len(self.labels)} labels for the {classes} classes of {self.name}; see model.labels")
        summary = ModelSummary(
            name=self.name,
            weights=self.weights,
            layers=layers,
            aliases=found,
            classes=classes,
            input_size=size,
            mean=self.preprocessing.mean,
            std=self.preprocessing.std,
            labels=self.labels,
            any_size=self._takes(size[0] + 32, size[1] + 32),
        )
        own = {alias: summary.layer(path).path for alias, path in self._aliases.items()}
        return replace(summary, aliases={**found, **own})

    @cached_property
    def digest(self) -> str:
        """sha256 over names and values of all weights, as 16 hex digits."""
        state = sha256()
        for key, tensor in sorted(self.network.state_dict().items()):
            state.update(key.encode())
            state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return state.hexdigest()[:16]

    def _takes(self, height: int, width: int) -> bool:
        try:
            trace(self.network, torch.zeros(1, 3, height, width, device=self.mean.device, dtype=self.mean.dtype))
        except (RuntimeError, ValueError, AssertionError):
            return False
        return True


def load(
    name: str,
    weights: str | None = "DEFAULT",
    seed: int = 0,
    factory: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: str | None = None,
    input_size: Size | None = None,
    layers: Mapping[str, str | None] | None = None,
    device: str = "cpu",
) -> VisionModel:
    """The one loader: the embedded network, any torchvision network, or anyone's own.

    Args:
        name: ``shapes``, a name of ``torchvision.models``, or any name where `factory` is given.
        weights: a torchvision weights name, ``DEFAULT``, None (random) or a file
            (``.safetensors``, or a ``.pth`` state dict).
        seed: of random weights.
        factory: ``package.module:function``, called with nothing, returns the network.
        mean, std, input_size: preprocessing, where the weights' own is not wanted or not known.
        labels: a file with one label a line, or a JSON list.
        layers: aliases (early, middle, late) to dotted names; None is found from the network.
        device: where to; ``meta`` builds the network without its weights, to summarise it.

    Raises:
        LookupError: unknown name, weights or factory.
        ValueError, OSError: a file that is missing, corrupt or not of this network.
    """
    blank = device == "meta"
    known: tuple[str, ...] = ()
    file = weights if weights is not None and is_weights_file(weights) else None
    if factory is not None:
        if weights is not None and file is None:
            raise LookupError(f"weights {weights!r} is not a file; model.factory takes null or a file")
        build, default = _import(factory), Preprocessing((224, 224), 224)
    elif name == EMBEDDED:
        file, known, default = _embedded(weights, file), CLASSES, Preprocessing((64, 64), 64, (0.5,) * 3, (0.25,) * 3)
        build = ShapesNetwork
    else:
        build, known, default, weights = _torchvision(name, weights, file, blank)
    network = _build(build, seed, blank)
    if not isinstance(network, nn.Module):
        raise TypeError(f"model.factory {factory!r} returned {type(network).__name__}, not a torch.nn.Module")
    if file is not None and not blank:
        load_state(network, file)
    if weights is None and not blank:
        warnings.warn(f"{name} has random weights (model.weights=null, model.seed={seed})", stacklevel=2)
    size = default.size if input_size is None else height_and_width(input_size)
    preprocessing = Preprocessing(
        size,
        round(default.resize * min(size) / min(default.size)),
        default.mean if mean is None else tuple(mean),
        default.std if std is None else tuple(std),
        default.interpolation,
    )
    names = _read_labels(labels) if labels else () if weights is None else known
    model = VisionModel(network, preprocessing, name, weights, names, layers).eval()
    return model.to(next((tensor.device for tensor in network.parameters()), device) if blank else device)


def _build(build: Callable[[], Any], seed: int, blank: bool) -> Any:
    """The network with random weights from `seed`; without storage for them where `blank` and possible."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU alone: a GPU's generators are the caller's
        if blank:
            try:
                with torch.device("meta"):
                    return build()
            except (NotImplementedError, RuntimeError):
                pass  # some networks compute with values while they are built
        return build()


def _embedded(weights: str | None, file: str | None) -> str | None:
    if weights not in (None, "DEFAULT") and file is None:
        raise LookupError(f"no weights {weights!r} for {EMBEDDED}; it has DEFAULT, null or a file")
    return str(EMBEDDED_WEIGHTS) if weights == "DEFAULT" else file


def _torchvision(
    name: str, weights: str | None, file: str | None, blank: bool
) -> tuple[Any, tuple[str, ...], Preprocessing, str | None]:
    """How to build a torchvision network, its labels and preprocessing, and the weights' exact name."""
    from torchvision import models

    if name not in models.list_models():
        raise LookupError(f"no model {name!r}; closest: {nearest(name, [EMBEDDED, *models.list_models()])}")
    choices: Any = models.get_model_weights(name)
    default = next(iter(choices)) if len(choices) else None
    chosen: Any = choices.DEFAULT if len(choices) else None
    if weights is not None and file is None and weights != "DEFAULT":
        exact = weights.rpartition(".")[2]
        if exact not in choices.__members__:
            raise LookupError(
                f"no weights {weights!r} for {name}; it has {', '.join(choices.__members__)}, null or a file"
            )
        chosen = choices[exact]
    known = chosen if file is None and weights is not None else default
    downloads = weights is not None and file is None and not blank

    def build() -> nn.Module:
        if downloads:
            return _download(name, chosen)
        network: nn.Module = models.get_model(name, weights=None, **_without_warning(name))
        if weights is not None and hasattr(network, "transform_input"):
            network.transform_input = True  # type: ignore[assignment]  # torchvision trained these so
        return network

    exact_name = weights if weights is None or file is not None else chosen.name
    labels = tuple(known.meta.get("categories", ())) if known is not None else ()
    return build, labels, _preset(known), exact_name


def _without_warning(name: str) -> dict[str, Any]:
    return {"init_weights": False} if name in ("googlenet", "inception_v3") else {}


def _download(name: str, weights: Any) -> nn.Module:
    from torchvision import models

    try:
        network: nn.Module = models.get_model(name, weights=weights)
    except OSError as error:
        raise OSError(
            f"cannot download {weights.name} of {name} ({error}); give a file instead: model.weights=FILE"
        ) from error
    return network


def _preset(weights: Any) -> Preprocessing:
    """Preprocessing from a torchvision weights entry; ImageNet's where it has none."""
    preset: Any = weights.transforms() if weights is not None else None
    if not hasattr(preset, "crop_size"):
        return Preprocessing((224, 224), 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    side, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocessing((side, side), resize, tuple(preset.mean), tuple(preset.std), preset.interpolation.value)


def _import(factory: str) -> Any:
    module, _, function = factory.partition(":")
    if not module or not function:
        raise LookupError(f"model.factory {factory!r} is not of the form package.module:function")
    try:
        found = getattr(import_module(module), function, None)
    except ImportError as error:
        raise LookupError(
            f"cannot import model.factory {factory!r}: {error}; it is package.module:function, found on PYTHONPATH"
        ) from error
    if found is None:
        names = [n for n in dir(import_module(module)) if not n.startswith("_")]
        raise LookupError(f"no function {function!r} in {module}; closest: {nearest(function, names)}")
    return found


def _read_labels(path: str) -> tuple[str, ...]:
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".json"):
        return tuple(map(str, json.loads(text)))
    return tuple(line.strip() for line in text.splitlines() if line.strip())
