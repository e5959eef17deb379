"""The sets of images that a config names, wherever they stand in it: which images, and their content."""

from collections.abc import Iterator

from interpret_runs import photographs
from interpret_runs.runner.cache import canonical, file_digest, short_digest
from interpret_runs.runner.nodes import Config, Path, node_at, nodes
from interpret_runs.summary import SHAPES_ITEMS

FILES = ("interpret_runs.images.File", "interpret_runs.images.Folder")
SETS = (*FILES, "interpret_runs.images.Shapes")
# Where a set stands as a whole; elsewhere it stands for its image `item`.
WHOLE: Path = ("task", "data")
ALL = "all"


def image_sets(config: Config) -> Iterator[tuple[Path, Config]]:
    """Every image set in `config`, with its path."""
    return ((path, node) for path, node in nodes(config) if node.get("_target_") in SETS)


def axes(config: Config) -> list[tuple[list[Path], range]]:
    """For each set of which all images are asked for: the keys that hold its item, and the items.

    One set interpolated to several places is one axis.
    """
    asked = [(path, node) for path, node in image_sets(config) if node.get("item") == ALL and path != WHOLE]
    distinct = {canonical(node): node for _, node in asked}
    return [([(*path, "item") for path, node in asked if node == one], range(_count(one))) for one in distinct.values()]


def close(config: Config, digests: dict[str, str]) -> None:
    """Check the sets in `config`; the content of files goes to `digests`, by path with dots.

    Raises:
        LookupError, OSError: no such image.
    """
    for path, node in image_sets(config):
        key = ".".join(path)
        if path == WHOLE:
            node.pop("item", None)
            if "path" in node:
                digests[key] = _content_of_all(node, key)
        elif "path" in node:
            file = photographs.find(node["path"], node["item"]) if "item" in node else node["path"]
            digests[key] = file_digest(str(file), f"{key}.path")
        elif not (isinstance(node["item"], int) and node["item"] >= 0):
            raise LookupError(f"{key}.item is {node['item']!r}; the embedded images are numbered from 0 on, or all")


def name_by_content(identity: Config, digests: dict[str, str]) -> None:
    """Replace the sets of files in `identity` by their content: one picture, however it was found."""
    for path, node in list(image_sets(identity)):
        digest = digests.get(".".join(path))
        if digest is not None:
            kept = {key: value for key, value in node.items() if key not in ("path", "item")}
            if kept["_target_"] in FILES:
                del kept["_target_"]
            node_at(identity, path[:-1])[path[-1]] = {**kept, "sha256": digest}


def _count(node: Config) -> int:
    return len(photographs.files(node["path"])) if "path" in node else SHAPES_ITEMS


def _content_of_all(node: Config, key: str) -> str:
    folder = node["_target_"].endswith("Folder")
    files = photographs.files(node["path"]) if folder else [node["path"]]
    return short_digest(canonical(sorted(file_digest(str(file), f"{key}.path") for file in files)))
