"""Other ways of drawing than the default, whole and beside the bare network: seconds, and the most memory.

logits: images of classes, else as by default. maco: large images, of which the network sees eight crops a step. cppn:
images that small networks paint. dream: a large picture, in octaves, each in tiles. All of SqueezeNet.

The bare network makes as many forward and backward passes over as many random images of the size that it sees, of a
dream over each octave as a whole. Memory is what the process has held at most after it, and after ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import measure
import network
import torch
from truncated import Truncated

from interpret_runs.dream import Octaves, dream
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, DeepDream, Logit
from interpret_runs.parameterisations import Cppn, Fourier, Maco
from interpret_runs.schedule import Schedule
from interpret_runs.summary import OUTPUT
from interpret_runs.transforms import Crops, Unchanged
from interpret_runs.visualisation import visualise

LAYER = "features.12"
CROPS = Crops(size=224)
TILE = 256
WARM_UP = 2  # steps


def logits(model: VisionModel, images: int, size: int, steps: int) -> None:
    objective = Objective.stack([Logit(place * model.summary.classes // images) for place in range(images)])
    visualise(model, objective, Fourier(size, seeds=[0] * images), schedule=Schedule(steps))


def maco(model: VisionModel, images: int, size: int, steps: int) -> None:
    visualise(model, _channels(images), Maco(size, seeds=[0] * images), CROPS, schedule=Schedule(steps))


def cppn(model: VisionModel, images: int, size: int, steps: int) -> None:
    visualise(model, _channels(images), Cppn(size, seeds=[0] * images), Unchanged(), schedule=Schedule(steps))


def dreams(model: VisionModel, images: int, size: int, steps: int) -> None:
    pictures = torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(0))
    dream(model, DeepDream((LAYER,)), pictures, schedule=Schedule(steps, history_every=0, tile=TILE))


def _channels(images: int) -> Objective:
    return Objective.stack([Channel(LAYER, 8 * place) for place in range(images)])


@dataclass(frozen=True)
class Recipe:
    """A way of drawing, and how many images of what size it draws in how many steps, of a dream in each octave.

    Attributes:
        shown: from images and size, the batches that the network sees in a step: images, and (height, width).
    """

    draw: Callable[[VisionModel, int, int, int], None]
    images: int
    size: int
    steps: int
    layer: str = LAYER
    shown: Callable[[int, int], list[tuple[int, tuple[int, int]]]] = lambda images, size: [(images, (size, size))]


RECIPES = {
    "logits": Recipe(logits, 64, 128, 128, OUTPUT),
    "maco": Recipe(maco, 2, 512, 128, shown=lambda images, size: [(CROPS.views * images, (224, 224))]),
    "cppn": Recipe(cppn, 16, 128, 128),
    "dream": Recipe(
        dreams, 1, 1024, 32, shown=lambda images, size: [(images, one) for one in Octaves().sizes((size, size))]
    ),
}


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("recipe", choices=RECIPES)
    for name in ("images", "size", "steps"):
        made.add_argument(f"--{name}", type=int, help="other than the recipe's own")
    options = made.parse_args()
    recipe, model = RECIPES[options.recipe], network.load()
    images, size, steps = (getattr(options, name) or getattr(recipe, name) for name in ("images", "size", "steps"))
    shown, truncated = recipe.shown(images, size), Truncated(model, recipe.layer)
    layout = network.lay_out(model, [recipe.layer], shown[-1][1])

    def bare(steps: int) -> None:
        for count, sides in shown:
            truncated.climb(count, sides, steps)

    whole, memory = partial(recipe.draw, model, images, size), []
    for work in (bare, whole):
        work(WARM_UP)
        memory.append(measure.peak_memory())
    ours, limit = measure.alternate(partial(whole, steps), partial(bare, steps), repeats=options.repeats)
    times = f"whole {median(ours):.3g} s, bare {median(limit):.3g} s, {layout}"
    held = f"peak memory {memory[1]}, of the bare network {memory[0]}"
    name = f"{options.recipe}, {images} images of {size} px, {steps} steps"
    measure.report(name, f"{measure.spread(measure.ratios(ours, limit), 'x')}; {times}; {held}", "-", options.record)


if __name__ == "__main__":
    main()
