"""``task=figure`` over a store, and sweeps that end with a figure."""

from pathlib import Path

import pytest
from command_line import QUICK, here, tree
from PIL import Image

from interpret_runs import load_index
from interpret_runs.runner.figure_essentials import read_figure

FIGURE = ("task=figure", "figure=grid", "figure.columns=objective.channel")
MAPS = ("task=attribute", "metrics=none", "objective=logit", "objective.target=top1", "images.item=0,1")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four visualisations, made by a sweep that ends with a grid, and one of four maps."""
    root = tmp_path_factory.mktemp("figures")
    grid = ("figure=grid", "figure.rows=parameterisation", "figure.columns=objective.channel")
    done = here("-m", *QUICK, *grid, f"outputs={root}", "objective.channel=3,5", "parameterisation=fourier,pixel")
    assert done.status == 0, done.err
    maps = here("-m", *MAPS, "attribution=saliency,grad_cam", f"outputs={root}", "name=maps", "figure=bars")
    assert maps.status == 0, maps.err
    return root


def test_a_sweep_ends_with_the_figure_of_its_config(swept):
    document, picture = sorted((swept / "default" / "figures").iterdir(), key=lambda file: file.suffix)
    found = read_figure(document)
    assert found == read_figure(picture) and found["figure"] == "grid" and found["store"] == "default"
    index = load_index(swept / "default").set_index("run_id")
    assert index.loc[found["runs"], "parameterisation"].tolist() in [
        ["fourier"] * 2 + ["pixel"] * 2,
        ["pixel"] * 2 + ["fourier"] * 2,
    ]
    assert index.loc[found["runs"], "objective.channel"].tolist() == [3, 5, 3, 5]


def test_a_figure_of_a_finished_store_runs_nothing_and_goes_where_it_is_asked(swept, tmp_path):
    before = tree(swept)
    out = tmp_path / "paper" / "channels.v2"
    said = here(
        *FIGURE, "figure.rows=parameterisation", f"outputs={swept}", f"task.out={out}", "figure.width=icml.column"
    )
    assert said.status == 0, said.err
    assert said.out == f"figure: {out}.png, {out}.pdf\n"
    assert tree(swept) == before
    with Image.open(f"{out}.png") as image:
        assert image.width == round(3.25 * 300)
    assert b"/Subject (interpret-runs" in Path(f"{out}.pdf").read_bytes()
    named = "figure.labels={fourier: Fourier, objective.channel: {3: third}}"
    only = here(named, *FIGURE, "figure.rows=parameterisation", f"outputs={swept}", f"task.out={out}.svg")
    assert only.out == f"figure: {out}.svg\n" and len(read_figure(f"{out}.svg")["runs"]) == 4


def test_figures_of_other_settings_are_other_files(swept):
    known = tree(swept / "default" / "figures")
    for caption in ("[score]", "[score,seed]"):
        said = here(*FIGURE, "figure.rows=parameterisation", f"outputs={swept}", f"figure.caption={caption}")
        assert said.status == 0, said.err
    assert len(tree(swept / "default" / "figures") - known) == 4


@pytest.mark.parametrize("scale", ["shared", "row", "panel"])
def test_overlays_are_drawn_anew_over_the_photographs_on_a_scale(scale, swept, tmp_path):
    grid = ("task=figure", "figure=grid", "figure.rows=attribution", "figure.columns=images.item", "name=maps")
    said = here(
        *grid, "figure.show=overlay", f"figure.scale={scale}", f"outputs={swept}", f"task.out={tmp_path / scale}"
    )
    assert said.status == 0, said.err
    with Image.open(tmp_path / f"{scale}.png") as anew:
        assert len(anew.getcolors(1 << 24) or []) > 100


def test_a_figure_that_cannot_be_drawn_is_one_line(swept):
    where = f"outputs={swept}"
    assert (
        "closest: objective.channel"
        in here("task=figure", "figure=grid", where, "figure.columns=objective.chanel").error
    )
    collision = here(*FIGURE, where).error
    assert "fall on one panel (objective.channel 3); they differ in parameterisation" in collision
    assert "add parameterisation to figure.rows or figure.columns" in collision
    assert "figure.scale is for figure.show=map" in here(*FIGURE, where, "figure.scale=row").error
    assert "closest: default" in here(*FIGURE, where, "name=defalt").error
    assert "closest: icml.column" in here(*FIGURE, where, "figure.width=icml.columns").error


@pytest.mark.parametrize("out", ["channels.jpg", "paper/channels.TIFF", "channels.eps"])
def test_a_file_of_another_format_is_refused(out, swept, tmp_path):
    said = here(*FIGURE, f"outputs={swept}", f"task.out={tmp_path / out}")
    assert said.error.endswith(f"{out}'; a figure's format is one of png, pdf, svg")
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("task", ["figure", "gallery", "sheet"])
def test_a_store_of_which_no_record_can_be_read_is_one_line(task, tmp_path):
    (tmp_path / "some" / "records").mkdir(parents=True)
    (tmp_path / "some" / "records" / "a.jsonl").write_text("junk\n")
    error = here(f"task={task}", f"outputs={tmp_path}", "name=some").error
    assert error == f"no record in {tmp_path / 'some'} can be read; task=verify sets the damaged ones aside"
    assert "plan: 1 run," in here(*QUICK, f"outputs={tmp_path}", "name=some", "sweep.dry_run=true").out


def test_a_wrong_format_is_told_before_anything_runs(tmp_path):
    wrong = here("-m", *QUICK, "objective.channel=3,5", "figure.formats=[jpg]", f"outputs={tmp_path}")
    assert "figure.formats has 'jpg'" in wrong.error and tree(tmp_path) == set()
