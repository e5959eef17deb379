"""A store, or some runs of it, in one file that others can reproduce: see `pack` and `unpacked`.

In it: the records, images and maps; the index; the figures; the files that the runs read (see `inputs`); a config for
each run; the versions; and a command that reproduces it all.
"""

from __future__ import annotations

import json
import shlex
import zipfile
import zlib
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from interpret_runs import __version__
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.index import csv_bytes
from interpret_runs.runner.inputs import INPUTS, Inputs
from interpret_runs.runner.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd

SCRIPT = """#!/bin/sh
# Executes every run of this archive again, and says how far the results agree.
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v interpret-runs >/dev/null; then
    echo {missing} >&2
    exit 1
fi
exec interpret-runs task=reproduce task.source="'$here'" "$@"
"""
README = """What is here was made by interpret-runs {version}: {runs} of store {name}.

reproduce.sh    executes them again and says how far the results agree
                (or, from a checkout: python run.py task=reproduce task.source=THIS_FILE.zip)
index.csv       one line a run: what it was, and its numbers
runs/           images and maps, by run id
figures/        figures, as far as there were any
configs/        the whole config of each run
records/        all that is known of each run
inputs/         the files that runs read; inputs/code/: the source of networks from model.factory
environment.txt the packages that were installed
"""

# What damaged bytes make of an archive, by where they are: an unknown method, a password, no stream, no name.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError)


def pack(store: Store, records: Sequence[Record], table: pd.DataFrame, archive: Path, weights: bool) -> list[str]:
    """Write `records`, their rows of the index and all that they need to the file `archive`.

    Returns what was left out, a line each: weights of one's own, unless `weights` asks for them, and the like.

    Raises:
        ValueError: a file that a run read is gone.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        packed.writestr("records/records.jsonl", lines)
        packed.writestr("index.csv", csv_bytes(table))
        inputs = Inputs(packed, weights)
        for record in records:
            packed.writestr(f"configs/{record['run_id']}.yaml", OmegaConf.to_yaml(record["config"]))
            for artefact in record["artefacts"].values():
                packed.write(store.root / artefact["path"], artefact["path"])
            inputs.add(record)
        inputs.close()
        for file in sorted((store.root / "figures").glob("*")):
            packed.write(file, f"figures/{file.name}")
        left_out = [f"{what}, read by {runs} run{'s' * (runs > 1)}" for what, runs in inputs.left_out.items()]
        said = README.format(version=__version__, runs=number_of(len(records), "run"), name=store.root.name)
        packed.writestr("README.txt", said + "".join(f"left out: {line}\n" for line in left_out))
        packed.writestr("environment.txt", "".join(f"{line}\n" for line in _packages()))
        script = zipfile.ZipInfo("reproduce.sh")
        script.external_attr = 0o755 << 16
        packed.writestr(script, SCRIPT.format(missing=shlex.quote(_missing(records))))
    return left_out


def unpacked(archive: Path, into: Path) -> Path:
    """Unpack to the folder of a store below `into`.

    Raises:
        ValueError: not a whole archive of this kind.
    """
    folder = into / "archive"
    try:
        with zipfile.ZipFile(archive) as packed:
            if (bad := packed.testzip()) is not None:
                raise zipfile.BadZipFile(f"{bad} is damaged")
            if INPUTS not in packed.namelist():
                raise ValueError(f"{archive} was not made by task=export: it has no {INPUTS}")
            packed.extractall(folder)
    except DAMAGE as error:
        raise ValueError(f"{archive} is not a whole archive ({error}); get it again") from None
    except OSError as error:  # a place outside of the file, or nowhere to unpack to
        raise ValueError(f"{archive} cannot be unpacked: {error}") from None
    return folder


def _missing(records: Sequence[Record]) -> str:
    """What to say where this package is not installed."""
    newest = max(records, key=lambda record: str(record["finished"]))
    version = (newest.get("versions") or {}).get("interpret-runs", __version__)
    commit = (newest.get("git") or {}).get("commit")
    made = f"version {version}{f', commit {commit}' if commit else ''} made these runs; environment.txt: with what"
    return f"error: interpret-runs is not installed; in a checkout of it: pip install -e . ({made})"


def _packages() -> list[str]:
    return sorted({f"{one.metadata['Name']}=={one.version}" for one in distributions() if one.metadata["Name"]})
