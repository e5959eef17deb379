"""A sheet of sprites as one file that opens from disk: pan, zoom, and what each sprite is."""

from __future__ import annotations

import json
from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

TEMPLATE = Path(__file__).parents[1] / "assets" / "sheet.html"
QUALITY = 90  # of the sheet inside the page; when one zooms in, the runs' own pictures are shown
# What is said of each sprite where it is not the same for all.
NAMES = ("task", "model", "layer", "unit", "parameterisation", "transform", "picture", "seed")


def sprite_page(sheet: Image.Image, index: pd.DataFrame, tile: int, columns: int, title: str) -> bytes:
    """The page, for a store's folder ``sheets/``; `index` has a row for each sprite, in their order.

    It holds the sheet, and asks no other host for anything; links and enlarged pictures lie in the store beside it.
    """
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY)
    data = {
        "title": title,
        "tile": tile,
        "columns": columns,
        "width": sheet.width,
        "height": sheet.height,
        "same": _same(index),
        "sprites": _sprites(index),
        "sheet": f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}",
    }
    # Within a script element only "</" could end it.
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", escape(title)).replace("{{data}}", text)
    return page.encode("utf-8", "backslashreplace")


def _same(index: pd.DataFrame) -> str:
    """What all runs have in common."""
    values = {name: index[name].iloc[0] for name in NAMES if name in index and index[name].nunique(dropna=False) == 1}
    return ", ".join(f"{name} {value}" for name, value in values.items() if str(value) not in ("", "nan", "None"))


def _sprites(index: pd.DataFrame) -> list[dict[str, Any]]:
    varying = [name for name in NAMES if name in index and index[name].nunique(dropna=False) > 1]
    found = []
    for row in index.to_dict("records"):
        said = [f"{'' if name in ('unit', 'layer') else f'{name} '}{row[name]}" for name in varying]
        score = row.get("score")
        shown = isinstance(row.get("image"), str) and row["status"] == "ok"
        found.append(
            {
                "run": row["run_id"],
                "name": ", ".join(said) or str(row.get("unit") or row["run_id"]),
                "score": "failed" if row["status"] != "ok" else f"score {score:.4g}" if score == score else "no score",
                "image": f"../{row['image']}" if shown else None,
            }
        )
    return found
