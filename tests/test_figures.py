import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from interpret_runs.runner import figures, sheet_page
from interpret_runs.runner.figures import contact_sheet
from interpret_runs.runner.sheet_page import Page
from interpret_runs.runner.sheet_sections import Section, sections_of

Row = dict[str, Any]


def visualisation(channel: int = 0, layer: str = "late", parameterisation: str = "fourier", **more: Any) -> Row:
    return {
        "run_id": f"{channel}-{layer}-{parameterisation}-{more}",
        "status": "ok",
        "score": float(channel) + 0.5,
        "seconds": 1.0 + channel,
        "image": "tile.png",
        "task": "visualise",
        "unit": f"channel {channel}",
        "model": "shapes",
        "layer": layer,
        "objective": "channel",
        "parameterisation": parameterisation,
        "objective.channel": channel,
        "layer.path": {"early": "features.3", "late": "features.9"}.get(layer, layer),
        "parameterisation.decay": 1.0 if parameterisation == "fourier" else None,
        "seed": 0,
        **more,
    }


def attribution(method: str, item: int | str, **more: Any) -> Row:
    return {
        "run_id": f"{method}-{item}-{more}",
        "status": "ok",
        "score": 1.0,
        "image": "tile.png",
        "task": "attribute",
        "unit": f"class {item}",
        "model": "shapes",
        "objective": "logit",
        "attribution": method,
        "images": "folder",
        "images.item": item,
        "images.path": "/photographs",
        "objective.target": item,
        **more,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "tile.png")
    return tmp_path


def sections(rows: list[Row], most: int = 256) -> list[Section]:
    return sections_of(pd.DataFrame(rows), most, {})


def only(rows: list[Row]) -> Section:
    (section,) = sections(rows)
    return section


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


GRID = [
    visualisation(channel, layer, parameterisation)
    for parameterisation, layer, channel in itertools.product(
        ("fourier", "pixel", "cppn"), ("early", "late"), (3, 12, 40, 77)
    )
]


# --- layout -----------------------------------------------------------------------------------------------------


def test_units_go_across_and_the_rest_down() -> None:
    section = only(GRID)
    assert list(section.columns) == ["channel 3", "channel 12", "channel 40", "channel 77"]
    assert list(section.names) == ["layer", "parameterisation"]
    assert [list(row) for row in section.rows[:4]] == [
        ["early", "fourier"],
        ["early", "pixel"],
        ["early", "cppn"],
        ["late", "fourier"],
    ]


def test_every_tile_stands_under_its_labels() -> None:
    section = only(GRID)
    for tile in section.tiles:
        assert section.columns[tile.column] == tile.run["unit"]
        assert list(section.rows[tile.row]) == [tile.run["layer"], tile.run["parameterisation"]]


def test_pictures_go_across_in_attributions() -> None:
    section = only([attribution(method, item) for method in ("saliency", "grad_cam") for item in range(3)])
    assert list(section.columns) == ["folder 0", "folder 1", "folder 2"]
    assert [list(row) for row in section.rows] == [["saliency"], ["grad_cam"]]


def test_files_are_called_by_their_name() -> None:
    rows = [attribution(m, i) for m in "ab" for i in ("cat.jpg", "dog.jpg")]
    assert list(only(rows).columns) == ["cat.jpg", "dog.jpg"]
    single = [{**row, "images": "file", "images.path": f"/x/{row['images.item']}", "images.item": None} for row in rows]
    assert list(only(single).columns) == ["cat.jpg", "dog.jpg"]


def test_settings_that_vary_inside_a_choice_are_labels() -> None:
    sizes = [{**visualisation(c), "parameterisation.size": s} for c in (1, 2) for s in (64, 128)]
    assert [list(row) for row in only(sizes).rows] == [["size 64"], ["size 128"]]
    paths = [visualisation(c, "path", **{"layer.path": p}) for c in (1, 2) for p in ("features.3", "features.4")]
    assert [list(row) for row in only(paths).rows] == [["features.3"], ["features.4"]]


def test_layers_that_differ_by_model_follow_from_their_alias() -> None:
    rows = [
        visualisation(channel, layer, model=model, **{"layer.path": f"{model}.{layer}"})
        for channel, layer, model in itertools.product((1, 2), ("early", "late"), ("a", "b"))
    ]
    assert list(only(rows).names) == ["model", "layer"]


def test_large_numbers_in_a_column_with_gaps_stay_apart() -> None:
    section = only([visualisation(1, seed=123456789.0 + n) for n in range(3)] + [visualisation(1, seed=None)])
    assert [tile.caption for tile in section.tiles] == [
        ("seed 123456789",),
        ("seed 123456790",),
        ("seed 123456791",),
        ("seed -",),
    ]


def test_results_never_make_rows() -> None:
    varying = ("score", "seconds", "run_id", "metrics.contrast", "versions.torch", "compute.device", "finished")
    rows = [visualisation(c, p, **dict.fromkeys(varying, f"{c}{p}")) for c in (1, 2) for p in ("early", "late")]
    assert list(only(rows).names) == ["layer"]


def test_without_units_the_last_choice_goes_across() -> None:
    section = only([visualisation(1, layer, p) for layer in ("early", "late") for p in ("fourier", "pixel", "cppn")])
    assert list(section.columns) == ["fourier", "pixel", "cppn"]
    assert [list(row) for row in section.rows] == [["early"], ["late"]]


@pytest.mark.parametrize(
    "rows",
    [
        [visualisation(channel) for channel in range(64)],  # nothing to put on rows
        [visualisation(channel, layer) for channel in range(13) for layer in ("early", "late")],  # too wide
        [visualisation(1, "early"), visualisation(2, "late"), visualisation(3, "middle")],  # mostly gaps
        [visualisation(1), visualisation(1)],  # alike in all that counts
        [visualisation(1)],
    ],
)
def test_what_makes_no_table_flows(rows: list[Row]) -> None:
    section = only(rows)
    assert not section.rows and len(section.tiles) == len(rows)
    assert len({(tile.row, tile.column) for tile in section.tiles}) == len(rows)
    assert len(section.columns) <= max(4, len(rows) ** 0.5 + 1)
    assert section.tiles[0].caption[0] == rows[0]["unit"]


def test_a_caption_holds_all_that_varies() -> None:
    section = only([visualisation(channel, layer) for channel in range(13) for layer in ("early", "late")])
    assert len({tile.caption for tile in section.tiles}) == 26


def test_too_many_runs_are_left_out_and_counted() -> None:
    rows = [visualisation(channel) for channel in range(300)] + [attribution("saliency", i) for i in range(30)]
    first, second = sections(rows, most=110)
    assert len(first.tiles) == 100 and "200 more left out" in first.heading
    assert len(second.tiles) == 10 and "20 more left out" in second.heading
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(pd.DataFrame(rows), Path(), Path("sheet.png"), most=0)


# --- drawing ----------------------------------------------------------------------------------------------------


def test_a_sheet_shows_pictures_and_says_what_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    text = Page.text

    def listen(page: Page, x: float, y: float, words: str, *rest: Any, **style: Any) -> None:
        said.append(words)
        text(page, x, y, words, *rest, **style)

    monkeypatch.setattr(Page, "text", listen)
    (root / "broken.png").write_text("no image")
    images = [("ok", "tile.png"), ("failed", None), ("ok", "gone.png"), ("ok", "broken.png")]
    rows = [visualisation(c, status=status, image=image) for c, (status, image) in enumerate(images)]
    out = contact_sheet(pd.DataFrame(rows), root, root / "sheet.png", title="A title")
    assert said[0] == "A title" and "1 failed" in said[1]
    assert said.count("failed") == 1 and said.count("missing") == 2
    with Image.open(out) as sheet:
        counts = {colour: count for count, colour in sheet.convert("RGB").getcolors(1 << 24) or []}
    tile = round(sheet_page.TILE * sheet_page.DPI)
    assert counts[(255, 0, 0)] == pytest.approx(tile * tile * 48 / 64, rel=0.02)  # one picture, in its proportions
    assert counts[(224, 224, 224)] == pytest.approx(3 * tile * tile, rel=0.05)


LONG = "a label that nobody would ever fit above a picture of one inch " * 3


def test_no_text_leaves_its_place(root: Path) -> None:
    """Drawn as matplotlib draws them, no two texts meet and none leaves the page."""
    from matplotlib.figure import Figure

    rows = [visualisation(c, layer, unit=f"{LONG} {c}") for c in (1, 2, 3) for layer in (LONG, f"{LONG} 2")]
    rows += [visualisation(c, task="attribute", **{"images.item": f"$x_{c}$ {LONG}.jpg"}) for c in range(64)]
    kept: list[Figure] = []
    save = figures._save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_save", lambda figure, out: [kept.append(figure), save(figure, out)])  # type: ignore[func-returns-value]
        contact_sheet(pd.DataFrame(rows), root, root / "sheet.png", title=LONG)
    axes = kept[0].axes[0]
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    page = kept[0].bbox
    assert len(boxes) > 64
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 0 or down <= 1.5


def test_an_index_without_runs_is_a_sheet(root: Path) -> None:
    for index in (pd.DataFrame(), pd.DataFrame(GRID).head(0)):
        assert size(contact_sheet(index, root, root / "sheet.png"))[0] > 100


def test_a_sheet_is_replaced_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    out = root / "sheet.png"
    contact_sheet(pd.DataFrame(GRID[:2]), root, out)
    before = out.read_bytes()

    def cut_short(_figure: Figure, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", cut_short)
    with pytest.raises(OSError, match="no space"):
        contact_sheet(pd.DataFrame(GRID), root, out)
    assert out.read_bytes() == before
    assert sorted(path.name for path in root.iterdir()) == ["sheet.png", "tile.png"]


def test_a_sheet_may_be_a_document(root: Path) -> None:
    assert contact_sheet(pd.DataFrame(GRID[:2]), root, root / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, interpret_runs.runner.figures; "
        "sys.exit(bool({'torch', 'pandas', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
