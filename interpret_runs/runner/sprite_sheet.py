"""The pictures of a store side by side, to be zoomed into: ``task=sheet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.cache import canonical, short_digest
from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_essentials import figure_essentials, metadata
from interpret_runs.runner.index import load_index
from interpret_runs.runner.progress import say
from interpret_runs.runner.sprite_order import check_order, order_of
from interpret_runs.runner.sprite_page import sprite_page
from interpret_runs.runner.store import Store, existing

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

SMALLEST, LARGEST = 8, 512  # pixels of a tile
LONGEST = 16384  # pixels of a side that browsers and viewers show
PAPER, MISSING, CROSS = (255, 255, 255), (232, 232, 232), (170, 60, 60)


@dataclass(frozen=True)
class Settings:
    """What a sheet shows, and how.

    Args:
        order: ``index``, ``score`` or ``similarity``; see `sprite_order.order_of`.
        select: a pandas query over the index; None takes all runs.
        tile: side of a sprite in pixels.
        columns: how many sprites lie side by side; None makes the sheet about as wide as it is high.
    """

    order: str = "index"
    select: str | None = None
    tile: int = 96
    columns: int | None = None

    def __post_init__(self) -> None:
        check_order(self.order)
        if not _is_whole(self.tile) or not SMALLEST <= self.tile <= LARGEST:
            raise ValueError(f"task.tile is {self.tile!r}; it is a whole number of pixels from {SMALLEST} to {LARGEST}")
        if self.columns is not None and (not _is_whole(self.columns) or self.columns < 1):
            raise ValueError(f"task.columns is {self.columns!r}; it is a whole number from 1 on, or null")


def show(config: Mapping[str, Any]) -> None:
    """Write a sheet of a store and print where it is. Imports no torch.

    Raises:
        FileNotFoundError: no such store, or nothing in it.
        LookupError, ValueError: a setting is wrong, or no run has a picture.
        StoreError: the store cannot be written.
    """
    store = existing(config["outputs"], config["name"])
    task = config["task"]
    settings = Settings(task["order"], task["select"], task["tile"], task["columns"])
    for path in write_sheet(store, settings):
        say(str(path))


def write_sheet(store: Store, settings: Settings) -> tuple[Path, Path]:
    """Write the sheet and the page to zoom into it below ``sheets/`` of a store; returns the PNG and the HTML file.

    Runs that failed, or whose picture is gone, are marked. Equal runs and settings give equal files.
    """
    index = _selected(load_index(store.root), settings.select)
    pictures = [_picture(store.root, row) for row in index.to_dict("records")]
    if not any(pictures):
        raise ValueError(f"none of {number_of(len(index), 'run')} has a picture: there is nothing to put on a sheet")
    columns = settings.columns or ceil(sqrt(len(index)))
    _check_size(len(index), columns, settings.tile)
    order = order_of(index, pictures, settings.order)
    index, pictures = index.iloc[order], [pictures[row] for row in order]
    drawn = sheet(pictures, settings.tile, columns)
    ids = index["run_id"].tolist()
    essentials = figure_essentials("sprite_sheet", ids, store.root, vars(settings))
    title = f"{store.root.resolve().name}: {number_of(len(ids), 'run')} by {settings.order}"
    place = store.root / "sheets" / f"{settings.order}-{short_digest(canonical([sorted(ids), vars(settings)]))}.png"
    store.write(place, _png(drawn, metadata(essentials, title, ".png")))
    page = place.with_suffix(".html")
    store.write(page, sprite_page(drawn, index, settings.tile, columns, title))
    return place, page


def sheet(pictures: Sequence[Image.Image | None], tile: int, columns: int) -> Image.Image:
    """Pictures row by row on white paper, each as large as fits in a tile; a cross where there is none."""
    from PIL import Image, ImageDraw

    found = Image.new("RGB", (columns * tile, ceil(len(pictures) / columns) * tile), PAPER)
    draw = ImageDraw.Draw(found)
    for place, picture in enumerate(pictures):
        left, top = place % columns * tile, place // columns * tile
        if picture is None:
            right, bottom = left + tile - 1, top + tile - 1
            draw.rectangle((left, top, right, bottom), MISSING)
            draw.line((left, top, right, bottom), CROSS)
            draw.line((left, bottom, right, top), CROSS)
            continue
        scale = tile / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
        found.paste(small, (left + (tile - width) // 2, top + (tile - height) // 2))
    return found


def _selected(index: pd.DataFrame, query: str | None) -> pd.DataFrame:
    if query is None:
        return index
    try:
        found = index.query(query)
    except Exception as error:  # pandas raises whatever Python, numpy or itself does
        raise ValueError(f"task.select={query!r} is no query over the index: {error}") from None
    if not len(found):
        raise ValueError(f"task.select={query!r} selects none of {number_of(len(index), 'run')}")
    return found


def _picture(root: Path, row: Mapping[Any, Any]) -> Image.Image | None:
    """The picture of a run, over white; None where it failed or the file is gone."""
    from PIL import Image

    path = row.get("image")
    if row["status"] != "ok" or not isinstance(path, str):
        return None
    try:
        with Image.open(root / path) as opened:
            picture = opened.convert("RGBA")
    except OSError:
        return None
    paper = Image.new("RGBA", picture.size, (*PAPER, 255))
    return Image.alpha_composite(paper, picture).convert("RGB")


def _check_size(runs: int, columns: int, tile: int) -> None:
    width, height = columns * tile, ceil(runs / columns) * tile
    if max(width, height) > LONGEST:
        fits = LONGEST * tile // max(width, height)
        way_out = f"task.tile={fits} fits" if fits >= SMALLEST else "select fewer runs with task.select"
        raise ValueError(f"a sheet of {width}x{height} pixels is more than the {LONGEST} that viewers show; {way_out}")


def _png(picture: Image.Image, text: Mapping[str, str]) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    chunks, buffer = PngInfo(), BytesIO()
    for key, value in text.items():
        chunks.add_itxt(key, value, zip=len(value) > 4000)
    picture.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
