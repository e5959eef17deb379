"""Attribution: how many times as fast as captum called plainly, one image at a time, with its own defaults.

The same network, images, targets and work: the same number of steps of integrated gradients, layer of Grad-CAM and
windows of occlusion. Ours gets all images in one call, and the network in the memory format that the runner gives it;
captum's stays as it was loaded. Memory is what the process has held at most after ours, and methods before it.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import measure
import network
import rivals
import torch
from torch import Tensor

from interpret_runs.attribution import Attribution
from interpret_runs.cams import GradCam
from interpret_runs.gradient_maps import Saliency
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.models import VisionModel
from interpret_runs.objectives import Logit
from interpret_runs.occlusion import Occlusion
from interpret_runs.summary import OUTPUT


@dataclass(frozen=True)
class Contest:
    """Our method and captum's, on so many images."""

    name: str
    ours: Attribution
    captum: Callable[..., Tensor]
    images: int
    bar: str = "2 x"


def contests(options: argparse.Namespace) -> Iterator[Contest]:
    yield Contest("saliency", Saliency(), rivals.saliency, options.images)
    steps = options.steps
    integrated = partial(rivals.integrated_gradients, steps=steps)
    ours = IntegratedGradients(steps, most_steps=steps)
    yield Contest(f"integrated gradients, {steps} steps", ours, integrated, options.images)
    layer = options.layer
    grad_cam = partial(rivals.grad_cam, layer=layer)
    yield Contest(f"Grad-CAM, {layer}", GradCam(layer), grad_cam, options.images, "1 x")
    window, stride = options.window, options.stride
    occlusion = partial(rivals.occlusion, window=window, stride=stride)
    yield Contest(f"occlusion, windows {window}/{stride}", Occlusion(window, stride), occlusion, options.few_images)


def together(model: VisionModel, method: Attribution, images: Tensor, targets: list[int]) -> None:
    method(model, Logit(tuple(targets)), images)


def one_by_one(model: VisionModel, method: Callable[..., Tensor], images: Tensor, targets: list[int]) -> None:
    for image, target in zip(images.split(1), targets, strict=True):
        method(model, image.clone(), target)


def compare(contest: Contest, options: argparse.Namespace) -> None:
    model, plain, size = network.load(), network.load(), (options.size, options.size)
    layout = network.lay_out(model, [OUTPUT], size)
    images = torch.rand(contest.images, 3, *size, generator=torch.Generator().manual_seed(0)).to(network.DEVICE)
    targets = [7 * place % model.summary.classes for place in range(contest.images)]
    ours = partial(together, model, contest.ours, images, targets)
    captum = partial(one_by_one, plain, contest.captum)
    ours()
    memory = measure.peak_memory()
    captum(images[:1], targets[:1])
    times = measure.alternate(ours, partial(captum, images, targets), repeats=options.repeats)
    rates = [contest.images / median(seconds) for seconds in times]
    told = f"{rates[0]:.3g} images a second, {layout}, captum {rates[1]:.3g}; peak memory {memory}"
    name = f"attribution speed, {contest.name}, {contest.images} images at {options.size} px"
    result = f"{measure.spread(measure.ratios(times[1], times[0]), 'x')}; {told}"
    measure.report(name, result, contest.bar, options.record)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=32)
    made.add_argument("--few-images", type=int, default=4, help="for occlusion")
    made.add_argument("--size", type=int, default=224)
    made.add_argument("--layer", default="features.12", help="of Grad-CAM")
    made.add_argument("--steps", type=int, default=50, help="of integrated gradients")
    made.add_argument("--window", type=int, default=32)
    made.add_argument("--stride", type=int, default=16)
    made.add_argument("--only", nargs="+", default=[""], help="methods whose names begin so")
    options = made.parse_args()
    for contest in contests(options):
        if contest.name.startswith(tuple(options.only)):
            compare(contest, options)


if __name__ == "__main__":
    main()
