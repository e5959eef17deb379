"""Runs the command line: in this process with warm models where that will do, else in a process of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from hydra import initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from interpret_runs.runner.app import main
from interpret_runs.runner.compose import Composer
from interpret_runs.runner.grid import points
from interpret_runs.runner.runs import Config, Run, close
from interpret_runs.runner.store import Record, Store

PROJECT = Path(__file__).parents[1]
# A picture of 16 x 16 pixels after two steps: milliseconds.
QUICK = ("task.steps=2", "parameterisation.size=16")
# A contact sheet takes longer than such a sweep, and has tests of its own.
NO_SHEET = "figure._target_=command_line.no_sheet"


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, of a command that failed; what it said of the mistake."""
        assert self.status not in (0, None), f"{self.out}\nsucceeded"
        assert self.err.startswith("error: ") and self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.out + self.err
        return self.err.removeprefix("error: ").rstrip("\n")


def here(*arguments: str) -> Said:
    """``python run.py`` with `arguments`, in this process and the current folder; Hydra is as new."""
    out, err = io.StringIO(), io.StringIO()
    status, threads = 0, torch.get_num_threads()
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    _forget()
    torch.set_num_threads(1)  # two threads wait for each other where tests share the cores
    try:
        if not any(argument.startswith("compute.per_device") for argument in arguments):
            arguments = (*arguments, "compute.per_device=0")
        with (
            patch.dict(os.environ, environment, clear=True),
            patch.object(sys, "argv", ["run.py", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            try:
                main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        torch.set_num_threads(threads)
        _forget()
    return Said(status, out.getvalue(), err.getvalue())


def apart(
    folder: Path, *arguments: str, script: str = "run.py", environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """``python run.py`` with `arguments`, in a process of its own whose folder is `folder`."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT / script), *arguments],
        cwd=folder,
        env={
            **_plain_environment(),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parent),
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> Said:
    """What `process` said, once it has ended."""
    out, err = process.communicate(timeout=120)
    return Said(process.returncode, out, err)


def python(code: str, *arguments: str) -> Said:
    """A fresh interpreter running `code`."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=_plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return said(process)


@contextlib.contextmanager
def hydra(*overrides: str) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    """Hydra's loader, and the config that a sweep with `overrides` starts from."""
    _forget()
    try:
        with initialize_config_module("interpret_runs.conf", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            yield loader, loader.load_configuration("config", overrides=list(overrides), run_mode=RunMode.MULTIRUN)
    finally:
        _forget()


@lru_cache(maxsize=1)
def _composer() -> tuple[ConfigLoader, Composer]:
    with hydra() as (loader, master):
        return loader, Composer(loader, master)


def planned(*overrides: str) -> list[Run]:
    """The runs that a sweep over `overrides` stands for."""
    loader, composer = _composer()
    return [run for point in points(overrides, None, [], loader) for run in close(*composer.compose(point))]


def config_of(*overrides: str) -> Config:
    """The composed config of one grid point."""
    loader, composer = _composer()
    (point,) = points(overrides, None, [], loader)
    return composer.compose(point)[0]


def the_run(*overrides: str) -> Run:
    """The only run that `overrides` stand for."""
    (run,) = planned(*overrides)
    return run


def ids(*overrides: str) -> list[str]:
    return [run.id for run in planned(*overrides)]


def no_sheet(_index: Any, _root: Path, out: Path, *_: Any, **__: Any) -> Path:
    """In place of a contact sheet."""
    return out


def store(name: str = "default") -> Store:
    """A store below the current folder's ``outputs``."""
    return Store("outputs", name)


def records(name: str = "default") -> list[Record]:
    """Every record of a store, not only the newest."""
    return [json.loads(line) for file in store(name).record_files() for line in file.read_text().splitlines()]


def tree(folder: Path) -> set[str]:
    """Every file and folder below `folder`."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def essentials(text: Mapping[str, str]) -> dict[str, Any]:
    """What an image's metadata says of its run."""
    found: dict[str, Any] = json.loads(text["interpret-runs"])
    return found


def _forget() -> None:
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def _plain_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
