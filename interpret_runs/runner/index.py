"""The index: the newest record of every run as a table. A pure function of the records."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("run_id", "status", "task", "unit", "score", "seconds", "image")
PLAIN = ("error", "steps", "seed", "device", "threads", "weights_digest", "finished")


def load_index(folder: str | Path) -> pd.DataFrame:
    """The index of a store, one row a run: the newest record of each.

    Columns: `run_id status task unit score seconds image ...`, Hydra's group choices (`model layer
    objective ...`), and the closed config's leaves by their dotted names. `seconds` is a run's share of
    its batch. Of visualisations also `predicted` and `predicted_probability` (what the network says of the
    image), `image_std` and `alive` (whether the unit is active on an image that is not flat); of
    attributions `limit` (the value of the last colour), `completeness_error` and `converged`. Read from
    ``index.parquet``, or made anew from the records where that is missing or older than they are.

    Raises:
        FileNotFoundError: no such store.
    """
    import pandas as pd

    folder = Path(folder).resolve()
    store = Store(folder.parent, folder.name)
    files = store.record_files()
    if not files:
        raise FileNotFoundError(f"no records in {folder}; a store is outputs/<name>, made by a run")
    return pd.read_parquet(store.index_file("parquet")) if is_fresh(store) else build(store)


def is_fresh(store: Store) -> bool:
    """Whether both files of the index are there and made from all records that there are."""
    files = store.record_files()
    newest = max((file.stat().st_mtime_ns for file in [*files, *(file.parent for file in files[:1])]), default=0)
    made = [store.index_file(suffix) for suffix in ("parquet", "csv")]
    return all(file.is_file() and file.stat().st_mtime_ns >= newest for file in made)


def write_index(store: Store) -> pd.DataFrame:
    """Build the index and keep it as ``index.parquet`` and ``index.csv``."""
    begun = time_ns()
    table = build(store)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    # Dated when the records were read: what another sweep writes meanwhile is newer.
    store.write(store.index_file("csv"), table.to_csv(index=False).encode(), begun)
    store.write(store.index_file("parquet"), buffer.getvalue(), begun)
    return table


def build(store: Store) -> pd.DataFrame:
    """The index from the records alone, sorted by task and finish time."""
    import pandas as pd

    rows = [row(record) for record in store.newest().values()]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table = table.sort_values(["finished", "batch_place"], kind="stable").drop(columns="batch_place")
    columns = list(table.columns)
    order = [*(c for c in FIRST if c in columns), *(c for c in columns if c not in FIRST)]
    return _one_type_a_column(table[order].reset_index(drop=True))


def row(record: Record) -> dict[str, Any]:
    """One record as one row: plain values under dotted names."""
    config = record["config"]
    artefacts = {name: artefact["path"] for name, artefact in record["artefacts"].items()}
    cells: dict[str, Any] = {
        "run_id": record["run_id"],
        "status": record["status"],
        "task": record["task"],
        "unit": record["unit"],
        "score": record["score"],
        "seconds": record["seconds"],
        "image": artefacts.get("image") or artefacts.get("overlay"),
    }
    cells |= {name: choice for name, choice in record["choices"].items() if name != "task"}
    cells |= record["metrics"]
    leaves = dict(_leaves(config, ""))
    cells["layer.path"] = leaves.get("objective.layer", leaves.get("attribution.layer"))
    cells |= {name: value for name, value in leaves.items() if not name.endswith("_")}
    cells |= {name: record.get(name) for name in PLAIN}
    cells |= {f"version.{name}": value for name, value in (record.get("versions") or {}).items()}
    cells["git.commit"] = (record.get("git") or {}).get("commit")
    cells |= {f"artefact.{name}": path for name, path in artefacts.items()}
    cells["batch_place"] = record["batch"].index(record["run_id"]) if record["run_id"] in record["batch"] else 0
    return cells


def _leaves(node: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        found = []
        for key, value in node.items():
            found += _leaves(value, f"{prefix}.{key}" if prefix else str(key))
        return found
    if isinstance(node, (list, tuple)):
        same = len(node) > 1 and len(set(map(str, node))) == 1 and prefix.endswith("size")
        return [(prefix, node[0] if same else str(list(node)))]
    return [(prefix, node)]


def _one_type_a_column(table: pd.DataFrame) -> pd.DataFrame:
    """Columns that mix types become text, as parquet wants one type a column."""
    for name in table.columns:
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if len(kinds) > 1 and not kinds <= {int, float}:
            table[name] = [None if value is None or value != value else str(value) for value in table[name]]
        elif kinds == {int} and table[name].dtype != "int64":
            table[name] = table[name].astype("Int64")
        elif kinds == {bool} and table[name].dtype != "bool":
            table[name] = table[name].astype("boolean")
    return table
