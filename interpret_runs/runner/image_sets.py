"""The sets of images that a config names, wherever they stand in it: which images, and their content."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.folders import Listing, Photograph, listing, single
from interpret_runs.runner.cache import canonical, file_digest, short_digest
from interpret_runs.runner.nodes import Config, Path, node_at, nodes
from interpret_runs.summary import SHAPES_ITEMS

if TYPE_CHECKING:
    from interpret_runs.image_sets import Torchvision

FILE, FOLDER, SHAPES = (f"interpret_runs.images.{name}" for name in ("File", "Folder", "Shapes"))
TORCHVISION = "interpret_runs.image_sets.Torchvision"
SETS = (FILE, FOLDER, SHAPES, TORCHVISION)
# Where a set stands as a whole; elsewhere it stands for its image `item`.
WHOLE: tuple[Path, ...] = (("task", "data"), ("attribution", "data"))
ALL = "all"


def image_sets(config: Config) -> Iterator[tuple[Path, Config]]:
    """Every image set in `config`, with its path."""
    return ((path, node) for path, node in nodes(config) if node.get("_target_") in SETS)


def axes(config: Config) -> list[tuple[list[Path], Sequence[Any]]]:
    """For each set of which several images are asked for: the keys that hold its item, and the items.

    One set interpolated to several places is one axis.

    Raises:
        LookupError, OSError, ValueError: no such set, or a list of no items.
    """
    asked = [(path, node) for path, node in image_sets(config) if _several(node.get("item")) and path not in WHOLE]
    distinct = {canonical(node): node for _, node in asked}
    return [([(*path, "item") for path, node in asked if node == one], _items(one)) for one in distinct.values()]


def close(config: Config, digests: dict[str, str]) -> None:
    """Check the sets in `config`; the content of files goes to `digests`, by path with dots.

    Raises:
        LookupError, OSError, ValueError: no such image.
    """
    for path, node in image_sets(config):
        key, whole, kind = ".".join(path), path in WHOLE, node["_target_"]
        if whole:
            node.pop("item", None)
        if kind == SHAPES:
            if not (whole or (isinstance(node["item"], int) and node["item"] >= 0)):
                raise LookupError(f"{key}.item is {node['item']!r}; the embedded images are numbered from 0 on, or all")
        elif kind == TORCHVISION:
            _close_torchvision(node)
        elif whole:
            digests[key] = _content_of_all(node, key)
        else:
            digests[key] = _content(_listing(node).find(node["item"]) if kind == FOLDER else _single(node), key)


def name_by_content(identity: Config, digests: dict[str, str]) -> None:
    """Replace the sets of files in `identity` by their content: one picture, however it was found.

    Those of torchvision stay what they are called, whether or not they were fetched by this run.
    """
    for path, node in list(image_sets(identity)):
        if digest := digests.get(".".join(path)):
            node_at(identity, path[:-1])[path[-1]] = {"sha256": digest}
        elif node["_target_"] == TORCHVISION:
            node["settings"] = {key: value for key, value in (node["settings"] or {}).items() if key != "download"}


def _several(item: Any) -> bool:
    return item == ALL or isinstance(item, list)


def _items(node: Config) -> Sequence[Any]:
    if node["item"] == ALL:
        return range(_count(node))
    if not node["item"]:
        raise ValueError("images.item is []; name at least one image, or all")
    items: list[Any] = node["item"]
    return items


def _count(node: Config) -> int:
    if node["_target_"] == TORCHVISION:
        return _torchvision(node).count()
    return len(_listing(node).photographs) if node["_target_"] == FOLDER else SHAPES_ITEMS


def _listing(node: Config) -> Listing:
    return listing(node["path"], *(node.get(key) for key in ("recursive", "labels", "masks")))


def _single(node: Config) -> Photograph:
    return single(node["path"], node.get("label"), node.get("mask"))


def _content(found: Photograph, key: str) -> str:
    """The digest of an image, and of what is known of it."""
    digest = file_digest(str(found.path), f"{key}.path")
    if found.label is None and found.mask is None:
        return digest
    mask = found.mask and file_digest(str(found.mask), f"{key}.mask")
    return short_digest(canonical([digest, found.label, mask]))


def _content_of_all(node: Config, key: str) -> str:
    files = _listing(node).photographs if node["_target_"] == FOLDER else [_single(node)]
    # In the order of their names, as some of them may be drawn by their place.
    return short_digest(canonical([file_digest(str(one.path), f"{key}.path") for one in files]))


def _close_torchvision(node: Config) -> None:
    if node["path"]:
        node["path"] = str(pathlib.Path(node["path"]).resolve())
    opened = _torchvision(node)
    if "item" in node:
        opened.check()
    else:
        opened.count()


def _torchvision(node: Config) -> Torchvision:
    from interpret_runs.image_sets import Torchvision

    return Torchvision(**{key: value for key, value in node.items() if key != "_target_"})
