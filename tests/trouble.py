"""A task whose runs do what a network in trouble does; workers find it, as they look where the tests are."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from interpret_runs.runner.objects import model_of
from interpret_runs.runner.runs import Run
from interpret_runs.runner.tasks.task import Outcome, Progress, Task, Text

# Where runs note what they do, one line each.
DIARY = "TROUBLE_DIARY"
HERE = Path(__file__).parent
# What makes a command do this instead of drawing something.
OPTION = ("--config-dir", str(HERE / "conf"), "task=trouble")


@dataclass(frozen=True)
class Trouble(Task):
    """Each run writes its channel to a file, after `seconds`, unless `deeds` names another deed for its channel."""

    deeds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    seconds: float = 0.0

    def check(self, runs: Sequence[Run], device: torch.device) -> int:
        return len(runs)

    def execute(
        self, runs: Sequence[Run], device: torch.device, text: Callable[[Run], Text], progress: Progress
    ) -> list[Outcome]:
        model_of(runs[0], device)
        return [self._outcome(run) for run in runs]

    def _outcome(self, run: Run) -> Outcome:
        channel = run.config["objective"]["channel"]
        note("run", channel)
        time.sleep(self.seconds)
        if channel in self.deeds.get("raise", ()):
            raise RuntimeError(f"channel {channel} is no good")
        if channel in self.deeds.get("kill", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        if channel in self.deeds.get("exit", ()):
            sys.exit(3)
        if channel in self.deeds.get("fork", ()):
            if os.fork() == 0:
                note("child")
                time.sleep(1000)
            os.kill(os.getpid(), signal.SIGKILL)
        if channel in self.deeds.get("hang", ()):
            time.sleep(1000)
        if channel in self.deeds.get("print", ()):
            print(f"last words of channel {channel}", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        return Outcome(float(channel), files={"values": ("values.txt", f"{channel}".encode())})


def note(*words: object) -> None:
    """A line in the diary, if one is kept: the process, then `words`."""
    if diary := os.environ.get(DIARY):
        with Path(diary).open("a") as stream:
            stream.write(" ".join(map(str, [os.getpid(), *words])) + "\n")


def network() -> torch.nn.Module:
    """A network of 100 channels that notes when it is loaded."""
    note("load")
    return torch.nn.Sequential(torch.nn.Conv2d(3, 100, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def other_network() -> torch.nn.Module:
    return network()
