"""Where batches run at once: places on devices, told without torch."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUTO, CPU = "auto", "cpu"


@dataclass(frozen=True)
class Slot:
    """Room for one batch at a time on `device`; `threads` of torch where several share the CPU, else torch's own."""

    device: str
    number: int = 0
    threads: int | None = None

    @property
    def name(self) -> str:
        return f"{self.device}#{self.number}"


def named(device: Any) -> list[str]:
    """The devices that the setting compute.device names; several are different ones.

    Raises:
        ValueError: no names, or one twice.
    """
    names = [str(one) for one in device] if isinstance(device, (list, tuple)) else [str(device)]
    distinct = {"cuda:0" if name == "cuda" else name for name in names}
    if not names or len(distinct) < len(names) or (AUTO in names and len(names) > 1):
        raise ValueError(f"compute.device is {device!r}; it is auto, a device, or a list of different devices")
    return names


def workers_of(per_device: Any) -> int:
    """How many worker processes the setting compute.per_device asks for on each device; 0 is none, but this process.

    Raises:
        ValueError: not a whole number from 0 on.
    """
    if isinstance(per_device, bool) or not isinstance(per_device, int) or per_device < 0:
        raise ValueError(
            f"compute.per_device is {per_device!r}; it is a number of worker processes, or 0 to run in this one"
        )
    return per_device


def limit_of(time_limit: Any) -> float | None:
    """The most seconds for a run that the setting compute.time_limit allows; None is no limit.

    Raises:
        ValueError: not a number above 0.
    """
    number = isinstance(time_limit, (int, float)) and not isinstance(time_limit, bool)
    if time_limit is not None and not (number and time_limit > 0):
        raise ValueError(f"compute.time_limit is {time_limit!r}; it is seconds above 0, or null")
    return None if time_limit is None else float(time_limit)


def slots(devices: Sequence[str], per_device: int) -> list[Slot]:
    """`per_device` slots on each of `devices`, one of each device first; those on the CPU share its cores evenly."""
    share = max(1, cores() // per_device) if per_device > 1 else None
    return [
        Slot(device, number, share if device == CPU else None) for number in range(per_device) for device in devices
    ]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """How many NVIDIA GPUs this process may see, as far as that can be told without their libraries."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return sum(bool(name.strip()) and not name.strip().startswith("-") for name in allowed.split(","))
    return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in Path("/dev").glob("nvidia*"))
