import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import here
from PIL import Image
from stored import record, write

from interpret_runs.rendering import Rendering
from interpret_runs.runner.gallery import write_gallery
from interpret_runs.runner.gallery_data import gallery_data, script
from interpret_runs.runner.gallery_pictures import Made, small
from interpret_runs.runner.index import load_index
from interpret_runs.runner.map_layers import map_layer, uncovered
from interpret_runs.runner.store import Store

HEIGHT, WIDTH = 224, 280


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store("outputs", "some")


def png(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (64, 64)) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def data_of(store: Store) -> dict[str, Any]:
    text = (store.root / "gallery" / "data.js").read_text(encoding="ascii")
    found: dict[str, Any] = json.loads(text.removeprefix("window.GALLERY=").rstrip(";\n"))
    return found


def told(store: Store) -> dict[str, Any]:
    return gallery_data(load_index(store.root), store, Made("thumbnails/64"))


def values(data: dict[str, Any], name: str) -> list[Any]:
    """The values of a column, run by run."""
    (column,) = [column for column in data["columns"] if column["name"] == name]
    return [None if code < 0 else column["values"][code] for code in column["codes"]]


def map_of(seed: int, signed: bool) -> torch.Tensor:
    values = torch.rand(HEIGHT // 4, WIDTH // 4, generator=torch.Generator().manual_seed(seed))
    return values * 2 - 1 if signed else values


def photo_of(seed: int) -> Image.Image:
    levels = torch.rand(7, 8, 3, generator=torch.Generator().manual_seed(seed)) * 255
    return Image.fromarray(levels.to(torch.uint8).numpy()).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def test_the_command_writes_a_page_and_says_where(store):
    write(store, "a", "b", content=png())
    done = here("task=gallery", "name=some")
    assert (done.status, done.err) == (0, "")
    page = Path(done.out.strip().removesuffix(" (open it in a browser)"))
    assert page == Path("outputs/some/gallery/index.html") and page.is_file()
    sources = page.read_text(encoding="utf-8")
    for name in ("gallery.css", "data.js", "main.js"):
        assert f'"{name}"' in sources and (page.parent / name).is_file()
    assert "default-src 'none'" in sources and "http" not in sources.replace("http-equiv", "")
    assert (page.parent / "thumbnails" / "224" / "a.webp").is_file()


def test_no_source_of_the_page_makes_markup_of_text():
    """Text from the index gets into the page as text: nothing there can turn it into elements or code."""
    from interpret_runs.runner.gallery import PAGE

    scripts = {file.name: file.read_text(encoding="utf-8") for file in PAGE.glob("*.js")}
    assert "main.js" in scripts
    for name, text in scripts.items():
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import "):
            assert danger not in text, f"{name}: {danger}"


def test_a_gallery_of_nothing_names_the_nearest_store(store):
    write(store, "a", content=png())
    assert "no store 'sum' in outputs; closest: some" in here("task=gallery", "name=sum").error


@pytest.mark.parametrize("thumbnail", ["8", "5000", "big", "2.5"])
def test_a_thumbnail_has_a_size_that_can_be_seen(store, thumbnail):
    write(store, "a", content=png())
    said = here("task=gallery", "name=some", f"task.thumbnail={thumbnail}").error
    assert "task.thumbnail is " in said and "from 32 to 1024" in said


def test_layers_are_wanted_or_not(store):
    write(store, "a", content=png())
    assert "task.layers is 'some'; it is true or false" in here("task=gallery", "name=some", "task.layers=some").error


def test_only_what_is_new_is_made(store):
    write(store, "a", "b", content=png())
    write_gallery(store)
    files = {name: store.root / "gallery" / "thumbnails" / "224" / f"{name}.webp" for name in "abc"}
    before = {name: files[name].stat().st_ino for name in "ab"}
    write(store, "b", content=png((0, 0, 255)))
    write(store, "c", content=png())
    write_gallery(store)
    assert files["a"].stat().st_ino == before["a"]
    assert files["b"].stat().st_ino != before["b"] and files["c"].is_file()
    with Image.open(files["b"]) as picture:
        red, _, blue = picture.convert("RGB").getpixel((32, 32))  # type: ignore[misc]
    assert blue > 200 > red


def test_a_picture_that_is_gone_or_damaged_is_told_and_ends_nothing(store):
    write(store, "gone", "damaged", "whole", content=png())
    (store.run_folder("gone") / "image.png").unlink()
    (store.run_folder("damaged") / "image.png").write_bytes(b"no picture")
    write_gallery(store)
    data = data_of(store)
    assert {data["ids"][place] for place in data["without"]} == {"gone", "damaged"}


def test_a_strip_of_square_images_is_folded_and_everything_fits():
    strip = Image.new("RGB", (400, 100), "white")
    strip.paste((255, 0, 0), (300, 0, 400, 100))  # the last of four
    folded = small(strip, 50)
    assert folded.size == (50, 50)
    assert folded.getpixel((40, 40)) == (255, 0, 0, 255) and folded.getpixel((10, 40)) == (255, 255, 255, 255)
    five = small(Image.new("RGB", (500, 100), "white"), 90)
    assert five.size == (90, 60) and five.getpixel((80, 50)) == (0, 0, 0, 0), "where there is no image it is clear"
    assert small(Image.new("RGB", (300, 200)), 30).size == (30, 20)
    assert small(Image.new("RGB", (20, 20)), 30).size == (20, 20), "nothing is enlarged"


def test_columns_hold_what_tells_runs_apart_and_the_rest_is_said_once(store):
    choices = {"layer": "late", "model": "small"}
    for name, channel, score in (("a", 1, 0.5), ("b", 10, 1.5), ("c", 2, -3.0)):
        config = {"objective": {"channel": channel}, "seed": 2**60, "task": {"steps": 4}}
        write(store, name, choices=choices, config=config, score=score, seed=2**60, content=png())
    data = told(store)
    assert values(data, "objective.channel") == [1, 10, 2]
    (channel,) = [column for column in data["columns"] if column["name"] == "objective.channel"]
    assert channel["values"] == [1, 2, 10], "numbers are in order as numbers"
    (score,) = [column for column in data["columns"] if column["name"] == "score"]
    assert (score["kind"], score["numbers"]) == ("metric", [0.5, 1.5, -3])
    same = dict(data["same"])
    assert same["layer"] == "late" and same["task.steps"] == 4
    assert same["seed"] == str(2**60), "JavaScript would round it"


def test_columns_that_tell_the_same_runs_apart_are_offered_once(store):
    for name, layer, path in (("a", "late", "features.9"), ("b", "early", "features.1"), ("c", "late", "features.9")):
        write(store, name, choices={"layer": layer}, config={"layer": {"path": path}}, content=png())
    twins = {column["name"]: column.get("twin") for column in told(store)["columns"]}
    assert twins["layer"] is None and twins["layer.path"] == "layer"


def test_failed_runs_are_told_with_their_reason_and_without_a_picture(store):
    write(store, "a", content=png())
    store.write_records([record("b", "failed", error="out of <memory>", score=None)])
    write_gallery(store)
    data = data_of(store)
    assert values(data, "error") == [None, "out of <memory>"]
    place = data["ids"].index("b")
    assert place in data["without"] and data["main"]["codes"][place] == -1
    (score,) = [column for column in data["columns"] if column["name"] == "score"]
    assert score["numbers"][place] is None


def test_the_script_is_plain_and_whole_whatever_it_holds(store):
    hostile = "</script><script>alert(1)</script>\u2028 é \udcff"
    made = script({"name": hostile})
    assert made.isascii()
    assert json.loads(made.decode().removeprefix("window.GALLERY=").rstrip(";\n")) == {"name": hostile}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script({"score": float("nan")})


def test_the_command_of_a_run_can_be_pasted(tmp_path):
    store = Store(tmp_path / "my outputs", "some")
    write(store, "a", content=png())
    assert told(store)["command"] == f"python run.py 'outputs={tmp_path}/my outputs' name=some"


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("opacity", [0.3, 0.6, 0.85])
def test_an_overlay_is_its_photograph_under_its_map(signed, opacity):
    """What is taken apart gives the overlay again at its own opacity, and the grey photograph at none."""
    photo, values = photo_of(1), map_of(2, signed)
    rendering = Rendering(opacity=opacity)
    overlay, heat_map = rendering.overlay(photo, values), rendering.heat_map(values)
    layer = map_layer(heat_map)
    assert layer.size == photo.size
    found = uncovered(overlay, layer, opacity)
    grey = np.asarray(photo.convert("L"), dtype=float)
    difference = np.abs(np.asarray(found, dtype=float) - grey[..., None])
    assert difference.mean() < 1.5 / (1 - opacity) and np.ptp(np.asarray(found), axis=2).max() == 0
    faded = layer.getchannel("A").point(lambda level: round(opacity * level))
    again = Image.composite(layer.convert("RGB"), found, faded)
    assert np.abs(np.asarray(again, dtype=float) - np.asarray(overlay, dtype=float)).mean() < 2


def test_what_lies_around_the_map_stays_as_it_is():
    photo, values = photo_of(1), map_of(2, True)
    rendering = Rendering()
    whole = Image.new("RGB", (WIDTH + 61, HEIGHT + 32), (10, 200, 30))
    corner = (round(61 / 2), 16)
    whole.paste(rendering.overlay(photo, values), corner)
    found = uncovered(whole, map_layer(rendering.heat_map(values)), rendering.opacity)
    assert found.size == whole.size and found.getpixel((0, 0)) == (10, 200, 30)
    grey = np.asarray(photo.convert("L"), dtype=float)
    inside = np.asarray(found.crop((*corner, corner[0] + WIDTH, corner[1] + HEIGHT)), dtype=float)[..., 0]
    assert np.abs(inside - grey).mean() < 4


def test_without_opacity_the_photograph_keeps_its_colours():
    photo, values = photo_of(1), map_of(2, True)
    rendering = Rendering(opacity=0)
    found = uncovered(rendering.overlay(photo, values), map_layer(rendering.heat_map(values)), 0.0)
    assert found.tobytes() == photo.tobytes()


def test_a_value_at_the_limit_is_opaque_and_zero_is_clear():
    values = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    alpha = np.asarray(map_layer(Rendering(share=1, smoothing=0, interpolation="nearest").heat_map(values)))[..., 3]
    half = alpha.shape[0] // 2
    assert alpha[0, 0] == alpha[-1, 0] == 255 and alpha[0, -1] == 0 and abs(int(alpha[half + 9, -9]) - 128) <= 2


def test_pictures_that_are_no_maps_are_refused():
    with pytest.raises(ValueError, match="no heat map: it has no frame"):
        map_layer(photo_of(3))
    framed = Rendering().heat_map(map_of(2, True))
    framed.paste((1, 2, 3), (40, 40, 60, 60))
    with pytest.raises(ValueError, match="no heat map: its colours"):
        map_layer(framed)
    values = map_of(2, True)
    layer, overlay = map_layer(Rendering().heat_map(values)), Rendering().overlay(photo_of(1), values)
    with pytest.raises(ValueError, match="opacity 0.95"):
        uncovered(overlay, layer, 0.95)
    with pytest.raises(ValueError, match="does not let an overlay"):
        uncovered(overlay.crop((0, 0, 50, 50)), layer, 0.6)
    with pytest.raises(ValueError, match="not the one in the overlay"):
        uncovered(Rendering().overlay(photo_of(1), map_of(7, True)), layer, 0.6)


def test_maps_of_a_store_are_taken_apart_where_that_is_wanted(store):
    from interpret_runs.png import png_bytes

    values, rendering = map_of(2, True), Rendering()
    files = {"heat_map": rendering.heat_map(values), "overlay": rendering.overlay(photo_of(1), values)}
    kept = {key: store.write_artefact("a", f"{key}.png", png_bytes(picture, {})) for key, picture in files.items()}
    config = {"rendering": {"opacity": rendering.opacity}}
    store.write_records([record("a", task="attribute", artefacts=kept, config=config)])
    write_gallery(store, layers=False)
    assert data_of(store)["layers"] == []
    write_gallery(store)
    assert data_of(store)["layers"] == [0]
    folder = store.root / "gallery" / "layers"
    with Image.open(folder / "a.webp") as photo, Image.open(folder / "a.png") as layer:
        assert photo.size == layer.size == (WIDTH, HEIGHT) and layer.mode == "RGBA"
