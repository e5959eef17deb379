"""How often a network takes the image made for a class as that class, by parameterisation.

Each finished image is looked at through fresh random transforms, 8 times; the figure is the fraction of images
for which the target comes first in most of these looks, and the mean fraction of looks in which it does.
"""

from pathlib import Path
from time import perf_counter

import measure
import torch

from interpret_runs.metrics import robustness
from interpret_runs.models import VisionModel, load
from interpret_runs.objective import Objective
from interpret_runs.objectives import Logit
from interpret_runs.parameterisations import Cppn, Fourier, Laplacian, Maco, Pixel
from interpret_runs.transforms import Standard
from interpret_runs.visualisation import visualise

REAL = measure.ROOT.parent / "shared/weights/squeezenet1_0-imagenet.safetensors"
KINDS = {"fourier": Fourier, "pixel": Pixel, "laplacian": Laplacian, "cppn": Cppn, "maco": Maco}


def looks(model: VisionModel, kind: str, classes: list[int], size: int) -> torch.Tensor:
    """The fraction of fresh looks in which each class comes first."""
    objective = Objective.stack([Logit(target) for target in classes])
    parameterisation, transform = KINDS[kind](size, seeds=[0] * len(classes)), Standard()
    made = visualise(model, objective, parameterisation, transform)
    fresh = robustness(model, objective, made.images, transform, parameterisation.seeds)
    assert fresh.predictions is not None
    return (fresh.predictions == torch.tensor(classes)).double().mean(0)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--weights", default=str(REAL))
    made.add_argument("--kinds", nargs="+", default=list(KINDS))
    made.add_argument("--every", type=int, default=10, help="take every so many classes")
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--size", type=int, default=128)
    options = made.parse_args()
    if not Path(options.weights).is_file():
        raise SystemExit(f"no weights {options.weights}: this needs real ones, --weights FILE")
    model = load("squeezenet1_0", options.weights)
    classes = list(range(0, model.summary.classes, options.every))
    for kind in options.kinds:
        started = perf_counter()
        parts = [classes[first : first + options.batch] for first in range(0, len(classes), options.batch)]
        found = torch.cat([looks(model, kind, part, options.size) for part in parts])
        each = (perf_counter() - started) / len(classes)
        result = f"{(found > 0.5).double().mean():.1%} of {len(classes)} images, {found.mean():.1%} of looks"
        name = f"logits recognised under fresh transforms, {kind}, {options.size} px, 128 steps"
        measure.report(name, f"{result}; {each:.2g} s an image", "95 % for the best", options.record)


if __name__ == "__main__":
    main()
