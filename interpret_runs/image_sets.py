"""Image sets of torchvision, and reading any set's images ahead of their use."""

from __future__ import annotations

import inspect
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from threading import RLock
from typing import Any

from PIL import Image
from torchvision import datasets

from interpret_runs import photographs
from interpret_runs.images import ImageSet, Picture, picture_of
from interpret_runs.preprocessing import Preprocessing
from interpret_runs.summary import nearest

READERS = 3  # threads that decode images while the network computes
# Arguments of torchvision's sets that no plain value can be, or that `path` gives.
NO_SETTINGS = ("root", "transform", "target_transform", "transforms", "loader", "is_valid_file")

# Some of torchvision's sets set torch's global seed, or read from one open file, to get an image.
_one_at_a_time = RLock()


def loaded(items: Iterable[ImageSet], preprocessing: Preprocessing, ahead: int) -> Iterator[Future[Picture]]:
    """The pictures of `items` in order, while other threads read the next `ahead` of them.

    Whatever is wrong with an image is raised by its own future's ``result()``; the others come all the same.
    """
    waiting: deque[Future[Picture]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(item, preprocessing))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True)
class Torchvision(ImageSet):
    """Image `item`, from 0, of a class of ``torchvision.datasets`` whose images are Pillow's.

    Its class index becomes a label where the set has ``classes``. The set is opened once for equal settings; that
    its files are as they were is not checked later.

    Args:
        name: of the class, as CIFAR10 or ImageFolder.
        path: the folder in which it keeps its files, its `root`; empty for one that has none, as FakeData.
        settings: other arguments of the class, as ``{train: false}`` or ``{split: test, download: true}``.
    """

    name: str
    path: str = ""
    item: int = 0
    settings: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise TypeError(f"images.settings is {self.settings!r}; it must be a mapping, as {{train: false}}")

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        photo, index = self._read()
        return picture_of(photographs.rgb(photo), preprocessing, f"{self.name} {self.item}", self._label(index))

    def items(self) -> Sequence[ImageSet]:
        return [Torchvision(self.name, self.path, item, self.settings) for item in range(self.count())]

    def size(self) -> tuple[int, int]:
        photo, _ = self._read()
        return photo.height, photo.width

    def count(self) -> int:
        """How many images there are, without decoding one.

        Raises:
            LookupError: torchvision has no such set, or its files are not there.
            ValueError, TypeError: settings that it does not take.
        """
        return len(self._opened())

    def check(self) -> None:
        """Raise LookupError where there is no image `item`; also what `count` raises. Decodes none."""
        count = self.count()
        if isinstance(self.item, bool) or not isinstance(self.item, int) or not 0 <= self.item < count:
            raise LookupError(f"images.item is {self.item!r}; {self.name} has images 0 to {count - 1}, or all")

    def _opened(self) -> Any:
        with _one_at_a_time:
            return _opened(self.name, self.path, json.dumps(dict(self.settings or {}), sort_keys=True))

    def _read(self) -> tuple[Image.Image, Any]:
        self.check()
        try:
            with _one_at_a_time:
                photo, *targets = self._opened()[self.item]
        except Exception as error:  # the sets raise what they like
            raise ValueError(f"image {self.item} of {self.name} cannot be read: {_reason(error)}") from error
        if not isinstance(photo, Image.Image):
            raise TypeError(f"images.name={self.name} gives a {type(photo).__name__}, not a Pillow image; take another")
        return photo, targets[0] if targets else None

    def _label(self, index: Any) -> str | None:
        classes = getattr(self._opened(), "classes", None)
        if not isinstance(index, int) or not classes:
            return None
        if not 0 <= index < len(classes):
            raise LookupError(
                f"image {self.item} of {self.name} is of class {index}, but there are classes 0 to {len(classes) - 1}"
            )
        label = classes[index]
        return str(label[0] if isinstance(label, tuple) else label)  # ImageNet's classes have several names each


@lru_cache(maxsize=4)
def _opened(name: str, path: str, settings: str) -> Any:
    names = [one for one in datasets.__all__ if inspect.isclass(getattr(datasets, one))]
    if name not in names:
        raise LookupError(f"images.name is {name!r}; torchvision has no such set, closest: {nearest(str(name), names)}")
    kind, given = getattr(datasets, name), json.loads(settings)
    parameters = inspect.signature(kind).parameters
    known = [one for one in parameters if one not in NO_SETTINGS]
    for one in given:
        if one not in known and "kwargs" not in parameters:
            raise TypeError(f"images.settings.{one}: {name} takes no such setting; it takes {', '.join(known)}")
    return _made(kind, {**({"root": path} if path else {}), **given})


def _made(kind: Any, arguments: Mapping[str, Any]) -> Any:
    name, where = kind.__name__, repr(arguments.get("root", ""))
    needed = inspect.signature(kind).parameters
    if "root" in needed and "root" not in arguments:
        raise ValueError(f"{name} needs a folder for its files; give it: images.path=DIR")
    if "root" not in needed and "root" in arguments:
        raise ValueError(f"{name} has no folder, but images.path is {where}; leave it out")
    try:
        return kind(**arguments)
    except Exception as error:  # the sets raise what they like
        if isinstance(error, RuntimeError) and "download=True" in str(error):
            raise LookupError(
                f"{name} is not in {where}; give its folder, or fetch it: +images.settings.download=true"
            ) from error
        raise ValueError(f"torchvision cannot open {name} in {where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
