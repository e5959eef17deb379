"""What is found wrong before anything of a batch is computed or written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from hydra.errors import InstantiationException
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from interpret_runs.activations import capture
from interpret_runs.comparisons import Interpolation, RunObjective
from interpret_runs.images import ImageSet
from interpret_runs.look import Look
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objective import Objective
from interpret_runs.optimisers import started
from interpret_runs.runner.build import build
from interpret_runs.runner.runs import Run
from interpret_runs.scoring import frozen, score
from interpret_runs.size import Size, height_and_width
from interpret_runs.summary import OPACITY, PIXELS
from interpret_runs.transform import Transform

# What constructors and steps of optimisers and schedules raise where a setting is wrong.
WRONG_SETTING = (TypeError, ValueError, AttributeError, ArithmeticError, InstantiationException)


@contextmanager
def refused(model: VisionModel, size: tuple[int, int]) -> Iterator[None]:
    """Say of what torch or a network says about shapes which images it is about."""
    try:
        yield
    except (torch.OutOfMemoryError, NotImplementedError):
        raise
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0].rstrip(".!") if str(error) else type(error).__name__
        height, width = model.preprocessing.size
        own = str(height) if height == width else f"[{height},{width}]"
        way_out = f"transform.size={own} shows it images of its own size"
        raise ValueError(f"{model.name} refuses images of {size[0]}x{size[1]}: {line}; {way_out}") from error


def try_score(model: VisionModel, objective: Objective, image: Tensor) -> None:
    """Score one image, so that what does not fit the network fails before anything is written."""
    with frozen(model), torch.no_grad():
        value = score(model, objective, image)
    require_finite(value)


def try_look(
    model: VisionModel,
    objective: Objective,
    transform: Transform,
    images: Tensor,
    seed: int,
    seen: tuple[int, int],
    opacity: Tensor | None = None,
) -> None:
    """Score the images of one run through a transform, after which the network sees images of the size `seen`."""
    count = len(images)
    parameters = transform.draw(1, [seed], count)[0].to(images.device)
    rows = torch.zeros(count, dtype=torch.long, device=images.device)
    layers = objective.layers - {PIXELS, OPACITY}
    with torch.no_grad(), frozen(model), capture(model, layers) as forward, refused(model, seen):
        require_finite(Look(forward, objective, transform, rows, count)(images, parameters, opacity=opacity))


def require_finite(value: Tensor) -> None:
    if not value.isfinite().all():
        numbers = value.flatten().tolist()
        raise ValueError(f"the score of a plain image is {numbers[0]}: a setting of model or transform is not finite")


def require_whole(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value!r}; it must be a whole number from 1 on")


def require_size(key: str, size: Size) -> None:
    try:
        height_and_width(size)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def require_one_image(objective: Objective, where: str) -> None:
    """Refuse what compares the images of a run, where each image is by itself; `where` says so, and what to do."""
    if isinstance(objective, (RunObjective, Interpolation)):
        name = type(objective).__name__.lower()
        raise ValueError(f"{name} compares the images of a run, but {where}")
    for part in objective.parts:
        require_one_image(part, where)


def require_readable(data: ImageSet) -> None:
    """Refuse a set of which no image can be read; what is damaged beside others is skipped later.

    Raises:
        OSError, LookupError, ValueError: no image, or what is wrong with the first.
    """
    first: Exception | None = None
    items = data.items()
    for item in items:
        try:
            item(Preprocessing((8, 8), 8))
        except (OSError, LookupError, ValueError) as error:
            first = first or error
        else:
            return
    raise ValueError(f"none of the {len(items)} images can be read; the first: {first}") from first


def try_optimizer(run: Run, parameters: Iterable[nn.Parameter], steps: int) -> None:
    """Step optimiser and schedule, without gradients, as their settings may be wrong only then."""
    with _blamed("optimizer"):
        optimizer = started(build(run.config["optimizer"]), parameters)
    way_out = "; check its settings, or take lr_scheduler=constant"
    with _blamed("lr_scheduler", way_out):
        settings = run.config.get("lr_scheduler")
        rates: LRScheduler | None = None if settings is None else build(settings)(optimizer)
    with _blamed("optimizer"):
        optimizer.step()
    with _blamed("lr_scheduler", way_out):
        for _ in range(steps):
            if rates is not None:
                rates.step()


@contextmanager
def _blamed(group: str, way_out: str = "") -> Iterator[None]:
    """Say of a wrong setting in which group it stands."""
    try:
        yield
    except WRONG_SETTING as error:
        lines = str(error.__cause__ or error).splitlines()
        raise ValueError(f"{group}: {lines[0] if lines else type(error).__name__}{way_out}") from error
