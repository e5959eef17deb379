"""Networks with their preprocessing, from torchvision, from files, or anyone's own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from interpret_runs import zoo
from interpret_runs.checkpoint import load_state
from interpret_runs.factory import imported
from interpret_runs.layer_table import trace
from interpret_runs.preprocessing import Preprocessing as Preprocessing
from interpret_runs.shapes import CLASSES
from interpret_runs.shapes_network import ShapesNetwork
from interpret_runs.size import Size, height_and_width
from interpret_runs.summary import EMBEDDED, EMBEDDED_WEIGHTS, Layer, ModelSummary

# What is known of the weights of a network from a factory where no file of them is given.
FACTORY_WEIGHTS = "the weights that its factory gives it, random weights unless it loads some"


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
        """Layers, aliases and classes, from one forward pass at the network's own size.

        Raises:
            ValueError: the network cannot take that size; labels that are not as many as classes.
        """
        size = self.preprocessing.size
        try:
            layers, found, classes = self._trace(*size)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, AttributeError) as error:  # Module hides these
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{self.name} refuses images of model.input_size={list(size)}: {reason}; give another size: "
                "model.input_size, or wrap(network, input_size=SIZE)"
            ) from error
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

    def _trace(self, height: int, width: int) -> tuple[tuple[Layer, ...], dict[str, str], int]:
        black = torch.zeros(1, 3, height, width, device=self.mean.device, dtype=self.mean.dtype)
        return trace(self.network, self.normalise(black))

    def _takes(self, height: int, width: int) -> bool:
        try:
            self._trace(height, width)
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
    """The one loader: the embedded network, any network of torchvision or timm, or anyone's own.

    Args:
        name: ``shapes``, a name of ``torchvision.models``, or one of timm; any name with a `factory` of one's own.
        weights: a name that torchvision or timm has for them, ``DEFAULT``, None (random) or a file
            (``.safetensors``, or a ``.pth`` state dict).
        seed: of random weights.
        factory: ``timm``, or ``package.module:function``, which is called with nothing and returns the network.
        mean, std, input_size: preprocessing, where the weights' own is not wanted or not known. Networks
            that take one size are built for `input_size`.
        labels: a file with one label a line, or a JSON list.
        layers: aliases (early, middle, late) to dotted names; None is found from the network.
        device: where to; ``meta`` builds the network without its weights, to summarise it.

    Raises:
        LookupError: unknown name, weights or factory; timm is not installed.
        ValueError, OSError: a file that is missing, corrupt or not of this network; a size it cannot take.
    """
    blank = device == "meta"
    wanted = None if input_size is None else height_and_width(input_size)
    found = _recipe(name, weights, factory, wanted, download=not blank)
    network = _build(found.build, seed, blank)
    if not isinstance(network, nn.Module):
        raise TypeError(f"model.factory {factory!r} returned {type(network).__name__}, not a torch.nn.Module")
    if found.file is not None and not blank:
        load_state(network, found.file, found.spare)
    if weights is None and not blank:
        held = "random weights" if factory in (None, "timm") else FACTORY_WEIGHTS
        warnings.warn(f"{name} has {held} (model.weights=null, model.seed={seed})", stacklevel=2)
    default, size = found.preprocessing, wanted or found.preprocessing.size
    preprocessing = Preprocessing(
        size,
        round(default.resize * min(size) / min(default.size)),
        default.mean if mean is None else tuple(mean),
        default.std if std is None else tuple(std),
        default.interpolation,
    )
    names = _read_labels(labels) if labels else () if weights is None else found.labels
    model = VisionModel(network, preprocessing, name, found.weights, names, layers).eval()
    return model.to(next((tensor.device for tensor in network.parameters()), device) if blank else device)


def wrap(
    network: nn.Module,
    *,
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    labels: Sequence[str] = (),
    input_size: Size = 224,
) -> VisionModel:
    """Any classifier or backbone as a model that takes RGB in [0, 1]; the network itself is left as it is, where it is.

    Args:
        network: takes float32 or float64 images (B, 3, H, W), normalised with `mean` and `std`.
        mean, std: of each colour, as in training; by default the network sees [0, 1].
        labels: names of the classes, in order.
        input_size: height and width in pixels of the images it was trained on.

    Raises:
        TypeError: no network, or one of another precision.
        ValueError: it refuses images of that size; a mean or std that is not one number a colour; labels that are not
            as many as classes.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"model is {type(network).__name__}, not a torch.nn.Module; a network is loaded by its name with "
            "interpret_runs.load('resnet50')"
        )
    if isinstance(labels, str):
        raise TypeError(f"labels is the text {labels!r}; give a list with a name for each class")
    held = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), torch.zeros(()))
    if held.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{type(network).__name__} holds {held.dtype}; gradients need more digits: network.float()")
    size = height_and_width(input_size)
    preprocessing = Preprocessing(size, min(size), tuple(map(float, mean)), tuple(map(float, std)))
    model = VisionModel(network, preprocessing, type(network).__name__, labels=labels)
    model.mean, model.std = model.mean.to(held), model.std.to(held)
    _ = model.summary
    return model


def _recipe(
    name: str, weights: str | None, factory: str | None, size: tuple[int, int] | None, download: bool
) -> zoo.Recipe:
    if factory == "timm":
        return zoo.timm(name, weights, size, download)
    if factory is not None:
        return _own(factory, weights)
    return _embedded(weights) if name == EMBEDDED else zoo.torchvision(name, weights, size, download)


def _own(factory: str, weights: str | None) -> zoo.Recipe:
    file = zoo.file_of(weights)
    if weights != file:
        raise LookupError(f"weights {weights!r} is not a file; model.factory takes null or a file")
    return zoo.Recipe(imported(factory), Preprocessing((224, 224), 224), weights, file)


def _embedded(weights: str | None) -> zoo.Recipe:
    file = str(EMBEDDED_WEIGHTS) if weights == "DEFAULT" else zoo.file_of(weights)
    if weights is not None and file is None:
        raise LookupError(f"no weights {weights!r} for {EMBEDDED}; it has DEFAULT, null or a file")
    preprocessing = Preprocessing((64, 64), 64, (0.5,) * 3, (0.25,) * 3)
    return zoo.Recipe(ShapesNetwork, preprocessing, weights, file, CLASSES)


def _build(build: Callable[[], Any], seed: int, blank: bool) -> Any:
    """The network with random weights from `seed`; without storage for them where `blank` and possible."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU alone: a GPU's generators are the caller's
        if blank:
            with suppress(NotImplementedError, RuntimeError), _without_storage():
                return build()  # some networks read their weights while they are built
        return build()


@contextmanager
def _without_storage() -> Iterator[None]:
    """Parameters lose their values when they become a module's; all other tensors keep theirs."""

    def emptied(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter:
        return parameter if is_lazy(parameter) else nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]  # it takes what is returned
    try:
        yield
    finally:
        handle.remove()


def _read_labels(path: str) -> tuple[str, ...]:
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".json"):
        return tuple(map(str, json.loads(text)))
    return tuple(line.strip() for line in text.splitlines() if line.strip())
