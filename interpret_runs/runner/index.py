"""The index: the newest record of every run as a table. A pure function of the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.catalogue import PLACE, Catalogue, texts, values_of
from interpret_runs.runner.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FIRST = ("run_id", "status", "task", "unit", "score", "seconds", "image")
HOW = ("device", "threads", "memory_format", "at_once", "compile", "cuda_graphs")
PLAIN = ("error", "steps", "seed", *HOW, "weights_digest")
# Where a catalogue keeps the columns of each part of a record, in the order of the table.
OWN, CHOICE, METRIC, CONFIG, REST = (f"{number}/" for number in range(5))
VERSION, GIT, ARTEFACT = "5/version.", "6/git.", "7/artefact."
BATCH_PLACE = f"{OWN}batch_place"
# What of the parquet file's metadata tells the records that it was made from.
MADE_FROM = b"interpret-runs.records"
# Whole numbers up to here are the same as floats, which pandas takes for columns with gaps.
EXACT = 2**53


def load_index(folder: str | Path) -> pd.DataFrame:
    """The index of a store, one row a run: the newest record of each.

    Columns: `run_id status task unit score seconds image ...`, Hydra's group choices (`model layer
    objective ...`), metrics, and the closed config's leaves by their dotted names. `seconds` is a run's share of
    its batch. Of visualisations also `predicted` and `predicted_probability` (what the network says of the
    image), `image_std` and `alive` (whether the unit is active on an image that is not flat); of
    attributions `limit` (the value of the last colour), `completeness_error` and `converged`. How a run was computed
    say `device threads memory_format at_once compile cuda_graphs`. Read from
    ``index.parquet``, or made anew from the records where that is missing, damaged, or not of all of them.

    Raises:
        FileNotFoundError: no such store, or none of its records can be read.
    """
    folder = Path(folder).resolve()
    store = Store.at(folder)
    if not store.record_states():
        raise FileNotFoundError(f"no records in {folder}; a store is outputs/<name>, made by a run")
    kept = _kept(store) if is_fresh(store) else None
    table = build(store) if kept is None else kept
    if table.empty:
        raise FileNotFoundError(f"no record in {folder} can be read; task=verify sets the damaged ones aside")
    return table


def is_fresh(store: Store) -> bool:
    """Whether both files of the index are there and made together from just the records that there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet = store.index_file("parquet")
    try:
        made_from = (pq.read_schema(parquet).metadata or {}).get(MADE_FROM)
        together = parquet.stat().st_mtime_ns == store.index_file("csv").stat().st_mtime_ns
    except (OSError, pa.ArrowException):
        return False
    return together and made_from == _digest(store)


def write_index(store: Store) -> pd.DataFrame:
    """Build the index and keep it as ``index.parquet`` and ``index.csv``, and the catalogue it is made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    begun, made_from = time_ns(), _digest(store)  # before reading: what another sweep writes meanwhile makes it old
    table = _table(keep_catalogue(store))
    rows = _rows(table)
    rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), MADE_FROM: made_from})
    parquet = pa.BufferOutputStream()
    pq.write_table(rows, parquet, write_page_checksum=True)
    # Equal dates tell that two files were made together, whatever other sweeps write in between.
    store.write(store.index_file("csv"), _csv(rows), begun)
    store.write(store.index_file("parquet"), parquet.getvalue().to_pybytes(), begun)
    return table


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Rows of an index as ``index.csv`` holds them."""
    return _csv(_rows(table))


def keep_catalogue(store: Store) -> Catalogue:
    """Bring the kept catalogue up to all records: what reads the store next has to read none of them."""
    kept = Catalogue.read(store.catalogue_file)
    grown = kept.extended(store.root / "records", store.record_states(), cells)
    if grown.files != kept.files:
        store.write(store.catalogue_file, grown.to_bytes())
    return grown


def build(store: Store) -> pd.DataFrame:
    """The index from the records alone, sorted by finish time and place in the batch."""
    kept = Catalogue.read(store.catalogue_file)  # only records that it has not are read
    return _table(kept.extended(store.root / "records", store.record_states(), cells))


def cells(record: Record) -> dict[str, Any]:
    """One record as plain values, by the part of the record and the column of the index."""
    artefacts = record["artefacts"]
    shown = artefacts.get("image") or artefacts.get("overlay") or {}
    batch = record.get("batch") or ()
    found: dict[str, Any] = {f"{OWN}{name}": record.get(name) for name in ("task", "unit", "score", "seconds")}
    found[f"{OWN}image"] = shown.get("path")
    found[BATCH_PLACE] = batch.index(record["run_id"]) if record["run_id"] in batch else 0
    for part, key in ((CHOICE, "choices"), (METRIC, "metrics"), (VERSION, "versions")):
        for name, value in (record.get(key) or {}).items():
            found[part + name] = value
    found.pop(f"{CHOICE}task", None)
    _add_leaves(record.get("config") or {}, CONFIG, found)
    if (path := f"{CONFIG}layer.path") not in found:
        found[path] = found.get(f"{CONFIG}objective.layer", found.get(f"{CONFIG}attribution.layer"))
    for name in PLAIN:
        found[REST + name] = record.get(name)
    found[f"{GIT}commit"] = (record.get("git") or {}).get("commit")
    for name, artefact in artefacts.items():
        found[ARTEFACT + name] = artefact["path"]
    return found


def _add_leaves(node: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> None:
    for key, value in node.items():
        if isinstance(value, dict):
            _add_leaves(value, f"{prefix}{key}.", found)
        elif key[-1:] == "_":
            continue
        elif isinstance(value, list):
            same = len(value) > 1 and key.endswith("size") and len(set(map(str, value))) == 1
            found[prefix + key] = value[0] if same else str(value)
        else:
            found[prefix + key] = value


def _table(made: Catalogue) -> pd.DataFrame:
    import pandas as pd

    if made.rows is None:
        return pd.DataFrame()
    rows = made.rows.unify_dictionaries().combine_chunks()
    rows = rows.take(_newest(rows))
    columns = {name: rows.column(name) for name in ("run_id", "status")}
    for name in sorted(set(rows.column_names) - {*PLACE, BATCH_PLACE}):
        public = name.partition("/")[2]
        columns[public] = _filled(rows.column(name), columns.get(public))
    columns["finished"] = rows.column("finished")
    order = [*FIRST, *(name for name in columns if name not in FIRST)]
    return pd.DataFrame({name: _series(columns[name]) for name in order})


def _newest(rows: pa.Table) -> list[int]:
    """The row of each run's newest record, by finish time and place in the batch."""
    names = ("run_id", "finished", BATCH_PLACE, "file", "start")
    ids, finished, places, files, starts = (rows.column(name).to_pylist() for name in names)
    ages = list(zip(finished, files, starts, strict=True))
    newest = {ids[row]: row for row in sorted(range(len(ids)), key=ages.__getitem__)}
    return sorted(newest.values(), key=lambda row: (finished[row], places[row], ages[row]))


def _filled(column: pa.ChunkedArray, before: pa.ChunkedArray | None) -> pa.ChunkedArray:
    """A column, with the values of one of the same name in its gaps."""
    import pyarrow as pa

    if before is None or column.null_count == 0 or pa.types.is_null(before.type):
        return column
    pairs = zip(values_of(column), values_of(before), strict=True)
    return pa.chunked_array([texts(other if value is None else value for value, other in pairs)])


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    """A column as pandas has it: one type, mixed ones as text, and whole numbers with gaps as floats if they can be."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_large_string(column.type):
        return _mixed(values_of(column))
    if pa.types.is_dictionary(column.type):
        return column.cast(pa.string()).to_pandas()  # type: ignore[no-any-return]
    if pa.types.is_boolean(column.type) and column.null_count:
        return column.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)  # type: ignore[no-any-return]
    if pa.types.is_int64(column.type) and column.null_count:
        extremes = pc.min_max(column).as_py()
        if (extremes["min"] or 0) >= -EXACT and (extremes["max"] or 0) <= EXACT:
            return column.cast(pa.float64()).to_pandas()  # type: ignore[no-any-return]
        return column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)  # type: ignore[no-any-return]
    return column.to_pandas()  # type: ignore[no-any-return]


def _mixed(values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(value) for value in values if value is not None and value == value}
    if kinds <= {int, float}:
        return pd.Series([None if value is None else float(value) for value in values], dtype="float64")
    words = [None if value is None or value != value else _text(value) for value in values]
    return pd.Series(words, dtype="str")


def _text(value: Any) -> str:
    """`value` in words; half a character, as in the names of some files, as Python escapes it."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _rows(table: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pandas(table, preserve_index=False)


def _csv(rows: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.csv as pc

    csv = pa.BufferOutputStream()
    pc.write_csv(rows, csv)
    content: bytes = csv.getvalue().to_pybytes()
    return content


def _kept(store: Store) -> pd.DataFrame | None:
    """The index as it was kept; None where it is damaged."""
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(store.index_file("parquet"), page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None


def _digest(store: Store) -> bytes:
    return short_digest(canonical(store.record_states())).encode()
