"""Which pixels each position of a layer can see: measured, so exact for any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from interpret_runs.activations import capture
from interpret_runs.models import VisionModel
from interpret_runs.scoring import frozen
from interpret_runs.size import Size, height_and_width

Box = tuple[int, int, int, int]

BATCH = 16

_known: WeakKeyDictionary[nn.Module, dict[tuple[str, int, int], ReceptiveFields]] = WeakKeyDictionary()


@dataclass(frozen=True)
class ReceptiveFields:
    """The receptive fields of one layer, in images of one size.

    Attributes:
        layer: its dotted name.
        boxes: (H, W, 4) integers on the CPU: for each position of the layer's grid the smallest box round all pixels
            that it depends on, (top, left, bottom, right) in pixels, `bottom` and `right` exclusive.
    """

    layer: str
    boxes: Tensor

    def box(self, row: int, column: int) -> Box:
        """(top, left, bottom, right) of one position; all 0 where it sees no pixel, only padding.

        Raises:
            LookupError: no such position.
        """
        height, width = self.boxes.shape[:2]
        if not (0 <= row < height and 0 <= column < width):
            raise LookupError(
                f"position ({row}, {column}) is out of range: layer {self.layer!r} has {height} rows "
                f"and {width} columns, counted from 0"
            )
        top, left, bottom, right = self.boxes[row, column].tolist()
        return top, left, bottom, right


def receptive_fields(model: VisionModel, layer: str, size: Size) -> ReceptiveFields:
    """The receptive fields of `layer` in images of `size`, measured once per model, layer and size.

    Pixels become NaN, which arithmetic hands on: a position that turns NaN depends on one of them. A pixel
    that enters with weight 0 counts as well; attention and squeeze-excitation see the whole image. The model
    is left as it was found.

    Raises:
        LookupError: no such layer, or one that cannot be read; see `capture`.
        RuntimeError: the network refuses images of this size.
    """
    height, width = height_and_width(size)
    path = model.summary.layer(layer).path
    known = _known.setdefault(model, {})
    if (path, height, width) not in known:
        known[path, height, width] = ReceptiveFields(path, _boxes(model, path, height, width))
    return known[path, height, width]


def _boxes(model: VisionModel, layer: str, height: int, width: int) -> Tensor:
    grey = torch.full((1, 3, height, width), 0.5, device=model.mean.device, dtype=model.mean.dtype)
    with torch.no_grad(), frozen(model), _without_tiles(), capture(model, [layer]) as forward:

        def distance(axis: int, backwards: bool) -> Tensor:
            """Of each position's field from the image's first edge, or the last, along an axis."""
            length = grey.shape[axis]

            def touched(counts: list[int]) -> Tensor:
                lines = torch.arange(length) < torch.tensor(counts)[:, None]
                lines = lines.flip(1) if backwards else lines
                masks = lines[:, None, :, None] if axis == 2 else lines[:, None, None]
                return forward(grey.masked_fill(masks.to(grey.device), torch.nan)).grid(layer).isnan().any(1).cpu()

            return _untouched(touched, length)

        top, left = distance(2, False), distance(3, False)
        bottom, right = height - distance(2, True), width - distance(3, True)
    return torch.stack([top, left, bottom, right], -1) * (top < bottom)[..., None]


def _untouched(touched: Callable[[list[int]], Tensor], length: int) -> Tensor:
    """For each position how many lines of pixels go before the first that it sees, (H, W); `length` if it sees none.

    ``touched(counts)``, (n, H, W), tells which positions see one of the first ``counts[i]`` lines. These
    grow with the count, so nothing needs to be asked between two counts with the same answer.
    """
    last = touched([length])[0]
    answers = {0: torch.zeros_like(last), length: last}
    intervals = [(0, length)]
    while intervals:
        intervals = [(low, high) for low, high in intervals if high - low > 1 and not answers[low].equal(answers[high])]
        middles = [(low + high) // 2 for low, high in intervals]
        for start in range(0, len(middles), BATCH):
            asked = middles[start : start + BATCH]
            answers.update(zip(asked, touched(asked), strict=True))
        halves = zip(intervals, middles, strict=True)
        intervals = [half for (low, high), middle in halves for half in ((low, middle), (middle, high))]
    first = torch.zeros(last.shape, dtype=torch.long)
    for count, answer in answers.items():
        first = first.maximum(count * ~answer)
    return first


@contextmanager
def _without_tiles() -> Iterator[None]:
    """No convolution by Winograd or Fourier transforms, which spread NaN over tiles of their output."""
    with torch.backends.cudnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        yield
