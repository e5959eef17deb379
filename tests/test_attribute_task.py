"""What ``task=attribute`` makes of its settings: maps, numbers, pictures, and how runs share passes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from batches import array, done, one, pixels
from command_line import planned
from PIL import Image

from interpret_runs.runner.plan import plan
from interpret_runs.runner.store import Store

EXPLAIN = ("task=attribute", "objective=logit", "objective.target=top1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "some")


def batches(*overrides: str) -> list[list[str]]:
    """The methods of each batch of a plan."""
    found = plan(planned(*EXPLAIN, *overrides), dict).batches
    return [[run.choices["attribution"] for run in batch] for batch in found]


def test_maps_from_one_pass_are_one_batch_and_others_are_not():
    assert batches("attribution=grad_cam,layer_cam,saliency,score_cam", "images.item=0,1") == [
        ["grad_cam", "layer_cam", "grad_cam", "layer_cam"],
        ["saliency", "saliency"],
        ["score_cam", "score_cam"],
    ]


def test_what_is_random_shares_a_batch_with_its_own_seed_only():
    assert batches("attribution=rise", "seed=0,1", "images.item=0,1") == [["rise", "rise"], ["rise", "rise"]]
    assert batches("attribution=saliency", "seed=0,1", "images.item=0") == [["saliency"]]


def test_a_shared_pass_gives_the_maps_of_each_method_alone(store, tmp_path):
    methods = ("grad_cam", "x_grad_cam", "grad_cam_plus_plus")
    together = done(store, *EXPLAIN, f"attribution={','.join(methods)}", "layer=middle,late", "images.item=3,5")
    assert len(together) == 12 and len({tuple(record["batch"]) for record in together}) == 1
    alone = Store(tmp_path, "alone")
    for record in together[::5]:
        chosen = [f"{group}={record['choices'][group]}" for group in ("attribution", "layer")]
        single = one(alone, *EXPLAIN, *chosen, f"images.item={record['config']['images']['item']}")
        assert single["run_id"] == record["run_id"] and len(single["batch"]) == 1
        np.testing.assert_allclose(array(store, record, "map"), array(alone, single, "map"), rtol=1e-3, atol=1e-5)
        assert single["metrics"].keys() == record["metrics"].keys()
        assert single["metrics"]["relevance_mass"] == pytest.approx(record["metrics"]["relevance_mass"], rel=1e-3)


def test_numbers_that_a_map_does_not_have_are_left_out(store, tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "plain.png")
    masked = one(store, *EXPLAIN, "attribution=sobel", "metrics=localisation")
    assert {"pointing_game", "relevance_mass", "relevance_rank"} <= masked["metrics"].keys()
    bare = one(
        store, *EXPLAIN, "attribution=sobel", "metrics=localisation", "images=file", f"images.path={tmp_path}/plain.png"
    )
    assert not {"pointing_game", "relevance_mass", "relevance_rank"} & bare["metrics"].keys()
    none = one(store, *EXPLAIN, "attribution=sobel", "metrics=none")
    assert "sparseness" not in none["metrics"] and none["metrics"]["predicted"]


def test_metrics_are_chosen_set_and_recorded(store):
    chosen = ("metrics=none", "+metric@metrics.deletion=deletion", "metrics.deletion.steps=4")
    record = one(store, *EXPLAIN, "attribution=grad_cam", *chosen)
    assert 0 <= record["metrics"]["deletion"] <= 1
    assert record["config"]["metrics"]["deletion"]["steps"] == 4


def test_a_photograph_is_shown_whole(store, tmp_path):
    levels = torch.randint(256, (80, 120, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(levels.numpy()).resize((720, 480)).save(tmp_path / "wide.png")
    wide = ("images=file", f"images.path={tmp_path}/wide.png", "model.input_size=224", "rendering=raw")
    shown = pixels(store, one(store, *EXPLAIN, "attribution=saliency", *wide), "overlay")
    assert shown.shape[1] == 1.5 * shown.shape[0] >= 1.5 * 224


def test_how_maps_are_drawn_changes_pictures_and_not_maps(store):
    records = done(store, *EXPLAIN, "attribution=grad_cam", "rendering=standard,contour,raw")
    maps = [array(store, record, "map") for record in records]
    assert all(np.array_equal(one, maps[0]) for one in maps)
    drawn = [pixels(store, record, "overlay") for record in records]
    assert (drawn[0] != drawn[1]).any() and (drawn[0] != drawn[2]).any()
