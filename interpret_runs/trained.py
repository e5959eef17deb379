"""Small trained networks, each trained once and kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from interpret_runs.randomness import generator
from interpret_runs.whole_files import written_whole

# To be raised where data, networks or training change: what was kept before is then trained anew.
VERSION = 2
ATTEMPTS = 3

_folder: ContextVar[Path | None] = ContextVar("folder of trained networks", default=None)


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, and what is known of its training.

    Attributes:
        digest: of what it was made from.
        seconds: the training took, when it was done, all attempts together.
        accuracy: on images that it was not trained on, 0 to 1.
        least: accuracy of a network that has learned.
    """

    network: nn.Module
    digest: str
    seconds: float
    accuracy: float
    least: float = 0.0

    @property
    def learned(self) -> bool:
        """Whether the network knows its classes; if not, maps of it tell nothing of the method that made them."""
        return self.accuracy >= self.least


@contextmanager
def kept_in(folder: str | Path) -> Iterator[None]:
    """Keep networks in ``folder/networks`` for the length of a ``with``; elsewhere each is trained when asked for."""
    token = _folder.set(Path(folder))
    try:
        yield
    finally:
        _folder.reset(token)


def folder() -> Path | None:
    """Where networks are kept at present."""
    return _folder.get()


def network(
    key: Mapping[str, Any], make: Callable[[], nn.Module], fit: Callable[[nn.Module], float], least: float = 0.0
) -> Trained:
    """The network that `key` names: the one kept, else a new one, trained and kept.

    Where its accuracy is below `least`, as Adam may never leave where it began, it begins anew with other weights, up
    to three times in all, and the best of them is kept.

    Args:
        key: plain values that tell all networks apart, the seed among them.
        make: a network with random weights, drawn from torch's default generator, which is seeded with ``key["seed"]``.
        fit: trains a network in place, and returns its accuracy.
        least: accuracy of a network that has learned, 0 to 1; see `half_way`.
    """
    text = json.dumps({**key, "version": VERSION}, sort_keys=True)
    digest = sha256(text.encode()).hexdigest()[:16]
    kept = _folder.get()
    file = None if kept is None else kept / "networks" / f"{digest}.safetensors"
    made = _drawn(make, int(key["seed"]))
    if file is not None and (facts := _read(file, made)):
        return Trained(made.eval(), digest, **facts, least=least)
    started = perf_counter()
    made, accuracy = _best(make, fit, int(key["seed"]), least)
    facts = {"seconds": perf_counter() - started, "accuracy": accuracy}
    if file is not None:
        _write(file, made, {**{name: str(value) for name, value in facts.items()}, "settings": text})
    return Trained(made.eval(), digest, **facts, least=least)


def half_way(classes: int) -> float:
    """The accuracy half-way from chance, where all of so many classes are as frequent, to 1."""
    return (1 + 1 / classes) / 2


def _best(
    make: Callable[[], nn.Module], fit: Callable[[nn.Module], float], seed: int, least: float
) -> tuple[nn.Module, float]:
    found: list[tuple[nn.Module, float]] = []
    for attempt in range(ATTEMPTS):
        made = _drawn(make, seed if attempt == 0 else generator(seed, f"attempt {attempt}").initial_seed())
        found.append((made, fit(made)))
        if found[-1][1] >= least:
            break
    return max(found, key=lambda one: one[1])


def _drawn(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def _read(file: Path, made: nn.Module) -> dict[str, float] | None:
    """Load what is kept into a network; None where there is nothing, or nothing whole."""
    try:
        with safe_open(file, "pt") as opened:
            made.load_state_dict({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
            facts = opened.metadata() or {}
            return {name: float(facts[name]) for name in ("seconds", "accuracy")}
    except (OSError, SafetensorError, RuntimeError, LookupError, ValueError):
        return None


def _write(file: Path, made: nn.Module, facts: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as aside:
        save_file({name: value.contiguous() for name, value in made.state_dict().items()}, aside, dict(facts))
