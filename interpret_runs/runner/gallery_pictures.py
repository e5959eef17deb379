"""The gallery's own pictures: small ones of all runs, and overlays taken apart. Only what is new is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from interpret_runs import photographs
from interpret_runs.runner.durable import StoreError, saying, write_whole
from interpret_runs.runner.map_layers import map_layer, uncovered
from interpret_runs.runner.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

QUALITY, FINE = 82, 92  # of thumbnails; of photographs
LAYERS = "layers"


@dataclass(frozen=True)
class Made:
    """Which runs have a small picture in `folder` of the gallery, and whose overlay is taken apart."""

    folder: str
    thumbnails: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Pictures:
    """The pictures of a store's gallery, with thumbnails of at most `size` pixels a side.

    A file made from a picture has the picture's modification time: while they are equal it is not made again.
    """

    store: Store
    size: int

    def make(self, index: pd.DataFrame, layers: bool) -> Made:
        """Make what is missing, in as many threads as there are processors.

        Raises:
            StoreError: the store cannot be written.
        """
        thumbnails = f"thumbnails/{self.size}"
        for place in (thumbnails, LAYERS):
            self.store.make_room(self.store.root / "gallery" / place / "any")
        shown = dict(zip(index["run_id"], index["image"], strict=True))
        maps = _maps(index) if layers else {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            small = pool.map(lambda name: self._thumbnail(f"{thumbnails}/{name}.webp", shown[name]), shown)
            apart = pool.map(lambda name: self._layers(f"{LAYERS}/{name}", *maps[name]), maps)
            return Made(thumbnails, _done(shown, small), _done(maps, apart))

    def _thumbnail(self, target: str, path: object) -> bool:
        def content(source: Path) -> dict[str, bytes]:
            return {target: _webp(small(photographs.read(source), self.size), QUALITY)}

        return isinstance(path, str) and self._up_to_date(target, path, content)

    def _layers(self, target: str, overlay: str, heat_map: str, opacity: float) -> bool:
        def content(source: Path) -> dict[str, bytes]:
            layer = map_layer(photographs.read(self.store.root / heat_map))
            photo = uncovered(photographs.read(source), layer, opacity)
            return {f"{target}.png": _png(layer), f"{target}.webp": _webp(photo, FINE)}

        return self._up_to_date(f"{target}.webp", overlay, content)

    def _up_to_date(self, target: str, path: str, make: Callable[[Path], dict[str, bytes]]) -> bool:
        """Whether by now there is a `target` made from the picture at `path`; False where that is none."""
        folder, source = self.store.root / "gallery", self.store.root / path
        try:
            changed = source.stat().st_mtime_ns
            if not _has_time(folder / target, changed):
                for name, content in make(source).items():
                    with saying(self.store.root):
                        write_whole(folder / name, content, str(os.getpid()), changed, settled=False)
        except StoreError:
            raise
        except (OSError, ValueError):
            return False
        return True


def small(picture: Image.Image, size: int) -> Image.Image:
    """`picture` with no side above `size`; a strip of square images side by side becomes rows of them first."""
    from PIL import Image

    count = picture.width // picture.height
    if count > 1 and picture.width == count * picture.height:
        side, across = picture.height, ceil(sqrt(count))
        folded = Image.new("RGBA", (across * side, ceil(count / across) * side))  # clear where there is none
        for place in range(count):
            one = picture.crop((place * side, 0, (place + 1) * side, side))
            folded.paste(one, (place % across * side, place // across * side))
        picture = folded
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return picture


def _maps(index: pd.DataFrame) -> dict[str, tuple[str, str, float]]:
    """By run id the paths of overlay and heat map and the opacity of the last colour, of runs that have them."""
    needed = ["run_id", "artefact.overlay", "artefact.heat_map", "rendering.opacity"]
    if not set(needed) <= set(index.columns):
        return {}
    rows = index[needed].dropna().itertuples(index=False, name=None)
    return {name: (overlay, heat_map, float(opacity)) for name, overlay, heat_map, opacity in rows}


def _done(names: Iterable[str], outcomes: Iterable[bool]) -> frozenset[str]:
    return frozenset(name for name, done in zip(names, outcomes, strict=True) if done)


def _has_time(path: Path, changed: int) -> bool:
    try:
        return path.stat().st_mtime_ns == changed
    except FileNotFoundError:
        return False


def _webp(picture: Image.Image, quality: int) -> bytes:
    stream = BytesIO()
    picture.save(stream, "WEBP", quality=quality, method=2)
    return stream.getvalue()


def _png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG", optimize=False)
    return stream.getvalue()
