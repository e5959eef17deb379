"""Executes batches of runs in this process, and reads what they leave."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command_line import planned
from PIL import Image

from interpret_runs.runner.execute import execute
from interpret_runs.runner.runs import Run
from interpret_runs.runner.store import Record, Store, now


def batch(store: Store, runs: Sequence[Run]) -> list[Record]:
    """The records of `runs`, executed as one batch, all of which end well."""
    records = execute(runs, store, "cpu", now())
    assert [record["error"] for record in records] == [None] * len(runs)
    return records


def done(store: Store, *overrides: str) -> list[Record]:
    """The records of the runs that `overrides` stand for."""
    return batch(store, planned(*overrides))


def one(store: Store, *overrides: str) -> Record:
    """The record of the only run that `overrides` stand for."""
    (record,) = done(store, *overrides)
    return record


def file(store: Store, record: Record, name: str) -> Path:
    path: str = record["artefacts"][name]["path"]
    return store.root / path


def pixels(store: Store, record: Record, name: str = "image") -> np.ndarray[Any, Any]:
    """An image as 8-bit numbers, (H, W, 3 or 4)."""
    with Image.open(file(store, record, name)) as image:
        return np.asarray(image)


def array(store: Store, record: Record, name: str) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = np.load(file(store, record, name))
    return values
