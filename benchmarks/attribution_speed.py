"""Attribution: how many times as fast as captum called plainly, one image at a time, with its own defaults.

The same network, images, targets and work: the same number of steps of integrated gradients, layer of Grad-CAM and
windows of occlusion. Ours gets all images in one call, and the network in the memory format that the runner gives it;
captum's stays as it was loaded. Once captum runs in this process, with the memory settings that it was given, and once,
as users of captum have it, in another without any. Memory is what this process has held at most after ours, and methods
before it.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
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


def given(model: VisionModel, contest: Contest, size: int) -> tuple[Tensor, list[int]]:
    """Images and their targets, the same in every process."""
    images = torch.rand(contest.images, 3, size, size, generator=torch.Generator().manual_seed(0)).to(network.DEVICE)
    return images, [7 * place % model.summary.classes for place in range(contest.images)]


@cache
def captum_alone(options: tuple[tuple[str, object], ...], name: str) -> Callable[[], None]:
    """Captum's side of a contest, ready to be called."""
    told, model = argparse.Namespace(**dict(options)), network.load()
    (contest,) = (one for one in contests(told) if one.name == name)
    captum = partial(one_by_one, model, contest.captum)
    images, targets = given(model, contest, told.size)
    captum(images[:1], targets[:1])
    return partial(captum, images, targets)


def call_captum_alone(options: tuple[tuple[str, object], ...], name: str) -> None:
    captum_alone(options, name)()


def call_in(process: Executor, options: tuple[tuple[str, object], ...], name: str) -> None:
    process.submit(call_captum_alone, options, name).result()


@contextmanager
def another_process() -> Iterator[Executor]:
    """A process whose memory is what any has."""
    tuned = os.environ.pop("GLIBC_TUNABLES", None)
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            process.submit(int).result()  # it has begun
            yield process
    finally:
        if tuned is not None:
            os.environ["GLIBC_TUNABLES"] = tuned


def compare(contest: Contest, options: argparse.Namespace) -> None:
    model, size = network.load(), (options.size, options.size)
    layout = network.lay_out(model, [OUTPUT], size)
    images, targets = given(model, contest, options.size)
    ours = partial(together, model, contest.ours, images, targets)
    ours()
    memory = measure.peak_memory()
    which = tuple((key, value) for key, value in vars(options).items() if key != "only"), contest.name
    with another_process() as process:
        elsewhere = partial(call_in, process, *which)
        elsewhere()
        times = measure.alternate(ours, captum_alone(*which), elsewhere, repeats=options.repeats)
    rates = [contest.images / median(seconds) for seconds in times]
    told = f"{rates[0]:.3g} images a second, {layout}, captum {rates[1]:.3g}; peak memory {memory}"
    name = f"attribution speed, {contest.name}, {contest.images} images at {options.size} px"
    result = f"{measure.spread(measure.ratios(times[1], times[0]), 'x')}; {told}"
    measure.report(name, result, contest.bar, options.record)
    result = f"{measure.spread(measure.ratios(times[2], times[0]), 'x')}; captum {rates[2]:.3g} images a second"
    measure.report(f"{name}, captum in a process as usual", result, contest.bar, options.record)


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
