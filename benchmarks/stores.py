"""Records of many runs like a real one, for benchmarks of large stores."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import measure

BATCH = 16
Record = dict[str, Any]


def real_record(folder: Path) -> Record:
    """The record of a run that was made."""
    measure.command(str(measure.ROOT / "run.py"), "task.steps=2", "name=one", f"outputs={folder}", cwd=folder)
    (file,) = (folder / "one" / "records").iterdir()
    record: Record = json.loads(file.read_text(encoding="utf-8"))
    rmtree(folder / "one")
    return record


def batches(
    template: Record, first: int, count: int, drawn: random.Random, vary: Callable[[Record, int, random.Random], None]
) -> Iterator[tuple[int, list[Record]]]:
    """Numbers of first runs with the records of their batches: one in a hundred has failed; `vary` does the rest."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(start + BATCH, first + count))
        ids = [sha256(f"{number}".encode()).hexdigest()[:16] for number in numbers]
        finished = (begun + timedelta(seconds=start)).isoformat(timespec="microseconds")
        made = []
        for number, name in zip(numbers, ids, strict=True):
            record: Record = json.loads(json.dumps(template))
            failed = drawn.random() < 0.01
            record |= {"run_id": name, "batch": ids, "finished": finished, "unit": f"channel {number % 512}"}
            record |= {"status": "failed" if failed else "ok", "error": "of a kind" if failed else None}
            record["score"] = None if failed else drawn.gauss(3, 1)
            measured = {
                key: drawn.random() if isinstance(value, float) else value for key, value in record["metrics"].items()
            }
            record["metrics"] = {} if failed else measured
            record["artefacts"] = {} if failed else {"image": {"path": f"runs/{name}/image.png"}}
            vary(record, number, drawn)
            made.append(record)
        yield start, made


def write(place: Path, name: str, records: list[Record]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    file = place / "records" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
