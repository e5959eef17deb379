"""RISE against forward passes of the bare network over as many images as it makes masks: seconds of one by the other.

Captum has no RISE to compare with. The network, its memory format and how many images it sees at once are the same.
"""

from functools import partial
from statistics import median

import measure
import network
import torch
from truncated import Truncated

from interpret_runs.objectives import Logit
from interpret_runs.rise import Rise
from interpret_runs.summary import OUTPUT
from interpret_runs.variants import fitting


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=2)
    made.add_argument("--size", type=int, default=224)
    made.add_argument("--samples", type=int, default=1000, help="masks of each image")
    options = made.parse_args()
    model, size = network.load(), (options.size, options.size)
    layout = network.lay_out(model, [OUTPUT], size)
    images = torch.rand(options.images, 3, *size, generator=torch.Generator().manual_seed(0)).to(network.DEVICE)
    objective = Logit(tuple(7 * place % model.summary.classes for place in range(options.images)))
    at_once = fitting(model, objective.layers, images)
    bare = Truncated(model, OUTPUT).look
    bare(at_once, size, at_once)
    Rise(2)(model, objective, images)
    whole = partial(Rise(options.samples), model, objective, images)
    limit = partial(bare, options.images * options.samples, size, at_once)
    times = measure.alternate(whole, limit, repeats=options.repeats)
    told = f"whole {median(times[0]):.3g} s, bare {median(times[1]):.3g} s, {layout}"
    name = f"RISE, {options.samples} masks of {options.images} images at {options.size} px"
    result = f"{measure.spread(measure.ratios(*times), 'x')}; {told}; peak memory {measure.peak_memory()}"
    measure.report(name, result, "-", options.record)


if __name__ == "__main__":
    main()
