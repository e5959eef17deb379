"""An objective that misbehaves inside of SLURM jobs, and notes what was executed."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from interpret_runs.objectives import LayerObjective

# Set for the command, and so for its jobs: what channels do, by number; and where they note that they did.
WAYS, NOTES = "UNSTEADY_WAYS", "UNSTEADY_NOTES"


@dataclass(frozen=True)
class Unsteady(LayerObjective):
    """Mean activation of one channel, which in a job may misbehave.

    It may ``raise``, ``kill`` its process, ``wait`` for a file ``go``, or be ``late``: wait for ever unless the job
    was requeued.
    """

    units: ClassVar[tuple[str, ...]] = ("channel",)
    layer: str
    channel: int

    def score(self, activation: Tensor, rows: Tensor | None) -> Tensor:
        if "SLURM_JOB_ID" in os.environ:
            self.misbehave()
        return activation[:, self.channel].flatten(1).mean(1)

    def misbehave(self) -> None:
        notes = Path(os.environ[NOTES])
        note = notes / f"{self.channel}-{os.environ['SLURM_JOB_ID']}-{os.getpid()}"
        note.write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        match json.loads(os.environ[WAYS]).get(str(self.channel)):
            case "raise":
                raise RuntimeError("no good")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                while not (notes / "go").exists():
                    time.sleep(0.1)
            case "late":
                while os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
                    time.sleep(0.1)
