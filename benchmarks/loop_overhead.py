"""The default run against a bare forward and backward loop of the truncated network: seconds of one by the other.

The default run is `visualise` of channels: Fourier images of 128 pixels, standard transforms, Adam, 128 steps. The
bare loop has no parameterisation, transform, rescue, optimiser, history or clean score: it is the limit. Both have the
same batch, size, precision and memory format. Half precision is also compared with float32, by the seconds of the
default run and by the scores, in float32, of the images that it makes.

The bare loop's gradients are torch's own. Those of strided first layers the default run computes in a third of the time
on a CPU (see `pixel_convolution`), so it may take less than its limit; the seconds of a bare loop that does so too
stand beside, measured once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import measure
import network
import torch
from truncated import Truncated

from interpret_runs import memory_format
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.resampling import resized
from interpret_runs.schedule import PRECISIONS, Schedule
from interpret_runs.scoring import frozen, score
from interpret_runs.visualisation import Visualisation, visualise

LAYERS = {"squeezenet1_0": ("features.3", "features.7", "features.12")}
WARM_UP = 2  # steps
BAR = {("squeezenet1_0", "float32"): "1.15 x"}


@dataclass(frozen=True)
class Case:
    """So many channels of one layer, evenly spread over all, optimised for so many steps."""

    model: VisionModel
    layer: str
    images: int
    size: int
    steps: int

    @property
    def objective(self) -> Objective:
        count = self.model.summary.channels(self.layer)
        return Objective.stack([Channel(self.layer, place * count // self.images) for place in range(self.images)])

    def whole(self, precision: str, steps: int | None = None) -> Visualisation:
        schedule = Schedule(steps or self.steps, precision=precision)
        return visualise(self.model, self.objective, Fourier(self.size, seeds=[0] * self.images), schedule=schedule)

    def clean_score(self, made: Visualisation) -> float:
        """Mean score in float32 of the images as they are."""
        images = resized(made.images.to(network.DEVICE), network.seen_size(self.model, self.size))
        with frozen(self.model), torch.no_grad():
            return float(score(self.model, self.objective, images).mean())


def compare(case: Case, precisions: Sequence[str], repeats: int, record: bool) -> None:
    """Run each precision and its limit in turns, and report both, and half precision beside float32."""
    size = network.seen_size(case.model, case.size)
    bare, quick = (partial(Truncated(case.model, case.layer, q).climb, case.images, size) for q in (False, True))
    formats = {one: memory_format.fastest(case.model, [case.layer], size, one) for one in precisions}
    times: dict[str, tuple[list[float], list[float]]] = {one: ([], []) for one in precisions}
    others: dict[str, float] = {}
    scores: dict[str, float] = {}
    for precision in precisions:
        memory_format.lay_out(case.model, formats[precision])
        case.whole(precision, WARM_UP)
        bare(WARM_UP, precision)
        quick(WARM_UP, precision)
    for _ in range(repeats):
        for precision in precisions:
            memory_format.lay_out(case.model, formats[precision])
            seconds, made = measure.timed(partial(case.whole, precision))
            times[precision][0].append(seconds)
            times[precision][1].append(measure.seconds_of(partial(bare, case.steps, precision)))
            if precision not in others:
                others[precision] = measure.seconds_of(partial(quick, case.steps, precision))
            scores[precision] = case.clean_score(made)
    name = f"{network.title(case.model)}, {case.layer}, {case.images} channels at {case.size} px, {case.steps} steps"
    for precision, (whole, limit) in times.items():
        told = f"whole {median(whole):.3g} s, bare {median(limit):.3g} s, {formats[precision]}"
        told += f" (bare with quick gradients {others[precision]:.3g} s)"
        result = f"{measure.spread(measure.ratios(whole, limit), 'x')}; {told}; peak memory {measure.peak_memory()}"
        bar = BAR.get((case.model.name, precision), "-")
        measure.report(f"loop overhead, {name}, {precision}", result, bar, record)
    if len(precisions) > 1:
        gain = measure.ratios(times["float32"][0], times["bfloat16"][0])
        told = f"clean score {scores['bfloat16']:.4g} for {scores['float32']:.4g}"
        result = f"{measure.spread(gain, 'x')} as fast; {told}"
        measure.report(f"bfloat16 against float32, {name}", result, "-", record)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--network", default="squeezenet1_0", help="a name of torchvision")
    made.add_argument("--layers", nargs="+", help="an early, a middle and a late one by default")
    made.add_argument("--images", type=int, nargs="+", default=[16, 64], help="in a batch, each a channel")
    made.add_argument("--size", type=int, default=128)
    made.add_argument("--steps", type=int, default=128)
    made.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    options = made.parse_args()
    model = network.load(options.network)
    for images in options.images:
        for layer in options.layers or LAYERS.get(options.network, ("early", "middle", "late")):
            case = Case(model, model.summary.layer(layer).path, images, options.size, options.steps)
            compare(case, options.precisions, options.repeats, options.record)


if __name__ == "__main__":
    main()
