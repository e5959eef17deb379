"""The files that runs read, in an archive: pictures, statistics, labels, weights, the source of networks.

They lie under ``inputs/`` by content, and ``inputs.json`` says what each stood for; source lies under ``inputs/code/``,
as it is imported.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

from interpret_runs.factory import source_of
from interpret_runs.folders import Photograph, listing, single
from interpret_runs.runner import image_sets
from interpret_runs.runner.cache import canonical, file_digest
from interpret_runs.runner.files import FACTORY, WEIGHTS, named_files
from interpret_runs.runner.image_sets import FILE, FOLDER
from interpret_runs.runner.nodes import Config, node_at, nodes
from interpret_runs.runner.store import Record

INPUTS, CODE = "inputs.json", "inputs/code"


class Inputs:
    """What goes into an archive beside the store: the files that runs read, each once.

    Attributes:
        left_out: what does not, and why, with the number of runs that read it.
    """

    def __init__(self, packed: ZipFile, weights: bool) -> None:
        self.packed, self.weights = packed, weights
        self.left_out: Counter[str] = Counter()
        self._found: dict[str, Config] = {}

    def add(self, record: Record) -> None:
        """Add what one run reads.

        Raises:
            ValueError: a file is gone; the text names the run and the key.
        """
        try:
            self._add_pictures(record["config"])
            self._add_files(record["config"])
        except (OSError, LookupError, ValueError) as error:
            step = "put it back, or leave out the batch of this run with task.select"
            raise ValueError(f"run {record['run_id']}: {error}; {step}") from None
        self._add_source(record)

    def close(self) -> None:
        """Say in the archive what its files stood for."""
        self.packed.writestr(INPUTS, json.dumps(list(self._found.values()), indent=1))

    def _add_pictures(self, config: Config) -> None:
        for path, node in image_sets.image_sets(config):
            key = ".".join(path)
            if path in image_sets.WHOLE and node["_target_"] == FOLDER:
                self.left_out[f"{key}.path={node['path']} (a whole set of pictures)"] += 1
            elif canonical(node) not in self._found and (photo := _photograph(node)) is not None:
                mask = photo.mask and self._put(photo.mask, f"{key}.mask")
                kept = {"path": self._put(photo.path, f"{key}.path"), "label": photo.label, "mask": mask}
                self._found[canonical(node)] = {"stood": node, **kept}

    def _add_files(self, config: Config) -> None:
        files = {**named_files(config), "model.labels": config.get("model", {}).get("labels")}
        files.pop(FACTORY, None)
        if WEIGHTS in files and not self.weights:
            self.left_out[f"{WEIGHTS}={files.pop(WEIGHTS)} (task.weights=true packs it)"] += 1
        for key, path in files.items():
            if path and path not in self._found:
                self._found[path] = {"stood": path, "path": self._put(Path(path), key)}

    def _add_source(self, record: Record) -> None:
        """Add the file of a network's factory, as it was when the run was made."""
        factory = record["config"].get("model", {}).get("factory")
        source, then = source_of(factory), record["digests"].get(FACTORY)
        if source is not None and then in (None, file_digest(str(source), FACTORY)):
            name = str(PurePosixPath(CODE, *_imported_as(factory, source)))
            if name not in self.packed.NameToInfo:
                self.packed.write(source, name)
        elif then is not None:
            why = "its module is not found from here" if source is None else f"{source.name} has changed since"
            self.left_out[f"{FACTORY}={factory} ({why})"] += 1

    def _put(self, file: Path, key: str) -> str:
        """Put a file into the archive once, under its content; returns its name there."""
        name = f"inputs/{file_digest(str(file), key)}/{file.name}"
        if name not in self.packed.NameToInfo:
            self.packed.write(file.expanduser(), name)
        return name


def relocated(records: Mapping[str, Record], folder: Path) -> dict[str, Record]:
    """`records` of an unpacked archive with the paths of its inputs, where those of then do not hold the same any more.

    Raises:
        ValueError: ``inputs.json`` is damaged.
    """
    if not (folder / INPUTS).is_file():
        return dict(records)
    try:
        inputs = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        stood = {canonical(one["stood"]): one for one in inputs}
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / INPUTS} is damaged ({error}); unpack the archive again") from None
    return {name: _relocated(record, stood, folder) for name, record in records.items()}


def import_from(folder: Path, open_until: ExitStack) -> None:
    """Have networks made from the source in an unpacked archive, if there is any, until `open_until` closes."""
    code = str(folder / CODE)
    if Path(code).is_dir():
        sys.path.insert(0, code)
        open_until.callback(sys.path.remove, code)


def _photograph(node: Config) -> Photograph | None:
    """The picture that an image set of files stands for."""
    if node["_target_"] == FILE:
        return single(node["path"], node.get("label"), node.get("mask"))
    if node["_target_"] == FOLDER:
        return listing(node["path"], *(node.get(key) for key in ("recursive", "labels", "masks"))).find(node["item"])
    return None


def _imported_as(factory: str, source: Path) -> list[str]:
    """The path of a factory's source below a folder from which it is imported."""
    *package, module = factory.partition(":")[0].split(".")
    return [*package, module, source.name] if source.stem == "__init__" else [*package, source.name]


def _relocated(record: Record, stood: Mapping[str, Mapping[str, Any]], folder: Path) -> Record:
    config, now = record["config"], dict[str, str]()
    with suppress(OSError, LookupError, ValueError):
        image_sets.close(config, now)
    for path, node in list(nodes(config)):
        key = ".".join(path)
        if path and (one := stood.get(canonical(node))) is not None:
            if key not in now or now[key] != record["digests"].get(key):
                mask = one["mask"] and str(folder / one["mask"])
                moved = {"_target_": FILE, "path": str(folder / one["path"]), "label": one["label"], "mask": mask}
                node_at(config, path[:-1])[path[-1]] = moved
            continue
        for name, value in node.items():
            if isinstance(value, str) and not Path(value).is_file() and (one := stood.get(canonical(value))):
                node[name] = str(folder / one["path"])
    return record
