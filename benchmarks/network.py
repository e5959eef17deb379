"""The networks that benchmarks measure: where they come from, and in which memory format they run."""

from collections.abc import Collection

import measure
import torch

from interpret_runs import memory_format, models
from interpret_runs.models import VisionModel

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
REAL = measure.ROOT.parent / "shared/weights/squeezenet1_0-imagenet.safetensors"


def load(name: str = "squeezenet1_0") -> VisionModel:
    """A network of torchvision with random weights; SqueezeNet with real ones, where they lie beside the checkout."""
    real = name == "squeezenet1_0" and REAL.is_file()
    return models.load(name, str(REAL) if real else None, device=str(DEVICE))


def title(model: VisionModel) -> str:
    return model.name if model.weights else f"{model.name} with random weights"


def seen_size(model: VisionModel, size: int) -> tuple[int, int]:
    """Height and width that the network sees of an image of `size` pixels a side, by default."""
    return (size, size) if model.summary.any_size else model.preprocessing.size


def lay_out(model: VisionModel, layers: Collection[str], size: tuple[int, int], precision: str = "float32") -> str:
    """Give the network the memory format that the runner gives it; returns its name."""
    name = memory_format.fastest(model, layers, size, precision)
    memory_format.lay_out(model, name)
    return name
