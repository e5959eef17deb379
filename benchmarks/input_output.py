"""The share of a sweep's time that goes into reading, drawing, compressing and writing, and not into the network.

Batches of one sweep in a warm process, of two kinds: visualisations, which take seconds of the network each, and
saliency maps, which take as little as anything does. Of each stage the time of a core that its calls take, in whichever
thread, as a share of the sweep's; of recording, for which all else waits, wall time. Runs with and without files differ
by less than they drift. Then a device that needs no core, one that sleeps: how far files are written meanwhile.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import measure
import network
import torch
from filings import InStore
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from torch import rand

from interpret_runs import images as pictures
from interpret_runs.images import Picture, to_pil
from interpret_runs.rendering import Rendering
from interpret_runs.runner import execute as execution
from interpret_runs.runner.execute import execute, task_of
from interpret_runs.runner.plan import plan
from interpret_runs.runner.runs import CHOSEN, Run, close
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks import attribute, task

Batches = Sequence[Sequence[Run]]
# What makes up each stage, and the clock of its share.
STAGES: dict[str, tuple[tuple[tuple[Any, str], ...], Callable[[], float]]] = {
    "decoding": (((pictures, "_read"),), time.thread_time),
    "drawing": (((Rendering, "pictures"), (Picture, "in_whole"), (task, "to_pil")), time.thread_time),
    "compressing": (((attribute, "png_bytes"), (attribute, "npy"), (task, "png_bytes")), time.thread_time),
    "writing": (((Store, "write_artefact"), (execution, "with_text")), time.thread_time),
    "recording": (((execution, "keep"),), time.perf_counter),
}
# Of a device that sleeps: how long for an image, how many images, and how many at once.
DEVICE_SECONDS, SLEPT, AT_ONCE = 0.02, 16, 4


def runs(overrides: Sequence[str], key: str, values: Sequence[Any]) -> list[Run]:
    group, _, setting = key.partition(".")
    with initialize_config_module("interpret_runs.conf", version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    points = [{**config, group: {**config[group], setting: value}} for value in values]
    return [run for point in points for run in close(point, dict.fromkeys(CHOSEN, ""))]


def whole(folder: Path, batches: Batches) -> None:
    store = Store(folder, str(len(list(folder.iterdir()))))
    for batch in batches:
        records = execute(batch, store, network.DEVICE.type, now())
        assert all(record["status"] == "ok" for record in records)


@contextmanager
def clocked(spent: dict[str, list[float]]) -> Iterator[None]:
    """Note the seconds of each call into `spent`, by stage."""

    def counting(stage: str, work: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        def counted(*given: Any, **told: Any) -> Any:
            started = clock()
            try:
                return work(*given, **told)
            finally:
                spent[stage].append(clock() - started)

        return counted

    with ExitStack() as stack:
        for stage, (calls, clock) in STAGES.items():
            for owner, name in calls:
                stack.enter_context(patch.object(owner, name, counting(stage, getattr(owner, name), clock)))
        yield


def shares(loop: Callable[[], None]) -> dict[str, float]:
    """The percentage of each stage in one go."""
    spent: dict[str, list[float]] = defaultdict(list)
    with clocked(spent):
        wall, core = time.perf_counter(), time.process_time()
        loop()
        wall, core = time.perf_counter() - wall, time.process_time() - core
    return {stage: 100 * sum(spent[stage]) / (wall if stage == "recording" else core) for stage in STAGES}


def sleeping(folder: Path, batch: Sequence[Run], at_once: int) -> None:
    """Explain a batch on a device that takes so many images at once and needs no core; reading and files as ever."""
    filing = InStore(Store(folder, str(len(list(folder.iterdir())))))

    def explained(
        runs: Sequence[Run], _model: object, _asked: object, shown: Sequence[Picture], *_: object
    ) -> list[Any]:
        time.sleep(DEVICE_SECONDS * len(runs))
        each = zip(runs, shown, strict=True)
        return [
            partial(attribute._map_outcome, run, 0.0, one.pixels.mean(0) - 0.5, one, {}, None, {}) for run, one in each
        ]

    def pieces(keys: Sequence[object], _device: torch.device) -> list[slice]:
        return [slice(start, start + at_once) for start in range(0, len(keys), at_once)]

    with patch.object(attribute, "_explained", explained), patch.object(attribute, "_pieces", pieces):
        task_of(batch[0]).execute(batch, network.DEVICE, filing, lambda _: None)


def _kinds(images: int, steps: int, photographs: Path) -> dict[str, list[Run]]:
    """The two sweeps, by what they are called."""
    model = ["model=squeezenet1_0", f"model.weights={network.REAL if network.REAL.is_file() else 'null'}"]
    visualise = (*model, "layer=late", "parameterisation.size=128", f"task.steps={steps}")
    explain = (*model, "task=attribute", "attribution=saliency", "objective=logit", "images=folder")
    return {
        f"{images} visualisations of {steps} steps": runs(visualise, "objective.channel", range(images)),
        f"saliency of {images} photographs": runs(
            (*explain, f"images.path={photographs}"), "images.item", range(images)
        ),
    }


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=32)
    made.add_argument("--steps", type=int, default=128)
    options = made.parse_args()
    with TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs"
        photographs.mkdir()
        for place in range(options.images):
            to_pil(rand(3, 40, 60)).resize((600, 400), Image.Resampling.BICUBIC).save(photographs / f"{place}.jpg")
        kinds = _kinds(options.images, options.steps, photographs)
        for name, mine in kinds.items():
            batches = plan(mine, dict).batches
            stores = Path(folder) / name
            stores.mkdir()
            sweep = partial(whole, stores, batches)
            sweep()
            rounds = [shares(sweep) for _ in range(options.repeats)]
            parts = ", ".join(f"{stage} {median(one[stage] for one in rounds):.2g} %" for stage in STAGES)
            result = f"{measure.spread([sum(one.values()) for one in rounds], '%')}: {parts}"
            measure.report(f"input and output of {name}", result, "3 %", options.record)
        batch = mine[:SLEPT]
        times = measure.alternate(
            *(partial(sleeping, stores, batch, at_once) for at_once in (len(batch), AT_ONCE)), repeats=options.repeats
        )
        result = f"{measure.spread(times[1])}; at the end {measure.spread(times[0])}"
        title = f"files of {len(batch)} maps, written while a device sleeps {1000 * DEVICE_SECONDS:g} ms a map"
        measure.report(title, result, f"{DEVICE_SECONDS * len(batch):.2g} s", options.record)


if __name__ == "__main__":
    main()
