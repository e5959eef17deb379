"""What a reader of a figure has to know of its runs: random weights; and what whoever draws it is told of its gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_labels import plain
from interpret_runs.runner.print_names import RANDOM
from interpret_runs.runner.progress import say


def weights_note(runs: Iterable[Mapping[str, Any]]) -> str:
    """``random weights``, with the names of the networks that have them where others have not; "" where none has.

    A factory of one's own may bring weights of which nothing is known here.
    """
    networks = {_network(run) for run in runs if plain(run.get("model"))}
    random = sorted(name for name, of_its_own in networks if of_its_own)
    if not random:
        return ""
    return RANDOM if len(random) == len(networks) else f"{RANDOM}: {', '.join(random)}"


def _network(run: Mapping[str, Any]) -> tuple[str, bool]:
    """The name of a run's network, and whether its weights are random."""
    known = plain(run.get("model.factory")) in ("", "timm")
    return plain(run["model"]), known and "model.weights" in run and not plain(run["model.weights"])


def tell_faults(absent: int, missing: int, failed: int) -> None:
    """Say on screen how many panels have no picture, and what to do: no run is there, no file, or the run failed."""
    faults = (
        (absent, "is", "missing: no run has these settings; sweep them, or leave their rows or columns out"),
        (missing, "is", "missing: the file of its run is gone or was never written; task=verify names what is gone"),
        (failed, "has", "a run that failed: column error of the index tells why, and its sweep runs it again"),
    )
    for amount, verb, rest in faults:
        if amount:
            say(f"{number_of(amount, 'panel', verb)} {rest}", style="yellow")
