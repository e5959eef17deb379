"""A store, or some runs of it, in one file that others can reproduce: see `export` and `unpacked`.

In it: the records, images and maps; the index; the figures; the files that the runs read, under ``inputs/``, with
``inputs.json`` to say where each was; a config for each run; the versions; and a command that reproduces it all.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import OmegaConf

from interpret_runs import __version__
from interpret_runs.folders import Photograph, listing, single
from interpret_runs.runner import image_sets
from interpret_runs.runner.cache import canonical, file_digest
from interpret_runs.runner.identity import FILE_KEYS
from interpret_runs.runner.image_sets import FILE, FOLDER
from interpret_runs.runner.nodes import Config, node_at, nodes
from interpret_runs.runner.store import Record, Store
from interpret_runs.summary import is_weights_file

INPUTS = "inputs.json"
SCRIPT = """#!/bin/sh
# Executes every run of this archive again, and says how far the results agree.
set -e
here=$(cd "$(dirname "$0")" && pwd)
pip install 'interpret-runs=={version}'
interpret-runs task=reproduce task.source="$here"
"""
README = """What is here was made by interpret-runs {version}: {runs} runs of store {name}.

reproduce.sh    executes them again and says how far the results agree
                (or, from a checkout: python run.py task=reproduce task.source=THIS_FILE.zip)
index.csv       one line a run: what it was, and its numbers
runs/           images and maps, by run id
figures/        figures, as far as there were any
configs/        the whole config of each run
records/        all that is known of each run
inputs/         the files that runs read, where they were {weights}
environment.txt the packages that were installed
"""


def pack(store: Store, records: Sequence[Record], archive: Path, weights: bool) -> None:
    """Write `records`, with all that they need, to the file `archive`; weights of one's own only if asked for."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        packed.writestr("records/records.jsonl", lines)
        for record in records:
            packed.writestr(f"configs/{record['run_id']}.yaml", OmegaConf.to_yaml(record["config"]))
            for artefact in record["artefacts"].values():
                packed.write(store.root / artefact["path"], artefact["path"])
        for file in sorted((store.root / "figures").glob("*")):
            packed.write(file, f"figures/{file.name}")
        packed.writestr(INPUTS, json.dumps(_pack_inputs(records, packed, weights), indent=1))
        about = {"version": __version__, "runs": len(records), "name": store.root.name}
        packed.writestr("README.txt", README.format(**about, weights="" if weights else "(weights are not)"))
        packed.writestr("environment.txt", "".join(f"{line}\n" for line in _packages()))
        script = zipfile.ZipInfo("reproduce.sh")
        script.external_attr = 0o755 << 16
        packed.writestr(script, SCRIPT.format(version=__version__))


def unpacked(archive: Path, into: Path) -> Path:
    """Unpack to the folder of a store below `into`; runs whose input files are not here any more read those unpacked.

    Raises:
        ValueError: not a whole archive of this kind.
    """
    folder = into / "archive"
    try:
        with zipfile.ZipFile(archive) as packed:
            if (bad := packed.testzip()) is not None:
                raise ValueError(f"{archive} is damaged at {bad}; get it again")
            packed.extractall(folder)
        inputs = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{archive} is not a whole archive ({error}); get it again") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "is damaged" in str(error):
            raise
        raise ValueError(f"{archive} was not made by task=export: it has no {INPUTS}") from None
    for file in (folder / "records").glob("*.jsonl"):
        moved = [_relocated(json.loads(line), inputs, folder) for line in file.read_text("utf-8").splitlines() if line]
        file.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in moved), "utf-8")
    return folder


def _pack_inputs(records: Sequence[Record], packed: zipfile.ZipFile, weights: bool) -> list[Config]:
    """Add the files that runs read; returns what each stood for in configs, and its name in the archive."""
    found: dict[str, Config] = {}
    for record in records:
        for node in [node for _, node in image_sets.image_sets(record["config"])]:
            if canonical(node) not in found and (photo := _photograph(node)) is not None:
                kept = {"path": _add(photo.path, packed), "label": photo.label, "mask": None}
                kept["mask"] = None if photo.mask is None else _add(photo.mask, packed)
                found[canonical(node)] = {"stood": node, **kept}
        for path in _files(record["config"], weights):
            if path not in found and Path(path).is_file():
                found[path] = {"stood": path, "path": _add(Path(path), packed)}
    return list(found.values())


def _photograph(node: Config) -> Photograph | None:
    """The picture that an image set of files stands for; None where it is none, or gone."""
    with suppress(OSError, LookupError, ValueError):
        if node["_target_"] == FILE:
            return single(node["path"], node.get("label"), node.get("mask"))
        if node["_target_"] == FOLDER and "item" in node:
            listed = listing(node["path"], *(node.get(key) for key in ("recursive", "labels", "masks")))
            return listed.find(node["item"])
    return None


def _files(config: Config, weights: bool) -> list[str]:
    """Other files that a run reads."""
    model = config.get("model", {})
    found = [config.get("parameterisation", {}).get(key) for key in FILE_KEYS] + [model.get("labels")]
    if weights and model.get("weights") and is_weights_file(model["weights"]):
        found.append(model["weights"])
    return [str(path) for path in found if path]


def _add(file: Path, packed: zipfile.ZipFile) -> str:
    """Put a file into the archive once, under its content; returns its name there."""
    name = f"inputs/{file_digest(str(file), 'input')}/{file.name}"
    if name not in packed.NameToInfo:
        packed.write(file, name)
    return name


def _relocated(record: Record, inputs: Sequence[Mapping[str, Any]], folder: Path) -> Record:
    """`record` with the paths of unpacked files, where those of then do not hold the same any more."""
    digests: dict[str, str] = {}
    with suppress(OSError, LookupError, ValueError):
        image_sets.close(record["config"], digests)
        if all(record["digests"].get(key) == digest for key, digest in digests.items()) and digests:
            return record
    stood = {canonical(one["stood"]): one for one in inputs}
    config: Config = record["config"]
    for path, node in list(nodes(config)):
        one = stood.get(canonical(node))
        if one is not None and path:
            mask = None if one["mask"] is None else str(folder / one["mask"])
            moved = {"_target_": FILE, "path": str(folder / one["path"]), "label": one["label"], "mask": mask}
            node_at(config, path[:-1])[path[-1]] = moved
            continue
        for key, value in node.items():
            if isinstance(value, str) and not Path(value).is_file() and (one := stood.get(canonical(value))):
                node[key] = str(folder / PurePosixPath(one["path"]))
    return record


def _packages() -> list[str]:
    return sorted({f"{one.metadata['Name']}=={one.version}" for one in distributions() if one.metadata["Name"]})
