"""Images a second at equal clean activation: the default run of a batch against a plain loop of one image at a time.

Ours takes its 128 steps. The plain loop, see `plain_loop`, takes as many as it needs until the network says as much of
its images as they are as of ours of the same channels, on average. How many that are is found once, by looking after
every eighth step; its dead images, which never would, are left out and counted. Then both are timed in turns: ours
whole, the plain loop by some steps, as its steps are all alike. The network sees its images at our size, and once more
at 224 pixels, as is usual. Where it does not reach ours within 512 steps the ratio is a lower bound, and is called so.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from statistics import median

import measure
import network
import torch
from plain_loop import PlainImage
from torch import Tensor

from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.resampling import resized
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen, score
from interpret_runs.visualisation import Visualisation, visualise

USUAL = 224
LOOK_EVERY = 8
TIMED = 32  # steps


def ours(model: VisionModel, layer: str, channels: Sequence[int], size: int, steps: int) -> Visualisation:
    objective = Objective.stack([Channel(layer, channel) for channel in channels])
    return visualise(model, objective, Fourier(size, seeds=[0] * len(channels)), schedule=Schedule(steps))


def clean_scores(model: VisionModel, images: Sequence[PlainImage]) -> Tensor:
    """Of each image as it is, at its own size or at that which the network saw, whichever is more."""

    def at(one: PlainImage, size: int) -> Tensor:
        return score(model, Channel(one.layer, one.channel), resized(one.image(), (size, size)))

    with frozen(model), torch.no_grad():
        return torch.cat([at(one, one.size).maximum(at(one, one.seen)) for one in images]).cpu()


def steps_until(goals: Tensor, model: VisionModel, images: Sequence[PlainImage], most: int) -> tuple[int, Tensor]:
    """After how many steps the images that live score as `goals` do on average, or `most`; and all scores then."""
    found = torch.zeros_like(goals)
    for done in range(LOOK_EVERY, most + 1, LOOK_EVERY):
        for image in images:
            image.climb(LOOK_EVERY)
        found = clean_scores(model, images)
        if reached(found, goals):
            return done, found
    return most, found


def reached(found: Tensor, goals: Tensor) -> bool:
    lives = found > 0
    return bool(lives.any() and found[lives].sum() >= goals[lives].sum())


def compare(layer: str, options: argparse.Namespace) -> None:
    """Report one layer, at our size and at the usual one."""
    model, plain = network.load(), network.load()
    count, size = model.summary.channels(layer), (options.size, options.size)
    channels = [place * count // options.images for place in range(options.images)]
    every = options.images // options.plain_images
    layout = network.lay_out(model, [layer], size)
    whole = partial(ours, model, layer, channels, options.size, options.steps)
    goals = whole().scores[::every]
    for seen, bar in ((options.size, "1.5 x"), (USUAL, "4 x")):
        images = [PlainImage(plain, layer, channel, options.size, seen) for channel in channels[::every]]
        steps, found = steps_until(goals, plain, images, options.most)
        times = measure.alternate(whole, partial(images[0].climb, TIMED), repeats=options.repeats)
        mine = [seconds / options.images for seconds in times[0]]
        theirs = [seconds * steps / TIMED for seconds in times[1]]
        ratio = measure.spread(measure.ratios(theirs, mine), "x")
        told = f"ours {median(mine):.3g} s an image, {layout}, the plain loop {median(theirs):.3g} s, {steps} steps"
        lives = found > 0
        if not reached(found, goals):
            ratio = f"more than {ratio}"
            if lives.any():
                told += f", then at {float(found[lives].sum() / goals[lives].sum()):.0%} of the score"
        told += f", {int((~lives).sum())} of {len(images)} dead"
        name = f"against a plain loop that sees {seen} px, squeezenet1_0, {layer}, {options.size} px"
        measure.report(name, f"{ratio}; {told}; peak memory {measure.peak_memory()}", bar, options.record)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--layers", nargs="+", default=["features.3", "features.7", "features.12"])
    made.add_argument("--images", type=int, default=16, help="of ours, a batch, each of another channel")
    made.add_argument("--plain-images", type=int, default=4, help="of the plain loop, evenly spread over ours")
    made.add_argument("--size", type=int, default=128)
    made.add_argument("--steps", type=int, default=128, help="of ours")
    made.add_argument("--most", type=int, default=512, help="steps of the plain loop")
    options = made.parse_args()
    for layer in options.layers:
        compare(layer, options)


if __name__ == "__main__":
    main()
