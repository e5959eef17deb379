"""Entry point of ``run.py`` and of the console script. Imports no torch."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from interpret_runs.runner import hydra_plugins  # noqa: F401  # registers the sweeper and the launcher
from interpret_runs.runner.progress import warn
from interpret_runs.runner.worker import SPINS

CONF = "pkg://interpret_runs.conf"


_failure: list[Exception] = []


def run(config: DictConfig) -> float | None:
    """Hydra's task function. Returns the score of one run.

    Outside of a sweep a failure is kept for `main`, as Hydra would print a line of its own with it.
    """
    try:
        return _run(config)
    except Exception as error:
        if HydraConfig.get().mode != RunMode.RUN:
            raise
        _failure.append(error)
        return None


def _run(config: DictConfig) -> float | None:
    """One run, a batch of a plan, or a table of layers."""
    from interpret_runs.runner.alone import run_again, run_alone
    from interpret_runs.runner.layers import is_table, show_tables
    from interpret_runs.runner.planned_batch import run_batch
    from interpret_runs.runner.store_tasks import do_store_task, is_store_task

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if plain["batch"]["plan"]:
        run_batch(plain["batch"]["plan"], plain["batch"]["ids"], plain["compute"]["device"])
        return None
    if plain["batch"]["ids"]:
        run_again(plain, plain["batch"]["ids"])
        return None
    if is_table(plain):
        show_tables([plain])
        return None
    if is_store_task(plain):
        do_store_task(plain)
        return None
    choices = {group: str(choice) for group, choice in HydraConfig.get().runtime.choices.items()}
    return run_alone(plain, choices)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 1.

    HYDRA_FULL_ERROR=1 in the environment brings the stack trace.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra prints and exits by itself unless told to raise; the line is ours to write.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    # Anyone's own classes and factories are found beside where the command is typed.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    show_own_warnings(warn)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _hydra()
        if _failure:
            raise _failure.pop()
    except KeyboardInterrupt:
        print("\ninterrupted; what is done is kept, and the same command does the rest", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who read the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if full:
            raise
        from interpret_runs.runner.errors import one_line

        if line := one_line(error, sys.argv[1:]):
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _hydra() -> None:
    """Hydra's own entry point; again where a setting has to wait for the options that a sweep chooses."""
    from interpret_runs.runner.deferral import deferred

    enter = hydra.main(version_base="1.3", config_path=CONF, config_name="config")(run)
    try:
        enter()
    except HydraException as error:
        lines = deferred(error, sys.argv[1:])
        if lines is None:
            raise
        written, sys.argv = sys.argv, [sys.argv[0], *lines]
        try:
            enter()
        except HydraException as again:
            raise error if "Sweep parameters" in str(again) else again  # noqa: B904  # their causes are told
        finally:
            sys.argv = written


def _interrupt(*_: object) -> None:
    """Who ends this process by the usual signal means what Ctrl-C means."""
    raise KeyboardInterrupt


def show_own_warnings(tell: Callable[[str], None]) -> None:
    """Have `tell` called with the text of each warning of this project, once; and with none of others."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        tell(str(message))

    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("once", module="interpret_runs")
        warnings.showwarning = show
    # A pass that a network refuses is traced to estimate memory; torch logs it with a stack trace.
    logging.getLogger("torch._subclasses.fake_tensor").addFilter(_silent)


def _silent(_: logging.LogRecord) -> bool:
    return False
