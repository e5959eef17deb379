"""Six class activation maps of each of five layers in one pass, against one Grad-CAM: seconds of one by the other.

The same network, images, targets and memory format. The one Grad-CAM is of the first of the layers, to which the pass
goes back in any case; beside it, with no bar, that of the last, whose backward pass is the shortest. The sixth kind of
map is a signed Grad-CAM.
"""

from functools import partial
from statistics import median

import measure
import network
import torch

from interpret_runs.cam import Cam
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.objectives import Logit
from interpret_runs.one_pass import maps_in_one_pass
from interpret_runs.summary import OUTPUT

KINDS = (GradCam, partial(GradCam, relu=False), GradCamPlusPlus, HiResCam, XGradCam, LayerCam)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=32)
    made.add_argument("--size", type=int, default=224)
    layers = ["features.3", "features.5", "features.7", "features.10", "features.12"]
    made.add_argument("--layers", nargs="+", default=layers, help="in the network's order")
    options = made.parse_args()
    model, size = network.load(), (options.size, options.size)
    layout = network.lay_out(model, {*options.layers, OUTPUT}, size)
    images = torch.rand(options.images, 3, *size, generator=torch.Generator().manual_seed(0)).to(network.DEVICE)
    objective = Logit(tuple(7 * place % model.summary.classes for place in range(options.images)))
    every: list[Cam] = [kind(layer) for kind in KINDS for layer in options.layers]
    asked = [every, [GradCam(options.layers[0])], [GradCam(options.layers[-1])]]
    passes = [partial(maps_in_one_pass, model, methods, objective, images) for methods in asked]
    for one in passes:
        one()
    times = measure.alternate(*passes, repeats=options.repeats)
    what = f"{len(every)} class activation maps of {options.images} images at {options.size} px"
    for layer, single, bar in ((options.layers[0], times[1], "1.5 x"), (options.layers[-1], times[2], "-")):
        told = f"all {median(times[0]):.3g} s, one {median(single):.3g} s, {layout}"
        result = f"{measure.spread(measure.ratios(times[0], single), 'x')}; {told}"
        name = f"{what}, against Grad-CAM of {layer}"
        measure.report(name, f"{result}; peak memory {measure.peak_memory()}", bar, options.record)


if __name__ == "__main__":
    main()
