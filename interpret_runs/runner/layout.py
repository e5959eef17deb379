"""Which memory format the network of a batch gets, and where that is remembered."""

from __future__ import annotations

from collections.abc import Collection

import torch

from interpret_runs.memory_format import fastest, format_of, lay_out
from interpret_runs.models import VisionModel
from interpret_runs.runner.cache import canonical, remember
from interpret_runs.runner.devices import describe
from interpret_runs.runner.objects import architecture_of, model_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.slots import AUTO
from interpret_runs.runner.tuning import tuning


def fast_model_of(run: Run, device: torch.device, layers: Collection[str], size: tuple[int, int]) -> VisionModel:
    """The run's network, in the format that suits gradients of `layers` for images of `size` (height, width).

    What is fastest is measured once for each machine and architecture and remembered there, so that all processes
    compute the same bytes, and equal weights from different files the same scores.
    """
    model, name = model_of(run, device), tuning().memory_format
    if name == AUTO:
        precision = run.config["compute"]["precision"]
        here = [describe(device), torch.get_num_threads(), torch.__version__]
        key = canonical([*architecture_of(run), sorted(layers), list(size), precision, *here])
        name = remember("memory_formats", key, lambda: fastest(model, layers, size, precision))
    if format_of(model) != name:
        lay_out(model, name)
    return model
