"""What ``task=attribute`` makes of its settings: maps, numbers, pictures, and how runs share passes."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import array, done, one, pixels
from command_line import NO_SHEET, here, planned
from PIL import Image

from interpret_runs.runner.execute import execute, task_of
from interpret_runs.runner.plan import plan
from interpret_runs.runner.store import Store, now
from interpret_runs.runner.tasks import attribute
from interpret_runs.runner.tasks.attribute import _pieces as attribute_pieces
from interpret_runs.schedule import PRECISIONS

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
        ["grad_cam", "layer_cam", "saliency", "grad_cam", "layer_cam", "saliency"],
        ["score_cam", "score_cam"],
    ]


def test_what_is_random_shares_a_batch_with_its_own_seed_only():
    assert batches("attribution=rise", "seed=0,1", "images.item=0,1") == [["rise", "rise"], ["rise", "rise"]]
    assert batches("attribution=saliency", "seed=0,1", "images.item=0") == [["saliency"]]


def test_the_target_label_explains_what_each_image_shows(store):
    own = ("attribution=saliency", "objective=logit", "objective.target=label")
    shown = done(store, "task=attribute", *own, "images.item=range(0,6)")
    assert len({tuple(record["batch"]) for record in shown}) == 1
    assert all(record["unit"] == record["metrics"]["picture_label"] for record in shown)
    named = one(store, "task=attribute", *own, "images.item=4", f"objective.target='{shown[4]['unit']}'")
    np.testing.assert_allclose(array(store, shown[4], "map"), array(store, named, "map"), rtol=1e-3, atol=1e-6)


def test_an_image_without_a_usable_label_fails_alone(store, tmp_path):
    for name, folder in (("a", "checked ring"), ("b", "zebra")):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.new("RGB", (64, 64), "teal").save(tmp_path / "set" / folder / f"{name}.png")
    target = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=label")
    folder = planned(*target, "images=folder", f"images.path={tmp_path / 'set'}", "images.item=all")
    good, bad = execute(folder, store, "cpu", now())
    assert (good["status"], bad["status"]) == ("ok", "failed")
    assert "no class 'zebra' in shapes; closest" in bad["error"]
    file = planned(*target, "images=file", f"images.path={tmp_path / 'set' / 'zebra' / 'b.png'}")
    (unknown,) = execute(file, store, "cpu", now())
    assert "target label: 'b.png' has none: name a class, or top1, or give labels" in unknown["error"]


def test_a_shared_pass_gives_the_maps_of_each_method_alone(store, tmp_path):
    methods = ("grad_cam", "x_grad_cam", "saliency", "input_x_gradient")
    together = done(store, *EXPLAIN, f"attribution={','.join(methods)}", "layer=middle,late", "images.item=3,5")
    assert len(together) == 16 and len({tuple(record["batch"]) for record in together}) == 1
    alone = Store(tmp_path, "alone")
    for record in together[::3]:
        chosen = [
            f"{group}={record['choices'][group]}" for group in ("attribution", "layer") if group in record["choices"]
        ]
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


def test_one_bad_layer_ends_no_sweep_of_maps_that_share_a_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers = "attribution.layer=late,features.0,pool"
    done = here("-m", *EXPLAIN, "attribution=grad_cam,layer_cam", layers, "images.item=0,1", NO_SHEET)
    assert done.status == 1 and "4 failed" in done.out
    assert sorted(Store("outputs", "default").status().values()) == ["failed"] * 4 + ["ok"] * 8


def test_a_second_metric_of_one_kind_has_columns_of_its_own(store):
    two = ("metrics=none", "+metric@metrics.a=deletion", "+metric@metrics.b=deletion", "metrics.b.fill=blur")
    record = one(store, *EXPLAIN, "attribution=sobel", *two)
    assert {"deletion", "b_deletion"} <= record["metrics"].keys()


def test_half_precision_changes_maps_a_little_and_is_refused_where_maps_must_add_up(store):
    for method in ("grad_cam", "saliency", "occlusion"):
        settings = (*EXPLAIN, f"attribution={method}", "metrics=none", "images.item=3")
        full, half = (array(store, one(store, *settings, f"compute.precision={name}"), "map") for name in PRECISIONS)
        assert np.corrcoef(full.flatten(), half.flatten())[0, 1] > 0.9, method
    blurred = ("attribution=gradient_shap", "attribution.baseline=blur", "attribution.samples=4")
    assert one(store, *EXPLAIN, *blurred, "compute.precision=bfloat16")["status"] == "ok"
    (run,) = planned(*EXPLAIN, "attribution=deep_lift", "compute.precision=bfloat16")
    with pytest.raises(ValueError, match="attribution=deep_lift adds up in single precision only"):
        task_of(run).check([run], torch.device("cpu"))


def test_images_to_draw_baselines_from_are_a_whole_set(tmp_path):
    for name in "abc":
        Image.new("RGB", (64, 64), (ord(name), 50, 90)).save(tmp_path / f"{name}.png")
    folder = ("images=folder", f"images.path={tmp_path}", "images.item=0,1")
    drawn = (*EXPLAIN, "attribution=integrated_gradients", "attribution.baseline=dataset", "attribution.data=${images}")
    runs = planned(*drawn, *folder)
    assert len(runs) == 2 and len(plan(runs, dict).batches) == 1
    Image.new("RGB", (64, 64), "red").save(tmp_path / "d.png")
    assert not {run.id for run in runs} & {run.id for run in planned(*drawn, *folder)}
    black = planned(*EXPLAIN, "attribution=integrated_gradients", "seed=0,1", *folder)
    assert len({run.id for run in black}) == 2, "nothing is drawn from black"


# --- files that are made while the device computes -----------------------------------------------------------------

SHARED = ("task=attribute", "objective=logit", "objective.target=top1", "attribution=saliency,grad_cam")


@pytest.fixture
def by_three(monkeypatch):
    """Batches are computed three runs at a time, as on a small GPU."""
    monkeypatch.setattr(attribute, "PIECE", 3)
    monkeypatch.setattr(attribute, "_pieces", lambda keys, _: attribute_pieces(keys, torch.device("cuda")))


def test_a_cpu_computes_a_batch_at_once_and_a_gpu_piece_by_piece():
    assert attribute_pieces(range(40), torch.device("cpu")) == [slice(0, 40)]
    assert attribute_pieces(range(40), torch.device("cuda")) == [slice(0, 16), slice(16, 32), slice(32, 40)]


def test_a_piece_ends_where_a_pass_does(store, by_three, monkeypatch):
    assert attribute_pieces("aaaaabbcd", torch.device("cuda")) == [slice(0, 5), slice(5, 8), slice(8, 9)]
    pieces, explain = [], attribute._explained
    monkeypatch.setattr(attribute, "_explained", lambda runs, *more: pieces.append(len(runs)) or explain(runs, *more))
    cams = ("images.item=0,1", "attribution=grad_cam,grad_cam_plus_plus,layer_cam,saliency,x_grad_cam")
    assert len(done(store, *EXPLAIN, *cams)) == 10 and pieces == [5, 5]


def test_pieces_change_nothing_of_the_runs(store, tmp_path, by_three, monkeypatch):
    pieces = done(store, *SHARED, "images.item=range(0,4)")
    monkeypatch.setattr(attribute, "_pieces", attribute_pieces)
    whole = done(other := Store(tmp_path, "whole"), *SHARED, "images.item=range(0,4)")
    assert [record["run_id"] for record in pieces] == [record["run_id"] for record in whole]
    for one_of, same in zip(pieces, whole, strict=True):
        np.testing.assert_allclose(array(store, one_of, "map"), array(other, same, "map"), rtol=1e-3, atol=1e-6)
        assert one_of["metrics"]["picture"] == same["metrics"]["picture"]


def test_files_are_written_while_the_next_runs_are_computed(store, by_three, monkeypatch):
    written, explain, write = threading.Event(), attribute._explained, Store.write_artefact
    begun: list[bool] = []

    def explained(*given):
        begun.append(not begun or written.wait(60))  # from the second piece on: once a file of those before is there
        return explain(*given)

    def artefact(*given):
        said = write(*given)
        written.set()
        return said

    monkeypatch.setattr(attribute, "_explained", explained)
    monkeypatch.setattr(Store, "write_artefact", artefact)
    records = done(store, *SHARED, "images.item=range(0,4)")
    assert len(records) == 8 and begun == [True, True, True]
    for record in records:
        for artefact in record["artefacts"].values():
            assert (store.root / artefact["path"]).stat().st_size == artefact["bytes"]


def test_a_run_whose_files_cannot_be_made_fails_alone(store, by_three, monkeypatch):
    draw, before = attribute._map_outcome, threading.active_count()

    def outcome(run, *given):
        if run.config["images"]["item"] == 1 and run.choices["attribution"] == "saliency":
            raise RuntimeError("no colours left")
        return draw(run, *given)

    monkeypatch.setattr(attribute, "_map_outcome", outcome)
    records = execute(planned(*SHARED, "images.item=range(0,4)"), store, "cpu", now())
    assert [record["error"] for record in records if record["error"]] == ["no colours left"]
    assert len(records) == 8 and threading.active_count() <= before
