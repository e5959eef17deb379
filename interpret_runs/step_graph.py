"""The optimisation step as a CUDA graph: launched at once instead of kernel by kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Plain steps before a capture, so that libraries are initialised and the optimiser has its state.
WARM_UP = 3

Results = tuple[Tensor, ...]


class StepGraph:
    """Makes the steps of an optimisation; once warm, replays on the GPU what one of them launched.

    A step takes tensors and returns tensors, and otherwise works in place: on the same memory with the same kernels
    each time, waiting for nothing. One that cannot be captured is made as it is, for good, with a warning.

    What a call returns is overwritten by the next one.
    """

    def __init__(self, device: torch.device) -> None:
        # One for all, as memory is kept by stream.
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._calls: dict[Hashable, int] = {}
        self._captured: dict[Hashable, _Captured] = {}
        self.possible = True

    def __call__(self, kind: Hashable, step: Callable[..., Results], *inputs: Tensor) -> Results:
        """The results of ``step(*inputs)``; steps of one `kind` launch the same kernels."""
        with torch.cuda.device(self._stream.device):
            if kind not in self._captured:
                self._calls[kind] = self._calls.get(kind, 0) + 1
                if self.possible and self._calls[kind] > WARM_UP:
                    self._try(kind, step, inputs)
            if kind in self._captured:
                return self._captured[kind].replay(inputs)
            return self._aside(step, inputs) if self.possible else step(*inputs)

    def _try(self, kind: Hashable, step: Callable[..., Results], inputs: tuple[Tensor, ...]) -> None:
        try:
            self._captured[kind] = self._capture(step, inputs)
        except RuntimeError as error:  # by whatever waits for the GPU, or is not on it; nothing of the step has run
            self.possible = False
            torch.cuda.synchronize()
            reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"compute.cuda_graphs: steps are launched one by one, as {reason}", stacklevel=3)

    def _capture(self, step: Callable[..., Results], inputs: tuple[Tensor, ...]) -> _Captured:
        """Record one step without running it.

        Raises:
            RuntimeError: it does what a graph cannot hold.
        """
        graph, own = torch.cuda.CUDAGraph(), tuple(one.clone() for one in inputs)
        # Threads that write pictures meanwhile may use the GPU.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            results = step(*own)
        return _Captured(graph, own, results)

    def _aside(self, step: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
        """A step on the stream on which it will be captured."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            results = step(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return results


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
