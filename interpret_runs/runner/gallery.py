"""A page over a store that opens from disk, without a server: ``task=gallery``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpret_runs.runner.gallery_pictures import Pictures
from interpret_runs.runner.progress import say
from interpret_runs.runner.store import Store, existing

PAGE = Path(__file__).parents[1] / "assets" / "gallery"
DATA, START = "data.js", "index.html"
SMALLEST, LARGEST = 32, 1024  # pixels of a thumbnail


def show(config: Mapping[str, Any]) -> None:
    """Write the gallery of a store and print where it is. Imports torch only to take new overlays apart.

    Raises:
        FileNotFoundError: no such store, or nothing in it.
        ValueError: a setting is wrong.
        StoreError: the store cannot be written.
    """
    store = existing(config["outputs"], config["name"])
    page = write_gallery(store, config["task"]["thumbnail"], config["task"]["layers"])
    say(f"{page} (open it in a browser)")


def write_gallery(store: Store, thumbnail: int = 224, layers: bool = True) -> Path:
    """Write ``gallery/`` of a store anew, and return its page; pictures that are not new are kept.

    Args:
        thumbnail: the longer side of small pictures, in pixels.
        layers: whether to take the overlays of maps apart, so that the page can fade the map. Takes longest.
    """
    from interpret_runs.runner.gallery_data import gallery_data, script
    from interpret_runs.runner.index import load_index

    whole = isinstance(thumbnail, int) and not isinstance(thumbnail, bool)
    if not whole or not SMALLEST <= thumbnail <= LARGEST:
        raise ValueError(
            f"task.thumbnail is {thumbnail!r}; it is a whole number of pixels from {SMALLEST} to {LARGEST}"
        )
    if not isinstance(layers, bool):
        raise ValueError(f"task.layers is {layers!r}; it is true or false")
    index = load_index(store.root)
    made = Pictures(store, thumbnail).make(index, layers)
    store.write(store.root / "gallery" / DATA, script(gallery_data(index, store, made)))
    for source in sorted(PAGE.iterdir(), key=lambda file: file.name == START):  # the page last: what it needs is there
        store.write(store.root / "gallery" / source.name, source.read_bytes())
    return store.root / "gallery" / START
