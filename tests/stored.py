"""Stores with records that no run made."""

from typing import Any

from interpret_runs.runner.store import Record, Store


def again(store: Store) -> Store:
    """The same store, as another process knows it."""
    return Store(store.root.parent, store.root.name)


def record(run_id: str, status: str = "ok", finished: str = "2026-01-01T00:00:00+00:00", **more: Any) -> Record:
    base = {"task": "visualise", "unit": "", "score": 1.0, "seconds": 0.5, "choices": {}, "metrics": {}, "config": {}}
    made = {"run_id": run_id, "status": status, "finished": finished, "artefacts": {}, "batch": [run_id]}
    return {**base, **made, **more}


def write(store: Store, *run_ids: str, content: bytes = b"an image", **more: Any) -> None:
    """One batch of runs with an image each."""
    made = [
        record(name, artefacts={"image": store.write_artefact(name, "image.png", content)}, **more) for name in run_ids
    ]
    store.write_records(made)
