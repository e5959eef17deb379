"""What every benchmark shares: alternating runs, medians with their spread, a row in RESULTS.md."""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter
from typing import TypeVar

from interpret_runs.runner.worker import SPINS

# As the command line has it. Torch reads it when it is loaded, so this module must come first.
os.environ.setdefault("GOMP_SPINCOUNT", SPINS)

RESULTS = Path(__file__).parent / "RESULTS.md"
ROOT = Path(__file__).parents[1]

Function = Callable[[], object]
Made = TypeVar("Made")


def parser(purpose: str) -> argparse.ArgumentParser:
    """Command line of a benchmark: how often, and whether to keep the result."""
    made = argparse.ArgumentParser(description=purpose)
    made.add_argument("--repeats", type=_count, default=5, help="of each timing; 5")
    made.add_argument("--record", action="store_true", help="append the result to RESULTS.md")
    return made


def alternate(*functions: Function, repeats: int) -> list[list[float]]:
    """Seconds of each function, run in turns so that a busy machine slows all."""
    rounds = [[seconds_of(function) for function in functions] for _ in range(repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """How many times as long each run of the first took as its neighbour of the second."""
    return [a / b for a, b in zip(above, below, strict=True)]


def seconds_of(function: Function) -> float:
    return timed(function)[0]


def timed(function: Callable[[], Made]) -> tuple[float, Made]:
    """Seconds until a function and all that it left to a GPU is done, and what it returned."""
    _wait()
    started = perf_counter()
    made = function()
    _wait()
    return perf_counter() - started, made


def peak_memory() -> str:
    """The most memory that this process has held so far: of the machine and, where there is one, of the GPU."""
    host = f"{getrusage(RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return host
    return f"{host}, GPU {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB"


def command(*arguments: str, cwd: Path | None = None) -> float:
    """Seconds that a command takes as a process of its own."""
    return seconds_of(lambda: subprocess.run([sys.executable, *arguments], cwd=cwd, check=True, capture_output=True))


def spread(times: Sequence[float], unit: str = "s") -> str:
    """Median with smallest and largest."""
    return f"{median(times):.3g} {unit} ({min(times):.3g} to {max(times):.3g}, n={len(times)})"


def report(name: str, result: str, bar: str, record: bool) -> None:
    """Print one result beside its bar, and keep it with where, when and how it was measured."""
    print(f"{name}: {result}; bar: {bar}")
    if record:
        row = [name, result, bar, _machine(), _versions(), f"{datetime.now(UTC):%Y-%m-%d}", _commit(), _command()]
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n")


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{count} is not a number of timings; give 1 or more")
    return count


def _wait() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _machine() -> str:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    tuned = os.environ.get("GLIBC_TUNABLES")
    return f"{gpu}, {platform.machine()}, {torch.get_num_threads()} threads" + (f", {tuned}" if tuned else "")


def _versions() -> str:
    return f"python {platform.python_version()}, torch {version('torch')}, torchvision {version('torchvision')}"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _command() -> str:
    return f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}`".replace(" `", "`")
