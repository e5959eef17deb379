import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from interpret_runs.runner import figures, sheet_page
from interpret_runs.runner.figure_essentials import read_figure
from interpret_runs.runner.figures import contact_sheet, paged
from interpret_runs.runner.sheet_page import Page
from interpret_runs.runner.sheet_section import Section
from interpret_runs.runner.sheet_sections import check_sections, sections_of

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


def examples(channel: int = 0, layer: str = "late") -> Row:
    drawn = visualisation(channel, layer)
    kept = {name: value for name, value in drawn.items() if not name.startswith(("parameterisation", "seed"))}
    return {**kept, "run_id": f"examples {channel} {layer}", "task": "examples"}


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


def above(section: Section) -> list[str]:
    """The first line over each column."""
    return [lines[0] for lines in section.columns]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


GRID = [
    visualisation(channel, layer, parameterisation)
    for parameterisation, layer, channel in itertools.product(
        ("fourier", "pixel", "laplacian"), ("early", "late"), (3, 12, 40, 77)
    )
]


# --- layout -----------------------------------------------------------------------------------------------------


def test_units_go_across_and_the_rest_down() -> None:
    section = only(GRID)
    assert above(section) == ["channel 3", "channel 12", "channel 40", "channel 77"]
    assert list(section.names) == ["layer", "parameterisation"]
    assert [list(row) for row in section.rows[:4]] == [
        ["early", "fourier"],
        ["early", "pixel"],
        ["early", "laplacian"],
        ["late", "fourier"],
    ]


def test_every_tile_stands_under_its_labels() -> None:
    section = only(GRID)
    for tile in section.tiles:
        assert above(section)[tile.column] == tile.run["unit"]
        assert list(section.rows[tile.row]) == [tile.run["layer"], tile.run["parameterisation"]]


def test_pictures_go_across_in_attributions() -> None:
    section = only([attribution(method, item) for method in ("saliency", "grad_cam") for item in range(3)])
    assert above(section) == ["folder 0", "folder 1", "folder 2"]
    assert [list(row) for row in section.rows] == [["saliency"], ["Grad-CAM"]], "as methods are called in print"


def test_a_picture_is_headed_by_the_class_that_is_explained_on_it_where_each_has_its_own() -> None:
    own = only([attribution(method, item) for method in ("saliency", "grad_cam") for item in (3, 5)])
    assert [list(lines) for lines in own.columns] == [["folder 3", "class 3"], ["folder 5", "class 5"]]
    row = only([attribution("saliency", item) for item in (3, 5)])
    assert [tile.caption for tile in row.tiles] == [("folder 3", "class 3"), ("folder 5", "class 5")]
    same = only([attribution(method, item, unit="cat") for method in ("saliency", "grad_cam") for item in (3, 5)])
    assert [list(lines) for lines in same.columns] == [["folder 3"], ["folder 5"]]


def test_ways_of_drawing_are_told_apart() -> None:
    drawn = only([attribution("saliency", 3, rendering=rendering) for rendering in ("standard", "raw")])
    assert [tile.caption for tile in drawn.tiles] == [("standard",), ("raw",)]


def test_files_are_called_by_their_name() -> None:
    rows = [attribution(m, i) for m in "ab" for i in ("cat.jpg", "dog.jpg")]
    assert above(only(rows)) == ["cat", "dog"]
    single = [{**row, "images": "file", "images.path": f"/x/{row['images.item']}", "images.item": None} for row in rows]
    assert above(only(single)) == ["cat", "dog"]


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
        ("seed –",),
    ]


def test_results_never_make_rows() -> None:
    varying = ("score", "seconds", "run_id", "metrics.contrast", "versions.torch", "compute.device", "finished")
    rows = [visualisation(c, p, **dict.fromkeys(varying, f"{c}{p}")) for c in (1, 2) for p in ("early", "late")]
    assert list(only(rows).names) == ["layer"]


def test_without_units_the_last_choice_goes_across() -> None:
    section = only([visualisation(1, layer, p) for layer in ("early", "late") for p in ("fourier", "pixel", "maco")])
    assert above(section) == ["fourier", "pixel", "MACO"]
    assert [list(row) for row in section.rows] == [["early"], ["late"]]


@pytest.mark.parametrize(
    "rows",
    [
        [visualisation(channel) for channel in range(64)],  # nothing to put on rows
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
    mixed = [visualisation(channel, layer) for channel in range(2) for layer in ("early", "late")]
    section = only([*mixed, visualisation(7, "middle", "pixel"), visualisation(8, "deep", "cppn")])
    assert not section.rows and len({tile.caption for tile in section.tiles}) == 6


def test_a_range_of_units_over_layers_is_a_block_for_each_layer() -> None:
    """Layers used to alternate from tile to tile."""
    section = only([visualisation(channel, layer) for channel in range(13) for layer in ("late", "early")])
    assert [list(row) for row in section.rows] == [["early"], ["early"], ["late"], ["late"]]
    for tile in section.tiles:
        assert section.rows[tile.row] == [tile.run["layer"]] and tile.caption == (tile.run["unit"],)
    by_place = sorted(section.tiles, key=lambda tile: (tile.row, tile.column))
    assert [tile.run["unit"] for tile in by_place] == [f"channel {channel}" for channel in range(13)] * 2
    assert {tile.column for tile in section.tiles} == set(range(7))


def test_tiles_that_flow_are_in_the_order_of_their_numbers() -> None:
    section = only([visualisation(channel) for channel in (40, 5, 12, 100, *range(200, 220))])
    assert [tile.caption for tile in section.tiles[:4]] == [(f"channel {n}",) for n in (5, 12, 40, 100)]


def test_a_setting_that_would_leave_gaps_stands_above() -> None:
    rows = [
        visualisation(c, layer, objective=o)
        for layer in ("early", "late")
        for o in ("neuron", "channel")
        for c in (0, 3)
    ]
    rows += [{**visualisation(0, layer, objective="layer"), "unit": "layer"} for layer in ("early", "late")]
    section = only(rows)
    assert [list(lines) for lines in section.columns] == [
        ["neuron", "channel 0"],
        ["neuron", "channel 3"],
        ["channel", "channel 0"],
        ["channel", "channel 3"],
        ["layer"],
    ]
    assert [list(row) for row in section.rows] == [["early"], ["late"]] and len(section.tiles) == 10


def test_runs_of_several_images_have_a_section_of_their_own() -> None:
    rows = [visualisation(c, **{"parameterisation.images": images}) for images in (1, 4) for c in range(6)]
    one, several = sections(rows)
    assert (one.heading, several.heading) == ("Visualisations", "Visualisations of several images")
    assert len(one.tiles) == len(several.tiles) == 6 and one.tile == one.size < several.tile


def test_a_section_of_parts_keeps_its_lengths() -> None:
    """A part without the widest run made its tiles larger than had been reckoned, and its page too long."""
    rows = [visualisation(c, transform=f"t{c}", **{"parameterisation.images": 1 if c < 30 else 4}) for c in range(34)]
    (section,) = asked(rows, All="score > 0")
    parts = section.divided(sheet_page.PRINT_HEIGHT)
    assert len(parts) > 1
    assert {(part.size, part.tile, part.pitch) for part in parts} == {(section.size, section.tile, section.pitch)}
    assert max(part.height for part in parts) <= sheet_page.PRINT_HEIGHT


def test_too_many_runs_are_left_out_and_counted() -> None:
    rows = [visualisation(channel) for channel in range(300)] + [attribution("saliency", i) for i in range(30)]
    first, second = sections(rows, most=110)
    assert len(first.tiles) == 100 and "200 more runs left out" in first.constant
    assert len(second.tiles) == 10 and "20 more runs left out" in second.constant
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(pd.DataFrame(rows), Path(), Path("sheet.png"), most=0)


# --- sections that are asked for --------------------------------------------------------------------------------


def asked(rows: list[Row], most: int = 256, **queries: str) -> list[Section]:
    return sections_of(pd.DataFrame(rows), most, queries)


def test_a_section_holds_what_its_query_says_in_the_order_asked_for() -> None:
    late, early = asked(GRID, Late="layer == 'late' and parameterisation != 'laplacian'", Early="layer in ['early']")
    assert late.heading == "Late" and early.heading == "Early" and len(early.tiles) == 12
    assert {tile.run["layer"] for tile in late.tiles} == {"late"}
    assert [list(row) for row in late.rows] == [["fourier"], ["pixel"]]
    assert above(early) == ["channel 3", "channel 12", "channel 40", "channel 77"]


def test_a_query_may_name_dotted_columns_and_numbers() -> None:
    (few,) = asked(GRID, Few="`objective.channel` <= 12 and score > 3 and `parameterisation.decay` == 1")
    assert {tile.run["unit"] for tile in few.tiles} == {"channel 3", "channel 12"}
    assert {tile.run["parameterisation"] for tile in few.tiles} == {"fourier"}


def test_a_run_may_stand_in_several_sections_and_one_that_nobody_asked_for_in_none() -> None:
    rows = [*GRID, attribution("saliency", 1)]
    parts = asked(rows, All="task == 'visualise'", Deep="layer == 'late'")
    assert [len(part.tiles) for part in parts] == [24, 12]


def test_a_section_without_runs_is_left_out() -> None:
    (only_one,) = asked(GRID, None_="layer == 'middle'", Late="layer == 'late'")
    assert only_one.heading.startswith("Late")


def test_sections_share_what_fits_on_a_page() -> None:
    first, second = asked([visualisation(c) for c in range(90)], 60, Low="score < 60", High="score >= 60")
    assert (len(first.tiles), len(second.tiles)) == (40, 20)
    assert "20 more runs left out" in first.constant and "10 more runs left out" in second.constant


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("layr == 'late'", "name 'layr' is not defined; columns like it: layer"),
        ("`objective.chanel` == 3", "name 'objective.chanel' is not defined; columns like it: objective.channel"),
        ("layer ==", "invalid syntax"),
        ("'late'", "'Some'"),
    ],
)
def test_a_query_that_is_wrong_names_its_section_and_the_columns_like_it(query: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"figure\.sections, 'Some': ") as error:
        asked(GRID, Some=query)
    assert says in str(error.value)


@pytest.mark.parametrize("wanted", ["layer == 'late'", ["layer == 'late'"], {"Late": 3}, {"Late": "layer =="}, 3])
def test_what_no_index_could_be_divided_by_is_refused_before_there_is_one(wanted: Any) -> None:
    with pytest.raises(ValueError, match=r"figure\.sections.*it must be headings with queries over the index"):
        check_sections(wanted)


def test_columns_are_not_known_before_there_is_an_index() -> None:
    check_sections({"Late": "layer == 'late' and `objective.channel` > 3", "Other": "nothing == 1"})


def test_the_sections_of_the_experiments_are_queries() -> None:
    for path in (Path(__file__).parents[1] / "conf" / "experiment").glob("*.yaml"):
        check_sections(yaml.safe_load(path.read_text()).get("figure", {}).get("sections", {}))


# --- dataset examples -------------------------------------------------------------------------------------------


def test_visualisations_stand_beside_the_dataset_examples_of_their_units() -> None:
    channels = (3, 12, 40)
    section = only([visualisation(c) for c in channels] + [examples(c) for c in reversed(channels)])
    assert section.heading == "", "of a single section"
    assert above(section) == ["visualisation", "dataset examples"]
    assert [list(row) for row in section.rows] == [["channel 3"], ["channel 12"], ["channel 40"]]
    assert len(section.tiles) == 6
    for tile in section.tiles:
        assert [tile.run["unit"]] == list(section.rows[tile.row])
        assert tile.run["task"] == ("visualise", "examples")[tile.column]


def test_units_of_several_layers_have_a_row_each() -> None:
    both = [make(c, layer) for make in (visualisation, examples) for layer in ("early", "late") for c in (1, 2)]
    section = only(both)
    assert list(section.names) == ["layer", "unit"] and len(section.rows) == 4
    assert above(section) == ["visualisation", "dataset examples"]


def test_units_without_examples_have_a_gap_beside_them() -> None:
    section = only([visualisation(c) for c in (1, 2, 3)] + [examples(c) for c in (1, 2)])
    assert len(section.rows) == 3 and len(section.tiles) == 5


def test_examples_of_other_units_have_a_section_of_their_own() -> None:
    headings = [part.heading for part in sections([visualisation(1), visualisation(2), examples(8), examples(9)])]
    assert headings == ["Visualisations", "Dataset examples"]


def test_attributions_keep_their_section_beside_the_two() -> None:
    rows = [visualisation(1), examples(1), attribution("saliency", 1), attribution("saliency", 2)]
    headings = [part.heading for part in sections(rows)]
    assert headings == ["Visualisations and dataset examples", "Attributions"]


def test_a_section_that_asks_for_both_puts_them_side_by_side(root: Path) -> None:
    rows = [make(c) for c in (1, 2) for make in (visualisation, examples)]
    (section,) = asked(rows, Both="task in ['visualise', 'examples']")
    assert above(section) == ["visualisation", "dataset examples"]
    out = contact_sheet(pd.DataFrame(rows), root, root / "sheet.png", sections={"Both": "layer == 'late'"})
    assert size(out)[0] > 2 * sheet_page.TILE * sheet_page.DPI


# --- drawing ----------------------------------------------------------------------------------------------------


def test_a_sheet_shows_pictures_and_says_what_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    text = Page.text

    def listen(page: Page, x: float, y: float, words: str, *rest: Any, **style: Any) -> None:
        said.append(words)
        text(page, x, y, words, *rest, **style)

    monkeypatch.setattr(Page, "text", listen)
    (root / "broken.png").write_text("no image")
    images = [("ok", "tile.png"), ("failed", None), ("ok", "gone.png"), ("ok", "broken.png")]
    rows = [visualisation(c, status=status, image=image) for c, (status, image) in enumerate(images)]
    out = contact_sheet(pd.DataFrame(rows), root, root / "sheet.png", title="The file", heading="A heading")
    assert said[0] == "A heading" and "The file" not in said
    assert said.count("failed") == 1 and said.count("missing") == 2
    out_loud = capsys.readouterr().out
    assert "1 panel has a run that failed: " in out_loud and "2 panels are missing: the file of its run" in out_loud
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
    save = figures.write_figure

    def keep(figure: Figure, *rest: Any) -> Path:
        kept.append(figure)
        return save(figure, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "write_figure", keep)
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


def test_a_document_has_pages_of_a_journal_and_every_run_is_on_one(root: Path) -> None:
    rows = [visualisation(c) for c in range(64)] + [visualisation(c, "early") for c in range(64)]
    index = pd.DataFrame(rows)
    pages = paged(sections_of(index, 256, {"Late": "layer == 'late'", "Early": "layer == 'early'"}))
    assert len(pages) > 1
    assert sorted(run for page in pages for one in page for run in one.runs) == sorted(index["run_id"])
    for page in pages:
        assert sum(section.height for section in page) < sheet_page.PRINT_HEIGHT
        assert max(section.width for section in page) < sheet_page.PRINT_WIDTH
    out = contact_sheet(index, root, root / "sheet.png", formats=["png", "pdf"])
    assert out == root / "sheet.png"
    assert re.search(rb"/Count (\d+)", (root / "sheet.pdf").read_bytes())[1] == b"%d" % len(paged(sections(rows)))  # type: ignore[index]
    for file in (out, root / "sheet.pdf"):
        assert sorted(read_figure(file)["runs"]) == sorted(index["run_id"])


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, interpret_runs.runner.figures; "
        "sys.exit(bool({'torch', 'pandas', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_items_of_a_folder_are_called_by_their_file() -> None:
    rows = [{**attribution("a", item), "images.path": "/x", "picture": f"{item}.jpg"} for item in (0, 1)]
    assert [tile.run["picture"] for tile in only(rows).tiles] == ["0.jpg", "1.jpg"]
