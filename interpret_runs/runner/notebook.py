"""Sweeps from Python: for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def sweep(overrides: Sequence[str] | str, *, config_dir: str | Path | None = None) -> pd.DataFrame:
    """Do what ``python run.py -m`` does with `overrides`, and return the rows of its runs in the index, in order.

    Same plan, store and messages; what is done already is not done again. Runs that failed are rows too, whose
    `status` and `error` tell. With ``sweep.dry_run=true`` the rows are those of runs that were done before.

    Args:
        overrides: as on the command line, in a list or one a line: ``["objective.channel=range(0,8)", "layer=late"]``.
        config_dir: a folder with options of one's own, as ``--config-dir``.

    Raises:
        ValueError: a setting is wrong; the text is the line that the command line would print.
        LookupError, OSError: the same, of what is not there or cannot be written.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from interpret_runs.runner.deferral import deferred
    from interpret_runs.runner.errors import one_line

    lines = overrides.split("\n") if isinstance(overrides, str) else list(overrides)
    lines = [line.strip() for line in lines if line.strip()]
    try:
        try:
            return _rows(lines, config_dir)
        except HydraException as error:
            later = deferred(error, lines)
            if later is None:
                raise
        return _rows(later, config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, lines)) from error


def _rows(overrides: list[str], config_dir: str | Path | None) -> pd.DataFrame:
    """The index of a sweep's runs, once it has ended."""
    import pandas as pd
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from interpret_runs.runner.index import load_index
    from interpret_runs.runner.results import RunsFailedError
    from interpret_runs.runner.store import Store

    before = HydraConfig.instance().cfg
    search = [] if config_dir is None else [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"]
    with initialize_config_module("interpret_runs.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides=[*search, *overrides], run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        try:
            ids: Sequence[str] | None = _sweeper(loader, config).sweep(list(config.hydra.overrides.task))
        except RunsFailedError as failed:
            ids = failed.run_ids
        finally:
            HydraConfig.instance().cfg = before
    if ids is None:
        raise ValueError(f"{config.task._target_} makes no runs: call it from the command line")
    store = Store(config.outputs, config.name)
    if not store.finished():
        return pd.DataFrame({"run_id": pd.Series(dtype=str)})
    table = load_index(store.root).set_index("run_id", drop=False)
    return table.loc[[run_id for run_id in ids if run_id in table.index]].reset_index(drop=True)


def _sweeper(loader: Any, config: Any) -> Any:
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    from interpret_runs.runner.app import run

    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=run)
