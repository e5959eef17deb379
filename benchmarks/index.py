"""A store of many records: the resume check, and the index from scratch, after one more batch, and read."""

import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import measure
import stores

BARS = {
    "resume check": "5 s",
    "resume check, no catalogue": "5 s",
    "index from scratch": "20 s",
    "index after 16 new records": "-",
    "load_index": "2 s",
}
# Each step in a process of its own, as it would be; prints seconds and MiB.
STEP = """
import resource, sys, time
from pathlib import Path
from interpret_runs import load_index
from interpret_runs.runner.index import write_index
from interpret_runs.runner.store import Store
place, step = Path(sys.argv[1]), sys.argv[2]
store = Store.at(place)
started = time.perf_counter()
made = {"status": store.status, "write": lambda: write_index(store), "load": lambda: load_index(place)}[step]()
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(made))
"""


def main() -> None:
    options = measure.parser(__doc__)
    options.add_argument("--records", type=int, default=100_000)
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        place = Path(folder) / "many"
        template = stores.real_record(Path(folder))
        _fill(place, template, chosen.records, 0)
        steps: dict[str, list[tuple[float, float]]] = {name: [] for name in BARS}
        for number in range(chosen.repeats):
            for derived in (place / "catalogue.arrow", place / "index.parquet", place / "index.csv"):
                derived.unlink(missing_ok=True)
            steps["resume check, no catalogue"].append(_step(place, "status"))
            steps["index from scratch"].append(_step(place, "write"))
            steps["resume check"].append(_step(place, "status"))
            steps["load_index"].append(_step(place, "load"))
            _fill(place, template, stores.BATCH, chosen.records + stores.BATCH * number)
            steps["index after 16 new records"].append(_step(place, "write"))
        for name, figures in steps.items():
            seconds, memory = ([figure[i] for figure in figures] for i in (0, 1))
            result = f"{measure.spread(seconds)}, peak memory {max(memory):.0f} MiB"
            measure.report(f"{name}, {chosen.records} records", result, BARS[name] + ", 2 GB", chosen.record)


def _step(place: Path, step: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(place), step], cwd=measure.ROOT, check=True, capture_output=True, text=True
    )
    seconds, memory, _ = map(float, done.stdout.split())
    return seconds, memory


def _fill(place: Path, template: dict[str, Any], count: int, first: int) -> None:
    """Records like the real one, in batches, each with an image of its own: other units, seeds, scores, failures."""
    for start, records in stores.batches(template, first, count, random.Random(first), _vary):
        for record in records:
            for artefact in record["artefacts"].values():
                file = place / artefact["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bytes(artefact["bytes"]))
        stores.write(place, f"host-{start % 7}-{start:07d}-0.jsonl", records)


def _vary(record: dict[str, Any], number: int, drawn: random.Random) -> None:
    record["seed"] = record["config"]["seed"] = number // 512
    record["config"]["objective"] |= {"channel": number % 512, "layer": f"features.{number // 8192}"}
    for artefact in record["artefacts"].values():
        artefact |= {"bytes": drawn.randrange(1, 64), "sha256": record["run_id"]}


if __name__ == "__main__":
    main()
