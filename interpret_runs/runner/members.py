"""The runs of a batch, told by one of them and by what differs in the others."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from interpret_runs.runner.nodes import Config, Path, node_at
from interpret_runs.runner.runs import Run


def told(runs: Sequence[Run]) -> Config:
    """What `members` needs beside one of `runs`: their ids, and the values in which they differ, by path."""
    differ = [[list(path), values] for path, values in _differ(_contents(runs))]
    return {"ids": [run.id for run in runs], "differ": differ}


def members(run: Run, batch: Mapping[str, Any]) -> list[Run]:
    """The runs of which ``told`` was made, in order, from any one of them.

    Raises:
        ValueError, LookupError, TypeError: `batch` is of no such form.
    """
    made = []
    for place, run_id in enumerate(batch["ids"]):
        content = deepcopy(_contents([run])[0])
        for path, values in batch["differ"]:
            node_at(content, path[:-1])[path[-1]] = values[place]
        made.append(Run(run_id, content["config"], content["digests"], unit=content["unit"]))
    return made


def _contents(runs: Sequence[Run]) -> list[Config]:
    return [{"config": run.config, "digests": run.digests, "unit": run.unit} for run in runs]


def _differ(values: Sequence[Any], path: Path = ()) -> list[tuple[Path, list[Any]]]:
    """The paths at which `values` differ, as deep as they have the same keys, and what each has there."""
    first = values[0]
    if all(value == first for value in values):
        return []
    if all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        return [found for key in first for found in _differ([value[key] for value in values], (*path, key))]
    return [(path, list(values))]
