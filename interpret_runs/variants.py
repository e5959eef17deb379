"""What a network says of many variants of each image, asked in pieces that fit into memory.

Sampled gradients, integrals along a line, random masks and sliding windows are all of this kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from interpret_runs import memory
from interpret_runs.attribution import scores
from interpret_runs.objective import Objective

# Larger pieces save nothing: on a CPU the caches are full, on a GPU the kernels.
AT_ONCE = 32
AT_ONCE_GPU = 128
# Bytes of a piece on a CPU, where large tensors cost: each is mapped afresh, page by page, and no cache holds it.
# Gradients of SqueezeNet at 224 px take up to a third longer by 8 than by 4, forward passes a tenth less.
ROOM_ON_CPU = 200 * 2**20
COPIES = 8  # numbers held for each number of a variant: itself, its gradient, what it is made from

Make = Callable[[Tensor, Tensor], Tensor]
Answer = Callable[[Tensor, Tensor], Tensor]
Take = Callable[[Tensor, Tensor, Tensor], None]


def fitting(model: nn.Module, layers: Collection[str], images: Tensor) -> int:
    """How many images of this size to show `model` at once; it is differentiated up to `layers`.

    A network that cannot be traced without data is shown the most, and less once memory has run out; see
    `in_pieces`.
    """
    on_cpu = images.device.type == "cpu"
    most = AT_ONCE if on_cpu else AT_ONCE_GPU
    try:
        each = memory.bytes_per_image(model, layers, (images.shape[2], images.shape[3]), COPIES)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return most
    room = memory.available(images.device)
    room = min(room, ROOM_ON_CPU) if on_cpu else room
    return max(1, min(most, room // max(1, each)))


def in_pieces(total: int, work: Callable[[int, int], None], at_once: int) -> None:
    """Call ``work(start, stop)`` over all of ``range(total)``, in order, at most `at_once` at a time.

    Where memory runs out the pieces become half as large, and stay so; `work` must change nothing before it has what
    it needs.

    Raises:
        torch.OutOfMemoryError: not even one fits (on the CPU torch raises RuntimeError, Python MemoryError).
    """
    start = 0
    while start < total:
        stop = min(start + at_once, total)
        try:
            work(start, stop)
        except (RuntimeError, MemoryError) as error:
            if stop - start == 1 or not memory.ran_out(error):
                raise
            at_once = (stop - start) // 2
        else:
            start = stop


def over_variants(
    count: int, rows: Tensor, make: Make, answer: Answer, take: Take, at_once: int, numbers: Tensor | None = None
) -> None:
    """Ask about `count` variants of each image, image by image, and hand over the answers.

    Args:
        count: variants of an image, numbered from 0.
        rows: the unit of each image, (B,).
        make: from the places of images and the numbers of variants, (n,) each, the variants, (n, 3, H, W).
        answer: what is asked of variants and their rows, first axis n.
        take: gets places, numbers and answers; sums them up, usually.
        at_once: variants asked about at once; see `fitting`.
        numbers: of the variants, where they are not ``range(count)``.
    """

    def work(start: int, stop: int) -> None:
        index = torch.arange(start, stop, device=rows.device)
        places, number = index // count, index % count
        if numbers is not None:
            number = numbers[number]
        take(places, number, answer(make(places, number), rows[places]))

    in_pieces(len(rows) * count, work, at_once)


def scores_of(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor, count: int, make: Make) -> Tensor:
    """The scores of `count` variants of each image, (B, count), without a graph, in the dtype of `images`.

    `make` is that of `over_variants`.
    """
    found = images.new_empty(len(rows), count)

    def answer(made: Tensor, their: Tensor) -> Tensor:
        return scores(model, objective, made, their).to(images.dtype)

    def take(places: Tensor, numbers: Tensor, answers: Tensor) -> None:
        found[places, numbers] = answers

    over_variants(count, rows, make, answer, take, fitting(model, objective.layers, images))
    return found


def add_up(total: Tensor, places: Tensor, values: Tensor) -> None:
    """Add each of `values`, first axis n, to its place in `total`; equal places, (n,), stand together.

    In a fixed order on every device, which ``index_add_`` is not on a GPU.
    """
    counts = Counter(places.tolist())  # the one point at which a piece waits for a GPU
    # All of it before any is added: where memory runs out here, the piece comes again.
    parts = [part.sum(0) for part in torch.split(values, list(counts.values()))]
    for place, part in zip(counts, parts, strict=True):
        total[place] += part
