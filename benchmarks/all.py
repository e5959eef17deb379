"""Every benchmark, one after the other, each in a process of its own with the environment of a worker of the runner.

A scenario that fails does not keep the others from running; the exit status tells, and its name stands at the end.
Beside what each prints, the seconds that it took and the most memory that it, or a process of its own, has held.
"""

import argparse
import ast
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import measure

from interpret_runs.runner.worker import KEPT_MEMORY

SCENARIOS = {
    "loop_16": "loop_overhead.py --images 16",
    # Half precision is compared above; a CPU without instructions for it takes four times as long.
    "loop_64": "loop_overhead.py --images 64 --precisions float32",
    "loop_vgg16": "loop_overhead.py --network vgg16 --images 4 --steps 16 --precisions float32",
    "loop_resnet50": "loop_overhead.py --network resnet50 --images 4 --steps 16 --precisions float32",
    "loop_vit_b_16": "loop_overhead.py --network vit_b_16 --images 2 --steps 8 --precisions float32",
    "plain_loop": "against_plain_loop.py",
    "logits": "recipes.py logits",
    "maco": "recipes.py maco",
    "cppn": "recipes.py cppn",
    "dream": "recipes.py dream",
    "saliency": "attribution_speed.py --only saliency",
    "integrated_gradients": "attribution_speed.py --only integrated",
    "grad_cam": "attribution_speed.py --only Grad-CAM",
    "occlusion": "attribution_speed.py --only occlusion",
    "rise": "rise_overhead.py",
    "cams": "cam_pass.py",
    "survey": "survey.py",
    "planning": "planning.py",
    "start_up": "start_up.py",
    "index": "index.py",
    "overhead": "overhead.py",
    "input_output": "input_output.py",
    "gallery": "gallery.py",
}
# What makes a script so small that it only shows that it runs.
QUICK = {
    "loop_overhead.py": "--images 2 --size 64 --steps 2 --layers early late --precisions float32",
    "against_plain_loop.py": "--images 4 --plain-images 2 --size 64 --steps 4 --most 16 --layers features.3",
    "recipes.py": "--images 1 --size 96 --steps 2",
    "attribution_speed.py": "--images 2 --few-images 1 --size 96 --steps 4",
    "rise_overhead.py": "--images 1 --size 96 --samples 50",
    "cam_pass.py": "--images 2 --size 96",
    "survey.py": "--images 64",
    "index.py": "--records 500",
    "overhead.py": "--runs 32",
    "input_output.py": "--images 4 --steps 4",
    "gallery.py": "--runs 50",
}


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended; memory in MiB."""

    scenario: str
    status: int
    seconds: float
    memory: float


def purpose(scenario: str) -> str:
    """What a scenario's script says of itself, with its arguments."""
    script, *arguments = SCENARIOS[scenario].split(maxsplit=1)
    text = ast.get_docstring(ast.parse((Path(__file__).parent / script).read_text(encoding="utf-8"))) or ""
    return f"{text.splitlines()[0]} ({' '.join([script, *arguments])})"


def run(scenario: str, extra: list[str]) -> Outcome:
    script, *arguments = shlex.split(SCENARIOS[scenario])
    command = [sys.executable, str(Path(__file__).parent / script), *arguments, *extra]
    started = perf_counter()
    process = subprocess.Popen(command, env={"GLIBC_TUNABLES": KEPT_MEMORY, **os.environ})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(scenario, process.returncode, perf_counter() - started, usage.ru_maxrss / 1024)


def main() -> None:
    made = measure.parser(__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.epilog = "scenarios:\n" + "\n".join(f"  {name:21} {purpose(name)}" for name in SCENARIOS)
    made.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help="scenarios, named below")
    made.add_argument("--quick", action="store_true", help="tiny sizes, once: only whether all of them run")
    options = made.parse_args()
    if options.quick and options.record:
        made.error("--quick measures nothing worth --record")
    outcomes = []
    for scenario in options.only or SCENARIOS:
        print(f"\n{scenario}", flush=True)
        small = shlex.split(QUICK.get(SCENARIOS[scenario].split()[0], "")) if options.quick else []
        repeats = 1 if options.quick else options.repeats
        outcomes.append(run(scenario, [*small, f"--repeats={repeats}", *["--record"] * options.record]))
    print()
    for one in outcomes:  # here, as it loads torch, and a process starts with the memory of the one that started it
        ended = "" if one.status == 0 else f", failed with status {one.status}"
        result = f"{one.seconds:.0f} s, peak memory {one.memory:.0f} MiB{ended}"
        measure.report(f"scenario {one.scenario}", result, "-", options.record and not one.status)
    if failed := [one.scenario for one in outcomes if one.status]:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
