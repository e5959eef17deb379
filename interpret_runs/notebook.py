"""Visualisation and attribution of anyone's network in one line each: with short spellings, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from interpret_runs import visualisation
from interpret_runs.activations import capture
from interpret_runs.attribution import Attribution
from interpret_runs.explanation import Explanation
from interpret_runs.images import Picture
from interpret_runs.models import VisionModel, wrap
from interpret_runs.objective import Objective
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.progress_bar import bar
from interpret_runs.rendering import Rendering
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen, score
from interpret_runs.size import Size
from interpret_runs.spellings import Asked, Shown, method_of, name_of, objective_of, pictures_of, size_of, unit_of
from interpret_runs.summary import OUTPUT
from interpret_runs.transform import Transform
from interpret_runs.visualised import Visualisation

Progress = Callable[[int], None] | bool | None
# So many images are explained between two moves of the bar.
TOGETHER = 8


def visualise(
    model: nn.Module,
    objective: Asked,
    parameterisation: Parameterisation | None = None,
    transform: Transform | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = visualisation.ADAM,
    schedule: Schedule | None = None,
    progress: Progress = True,
    lr_scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    render_size: Size | None = None,
) -> Visualisation:
    """`visualisation.visualise` of any network, which is left as it was found.

    Args:
        model: a `VisionModel`, or any network, which then sees RGB in [0, 1]; see `wrap`.
        objective: an Objective, ``"LAYER:CHANNEL"``, or a class as its index or label.
        parameterisation, transform, optimizer, schedule, lr_scheduler, render_size: as there.
        progress: whether a bar is shown, in notebooks and terminals; or called with the steps done.

    Raises:
        LookupError, TypeError, ValueError: the objective or a setting does not fit the network.
    """
    model = _model(model, None if parameterisation is None else parameterisation.size)
    asked, schedule = objective_of(objective, model.summary), schedule or Schedule()
    with _told(progress, "visualising", schedule.steps) as told:
        return visualisation.visualise(
            model, asked, parameterisation, transform, optimizer, schedule, told, lr_scheduler, render_size
        )


def attribute(
    model: nn.Module,
    objective: Asked,
    image: Shown,
    method: Attribution | str,
    progress: Progress = True,
    rendering: Rendering | None = None,
) -> Explanation:
    """Which pixels of an image, or of several, drive an objective; the network is left as it was found.

    Args:
        model, objective: as for `visualise`; ``"top1"`` is the class that the network ranks first for each image, and
            ``"label"`` that of a `Picture`'s label.
        image: a tensor (3, H, W) or (B, 3, H, W) in [0, 1]; or a Pillow image or the path of one, resized and cropped
            to the network's size; or a `Picture` or an `ImageSet`.
        method: an Attribution, or a name such as ``"grad_cam"``. A name takes the method's own defaults, and the last
            layer with a grid where it needs one.
        progress: whether a bar is shown, in notebooks and terminals; or called with the images done.
        rendering: how the maps are drawn.

    Raises:
        LookupError, TypeError, ValueError, OSError: the network, objective, image or method does not fit the others.
    """
    model = _model(model, size_of(image))
    asked = objective_of(objective, model.summary)
    pictures = pictures_of(image, model.preprocessing)
    images = torch.stack([picture.pixels for picture in pictures]).to(model.mean)
    rows = torch.arange(len(images), device=images.device)
    with _accepted(model, images), frozen(model), torch.no_grad():
        exact = _for_images(model, asked, images, pictures)
        scores = score(model, exact, images, rows)
    made = method_of(method, model, exact, images[:1])
    made.check(model, exact, images[:1])
    pieces = []
    with _told(progress, "explaining", len(images)) as told:
        for start in range(0, len(rows), TOGETHER):
            part = slice(start, start + TOGETHER)
            pieces.append(made(model, exact, images[part], rows[part]).cpu())
            if told:
                told(min(part.stop, len(rows)))
    maps, name = torch.cat(pieces), name_of(type(made))
    if not maps.isfinite().all():
        raise ValueError(f"{name} gives values that are not finite; the score is {scores.tolist()}")
    units = tuple(unit_of(exact, place, model.summary) for place in range(len(images)))
    return Explanation(maps, scores.cpu(), tuple(pictures), units, exact, made, name, rendering or Rendering())


def _model(model: nn.Module, size: tuple[int, int] | None) -> VisionModel:
    if isinstance(model, VisionModel):
        return model
    return wrap(model) if size is None else wrap(model, input_size=size)


def _told(progress: Progress, text: str, total: int) -> AbstractContextManager[Callable[[int], None] | None]:
    if progress is True:
        return bar(text, total)
    return nullcontext(progress or None)


@contextmanager
def _accepted(model: VisionModel, images: Tensor) -> Iterator[None]:
    """A network's refusal of images as one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:
        reason, (height, width) = str(error).partition("\n")[0], images.shape[2:]
        raise ValueError(
            f"{model.name} refuses images of {height}x{width}: {reason}; resize them to {model.preprocessing.size}"
        ) from error


def _for_images(model: VisionModel, objective: Objective, images: Tensor, pictures: list[Picture]) -> Objective:
    """The objective with the classes that each image brings."""
    if not objective.needs_output:
        return objective
    labels = [one.class_index(model.summary) if objective.needs_label else None for one in pictures]
    with capture(model, [OUTPUT]) as forward:
        return objective.for_images(forward(images)[OUTPUT], labels)
