"""What the photographs of a set have in common, for parameterisations to start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from interpret_runs.image_sets import loaded
from interpret_runs.image_statistics import ImageStatistics
from interpret_runs.images import ImageSet
from interpret_runs.models import Preprocessing
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.checks import require_readable, require_size
from interpret_runs.runner.tasks.task import Filing, Outcome, Progress, Task, picture
from interpret_runs.size import Size, height_and_width

# Pictures that are decoded while one is counted.
AHEAD = 8


@dataclass(frozen=True)
class Statistics(Task):
    """Estimate colour correlation and spectrum of a set of photographs, cropped to `size`; see `ImageStatistics`.

    The file is what ``parameterisation.statistics=`` takes.
    """

    data: ImageSet
    size: Size = 224

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        require_size("task.size", self.size)
        require_readable(self.data)
        return 1

    def execute(self, runs: Sequence[Run], device: torch.device, filing: Filing, progress: Progress) -> list[Outcome]:
        pictures = _Pictures(self.data.items(), height_and_width(self.size), progress)
        found = ImageStatistics.estimate(pictures)
        files = {
            "statistics": ("statistics.safetensors", found.to_bytes()),
            "image": ("image.png", picture(_drawn(found)[None], filing.text(runs[0]))),
        }
        skipped = len(pictures.skipped)
        return [Outcome(None, {"pictures": len(pictures.items) - skipped, "pictures_skipped": skipped}, files)]


@dataclass
class _Pictures:
    """The pictures of a set at one size, read anew each time that they are gone through, which is twice.

    Those that cannot be read are `skipped`, by place.
    """

    items: Sequence[ImageSet]
    size: tuple[int, int]
    progress: Progress
    read: int = 0
    skipped: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[Tensor]:
        for place, loading in enumerate(loaded(self.items, Preprocessing(self.size, min(self.size)), AHEAD)):
            try:
                pixels = loading.result().pixels
            except (OSError, LookupError, ValueError):
                self.skipped.add(place)
            else:
                yield pixels
            self.read += 1
            self.progress(self.read / (2 * len(self.items)))


def _drawn(found: ImageStatistics) -> Tensor:
    """The spectrum as a picture, (3, h, w), zero frequency in the middle of the left side, logarithmic."""
    if found.magnitude is None:
        raise ValueError("these statistics have no spectrum")
    levels = torch.fft.fftshift(found.magnitude, 1).clamp(min=1e-12).log()
    drawn: Tensor = (levels - levels.min()) / (levels.max() - levels.min()).clamp(min=1e-12)
    return drawn
