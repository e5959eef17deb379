"""Sheets of sprites: their order, their pixels, what they tell of themselves, and the page to zoom into them."""

import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import Page, page, program
from command_line import here
from PIL import Image
from stored import record

from interpret_runs.runner import sprite_order
from interpret_runs.runner.figure_essentials import read_figure
from interpret_runs.runner.sprite_order import ORDERS, order_of
from interpret_runs.runner.sprite_sheet import Settings, sheet, write_sheet
from interpret_runs.runner.store import Store

HOSTILE = "channel 4</script><script>window.intruded = 1</script><img src=x onerror='window.intruded = 1'>"
RUNS = 11


def stripes(period: int, colour: tuple[int, int, int], size: int = 48, shift: int = 0) -> Image.Image:
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * (np.arange(size) + shift) / period)
    levels = waves[None, :, None] * np.array(colour) * np.ones((size, 1, 1))
    return Image.fromarray(levels.astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Eleven channels, of which the last failed; even ones are red and coarse, odd ones blue and fine."""
    monkeypatch.chdir(tmp_path)
    store = Store("outputs", "some")
    records = []
    for channel in range(RUNS):
        drawn = stripes(4, (0, 0, 255), shift=channel) if channel % 2 else stripes(16, (255, 60, 0), shift=channel)
        name, unit = f"run{channel:013d}", HOSTILE if channel == 4 else f"channel {channel}"
        more: dict[str, Any] = {"unit": unit, "score": float(channel * 7 % RUNS), "choices": {"layer": "late"}}
        if channel == RUNS - 1:
            records.append(record(name, "failed", **{**more, "score": None}))
            continue
        kept = {"image": store.write_artefact(name, "image.png", png(drawn))}
        records.append(record(name, artefacts=kept, **more))
    store.write_records(records)
    return store


def written(store: Store, **settings: Any) -> tuple[Path, list[int]]:
    """The sheet's file, and the channels on it in order."""
    path, _ = write_sheet(store, Settings(**settings))
    return path, [int(name[3:]) for name in read_figure(path)["runs"]]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_is_a_permutation_with_what_has_no_picture_last(store, order):
    _, channels = written(store, order=order)
    assert sorted(channels) == list(range(RUNS)) and channels[-1] == RUNS - 1


def test_names_are_in_the_order_of_their_numbers(store):
    index = pd.DataFrame({"unit": ["channel 10", "channel 9", "channel 1"], "score": [1.0, 2, 3]})
    assert order_of(index, [stripes(4, (9, 9, 9))] * 3, "index") == [2, 1, 0]


def test_the_highest_score_is_the_first_and_an_unknown_one_the_last():
    index = pd.DataFrame({"unit": list("abcd"), "score": [1.0, float("nan"), 3, 2]})
    assert order_of(index, [stripes(4, (9, 9, 9))] * 4, "score") == [2, 3, 0, 1]


def test_pictures_alike_are_neighbours_wherever_their_stripes_lie(store):
    _, channels = written(store, order="similarity")
    kinds = [channel % 2 for channel in channels[:-1]]
    assert sum(one != other for one, other in zip(kinds, kinds[1:], strict=False)) == 1


def test_similarity_does_not_depend_on_the_order_of_the_index():
    pictures = [stripes(period, (200, 10 * period, 90)) for period in (3, 16, 4, 12, 6, 24)]
    index = pd.DataFrame({"unit": list("abcdef"), "score": [0.0] * 6})
    ordered = [index.unit[row] for row in order_of(index, pictures, "similarity")]
    turned = index.iloc[::-1].reset_index(drop=True)
    assert ordered == [turned.unit[row] for row in order_of(turned, pictures[::-1], "similarity")]


@pytest.mark.parametrize("count", [1, 2])
def test_few_pictures_have_an_order_too(count):
    index = pd.DataFrame({"unit": list("ab")[:count], "score": [0.0] * count})
    assert order_of(index, [stripes(4, (9, 9, 9))] * count, "similarity") == list(range(count))


def test_equal_pictures_can_be_ordered():
    index = pd.DataFrame({"unit": list("abcd"), "score": [0.0] * 4})
    assert sorted(order_of(index, [stripes(4, (9, 9, 9))] * 4, "similarity")) == [0, 1, 2, 3]


def test_sprites_lie_row_by_row_and_keep_their_proportions():
    wide, square = Image.new("RGB", (80, 40), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    drawn = np.asarray(sheet([wide, None, square], 20, 2))
    assert drawn.shape == (40, 40, 3)
    assert (drawn[5:15, :20] == (255, 0, 0)).all() and (drawn[:5, :20] == 255).all()
    assert (drawn[20:, :20] == (0, 0, 255)).all() and (drawn[20:, 20:] == 255).all()
    assert len(np.unique(drawn[:20, 20:].reshape(-1, 3), axis=0)) == 2, "a cross marks what is missing"


def test_equal_runs_and_settings_give_equal_files(store):
    first = [path.read_bytes() for path in write_sheet(store, Settings("similarity"))]
    assert first == [path.read_bytes() for path in write_sheet(store, Settings("similarity"))]


def test_a_sheet_tells_its_runs_and_settings(store):
    path, channels = written(store, order="score", select="unit != 'channel 2'", tile=24, columns=4)
    told = read_figure(path)
    assert told["figure"] == "sprite_sheet" and told["store"] == "some" and 2 not in channels
    assert told["settings"] == {"order": "score", "select": "unit != 'channel 2'", "tile": 24, "columns": 4}
    with Image.open(path) as image:
        assert image.size == (4 * 24, 3 * 24)


def test_a_picture_that_is_gone_is_marked_and_not_dropped(store):
    (store.root / "runs" / f"run{3:013d}" / "image.png").unlink()
    _, channels = written(store)
    assert channels[-2:] == [3, RUNS - 1]


def test_the_command_says_where_sheet_and_page_are(store):
    said = here("task=sheet", "name=some", "task.order=similarity").out.split()
    assert [Path(line).suffix for line in said] == [".png", ".html"]
    assert all(Path(line).parent == store.root / "sheets" and Path(line).is_file() for line in said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("name=sum",), "no store 'sum' in outputs; closest: some"),
        (("task.order=similar",), "no task.order='similar'; closest: similarity"),
        (("task.tile=4",), "task.tile is 4; it is a whole number of pixels from 8 to 512"),
        (("task.columns=0",), "task.columns is 0; it is a whole number from 1 on, or null"),
        (("task.select='layer == 3 3'",), "is no query over the index"),
        (("task.select='score > 99'",), "selects none of 11 runs"),
        (("task.select='status == \"failed\"'",), "none of 1 run has a picture"),
    ],
)
def test_a_mistake_is_one_line(store, settings, said):
    assert said in here("task=sheet", "name=some", *settings).error


def test_a_sheet_too_large_for_viewers_says_which_tile_fits(store):
    from interpret_runs.runner.sprite_sheet import _check_size

    with pytest.raises(ValueError, match=r"51200x51200 pixels is more than the 16384 .*; task\.tile=163 fits"):
        _check_size(10_000, 100, 512)
    with pytest.raises(ValueError, match=r"select fewer runs with task\.select"):
        _check_size(10_000, 10_000, 8)


def test_similarity_without_scipy_says_how_to_get_it(store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.cluster.hierarchy", None)
    with pytest.raises(LookupError, match=r"needs scipy: pip install 'interpret-runs\[atlas\]'"):
        write_sheet(store, Settings("similarity"))
    assert sprite_order.EXTRA


def test_the_page_asks_for_nothing_from_elsewhere(store):
    _, path = write_sheet(store, Settings())
    text = path.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert [one["name"] for one in data["sprites"]][:2] == ["channel 0", "channel 1"]
    assert sum(one["image"] is None for one in data["sprites"]) == 1
    assert all((path.parent / one["image"]).is_file() for one in data["sprites"] if one["image"])


# --- in a browser -------------------------------------------------------------------------------------------------

in_chromium = pytest.mark.skipif(program() is None, reason="needs Chromium: apt-get install chromium")


@in_chromium
def test_the_page_pans_zooms_and_tells_what_one_points_at(store):
    _, path = write_sheet(store, Settings("index", columns=4))
    with page() as shown:
        shown.size(600, 600)
        shown.open(path.resolve().as_uri())
        _keys(shown)
        _mouse(shown)
        assert not shown.complaints
        assert all(request.startswith(("file:", "data:", "about:")) for request in shown.requests)


@in_chromium
def test_where_there_is_no_sprite_one_sees_the_page(store):
    """Behind the last sprites of a dark page was white paper."""
    _, path = write_sheet(store, Settings("index", columns=4))
    with page() as shown:
        shown.size(600, 600, dark=True)
        shown.open(path.resolve().as_uri())
        shown.wait("whole.complete")
        place = shown.see(
            "(r => ({x: r.right - 5, y: r.bottom - 5, width: 1, height: 1}))(whole.getBoundingClientRect())"
        )
        found = shown.call("Page.captureScreenshot", format="png", clip={**place, "scale": 1})
    with Image.open(BytesIO(b64decode(found["data"]))) as picture:
        assert picture.convert("L").getpixel((0, 0)) < 50  # type: ignore[operator]


def _keys(shown: Page) -> None:
    said = "document.getElementById('said').textContent"
    shown.press("ArrowRight")
    assert shown.see(said).startswith("channel 0, score 0")
    shown.press("ArrowRight", "ArrowDown")
    assert shown.see(said).startswith("channel 5, score 2")
    assert shown.see("document.activeElement.getAttribute('href')") == f"../runs/run{5:013d}/image.png"
    shown.press("ArrowLeft")
    assert HOSTILE in shown.see(said) and shown.see("window.intruded") is None
    shown.press("End")
    assert "failed" in shown.see(said)
    before = shown.see("zoom")
    shown.press("+", "+", "+")
    assert shown.see("zoom") == pytest.approx(before * 1.4**3)
    shown.press("-")
    assert shown.see("zoom") == pytest.approx(before * 1.4**2)
    shown.press("0")
    assert shown.see("zoom") == pytest.approx(before)


def _mouse(shown: Page) -> None:
    middle = {"x": 300, "y": 300}
    under = "document.elementFromPoint(300, 300).dataset.place"
    place = shown.see(under)
    shown.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-1200, **middle)
    shown.wait("zoom > 4")
    assert shown.see(under) == place, "what is under the pointer stays there"
    shown.wait(f"sprites[{place}].querySelector('img')?.naturalWidth === 48")
    x = shown.see("x")
    shown.call("Input.dispatchMouseEvent", type="mousePressed", button="left", clickCount=1, **middle)
    shown.call("Input.dispatchMouseEvent", type="mouseMoved", button="left", x=260, y=300)
    shown.call("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, x=260, y=300)
    assert shown.see("x") == pytest.approx(x - 40)
    assert shown.see("location.pathname.endsWith('.html')"), "a drag follows no link"
