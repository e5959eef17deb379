"""Hydra's sweeper and launcher of this project, registered on import. Imports no torch."""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

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
        from interpret_runs.runner.compose import Composer, resolved
        from interpret_runs.runner.grid import points
        from interpret_runs.runner.layers import is_table, show_tables
        from interpret_runs.runner.sweep import close_points, sweep

        assert self.hydra_context is not None and self.config is not None and self.launcher is not None
        loader, launcher = self.hydra_context.config_loader, self.launcher
        settings = resolved(self.config)
        params = OmegaConf.to_container(self.params) if OmegaConf.is_config(self.params) else self.params
        grid = points(arguments, params, settings["sweep"]["grids"], loader)  # type: ignore[arg-type]
        composer = Composer(loader, self.config)
        composed = [composer.compose(point) for point in grid]
        if is_table(composed[0][0]):
            return show_tables(config for config, _ in composed)
        runs = close_points(composed)

        def launch(batches: list[list[str]]) -> None:
            jobs = launcher.launch(batches, initial_job_idx=0)
            # Runs that fail have records; a job that fails has none, and launchers keep its error to themselves.
            for line in dict.fromkeys(repr(job._return_value) for job in jobs if job.status == JobStatus.FAILED):
                print(f"error: a batch could not be executed: {line}", file=sys.stderr)

        return sweep(runs, settings, launch)


class PoolLauncher(Launcher):
    """Runs batches one after the other in this process, on a warm model; one that fails does not stop the rest."""

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
    parent = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    if not hasattr(parent, "__path__"):
        parent.__path__ = []
    home = ModuleType(HOME)
    for plugin in (GridSweeper, PoolLauncher):
        plugin.__module__ = HOME
        setattr(home, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
    sys.modules[HOME] = home
    parent.interpret_runs = home  # type: ignore[attr-defined]


register()
