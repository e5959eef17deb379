"""What the runner adds to a run in a warm worker: tiny visualisations through a pool, and their tensors alone.

The pool's worker checks each batch, claims its runs, executes them, writes images and records. Beside it two loops over
the same batches in this process: the task alone (images, what is measured of them, PNG bytes), and `visualise()` alone.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import measure

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line sets it, for its workers too

import torch
from filings import Nowhere
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from interpret_runs.objective import Objective
from interpret_runs.runner.build import build
from interpret_runs.runner.execute import task_of
from interpret_runs.runner.objects import model_of, objective_of
from interpret_runs.runner.plan import plan
from interpret_runs.runner.pool import Pool
from interpret_runs.runner.runs import CHOSEN, Run, close
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks.visualise import Visualise
from interpret_runs.visualisation import visualise

TINY = ("task.steps=2", "parameterisation.size=16", "layer=early")
CHANNELS = 16
CPU = torch.device("cpu")

Batches = Sequence[Sequence[Run]]


def runs(count: int) -> list[Run]:
    with initialize_config_module("interpret_runs.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", [*TINY]), resolve=True)
    points = [
        {**config, "objective": {**config["objective"], "channel": number % CHANNELS}, "seed": number // CHANNELS}
        for number in range(count)
    ]
    return [run for point in points for run in close(point, dict.fromkeys(CHOSEN, ""))]


def whole(pool: Pool, folder: Path, batches: Batches) -> None:
    """A sweep's batches through the pool, into a new store."""
    store = Store(folder, str(len(list(folder.iterdir()))))
    file = store.write_plan("all", [{**run.to_json(), "planned": now()} for runs in batches for run in runs])
    pool.execute(file, batches)
    assert len(store.status()) == sum(map(len, batches))


def task_alone(batches: Batches) -> None:
    for runs in batches:
        task_of(runs[0]).execute(runs, CPU, Nowhere(), lambda fraction: None)


def visualise_alone(batches: Batches) -> None:
    for runs in batches:
        task, model, config = task_of(runs[0]), model_of(runs[0], CPU), runs[0].config
        assert isinstance(task, Visualise)
        objective = Objective.stack([objective_of(run, model) for run in runs])
        made = (task.parameterisation(runs), build(config["transform"]), build(config["optimizer"]))
        visualise(model, objective, *made, task.schedule(runs[0]))


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--runs", type=int, default=512)
    options = made.parse_args()
    batches = plan(runs(options.runs), dict).batches
    loops: list[Callable[[], None]] = [partial(task_alone, batches), partial(visualise_alone, batches)]
    with TemporaryDirectory() as folder, Pool("cpu", 1) as pool:
        loops.insert(0, partial(whole, pool, Path(folder), batches))
        for loop in (partial(whole, pool, Path(folder), batches[:2]), *loops[1:]):
            loop()
        rounds = [[1000 * measure.seconds_of(loop) / options.runs for loop in loops] for _ in range(options.repeats)]
    each = dict(zip(("pool", "task", "visualise"), map(median, zip(*rounds, strict=True)), strict=True))
    told = ", ".join(f"{name} {value:.3g} ms" for name, value in each.items())
    for place, beyond in ((1, "the task alone"), (2, "visualise() alone")):
        extra = [times[0] - times[place] for times in rounds]
        name = f"a run in a warm worker beyond {beyond}, {options.runs} runs in {len(batches)} batches"
        measure.report(name, f"{measure.spread(extra, 'ms')}; {told}", "10 ms", options.record)


if __name__ == "__main__":
    main()
