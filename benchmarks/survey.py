"""Dataset examples: the images a second of a survey of a layer's channels, against the bare network's forward passes.

The survey reads, decodes and scales JPEG files of 256 pixels, some of them over and over, and keeps the nine images at
either end of every channel. The bare network sees as many random images that lie in memory, in batches as large.
"""

import random
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import measure
import network
from PIL import Image
from truncated import Truncated

from interpret_runs.dataset_examples import survey
from interpret_runs.images import File, ImageSet
from interpret_runs.models import VisionModel
from interpret_runs.objectives import Channel

PICTURES, SIDE = 64, 256
KEPT = 9


def pictures(folder: Path) -> list[ImageSet]:
    """Files of smooth noise, about as long as photographs."""
    drawn = random.Random(0)
    made: list[ImageSet] = []
    for number in range(PICTURES):
        small = Image.frombytes("RGB", (SIDE // 4, SIDE // 4), drawn.randbytes(3 * (SIDE // 4) ** 2))
        file = folder / f"{number}.jpg"
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file)
        made.append(File(str(file)))
    return made


def examples(model: VisionModel, layer: str, dataset: list[ImageSet], batch: int) -> None:
    channels = range(model.summary.channels(layer))
    survey(model, [Channel(layer, channel) for channel in channels], dataset, KEPT, batch)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=5000)
    made.add_argument("--layer", default="features.12")
    made.add_argument("--batch", type=int, default=32)
    options = made.parse_args()
    model = network.load()
    size = model.preprocessing.size
    layout = network.lay_out(model, [options.layer], size)
    truncated = Truncated(model, options.layer)
    with TemporaryDirectory() as folder:
        files = pictures(Path(folder))
        dataset = [files[place % PICTURES] for place in range(options.images)]
        whole = partial(examples, model, options.layer)
        bare = partial(truncated.look, size=size, at_once=options.batch)
        whole(files, options.batch)
        bare(PICTURES)
        ours, limit = measure.alternate(
            partial(whole, dataset, options.batch), partial(bare, options.images), repeats=options.repeats
        )
    rates = [options.images / median(times) for times in (ours, limit)]
    told = f"{rates[0]:.3g} images a second, bare {rates[1]:.3g}, {layout}; peak memory {measure.peak_memory()}"
    name = f"dataset examples, {options.layer}, {options.images} images of {size[0]} px"
    measure.report(name, f"{measure.spread(measure.ratios(ours, limit), 'x')}; {told}", "-", options.record)


if __name__ == "__main__":
    main()
