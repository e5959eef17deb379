"""A record: one run that ended, with all that made it."""

from collections.abc import Mapping, Sequence
from typing import Any

from interpret_runs.runner import provenance
from interpret_runs.runner.runs import Run, task_name
from interpret_runs.runner.store import Record, Store, now

# The text of a run's pictures that tells what came of it; what made it is told by that of the project's name.
OUTCOME = "interpret-runs.outcome"


def record_of(run: Run, batch: Sequence[str], machine: Mapping[str, Any], **result: Any) -> Record:
    """What is kept of `run`; a failed one has an `error` among its results.

    Args:
        batch: ids of the runs that were executed together, in order.
        machine: where: device, threads, versions, worker, slot.
        result: unit, score, metrics, history, steps, seconds, artefacts, weights_digest, memory_format, at_once,
            compile (whether compiled code took part), cuda_graphs (whether steps might be captured), error (a line)
            and traceback, as far as there are any.
    """
    error = result.get("error")
    return {
        "run_id": run.id,
        "status": "failed" if error else "ok",
        "error": _writable(error),
        "traceback": _writable(result.get("traceback")),
        "task": task_name(run.config),
        "unit": result.get("unit") or run.unit,
        "unit_asked": run.unit,
        "score": result.get("score"),
        "metrics": result.get("metrics", {}),
        "history": result.get("history"),
        "steps": result.get("steps"),
        "seconds": round(result.get("seconds", 0.0), 4),
        "artefacts": result.get("artefacts", {}),
        "config": run.config,
        "digests": run.digests,
        "choices": run.choices,
        "overrides": list(run.overrides),
        "seed": run.config.get("seed"),
        "batch": list(batch),
        **machine,
        "git": provenance.git(),
        "weights_digest": result.get("weights_digest"),
        "memory_format": result.get("memory_format"),
        "at_once": result.get("at_once"),
        "compile": result.get("compile"),
        "cuda_graphs": result.get("cuda_graphs"),
        "finished": now(),
    }


def run_of(record: Record) -> Run:
    """The run that a record is of, with the unit that was asked for: `top1`, not the class that it came to."""
    unit = record.get("unit_asked", record.get("unit"))
    return Run.from_json({**record, "id": record["run_id"], "unit": unit or ""})


def _writable(text: str | None) -> str | None:
    """Half characters, as in the names of some files, as they are written in Python."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def keep(store: Store, records: Sequence[Record]) -> None:
    """Write the records of one batch, and for each that failed a log that tells why.

    Raises:
        StoreError: they cannot be written.
    """
    for record in records:
        if record["error"]:
            lines = [f"run {record['run_id']}: {record['error']}", *record["overrides"], "", str(record["traceback"])]
            store.write(store.log_file(record["run_id"]), ("\n".join(lines) + "\n").encode())
    store.write_records(records)
