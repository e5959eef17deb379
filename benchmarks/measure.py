"""What every benchmark shares: alternating runs, medians with their spread, a row in RESULTS.md."""

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

RESULTS = Path(__file__).parent / "RESULTS.md"
ROOT = Path(__file__).parents[1]

Function = Callable[[], object]


def parser(purpose: str) -> argparse.ArgumentParser:
    """Command line of a benchmark: how often, and whether to keep the result."""
    made = argparse.ArgumentParser(description=purpose)
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--record", action="store_true", help="append the result to RESULTS.md")
    return made


def alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of `first` and `second`, run in turns so that a busy machine slows both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for times, function in zip(seconds, (first, second), strict=True):
            times.append(seconds_of(function))
    return seconds


def seconds_of(function: Function) -> float:
    started = perf_counter()
    function()
    return perf_counter() - started


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


def _machine() -> str:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{gpu}, {platform.machine()}, {torch.get_num_threads()} threads"


def _versions() -> str:
    return f"python {platform.python_version()}, torch {version('torch')}, torchvision {version('torchvision')}"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _command() -> str:
    return f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}`".replace(" `", "`")
