"""Activation grids and atlases, as batches of runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import array, batch, done, file, one, pixels
from command_line import here, planned, tree
from PIL import Image

from interpret_runs import load_index, reducers
from interpret_runs.activations import capture
from interpret_runs.atlas import Cell
from interpret_runs.images import Shapes
from interpret_runs.models import load
from interpret_runs.png import png_text
from interpret_runs.runner.execute import execute
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks import activation_grid, atlas, icons
from interpret_runs.visualisation import visualise

QUICK = ("task.steps=2", "parameterisation.size=16", "transform=none")
GRID = ("task=activation_grid", *QUICK)
ATLAS = ("task=atlas", "task.pictures=12", "task.cells=3", *QUICK)
SIDE = 8  # positions of the late layer along a side


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, "some")


def lengths_of(item: int) -> torch.Tensor:
    model = load("shapes")
    late = model.summary.layer("late").path
    with torch.no_grad(), capture(model, [late]) as forward:
        return forward(Shapes(item)(model.preprocessing).pixels[None])[late][0].norm(dim=0)


# --- activation grids ---------------------------------------------------------------------------------------------


def test_a_grid_has_a_cell_for_each_position(store):
    record = one(store, *GRID, "images.item=3")
    assert pixels(store, record).shape == (SIDE * 16, SIDE * 16, 3)
    assert (record["metrics"]["rows"], record["metrics"]["columns"]) == (SIDE, SIDE)
    np.testing.assert_allclose(array(store, record, "lengths"), lengths_of(3), rtol=1e-4)
    assert record["metrics"]["picture_label"] == "plain square"
    assert record["config"]["task"]["layer"] == load("shapes").summary.layer("late").path


def test_the_same_grid_has_the_same_bytes(store, tmp_path):
    first, again = (one(place, *GRID) for place in (store, Store(tmp_path, "other")))
    assert first["run_id"] == again["run_id"]
    assert {name: one["sha256"] for name, one in first["artefacts"].items() if name != "image"} == {
        name: one["sha256"] for name, one in again["artefacts"].items() if name != "image"
    }
    assert (pixels(store, first) == pixels(Store(tmp_path, "other"), again)).all()


def test_a_grid_does_not_depend_on_the_others_of_its_batch(store, tmp_path):
    together = done(store, *GRID, "images.item=[2,5]")
    assert [len(record["batch"]) for record in together] == [2, 2]
    other = Store(tmp_path, "alone")
    alone = one(other, *GRID, "images.item=5")
    assert alone["run_id"] == together[1]["run_id"]
    assert (pixels(store, together[1]) == pixels(other, alone)).all()


def test_a_constant_image_has_equal_cells_inside(store, tmp_path):
    Image.new("RGB", (64, 64), (90, 140, 60)).save(tmp_path / "flat.png")
    settings = ("layer=early", "images=file", f"images.path={tmp_path / 'flat.png'}", "task.scale=false")
    record = one(store, *GRID, *settings, "parameterisation.size=8")
    lengths, drawn = array(store, record, "lengths"), pixels(store, record).astype(int)
    inside = slice(8, -8)  # beyond what the zeros around the image reach
    np.testing.assert_allclose(lengths[inside, inside], lengths[9, 9], rtol=1e-4)
    cells = drawn.reshape(*lengths.shape[:1], 8, lengths.shape[1], 8, 3).swapaxes(1, 2)
    assert abs(cells[inside, inside] - cells[9, 9]).max() <= 8
    assert abs(cells[0, 0] - cells[9, 9]).max() > 8, "the corner sees the border"


def test_cells_lie_where_their_positions_are():
    colours = {(0, 1): (1.0, 0, 0), (2, 0): (0, 1.0, 0)}
    cells = {place: torch.tensor(colour)[:, None, None].expand(3, 4, 6) for place, colour in colours.items()}
    sheet = np.asarray(activation_grid.drawn(torch.ones(3, 9, 9), cells, torch.ones(3, 2)))
    assert sheet.shape == (12, 12, 3)
    assert (sheet[:4, 6:] == (255, 0, 0)).all() and (sheet[8:, :6] == (0, 255, 0)).all()
    assert (sheet[4:8] == 255).all() and (sheet[:4, :6] == 255).all(), "elsewhere is the picture"


def test_a_cell_is_as_large_as_its_size_says():
    cells = {(0, place): torch.zeros(3, 20, 20) for place in range(3)}
    sheet = np.asarray(activation_grid.drawn(torch.ones(3, 20, 60), cells, torch.tensor([[1.0, 0.5, 0.1]])))
    dark = (sheet < 128).all(2).reshape(20, 3, 20).swapaxes(0, 1)
    assert dark.sum((1, 2)).tolist() == [400, 100, 0], "what is smaller than 3 pixels is left out"
    assert dark[1, 5:15, 5:15].all()


def test_layers_and_images_multiply_and_all_spellings_are_one_run():
    runs = planned("task=activation_grid", "layer=early,late", "images.item=[0,1,2]")
    assert len({run.id for run in runs}) == 6
    late = load("shapes").summary.layer("late").path
    (path,), (alias,) = planned(*GRID, f"layer.path={late}"), planned(*GRID, "layer=late")
    assert path.id == alias.id and alias.choices["layer"] == "late"
    assert planned(*GRID, "objective.channel=9")[0].id == alias.id, "what the task does not use does not count"


# --- atlases ------------------------------------------------------------------------------------------------------


def test_an_atlas_draws_and_notes_its_cells(store):
    record = one(store, *ATLAS)
    told = json.loads(file(store, record, "atlas").read_text())
    assert pixels(store, record).shape == (48, 48, 3)
    shown = pixels(store, record).reshape(3, 16, 3, 16, 3).swapaxes(1, 2)
    places = {(cell["row"], cell["column"]) for cell in told["cells"]}
    assert len(places) == len(told["cells"]) == record["metrics"]["cells_shown"] > 1
    for row in range(3):
        for column in range(3):
            assert (shown[row, column] == 255).all() == ((row, column) not in places)
    assert all(cell["samples"] >= 3 for cell in told["cells"])
    assert sum(cell["samples"] for cell in told["cells"]) == record["metrics"]["samples_shown"] <= told["samples"] <= 48
    labels = load("shapes").labels
    assert all(name in labels and value > 0 for cell in told["cells"] for name, value in cell["classes"])
    text = png_text(file(store, record, "image"))
    assert json.loads(text["interpret-runs.atlas"])["cells"] == told["cells"]
    assert load_index(store.root)["cells_shown"].tolist() == [len(places)]


def test_the_same_atlas_has_the_same_pixels_and_another_seed_others(store, tmp_path):
    other = Store(tmp_path, "other")
    first, again, seeded = one(store, *ATLAS), one(other, *ATLAS), one(other, *ATLAS, "seed=1")
    assert (pixels(store, first) == pixels(other, again)).all()
    assert file(store, first, "atlas").read_bytes() == file(other, again, "atlas").read_bytes()
    assert file(store, first, "atlas").read_bytes() != file(other, seeded, "atlas").read_bytes()


def test_every_sample_is_in_a_cell_where_one_is_enough(store):
    record = one(store, *ATLAS, "task.least=1")
    assert record["metrics"]["samples_shown"] == record["metrics"]["samples"] > 40


def test_more_cells_than_fit_at_once_are_made_in_parts(store, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(icons, "auto_batch", lambda _: 2)
    (run,) = planned(*ATLAS)

    (record,) = execute([run], store, "cpu", now(), seen.append)
    assert record["error"] is None and record["metrics"]["cells_shown"] > 2
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1), "progress only grows"


def test_captions_name_the_class_and_the_count():
    cells = [Cell(0, 0, torch.arange(4)), Cell(1, 1, torch.arange(2))]
    plain = atlas.drawn(cells, torch.zeros(2, 3, 48, 48), 2)
    named = atlas.drawn(cells, torch.zeros(2, 3, 48, 48), 2, ["a striped thing 4", "incomprehensibilities 2"])
    assert plain.size == (96, 96) and named.size[0] == 96 and named.size[1] > 96
    below = np.asarray(named)[48 : named.size[1] // 2]
    assert (below[:, :48] < 128).any() and (below[:, 48:] == 255).all()


@pytest.mark.parametrize("reducer", ["umap", "tsne"])
def test_an_atlas_by_another_reducer(store, reducer):
    pytest.importorskip(reducers.PACKAGES[reducer], reason=reducers.EXTRA)
    record = one(store, *ATLAS, f"task.reducer={reducer}")
    assert json.loads(file(store, record, "atlas").read_text())["reducer"] == reducer


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("task=activation_grid", "layer.path=logits"), "layer 'logits' has no grid of positions; the last that have"),
        (("task=activation_grid", "layer.path=pool"), "layer 'pool' has no grid of positions"),
        (("task=activation_grid", "layer.path=latte"), "no layer 'latte' in shapes; closest: late"),
        (("task=activation_grid", "task.scale=3"), "task.scale is 3; it is true or false"),
        (("task=activation_grid", "task.steps=0"), "task.steps is 0"),
        (("task=activation_grid", "task.cosine_power=-1"), "cosine_power is -1"),
        (("task=activation_grid", "parameterisation.images=2"), "parameterisation.images is 2; here each direction"),
        (("task=activation_grid", "images=file", "images.path=none.png"), "none.png"),
        (("task=activation_grid", "optimizer.lr=-1"), "optimizer: "),
        (("task=atlas", "task.reducer=umpa"), "no reducer 'umpa'; closest: umap"),
        (("task=atlas", "task.pictures=2", "task.least=9"), "no cell has 9 of the 8 samples in it; take more pictures"),
        (("task=atlas", "task.pictures=1", "task.positions=2"), "2 samples are too few to be laid out"),
        (("task=atlas", "task.cells=0"), "task.cells"),
        (("task=atlas", "task.ridge=0"), "task.ridge is 0; it must be a number above 0"),
        (("task=atlas", "task.pictures=0"), "task.pictures"),
        (("task=atlas", "task.whiten=2"), "task.whiten is 2; it is true or false"),
        (("task=atlas", "images=folder", "images.path=nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_is_one_line_and_leaves_nothing(settings, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in here(*QUICK, *settings).error
    assert not [path for path in tree(tmp_path) if path.endswith((".png", ".jsonl"))]


def test_a_reducer_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reducers, "find_spec", lambda _: None)
    assert "pip install 'interpret-runs[atlas]'" in here(*ATLAS, "task.reducer=umap").error


def test_scores_that_are_not_finite_are_a_failed_run(store, monkeypatch):
    def failing(*arguments):
        found = visualise(*arguments)
        return replace(found, failed=torch.full_like(found.failed, 2))

    monkeypatch.setattr(icons, "visualise", failing)
    (record,) = execute(planned(*ATLAS), store, "cpu", now())
    assert record["status"] == "failed"
    assert "score is not finite from step 2 on; lower optimizer.lr" in record["error"]


def test_a_black_picture_without_activations_is_a_failed_run(store, monkeypatch):
    monkeypatch.setattr(activation_grid, "_activation", lambda *_: (torch.zeros(128, SIDE, SIDE), torch.zeros(12)))

    (record,) = execute(planned(*GRID), store, "cpu", now())
    assert record["status"] == "failed" and "is 0 at every position" in record["error"]


@pytest.mark.parametrize("option", ["image", "rgba", "cppn"])
def test_cells_may_be_of_other_parameterisations(store, option):
    (record,) = batch(store, planned(*GRID, f"parameterisation={option}"))
    assert pixels(store, record).shape == (SIDE * 16, SIDE * 16, 3)
