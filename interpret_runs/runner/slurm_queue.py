"""What SLURM knows of jobs, asked with its own commands; and which runs of a store its jobs will execute."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from interpret_runs.runner.store import Store, now, read_lines

# Seconds within which a command of SLURM answers, or does not.
PATIENCE = 60
# Where SLURM does not tell.
MAX_ARRAY = 1001
# Ids that one line shows.
SHOWN = 20


def is_here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("squeue") is not None


def alive(jobs: Iterable[str]) -> dict[str, str]:
    """Those of `jobs`, ids like ``12`` or ``12_3``, that wait, run or will run again, with their names.

    Raises:
        OSError: SLURM does not answer.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    lines = _ask("squeue", "--noheader", "--array", "--format=%i|%j", f"--jobs={','.join(arrays(wanted))}")
    found = dict(line.split("|", 1) for line in lines)
    return {job: found[job] for job in wanted if job in found}


def states(jobs: Iterable[str]) -> dict[str, str]:
    """``FAILED``, ``TIMEOUT`` and so on of those of `jobs` that the queue, or else accounting, remembers."""
    wanted = set(jobs)
    found: dict[str, str] = {}
    those = f"--jobs={','.join(arrays(wanted))}"
    for command in (
        ("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", those),
        (
            "sacct",
            "--noheader",
            "--allocations",
            "--parsable2",
            "--format=JobID,State",
            those,
        ),
    ):
        if wanted - found.keys():
            try:
                found = dict(line.split("|", 1) for line in _ask(*command)) | found
            except OSError:  # no accounting, or no answer: then it is not known
                continue
    return {job: found[job].split()[0] for job in wanted if job in found}


def max_array() -> int:
    """The most jobs in one array."""
    for line in _ask("scontrol", "show", "config"):
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return MAX_ARRAY


def arrays(jobs: Iterable[str]) -> list[str]:
    """The arrays of `jobs`: to name each of their jobs takes too long."""
    return sorted({job.partition("_")[0] for job in jobs}, key=lambda job: (len(job), job))


def shown(ids: Sequence[str]) -> str:
    """`ids` for people: the first ones, and how many more there are."""
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def _ask(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} does not answer within {PATIENCE} s") from error
    if done.returncode and "Invalid job id" not in done.stderr:  # all are forgotten
        raise OSError(f"{command[0]} says: {(done.stderr.strip() or 'nothing').splitlines()[0]}")
    return done.stdout.splitlines()


class Submitted:
    """The jobs that sweeps submitted for one store, kept in its folder ``logs/slurm`` beside what submitit writes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def folder(self) -> Path:
        return (self.store.root / "logs" / "slurm").resolve()

    def log_file(self, job: str) -> Path:
        return self.folder / f"{job}_0_log.err"

    def note(self, jobs: Mapping[str, Iterable[str]], name: str, planned: str) -> None:
        """Keep which runs each of `jobs`, one array or one job alone, will execute.

        Args:
            name: what SLURM calls them, as ids may come again.
            planned: runs that finish later are results of this sweep.
        """
        said = {"name": name, "planned": planned, "submitted": now(), "jobs": {job: list(jobs[job]) for job in jobs}}
        self.store.write(self.folder / f"{','.join(arrays(jobs))}.json", (json.dumps(said) + "\n").encode())

    def waiting(self) -> dict[str, list[str]]:
        """The runs that each living job has still to execute.

        Raises:
            OSError: SLURM does not answer.
        """
        noted = [note for file in sorted(self.folder.glob("*.json")) for note in read_lines(file)]
        if not noted or not is_here():
            return {}
        names = alive(job for one in noted for job in one["jobs"])
        if not names:
            return {}
        living = [(job, one) for one in noted for job in one["jobs"] if names.get(job) == one["name"]]
        left = {}
        for job, one in living:
            done = self.done(one["jobs"][job], one["planned"])
            left[job] = [run_id for run_id in one["jobs"][job] if run_id not in done]
        return left

    def done(self, run_ids: Collection[str], since: str) -> set[str]:
        """Those of the runs that ended after the time `since`, well or not."""
        return {name for name, record in self.store.newest(run_ids).items() if record["finished"] >= since}

    def queued(self) -> set[str]:
        """The runs that living jobs have still to execute; none where SLURM does not answer."""
        try:
            return {run_id for ids in self.waiting().values() for run_id in ids}
        except OSError:
            return set()
