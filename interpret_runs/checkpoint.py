"""State dicts from files, checked against the network they are loaded into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from interpret_runs.summary import nearest


def load_state(network: nn.Module, file: str, spare: tuple[str, ...] = ()) -> None:
    """Load a state dict, and nothing else, into `network`; what begins like `spare` is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, or not of this network; the first mismatch is named.
    """
    own = network.state_dict()
    state = read_state(file)
    if not own.keys() & state.keys():
        state = _strip(state)
    for key, tensor in own.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                state[key] = tensor
                continue
            raise ValueError(f"{file} is not of this network: it lacks {key!r}; closest: {nearest(key, list(state))}")
        if state[key].shape != tensor.shape:
            raise ValueError(
                f"{file} is not of this network: {key!r} is {list(state[key].shape)}, not {list(tensor.shape)}"
            )
    extra = [key for key in state if key not in own and not key.startswith(spare)]
    if extra:
        raise ValueError(f"{file} is not of this network: it has {extra[0]!r}, which the network lacks")
    network.load_state_dict({key: state[key] for key in own})


def read_state(file: str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a state dict saved by torch."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"no weights file {file}")
    try:
        if file.endswith(".safetensors"):
            return load_file(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (
            str(error).strip().splitlines()[0][:160] if not isinstance(error, KeyError) and str(error) else "damaged"
        )
        if isinstance(error, UnpicklingError) and "Weights only load failed" in reason:
            reason = "it holds more than tensors; save net.state_dict() instead"
        raise ValueError(f"{file} cannot be read as weights: {reason}") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file} holds no state dict (a mapping of names to tensors)")
    return dict(content)


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix that data-parallel training adds."""
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state
