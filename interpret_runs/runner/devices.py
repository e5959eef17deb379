"""Which device runs."""

from __future__ import annotations

import torch


def choose(device: str) -> torch.device:
    """The device that a setting names; ``auto`` is the first GPU, else the CPU.

    Raises:
        ValueError: no such device on this machine.
    """
    # float32 means float32, and the same batch gives the same bytes, as far as CUDA can.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    chosen = _named(str(device))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # streams, graphs and waiting are of the current one
    return chosen


def _named(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"no device {device!r}; here there are: {', '.join(present())} (or auto)") from None
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", 0)
    if str(chosen) not in present():
        raise ValueError(f"no device {device!r} on this machine; here there are: {', '.join(present())} (or auto)")
    return chosen


def present() -> list[str]:
    """Names of the devices of this machine."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


def describe(device: torch.device) -> str:
    """The device as a record names it."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
