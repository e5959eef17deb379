"""Hydra's sweeper and launcher of this project, registered on import. Imports no torch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from interpret_runs.runner.backend import Backend, Here, Jobs
from interpret_runs.runner.pool import Pool
from interpret_runs.runner.slots import named, workers_of
from interpret_runs.runner.slurm import SlurmLauncher

HOME = "hydra_plugins.interpret_runs"


class GridSweeper(Sweeper):
    """Plans every grid point first, then launches batches: see `interpret_runs.runner.sweep`."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from interpret_runs.runner.compose import resolved
        from interpret_runs.runner.expansion import Expansion
        from interpret_runs.runner.layers import is_table, show_tables
        from interpret_runs.runner.store_tasks import do_store_task, is_store_task
        from interpret_runs.runner.sweep import sweep

        assert self.hydra_context is not None and self.config is not None and self.launcher is not None
        loader, launcher = self.hydra_context.config_loader, self.launcher
        settings = resolved(self.config)
        expansion = Expansion.of(arguments, self.config, loader)
        if is_table(expansion.points[0].config):
            return show_tables(point.config for point in expansion.points)
        if is_store_task(expansion.points[0].config):
            return do_store_task(expansion.points[0].config)
        runs, removed = expansion.close()

        def launch(batches: list[list[str]]) -> list[str]:
            jobs = launcher.launch(batches, initial_job_idx=0)
            return [str(job._return_value) for job in jobs if job.status == JobStatus.FAILED]

        return sweep(runs, settings, lambda: _backend(launcher, launch, settings["compute"]), expansion.notes(removed))


def _backend(launcher: Launcher, launch: Callable[[list[list[str]]], list[str]], compute: Mapping[str, Any]) -> Backend:
    """Worker processes for this project's launcher, which is the usual one; else the jobs of another."""
    devices, workers = named(compute["device"]), workers_of(compute["per_device"])
    if isinstance(launcher, PoolLauncher) and workers:
        return Pool(compute["device"], workers, compute["time_limit"])
    if len(devices) > 1:
        raise ValueError(f"compute.device={compute['device']} needs compute.per_device=1 and hydra/launcher=pool")
    return Here(devices[0]) if isinstance(launcher, PoolLauncher) else Jobs(launch, devices[0])


class PoolLauncher(Launcher):
    """Stands for a pool of worker processes; jobs that are no batches run one after the other in this process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = str(number)
                config.hydra.job.num = number
            returns.append(
                run_job(
                    hydra_context=self.context,
                    task_function=self.task_function,
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
        return returns


def register() -> None:
    """Make both known to Hydra under `HOME`, the only place from which it takes plugins."""
    if HOME in sys.modules:
        return
    try:
        parent = import_module("hydra_plugins")  # where other plugins are installed, Hydra finds them there
    except ModuleNotFoundError:
        parent = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        parent.__path__ = []
    home = ModuleType(HOME)
    for plugin in (GridSweeper, PoolLauncher, SlurmLauncher):
        plugin.__module__ = HOME
        setattr(home, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
    sys.modules[HOME] = home
    parent.interpret_runs = home  # type: ignore[attr-defined]


register()
