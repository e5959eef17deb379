"""The default run of 128 steps against a bare forward and backward loop of the truncated network.

Both at the same batch, size and precision; 16 channels of `features.12` of SqueezeNet at 128 px. The bare loop has
no parameterisation, transform, rescue, optimiser, history or clean score: it is the limit.
"""

from functools import partial
from pathlib import Path
from statistics import median

import measure
import torch

from interpret_runs.models import VisionModel, load
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen
from interpret_runs.transforms import Standard
from interpret_runs.visualisation import visualise

REAL = measure.ROOT.parent / "shared/weights/squeezenet1_0-imagenet.safetensors"


def whole(model: VisionModel, images: int, size: int, steps: int) -> None:
    objective = Objective.stack([Channel("features.12", 8 * index) for index in range(images)])
    parameterisation = Fourier(size, seeds=[0] * images)
    visualise(model, objective, parameterisation, Standard(), partial(torch.optim.Adam, lr=0.05), Schedule(steps))


def bare(model: VisionModel, images: int, size: int, steps: int) -> None:
    truncated = model.network.features[:13]
    pixels = torch.rand(images, 3, size, size, requires_grad=True)
    with frozen(model):
        for _ in range(steps):
            pixels.grad = None
            activation = truncated(model.normalise(pixels))
            activation[torch.arange(images), 8 * torch.arange(images)].mean((1, 2)).sum().backward()


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=16)
    made.add_argument("--size", type=int, default=128)
    made.add_argument("--steps", type=int, default=128)
    options = made.parse_args()
    model = load("squeezenet1_0", str(REAL) if Path(REAL).is_file() else None)
    sizes = (model, options.images, options.size, options.steps)
    whole(*sizes[:3], 2)
    bare(*sizes[:3], 2)
    ours, limit = measure.alternate(partial(whole, *sizes), partial(bare, *sizes), options.repeats)
    ratios = [a / b for a, b in zip(ours, limit, strict=True)]
    name = f"loop overhead, {options.images} channels at {options.size} px, {options.steps} steps"
    times = f"whole {median(ours):.3g} s, bare {median(limit):.3g} s"
    measure.report(name, f"{measure.spread(ratios, 'x')}; {times}", "1.15 x", options.record)


if __name__ == "__main__":
    main()
