"""Hydra's launcher that executes the batches of a sweep as jobs of SLURM, through submitit. Imports no torch."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.progress import say
from interpret_runs.runner.slurm_job import Batch, Batches
from interpret_runs.runner.slurm_queue import Submitted, arrays, max_array, shown
from interpret_runs.runner.slurm_wait import Wait
from interpret_runs.runner.store import Store, read_lines


class SlurmLauncher(Launcher):
    """One array of jobs, or several where SLURM limits their size; one process and one device a job.

    Runs that a job of an earlier command will execute are not submitted again, but waited for. With
    ``sweep.wait=false`` nothing is waited for; the same command does it later.

    Args:
        partition, gpus_per_node, cpus_per_task, mem_gb, timeout_min: what a job gets; None is the cluster's default.
        array_parallelism: the most jobs at once.
        batches_per_job: how many batches a job executes, one after the other.
        max_num_timeout: how often a job that runs out of time is requeued. It then does what is left; a batch
            that is longer than a job can never be done.
        signal_delay_s: seconds before the end of its time at which a job stops.
        setup: lines of shell before Python starts.
        additional_parameters: anything else that sbatch takes: {account: x, qos: y}.
    """

    def __init__(
        self,
        partition: str | None = None,
        gpus_per_node: int | None = 1,
        cpus_per_task: int | None = None,
        mem_gb: float | None = None,
        timeout_min: int = 60,
        array_parallelism: int = 64,
        batches_per_job: int = 1,
        max_num_timeout: int = 3,
        signal_delay_s: int = 90,
        setup: Sequence[str] | None = None,
        additional_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.batches_per_job, self.max_num_timeout = batches_per_job, max_num_timeout
        self.parameters: dict[str, Any] = {
            "slurm_partition": partition,
            "gpus_per_node": gpus_per_node or None,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "timeout_min": timeout_min,
            "slurm_array_parallelism": array_parallelism,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_setup": [*_path(), *(setup or ())] or None,
            "slurm_additional_parameters": _plain(additional_parameters) or None,
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check what can be checked before anything is planned.

        Raises:
            ValueError: a number that cannot be.
            LookupError: SLURM or submitit is not here.
        """
        self.name, self.outputs, self.wait = str(config.name), str(config.outputs), bool(config.sweep.wait)
        given = self.parameters
        for name, value, least in (
            ("batches_per_job", self.batches_per_job, 1),
            ("max_num_timeout", self.max_num_timeout, 0),
            ("timeout_min", given["timeout_min"], 1),
            ("array_parallelism", given["slurm_array_parallelism"], 1),
            ("signal_delay_s", given["slurm_signal_delay_s"], 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"hydra.launcher.{name} is {value!r}; it is a whole number from {least} on")
        if given["slurm_signal_delay_s"] >= 60 * given["timeout_min"]:
            raise ValueError(
                f"hydra.launcher.signal_delay_s is {given['slurm_signal_delay_s']} s, of jobs of "
                f"{given['timeout_min']} min: no time would be left to work; lower it, or raise timeout_min"
            )
        if config.sweep.dry_run:
            return
        if find_spec("submitit") is None:
            raise LookupError("hydra/launcher=slurm needs submitit: pip install 'interpret-runs[slurm]'")
        if shutil.which("sbatch") is None:
            raise LookupError("there is no sbatch here: hydra/launcher=slurm is for a machine that submits to SLURM")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        batches = [_batch(overrides) for overrides in job_overrides]
        plan = Path(batches[0][0])
        store = Store.at(plan.parents[1])
        planned = str(next(read_lines(plan))["planned"])
        submitted = Submitted(store)
        jobs = _of(submitted.waiting(), batches)
        if jobs:
            say(f"{number_of(sum(map(len, jobs.values())), 'run', 'is')} in the queue already, in {_names(jobs)}")
        known = submitted.done(_ids(batches), planned).union(*jobs.values())
        jobs |= self._submit(_without(batches, known), submitted, planned)
        waiting = Wait(submitted, jobs, planned)
        try:
            if self.wait:
                waiting.until_done()
        finally:
            self._tell(waiting.left)
        return [
            _returned(overrides, ids, waiting.lost)
            for overrides, (_, ids, _) in zip(job_overrides, batches, strict=True)
        ]

    def _submit(self, batches: Sequence[Batch], submitted: Submitted, planned: str) -> dict[str, list[str]]:
        """Submit `batches`; returns the run ids of each job."""
        jobs: dict[str, list[str]] = {}
        packs = [batches[i : i + self.batches_per_job] for i in range(0, len(batches), self.batches_per_job)]
        size = max_array() if len(packs) > 1 else 1
        before: str | None = None
        for start in range(0, len(packs), size):
            part = packs[start : start + size]
            name = f"{self.name}-{Path(part[0][0][0]).stem}"
            made = dict(zip(self._sbatch(part, name, before, submitted.folder), map(_ids, part), strict=True))
            submitted.note(made, name, planned)
            before = next(iter(made)).partition("_")[0]
            jobs |= made
        if jobs:
            said = f"{number_of(len(batches), 'batch')} as {number_of(len(jobs), 'job')}"
            say(f"submitted {said}: {_names(jobs)}; their logs: {submitted.folder}")
        return jobs

    def _sbatch(self, packs: Sequence[Sequence[Batch]], name: str, before: str | None, folder: Path) -> list[str]:
        """Submit one array, to start when the job `before` has ended; returns the ids of its jobs."""
        import submitit
        from submitit.core.utils import FailedJobError

        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        # One array after the other keeps array_parallelism.
        after = {} if before is None else {"slurm_dependency": f"afterany:{before}"}
        executor.update_parameters(name=name, **self.parameters, **after)
        try:
            return [job.job_id for job in executor.map_array(Batches(), packs)]
        except FailedJobError as error:
            line = next((line for line in str(error).splitlines() if line.startswith("sbatch: ")), str(error))
            raise ValueError(f"SLURM does not take the jobs: {line.removeprefix('sbatch: error: ')}") from error

    def _tell(self, jobs: Mapping[str, Any]) -> None:
        """What becomes of jobs for which nobody waits any more, if there are any."""
        if not jobs:
            return
        chosen = [f"name={self.name}"] + ([] if self.outputs == "outputs" else [f"outputs={self.outputs}"])
        status = f"python run.py task=status {shlex.join(chosen)}"
        cancel = f"scancel {' '.join(arrays(jobs))}"
        say(
            f"still in the queue of SLURM: {_names(jobs)}; {status} shows progress, the same command waits, "
            f"{cancel} cancels"
        )


def _batch(overrides: Sequence[str]) -> Batch:
    """The plan, the run ids and the device that the override lines of one job hold."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values: dict[str, Any] = {one.key_or_group: one.value() for one in parsed}
    try:
        return str(Path(values["batch.plan"]).resolve()), list(values["batch.ids"]), str(values["compute.device"])
    except KeyError:
        raise ValueError(
            "hydra/launcher=slurm executes the batches of hydra/sweeper=grid; "
            "with another sweeper take hydra/launcher=submitit_slurm"
        ) from None


def _ids(batches: Sequence[Batch]) -> list[str]:
    return [run_id for _, ids, _ in batches for run_id in ids]


def _of(jobs: Mapping[str, Sequence[str]], batches: Sequence[Batch]) -> dict[str, list[str]]:
    """Of the runs of each of `jobs` those in `batches`; jobs without any are left out."""
    wanted = set(_ids(batches))
    mine = {job: [run_id for run_id in ids if run_id in wanted] for job, ids in jobs.items()}
    return {job: ids for job, ids in mine.items() if ids}


def _without(batches: Sequence[Batch], known: Collection[str]) -> list[Batch]:
    left = [(plan, [run_id for run_id in ids if run_id not in known], device) for plan, ids, device in batches]
    return [batch for batch in left if batch[1]]


def _returned(overrides: Sequence[str], ids: Sequence[str], lost: Mapping[str, str]) -> JobReturn:
    said = next((lost[run_id] for run_id in ids if run_id in lost), None)
    made = JobReturn(overrides=list(overrides), status=JobStatus.FAILED if said else JobStatus.COMPLETED)
    made.return_value = OSError(said) if said else None
    return made


def _path() -> list[str]:
    """The line of shell with which a checkout that is not installed is found by its jobs."""
    home = Path(__file__).resolve().parents[2]
    if "site-packages" in home.parts:
        return []
    return [f"export PYTHONPATH={shlex.quote(str(home))}${{PYTHONPATH:+:$PYTHONPATH}}"]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _names(jobs: Mapping[str, Any]) -> str:
    whole = arrays(jobs)
    return f"job{'s' if len(whole) > 1 else ''} {shown(whole)}"
