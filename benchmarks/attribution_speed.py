"""Images a second against captum called plainly: one image at a time, with its own defaults.

The same network, images, targets and work: the same number of steps of integrated gradients, layer of Grad-CAM and
windows of occlusion. Ours gets all images in one call.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import captum.attr
import measure
import torch
from torch import Tensor

from interpret_runs.attribution import Attribution
from interpret_runs.cams import GradCam
from interpret_runs.gradient_maps import Saliency
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.models import VisionModel, load
from interpret_runs.objectives import Logit
from interpret_runs.occlusion import Occlusion

REAL = measure.ROOT.parent / "shared/weights/squeezenet1_0-imagenet.safetensors"

Plain = Callable[[Tensor, int], Tensor]


def methods(
    model: VisionModel, layer: str, steps: int, window: int, stride: int
) -> dict[str, tuple[Attribution, Plain]]:
    """Our method and captum's, called for one image and its target."""
    saliency, integrated = captum.attr.Saliency(model), captum.attr.IntegratedGradients(model)
    grad_cam = captum.attr.LayerGradCam(model, model.network.get_submodule(layer))
    occlusion = captum.attr.Occlusion(model)

    def enlarged(image: Tensor, target: int) -> Tensor:
        cam = grad_cam.attribute(image, target)
        return captum.attr.LayerAttribution.interpolate(cam, tuple(image.shape[2:]), "bilinear")

    def hidden(image: Tensor, target: int) -> Tensor:
        return occlusion.attribute(image, (3, window, window), (3, stride, stride), target=target)

    return {
        "saliency": (Saliency(), lambda image, target: saliency.attribute(image.requires_grad_(), target)),
        f"integrated gradients, {steps} steps": (
            IntegratedGradients(steps, most_steps=steps),
            lambda image, target: integrated.attribute(image, target=target, n_steps=steps),
        ),
        f"Grad-CAM, {layer}": (GradCam(layer), enlarged),
        f"occlusion, windows {window}/{stride}": (Occlusion(window, stride), hidden),
    }


def together(model: VisionModel, method: Attribution, images: Tensor, targets: list[int]) -> None:
    method(model, Logit(tuple(targets)), images)


def one_by_one(plain: Plain, images: Tensor, targets: list[int]) -> None:
    for image, target in zip(images.split(1), targets, strict=True):
        plain(image.clone(), target)


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--images", type=int, default=16)
    made.add_argument("--size", type=int, default=224)
    made.add_argument("--layer", default="features.12")
    made.add_argument("--steps", type=int, default=50)
    made.add_argument("--window", type=int, default=32)
    made.add_argument("--stride", type=int, default=16)
    made.add_argument("--only", nargs="+", default=[""], help="methods whose names begin so")
    options = made.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load("squeezenet1_0", str(REAL) if Path(REAL).is_file() else None, device=device)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(options.images, 3, options.size, options.size, generator=generator).to(device)
    targets = [7 * place % 1000 for place in range(options.images)]
    for name, (method, plain) in methods(model, options.layer, options.steps, options.window, options.stride).items():
        if not name.startswith(tuple(options.only)):
            continue
        ours, theirs = partial(together, model, method), partial(one_by_one, plain)
        ours(images[:2], targets[:2])
        theirs(images[:1], targets[:1])
        seconds = measure.alternate(
            synchronised(partial(ours, images, targets)),
            synchronised(partial(theirs, images, targets)),
            options.repeats,
        )
        ratios = [b / a for a, b in zip(*seconds, strict=True)]
        rates = [options.images / median(times) for times in seconds]
        label = f"attribution speed, {name}, {options.images} images at {options.size} px"
        result = f"{measure.spread(ratios, 'x')}; {rates[0]:.3g} images a second, captum {rates[1]:.3g}"
        measure.report(label, result, "1 x", options.record)


def synchronised(work: Callable[[], None]) -> Callable[[], None]:
    """`work` until the device has done it."""

    def done() -> None:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return done


if __name__ == "__main__":
    main()
