"""Indexes with files that no run made, and what is drawn of them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

Row = dict[str, Any]


def run(root: Path, run_id: str, status: str = "ok", size: tuple[int, int] = (32, 32), **more: Any) -> Row:
    """A row of an index, and the files of its run: a picture and a map of one colour each."""
    folder = root / "runs" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    row: Row = {"run_id": run_id, "status": status, "task": "visualise", "score": None, "seed": 0, **more}
    if status != "ok":
        return {**row, "image": None, "artefact.map": None}
    shade = sum(map(ord, run_id)) % 200
    Image.new("RGB", size, (shade, 255 - shade, 40)).save(folder / "image.png")
    np.save(folder / "map.npy", np.full((8, 8), float(more.get("value", 1.0)), dtype=np.float32))
    return {**row, "image": f"runs/{run_id}/image.png", "artefact.map": f"runs/{run_id}/map.npy"}


@contextmanager
def watched(module: ModuleType) -> Iterator[list[Any]]:
    """The figures that a module writes, while they are."""
    kept: list[Any] = []
    write: Callable[..., Path] = module.write_figure

    def keep(figure: Any, *rest: Any) -> Path:
        kept.append(figure)
        return write(figure, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_figure", keep)
        yield kept


def texts(figure: Any) -> list[Any]:
    """All texts on a page that show something."""
    from matplotlib.text import Text

    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def assert_prints_well(figure: Any) -> None:
    """Texts of 6 to 9 points, all on the page, none upon another."""
    figure.canvas.draw()
    page = figure.bbox
    boxes = []
    for text in texts(figure):
        if not _is_drawn(text):
            continue
        box = text.get_window_extent()
        assert 6 <= text.get_fontsize() <= 9, text.get_text()
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1, text.get_text()
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1, text.get_text()
        boxes.append((text.get_text(), box))
    for place, (one, box) in enumerate(boxes):
        for other, beside in boxes[:place]:
            across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            down = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert across <= 1 or down <= 2, (one, other)


def _is_drawn(text: Any) -> bool:
    """Whether a text is no tick label beyond the limits of its axis."""
    from matplotlib.axis import Tick

    for axes in text.figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                assert isinstance(tick, Tick)
                if text in (tick.label1, tick.label2):
                    low, high = sorted(axis.get_view_interval())
                    return bool(axes.axison and low <= tick.get_loc() <= high)
    return True


def pictures_in_pdf(path: Path) -> list[tuple[int, int]]:
    """Width and height in pixels of the pictures in a document."""
    found = re.findall(rb"/Subtype /Image /Width (\d+) /Height (\d+)", path.read_bytes())
    return [(int(width), int(height)) for width, height in found]
