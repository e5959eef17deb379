"""The share of a sweep's wall time that goes into reading, drawing, compressing and writing, and not into the network.

Batches of one sweep in a warm process, whole, and with their pictures read beforehand and no files made. Two kinds:
visualisations, which take minutes of the network each, and saliency maps, which take as little as anything does.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import measure
import network
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, rand

from interpret_runs.images import to_pil
from interpret_runs.runner.execute import execute
from interpret_runs.runner.plan import plan
from interpret_runs.runner.runs import CHOSEN, Run, close
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks import attribute, visualised
from interpret_runs.runner.tasks.task import Outcome

Batches = Sequence[Sequence[Run]]


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


def silent(folder: Path, batches: Batches, read: Callable[..., Any]) -> None:
    """As `whole`, but pictures come from memory, and no files are made."""

    def outcome(_run: Run, value: float, _map: Tensor, _shown: object, numbers: dict[str, Any], *_: object) -> Outcome:
        return Outcome(value, numbers)

    with ExitStack() as stack:
        stack.enter_context(patch.object(attribute, "loaded", read))
        stack.enter_context(patch.object(attribute, "_map_outcome", outcome))
        stack.enter_context(patch.object(visualised.Result, "_files", lambda *_: {}))
        whole(folder, batches)


class Remembered:
    """Reads each picture once."""

    def __init__(self) -> None:
        self.read: dict[str, Any] = {}
        self.loaded = attribute.loaded

    def __call__(self, items: Any, *settings: Any) -> list[Any]:
        named = {repr(item): item for item in items}
        new = {name: item for name, item in named.items() if name not in self.read}
        self.read |= dict(zip(new, self.loaded(new.values(), *settings), strict=True))
        return [self.read[name] for name in named]


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
            loops = [partial(whole, stores, batches), partial(silent, stores, batches, Remembered())]
            for loop in loops:
                loop()
            times = measure.alternate(*loops, repeats=options.repeats)
            shares = [100 * (1 - ratio) for ratio in measure.ratios(times[1], times[0])]
            result = f"{measure.spread(shares, '%')}; whole {median(times[0]):.3g} s, without {median(times[1]):.3g} s"
            measure.report(f"input and output of {name}", result, "3 %", options.record)


if __name__ == "__main__":
    main()
