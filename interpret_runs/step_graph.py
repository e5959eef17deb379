"""The optimisation step as a CUDA graph: launched at once instead of kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Plain steps before a capture, so that libraries are initialised and the optimiser has its state.
WARM_UP = 3

Results = tuple[Tensor, ...]


class StepGraph:
    """Calls `step`; once warm, replays on the GPU what it launched.

    `step` takes tensors and returns tensors, and otherwise works in place: on the same memory with the same kernels
    each time, waiting for nothing. One that cannot be captured is called as before, for good.

    What a call returns is overwritten by the next one.
    """

    def __init__(self, step: Callable[..., Results]) -> None:
        self._step = step
        self._calls: dict[Any, int] = {}
        self._captured: dict[Any, _Captured] = {}
        self.possible = True

    def __call__(self, kind: Any, *inputs: Tensor) -> Results:
        """The results of a step; steps of one `kind` launch the same kernels."""
        if kind in self._captured:
            return self._captured[kind].replay(inputs)
        self._calls[kind] = self._calls.get(kind, 0) + 1
        if self.possible and self._calls[kind] > WARM_UP:
            try:
                self._captured[kind] = _capture(self._step, inputs)
            except RuntimeError:  # by whatever waits for the GPU, or is not on it; nothing of the step has run
                self.possible = False
                torch.cuda.synchronize()
            else:
                return self._captured[kind].replay(inputs)
        return _aside(self._step, inputs) if self.possible else self._step(*inputs)


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    results: Results

    def replay(self, inputs: tuple[Tensor, ...]) -> Results:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.results


def _capture(step: Callable[..., Results], inputs: tuple[Tensor, ...]) -> _Captured:
    """Record one step without running it.

    Raises:
        RuntimeError: it does what a graph cannot hold.
    """
    graph, own = torch.cuda.CUDAGraph(), tuple(one.clone() for one in inputs)
    # Threads that write pictures meanwhile may use the GPU.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = step(*own)
    return _Captured(graph, own, results)


def _aside(step: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    """A step on a stream of its own, as what is captured later will be."""
    stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        results = step(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return results
