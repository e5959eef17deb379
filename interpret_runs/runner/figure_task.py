"""A figure of what a store holds, without running anything: ``task=figure``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpret_runs.runner.index import load_index
from interpret_runs.runner.print_style import FORMATS, files_of
from interpret_runs.runner.progress import say
from interpret_runs.runner.results import figure_files, figure_of
from interpret_runs.runner.store import existing

# Endings that ask for a format, and are no part of a name as in `channels.v2`.
OTHER_FORMATS = (".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".eps", ".ps")


def show(config: Mapping[str, Any]) -> None:
    """Draw the figure of group ``figure`` from the store's index, and say where it is.

    It goes to the store's ``figures/``, or to ``task.out``, whose ending (.png, .pdf, .svg), if any, is the format.

    Raises:
        FileNotFoundError: no such store.
        ValueError, LookupError: the figure cannot be drawn.
    """
    store = existing(config["outputs"], config["name"])
    drawn, asked = dict(config["figure"] or {}), config["task"]["out"]
    out = Path(asked).expanduser() if asked else None
    if out is not None and out.suffix.lstrip(".") in FORMATS:
        drawn["formats"] = [out.suffix.lstrip(".")]
    elif out is not None:
        if out.suffix.lower() in OTHER_FORMATS:
            raise ValueError(f"task.out is {asked!r}; a figure's format is one of {', '.join(FORMATS)}")
        out = out.with_name(f"{out.name}.png")
    settings = {**config, "figure": drawn}
    draw = figure_of(settings)
    index = load_index(store.root)
    if out is None:
        files = figure_files(index["run_id"].tolist(), store, settings)
        store.make_room(files[0])
    else:
        files = files_of(out, drawn.get("formats") or ())
        out.parent.mkdir(parents=True, exist_ok=True)
    draw(index, store.root, files[0], str(config["name"]))
    made = ", ".join(str(file) for file in files if file.exists())
    say(f"figure: {made}")
