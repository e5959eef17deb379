from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import Row, assert_prints_well, pictures_in_pdf, run, watched, words
from PIL import Image

from interpret_runs.runner import grid_figure
from interpret_runs.runner.colour_bars import number
from interpret_runs.runner.figure_essentials import read_figure
from interpret_runs.runner.figure_labels import Labels, names_of_items
from interpret_runs.runner.figure_notes import weights_note
from interpret_runs.runner.grid_figure import grid
from interpret_runs.runner.grid_layout import groups, starts
from interpret_runs.runner.lettering import text_width, wrapped
from interpret_runs.runner.panel_pictures import drawn_maps, usual_scale

TWO_WAYS = {"rows": "layer", "columns": "parameterisation"}
LAYERS, KINDS = ("late", "early", "middle"), ("pixel", "fourier")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return [
        run(tmp_path, f"{layer}-{kind}", layer=layer, parameterisation=kind, score=0.5, **{"objective.channel": 12.0})
        for layer, kind in product(LAYERS, KINDS)
    ]


def drawn(runs: list[Row], root: Path, /, **settings: Any) -> Any:
    """The page of a grid, which is written too."""
    with watched(grid_figure) as kept:
        grid(pd.DataFrame(runs), root, root / "grid.png", **settings)
    return kept[0]


def panels(figure: Any) -> list[Any]:
    """The pictures on a page, line by line."""
    return [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def colour(rows: list[Row], root: Path, run_id: str) -> tuple[int, ...]:
    (row,) = [row for row in rows if row["run_id"] == run_id]
    with Image.open(root / row["image"]) as image:
        pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(map(int, pixel))


# --- what is where ----------------------------------------------------------------------------------------------


def test_each_run_is_in_its_row_and_column(rows, tmp_path):
    figure = drawn(rows, tmp_path, rows="layer", columns="parameterisation")
    shown = [tuple(map(int, np.asarray(image.get_array())[0, 0])) for image in panels(figure)]
    wanted = [f"{layer}-{kind}" for layer in ("early", "middle", "late") for kind in KINDS]
    assert shown == [colour(rows, tmp_path, name) for name in wanted], "layers in the order of a network"
    boxes = [image.axes.get_position() for image in panels(figure)]
    for one, other in pairwise(boxes[::2]):
        assert other.y1 < one.y0 and one.x0 == pytest.approx(other.x0)
    assert boxes[1].x0 > boxes[0].x1 and boxes[0].y0 == pytest.approx(boxes[1].y0)
    assert read_figure(tmp_path / "grid.png")["runs"] == wanted


def test_nested_columns_are_groups_under_one_label(rows, tmp_path):
    figure = drawn(rows, tmp_path, columns=["layer", "parameterisation"], rows="objective.channel")
    said = words(figure)
    assert [said.count(layer) for layer in LAYERS] == [1, 1, 1] and said.count("pixel") == said.count("fourier") == 3
    assert "channel 12" in said
    labels = [("a", "x"), ("a", "y"), ("b", "y"), ("a", "y")]
    assert [(one.text, one.first, one.last) for one in groups(labels, 0)] == [("a", 0, 1), ("b", 2, 2), ("a", 3, 3)]
    assert [one.first for one in groups(labels, 1)] == [0, 1, 2, 3]
    gaps = [after - before for before, after in pairwise(starts(labels, 1.0))]
    assert gaps[1] == gaps[2] > gaps[0] > 1


def test_a_run_that_is_missing_or_failed_is_marked_in_its_panel(rows, tmp_path):
    rows = [row for row in rows if row["run_id"] != "late-pixel"]
    rows[0] = run(tmp_path, rows[0]["run_id"], "failed", layer="late", parameterisation="fourier")
    (tmp_path / rows[1]["image"]).unlink()
    figure = drawn(rows, tmp_path, rows="layer", columns="parameterisation")
    assert words(figure).count("failed") == 1 and words(figure).count("missing") == 2
    assert len(panels(figure)) == 3


def test_a_single_row_goes_on_below(rows, tmp_path):
    figure = drawn(rows, tmp_path, columns=["layer", "parameterisation"], across=4)
    heights = [round(image.axes.get_position().y0, 4) for image in panels(figure)]
    assert [heights.count(height) for height in dict.fromkeys(heights)] == [4, 2]


def test_a_filter_leaves_runs_out(rows, tmp_path):
    figure = drawn(rows, tmp_path, columns="layer", filter="parameterisation == 'pixel' and layer != 'early'")
    assert len(panels(figure)) == 2 and "early" not in words(figure)


def test_values_are_ordered_by_number_by_labels_by_depth_and_by_appearance():
    labels = Labels({"pixel": "Pixels", "fourier": "Fourier"})
    assert labels.ordered("objective.channel", ["10", "9", "", "-1.5"]) == ["-1.5", "9", "10", ""]
    assert labels.ordered("parameterisation", ["maco", "fourier", "pixel"]) == ["pixel", "fourier", "maco"]
    assert labels.ordered("unit", ["channel 10", "channel 9"]) == ["channel 9", "channel 10"]
    assert labels.ordered("unit", ["channel 10", "neuron 9"]) == ["channel 10", "neuron 9"]
    assert labels.ordered("layer", ["late", "early", "features.3"]) == ["early", "late", "features.3"]
    assert labels.ordered("layer", ["features.3", "features.7", "late"]) == ["features.3", "features.7", "late"]


def test_labels_are_those_of_the_config_else_words():
    labels = Labels({"fourier": "Fourier", 12: "stripes", "score": "Activation", "seed": {0: "first"}})
    assert labels.value("parameterisation", "fourier") == "Fourier"
    assert labels.value("objective.channel", "12") == "stripes" and labels.value("seed", "0") == "first"
    assert labels.value("seed", "1") == "seed 1" and labels.value("attribution", "guided_backprop") == "guided backprop"
    assert labels.value("picture", "dog.jpg") == "dog" and labels.value("layer", "") == "–"
    assert labels.value("layer.path", "features.12") == "features.12"
    assert labels.value("attribution", "grad_cam_plus_plus") == "Grad-CAM++", "as it was published"
    assert labels.value("layer", "encoder_layer_10") == "encoder_layer_10"
    assert (
        labels.value("model.weights", "/x/net.pth") == "net" and labels.value("model.weights", "") == "random weights"
    )
    assert labels.name("score") == "Activation" and labels.name("metrics.mean_drop") == "mean drop"


# --- maps -------------------------------------------------------------------------------------------------------


@pytest.fixture
def maps(tmp_path: Path) -> list[Row]:
    values = {"a-x": 1.0, "a-y": 2.0, "b-x": -3.0, "b-y": 4.0}
    return [
        run(tmp_path, name, attribution=name[0], picture=f"{name[2]}.png", value=value)
        for name, value in values.items()
    ]


def limits(maps: list[Row], root: Path, scale: str) -> list[float | None]:
    cells = {(place // 2, place % 2): row for place, row in enumerate(maps)}
    found = drawn_maps(cells, root, 1.0, scale, None)
    assert found.signed
    return [found.cells[cell].limit for cell in cells]


def test_a_scale_is_shared_by_all_by_a_row_or_by_nothing(maps, tmp_path):
    assert limits(maps, tmp_path, "shared") == [4, 4, 4, 4]
    assert limits(maps, tmp_path, "row") == [2, 2, 4, 4]
    assert limits(maps, tmp_path, "column") == [3, 4, 3, 4]
    assert limits(maps, tmp_path, "panel") == [1, 2, 3, 4]


def test_on_a_shared_scale_equal_colours_are_equal_values(maps, tmp_path):
    maps.append(run(tmp_path, "c-x", attribution="c", picture="x.png", value=2.0))
    cells = {(0, place): row for place, row in enumerate(maps)}
    found = drawn_maps(cells, tmp_path, 1.0, "shared", None).cells
    first, same, opposite = (np.asarray(found[0, place].image)[0, 0] for place in (1, 4, 2))
    assert (first == same).all() and first[0] > first[2] and opposite[0] < opposite[2]


@pytest.mark.parametrize(("scale", "bars"), [(None, 2), ("shared", 1), ("row", 2), ("panel", 1)])
def test_maps_have_a_colour_bar_for_each_scale(scale, bars, maps, tmp_path):
    figure = drawn(maps, tmp_path, rows="attribution", columns="picture", show="map", scale=scale, share=1.0)
    ticked = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes[1:] if axes.axison]
    assert len(ticked) == bars
    if scale == "panel":
        assert ticked == [["−limit", "0", "limit"]] and "limit 3" in words(figure)
    else:
        assert ticked[-1] == ["−4", "0", "4"]
        assert ticked[0] == (["−4", "0", "4"] if scale == "shared" else ["0", "2"]), "the half that has values"
    bare = drawn(maps, tmp_path, rows="attribution", columns="picture", show="map", scale=scale, colour_bar=False)
    assert not [axes for axes in bare.axes[1:] if axes.axison]


def test_maps_of_several_methods_have_a_scale_for_each_unless_told_otherwise(maps, tmp_path):
    """On one scale for all, methods with small values were blank beside others."""
    one_method = [{**row, "attribution": "a", "seed": row["run_id"]} for row in maps]
    cells = {(place // 2, place % 2): row for place, row in enumerate(maps)}
    assert usual_scale(cells) == "row" and usual_scale({cell[::-1]: row for cell, row in cells.items()}) == "column"
    assert usual_scale({(0, 0): maps[0], (0, 1): maps[2], (1, 0): maps[3], (1, 1): maps[1]}) == "panel"
    assert usual_scale({(place, 0): row for place, row in enumerate(one_method)}) == "shared"
    mixed = [*one_method[:1], run(tmp_path, "drawn")]
    assert usual_scale({(0, place): row for place, row in enumerate(mixed)}) == "shared"
    told = drawn(maps, tmp_path, columns="attribution", rows="picture", show="map", share=1.0)
    assert words(told).count("0 to 2") == words(told).count("±4") == 1, "a bar below each column"
    assert read_figure(tmp_path / "grid.png")["settings"].get("scale") is None


def test_maps_are_smoothed_as_their_runs_are(tmp_path):
    rows = [run(tmp_path, name, attribution="a", seed=name, **{"rendering.smoothing": 0.2}) for name in "pq"]
    dot = np.zeros((8, 8), dtype=np.float32)
    dot[4, 4] = 1
    for row in rows:
        np.save(tmp_path / row["artefact.map"], dot)
    sharp = {**rows[1], "rendering.smoothing": 0.0}
    found = drawn_maps({(0, 0): rows[0], (0, 1): sharp}, tmp_path, 1.0, "shared", None).cells
    blurred, plain = (np.asarray(found[0, place].image).astype(int) for place in (0, 1))
    assert (blurred[4, 3] != blurred[0, 0]).any() and (plain[4, 3] == plain[0, 0]).all()


def test_numbers_of_colour_bars_are_short():
    assert [number(value) for value in (0.0, 0.7612, 123.0, -0.00123, -1.2e-5, 4.56e7)] == [
        *("0", "0.76", "120", "−0.0012", "−1.2e−5", "4.6e7")
    ]


@pytest.mark.parametrize("value", [-1.234e-9, 98765.0])
@pytest.mark.parametrize("scale", ["shared", "row", "column", "panel"])
@pytest.mark.parametrize("width", ["icml.column", "neurips.text"])
def test_the_numbers_of_colour_bars_are_on_the_page(width, scale, value, tmp_path):
    """Small values were written as 1.2e-0, the rest beyond the edge."""
    rows = [run(tmp_path, f"{a}{b}", attribution=a, picture=b, value=value) for a in "ab" for b in "xyz"]
    figure = drawn(rows, tmp_path, columns="attribution", rows="picture", show="map", scale=scale, width=width)
    assert_prints_well(figure)


def test_a_map_of_zeros_is_drawn(tmp_path):
    rows = [run(tmp_path, "z", attribution="a", value=0.0)]
    assert len(panels(drawn(rows, tmp_path, columns="attribution", show="map", colour_bar=False))) == 1


# --- what a reader has to know --------------------------------------------------------------------------------


def test_random_weights_are_said_below(rows, tmp_path):
    assert "random weights" not in words(drawn(rows, tmp_path, columns="layer", rows="parameterisation"))
    known = [{**row, "model": "resnet18", "model.weights": None, "model.factory": None} for row in rows]
    assert "random weights" in words(drawn(known, tmp_path, columns="layer", rows="parameterisation"))
    known[0]["model"], known[0]["model.weights"] = "vgg11", "DEFAULT"
    assert weights_note(known) == "random weights: resnet18"
    own = [{**row, "model": "custom", "model.factory": "nets:make"} for row in known]
    assert weights_note(own) == "", "what a factory of one's own loads is not known"


def test_items_are_called_by_their_picture_or_its_class(tmp_path):
    def named(*pictures: tuple[int, str, str | None]) -> dict[str, str]:
        found = [{"images.item": item, "picture": name, "picture_label": label} for item, name, label in pictures]
        return names_of_items(pd.DataFrame(found))

    assert named((0, "my_dog.jpg", None), (1, "cat.png", "cat"), (0, "my_dog.jpg", None)) == {"0": "my dog", "1": "cat"}
    assert named((0, "shapes test 0", "disc"), (7, "shapes test 7", None)) == {"0": "disc", "7": "shapes test 7"}
    assert named((0, "shapes test 0", "disc"), (7, "shapes test 7", "disc")) == {"0": "disc (0)", "7": "disc (7)"}
    assert named((0, "a.jpg", None), (0, "b.jpg", None)) == {}
    rows = [run(tmp_path, str(n), picture="dog.jpg", **{"images.item": float(n)}) for n in (3,)]
    assert "dog" in words(drawn(rows, tmp_path, columns="images.item"))
    assert "hound" in words(drawn(rows, tmp_path, columns="images.item", labels={"images.item": {3: "hound"}}))


def test_panels_without_a_picture_are_told_on_screen(rows, tmp_path, capsys):
    (tmp_path / rows[1]["image"]).unlink()
    rows[0] = run(tmp_path, rows[0]["run_id"], "failed", layer="late", parameterisation="pixel")
    drawn([row for row in rows if row["run_id"] not in ("early-pixel", "early-fourier")][:3], tmp_path, **TWO_WAYS)
    said = capsys.readouterr().out
    assert "1 panel is missing: no run has these settings; sweep them" in said
    assert "1 panel is missing: the file of its run is gone" in said and "1 panel has a run that failed" in said
    drawn(rows[2:], tmp_path, **TWO_WAYS)
    assert capsys.readouterr().out == ""


# --- print ------------------------------------------------------------------------------------------------------

LONG = "a_label_of_many_words_and one_without_end_" + "x" * 60


@pytest.mark.parametrize("settings", [{"show": "image"}, {"show": "map"}, {"show": "map", "scale": "panel"}])
@pytest.mark.parametrize("width", ["icml.column", "nature.text"])
def test_texts_are_on_the_page_of_a_size_to_read_and_apart(settings, width, tmp_path):
    rows = [
        run(tmp_path, f"{a}{b}{c}", model=f"$m_{a}$ {LONG}", layer=f"{b} {LONG}", attribution=f"{c}_{LONG}", score=1e-9)
        for a, b, c in product("12", "34", "567")
    ]
    figure = drawn(
        rows,
        tmp_path,
        rows=["layer"],
        columns=["model", "attribution"],
        caption=["score", "run_id"],
        width=width,
        heading="What it shows",
        colour_bar=width != "icml.column",
        **settings,
    )
    assert_prints_well(figure)


def test_a_figure_is_exactly_as_wide_as_asked_and_a_document_keeps_pixels_and_fonts(rows, tmp_path):
    figure = drawn(rows, tmp_path, rows="layer", columns="parameterisation", width=4.5, formats=["png", "pdf", "svg"])
    assert figure.get_figwidth() == 4.5
    document = (tmp_path / "grid.pdf").read_bytes()
    assert pictures_in_pdf(tmp_path / "grid.pdf") == [(32, 32)] * 6
    assert b"/CIDFontType2" in document and b"/Type3" not in document
    assert b"/MediaBox [ 0 0 324 " in document
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width == 1350
    assert (tmp_path / "grid.svg").read_text().count("<image") == 6


def test_lines_fit_their_width_and_lose_no_letter_while_there_is_room():
    for width in (0.4, 0.7, 2.0):
        lines = wrapped("integrated gradients of a network", width, 7, 9)
        assert all(text_width(line, 7) <= width for line in lines)
        assert " ".join(lines).replace("- ", "").replace(" ", "") == "integratedgradientsofanetwork"
    assert wrapped("Grad-CAM++", 0.6, 7, 3) == ["Grad-", "CAM++"], "where the name has its own seam"
    assert wrapped("SmoothGrad", 0.5, 7, 3) == ["Smooth-", "Grad"]
    short = wrapped("integrated gradients of a network", 0.4, 7, 2)
    assert len(short) == 2 and "…" in short[1] and text_width(short[1], 7) <= 0.4
    assert wrapped("", 1, 7, 2) == []


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_two_runs_of_one_panel_name_what_tells_them_apart(rows, tmp_path):
    rows.append(run(tmp_path, "again", layer="late", parameterisation="pixel", seed=1, transform="none"))
    with pytest.raises(
        ValueError, match=r"late-pixel and again fall on one panel \(layer late, parameterisation pixel\)"
    ):
        drawn(rows, tmp_path, rows="layer", columns="parameterisation")
    with pytest.raises(
        ValueError, match=r"differ in .*seed.*add .* to figure.rows or figure.columns, or take one, as f"
    ):
        drawn(rows, tmp_path, rows="layer", columns="parameterisation")
    same = run(tmp_path, "same", layer="late", parameterisation="pixel", **{"objective.channel": 12.0})
    with pytest.raises(ValueError, match="no setting in the index tells them apart"):
        drawn([*rows[:-1], same], tmp_path, rows="layer", columns="parameterisation")


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"rows": "layr"}, LookupError, "figure.rows: the index has no column 'layr'; closest: layer"),
        ({"columns": ["layer", "sed"]}, LookupError, "no column 'sed'; closest: seed"),
        ({"columns": "layer", "caption": "scor"}, LookupError, "figure.caption.*'scor'; closest: score"),
        ({}, ValueError, "figure.rows and figure.columns are empty"),
        ({"rows": 3}, ValueError, "figure.rows is 3; it is a column"),
        (
            {"columns": ["layer", "parameterisation"], "show": "overlay"},
            LookupError,
            "figure.show is 'overlay'.*closest: map",
        ),
        ({"columns": "layer", "show": 1}, ValueError, "figure.show is 1"),
        ({"columns": "layer", "scale": "shared"}, ValueError, "for figure.show=map or overlay"),
        (
            {"columns": "layer", "show": "map", "scale": "all"},
            ValueError,
            "figure.scale is 'all'; it must be shared, row",
        ),
        ({"columns": "layer", "share": 0}, ValueError, "figure.share is 0"),
        ({"columns": "layer", "across": 0}, ValueError, "figure.across is 0"),
        ({"columns": "layer", "labels": ["a"]}, ValueError, "figure.labels is .*it is a map"),
        ({"columns": "layer", "filter": "layr == 'late'"}, ValueError, "figure.filter: .*columns like it: layer"),
        ({"columns": "layer", "filter": "objective.channel == 1"}, ValueError, "names with dots stand in backticks"),
        ({"columns": "layer", "filter": "layer == 'deep'"}, ValueError, "selects none of 6 runs"),
        ({"columns": ["layer", "run_id"], "width": 1.0}, ValueError, "leaves .* for each panel; take fewer columns"),
        ({"columns": "layer", "formats": ["jpg"]}, ValueError, "figure.formats has 'jpg'"),
    ],
)
def test_mistakes_name_what_is_wrong_and_the_next_step(settings, error, text, rows, tmp_path):
    with pytest.raises(error, match=text):
        drawn(rows, tmp_path, **settings)
    assert not (tmp_path / "grid.png").exists()


def test_an_index_without_runs_has_no_figure(tmp_path):
    with pytest.raises(ValueError, match="there are no runs to draw"):
        grid(pd.DataFrame(), tmp_path, tmp_path / "a.png", columns="layer")
