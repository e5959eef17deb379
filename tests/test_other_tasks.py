"""Dreams, dataset examples and statistics of photographs, as batches of runs."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import array, batch, done, file, one, pixels
from command_line import NO_SHEET, here, planned, the_run
from PIL import Image
from safetensors.torch import load_file

from interpret_runs import load_index, memory
from interpret_runs.images import File, Folder
from interpret_runs.models import Preprocessing, load
from interpret_runs.objectives import Channel
from interpret_runs.references import reference
from interpret_runs.runner.execute import task_of
from interpret_runs.runner.plan import plan
from interpret_runs.runner.sheet_sections import sections_of
from interpret_runs.runner.store import Record, Store
from interpret_runs.scoring import score

SIZES = ((40, 60), (40, 60), (52, 36), (120, 80))  # height and width
CHANNELS = 64  # of the early layer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "some")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes and contrasts, 0.png to 3.png: smooth, in colour."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        levels = 127 + (20 + 20 * number) * draw.standard_normal((height // 4, width // 4, 3))
        photo = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        photo.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """The same pictures, and a file that is none."""
    other = tmp_path / "damaged"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "1b.png").write_text("no image")
    return other


def pictures(folder: Path) -> tuple[str, ...]:
    return "images=folder", f"images.path={folder}"


def early(record: Record) -> str:
    layer: str = record["config"]["objective"]["layer"]
    return layer


def scores_of(folder: Path, layer: str) -> torch.Tensor:
    """Scores of all channels of a layer, (pictures, channels), one picture at a time."""
    model = load("shapes")
    found = []
    for item in Folder(str(folder)).items():
        image = item(model.preprocessing).pixels[None]
        with torch.no_grad():
            units = Channel(layer, tuple(range(CHANNELS)))
            found.append(score(model, units, image.expand(CHANNELS, -1, -1, -1)))
    return torch.stack(found)


# --- dream --------------------------------------------------------------------------------------------------------

DREAM = ("task=dream", "task.steps=4", "task.octaves=2", "layer=early", "transform=none")


def test_dreams_keep_the_sizes_of_their_pictures(store, folder):
    records = done(store, *DREAM, *pictures(folder), "images.item=all", "task.raw=true")
    assert [len(record["batch"]) for record in records] == [4] * 4, "sizes may differ within a batch"
    for record, size in zip(records, SIZES, strict=True):
        shown, raw = pixels(store, record), array(store, record, "raw")
        assert shown.shape == (*size, 3) and raw.shape == (3, *size)
        assert abs(raw.transpose(1, 2, 0) * 255 - shown).max() <= 0.501
        # An octave whose shorter side would be below 32 pixels is left out.
        assert record["steps"] == 4 * (2 if min(size) / 1.4 >= 32 else 1)


def test_only_pictures_that_are_longer_are_made_smaller(store, folder):
    records = done(store, *DREAM, *pictures(folder), "images.item=all", "task.longest=60")
    assert [pixels(store, record).shape[:2] for record in records] == [(40, 60), (40, 60), (52, 36), (60, 40)]
    record = one(store, *DREAM, *pictures(folder), "images.item=3", "task.longest=null")
    assert pixels(store, record).shape[:2] == (120, 80)


@pytest.mark.parametrize("space", ["pixel", "fourier"])
def test_a_dream_scores_higher_than_its_picture(store, folder, space):
    records = done(store, *DREAM, *pictures(folder), "images.item=all", "objective.channel=2", f"task.space={space}")
    model = load("shapes")
    for record, path, size in zip(records, sorted(folder.iterdir()), SIZES, strict=True):
        picture = File(str(path))(Preprocessing(size, min(size))).pixels[None]
        with torch.no_grad():
            start = score(model, Channel(early(record), 2), picture)
        assert record["score"] > float(start) + 0.02
        assert record["metrics"]["change"] > 0.01


@pytest.mark.parametrize(
    "settings",
    [("task.tile=32",), ("task.space=fourier", "transform=standard"),
     ("task.octaves=1", "compute.precision=bfloat16", "transform=crops", "transform.views=2")],
    ids=" ".join,
)  # fmt: skip
def test_a_dream_alone_is_the_dream_in_a_batch(store, tmp_path, folder, settings):
    rest = [line for line in DREAM if line.partition("=")[0] not in {one.partition("=")[0] for one in settings}]
    runs = planned(*rest, *pictures(folder), *settings, "images.item=0,1,2", "objective.channel=1,2")
    together = batch(store, runs)
    assert len({record["run_id"] for record in together}) == len({record["score"] for record in together}) == 6
    elsewhere = Store(tmp_path, "alone")
    (alone,) = batch(elsewhere, [runs[4]])
    assert alone["run_id"] == together[4]["run_id"] and alone["steps"] == together[4]["steps"]
    assert alone["score"] == pytest.approx(together[4]["score"], rel=0.15)
    difference = pixels(elsewhere, alone).astype(float) - pixels(store, together[4])
    assert abs(difference).mean() < 8, "of 255 levels"


def test_the_seed_of_a_dream_draws_its_transforms(store, folder):
    first, second = done(store, *DREAM[:-1], *pictures(folder), "seed=0,1")
    assert (pixels(store, first) != pixels(store, second)).any()
    same = done(store, *DREAM, *pictures(folder), "seed=0,1")
    assert (pixels(store, same[0]) == pixels(store, same[1])).all()


def test_a_picture_that_cannot_be_read_fails_alone(damaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = here("-m", *DREAM, *pictures(damaged), "images.item=all", NO_SHEET)
    assert done.status == 1 and "1 failed" in done.out
    table = load_index("outputs/default").set_index("images.item")
    assert dict(table.status) == {0: "ok", 1: "ok", 2: "failed", 3: "ok", 4: "ok"}
    assert table.image[[0, 1, 3, 4]].notna().all() and "1b.png' is not an image" in table.error[2]


# --- examples -----------------------------------------------------------------------------------------------------

EXAMPLES = ("task=examples", "layer=early", "task.k=2")


def listed(store: Store, record: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file(store, record, "examples").read_text())
    return found


def test_examples_are_the_pictures_that_score_highest_and_lowest(store, folder):
    records = done(store, *EXAMPLES, *pictures(folder), "objective.channel=range(0,6)")
    scores = scores_of(folder, early(records[0]))
    for channel, record in enumerate(records):
        own = scores[:, channel]
        assert record["score"] == pytest.approx(float(own.max()), abs=1e-5)
        assert record["metrics"]["lowest"] == pytest.approx(float(own.min()), abs=1e-5)
        found = listed(store, record)
        for end, best in (("strongest", own.topk(2).values), ("weakest", own.topk(2, largest=False).values)):
            assert [entry["score"] for entry in found[end]] == pytest.approx(best.tolist(), abs=1e-5)
            for entry in found[end]:
                place = int(Path(entry["image"]["path"]).stem)
                assert entry["score"] == pytest.approx(float(own[place]), abs=1e-5)


def test_all_channels_of_a_layer_are_one_batch_and_one_pass(store, folder, monkeypatch):
    runs = planned(*EXAMPLES, *pictures(folder), "objective.channel=all")
    assert [len(group) for group in plan(runs, dict).batches] == [CHANNELS]
    assert [len(group) for group in plan(runs, dict, batch_size=50).batches] == [50, 14]
    read = []
    call = File.__call__
    monkeypatch.setattr(File, "__call__", lambda self, how: [read.append(self.path), call(self, how)][1])
    monkeypatch.setattr("interpret_runs.runner.tasks.examples.patches", lambda *_: ([torch.zeros(3, 8, 8)],) * 2)
    records = batch(store, runs)
    assert all(record["batch"] == [run.id for run in runs] for record in records)
    assert len(read) == 1 + len(SIZES), "one to see that there is one, then each once for all units"


def test_examples_do_not_depend_on_how_many_are_seen_together(store, folder):
    settings = (*EXAMPLES, *pictures(folder), "objective.channel=3")
    one_by_one, together = (one(store, *settings, f"task.images_at_once={count}") for count in (1, 32))
    assert one_by_one["score"] == pytest.approx(together["score"], rel=1e-4)
    order = [[entry["image"] for entry in listed(store, record)["strongest"]] for record in (one_by_one, together)]
    assert order[0] == order[1]


def test_examples_are_shown_as_patches_side_by_side(store, folder):
    hidden = one(store, *EXAMPLES, *pictures(folder), "objective.channel=3")
    assert {"image", "weakest", "examples"} == set(hidden["artefacts"])
    assert pixels(store, hidden).shape == pixels(store, hidden, "weakest").shape == (112, 2 * 112 + 3, 3)
    place = listed(store, hidden)["strongest"][0]["place"]
    assert len(place) == 2 and min(place) >= 0
    shown = one(store, *EXAMPLES, *pictures(folder), "objective=logit", "objective.target=1")
    assert listed(store, shown)["strongest"][0]["place"] is None
    whole = File(listed(store, shown)["strongest"][0]["image"]["path"])(Preprocessing((112, 112), 112)).pixels
    assert abs(pixels(store, shown)[:, :112] / 255 - whole.permute(1, 2, 0).numpy()).mean() < 0.1


def test_more_examples_than_pictures_are_all_pictures(store, folder):
    record = one(store, *EXAMPLES[:2], *pictures(folder), "task.k=9")
    assert len(listed(store, record)["strongest"]) == len(listed(store, record)["weakest"]) == len(SIZES)
    assert pixels(store, record).shape == (2 * 112 + 3, 2 * 112 + 3, 3)


def test_a_damaged_picture_is_left_out_and_named(damaged, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here("-m", *EXAMPLES, *pictures(damaged), "objective.channel=range(0,3)", NO_SHEET).status == 0
    table = load_index("outputs/default")
    assert list(table.pictures) == [4] * 3 and list(table.pictures_skipped) == [1] * 3
    assert (table.lowest <= table.score).all() and list(table["objective.channel"]) == [0, 1, 2]
    store = Store("outputs", "default")
    for record in store.newest().values():
        ((name, reason),) = listed(store, record)["skipped"]
        assert "1b.png" in name and "is not an image" in reason
    whole = scores_of(folder, table["layer.path"][0])
    assert list(table.score) == pytest.approx(whole[:, :3].max(0).values.tolist(), abs=1e-5)


def test_examples_may_come_from_the_embedded_set(store, monkeypatch):
    monkeypatch.setattr("interpret_runs.images.SHAPES_ITEMS", 12)
    record = one(store, *EXAMPLES, "objective=logit", "objective.target=0")
    assert record["metrics"]["pictures"] == 12
    assert all(entry["image"]["split"] == "test" for entry in listed(store, record)["strongest"])


def test_a_sweep_of_both_shows_a_row_for_each_unit_and_a_column_for_each_task(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = "{task: visualise, task.steps: 2, parameterisation.size: 16}"
    grids = f"sweep.grids=[{drawn}, {{task: examples, task.k: 2}}]"
    assert here("-m", grids, *pictures(folder), "layer=early", "objective.channel=1,2", NO_SHEET).status == 0
    (section,) = sections_of(load_index("outputs/default"), 256, {})
    assert [lines[0] for lines in section.columns] == ["visualisation", "dataset examples"]
    assert [list(row) for row in section.rows] == [["channel 1"], ["channel 2"]]


# --- statistics ---------------------------------------------------------------------------------------------------

STATISTICS = ("task=statistics", "task.size=16")


def test_statistics_are_a_file_that_parameterisations_take(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimated = here(*STATISTICS, *pictures(folder))
    assert estimated.status == 0 and estimated.err == ""
    path = estimated.out.splitlines()[-1]
    found = load_file(path)
    assert found["colour"].shape == (3, 3) and found["magnitude"].shape == (3, 16, 9)
    for name in ("fourier", "maco"):
        drawn = ("task.steps=2", "parameterisation.size=[20,16]", "layer=early", f"parameterisation={name}")
        assert here(*drawn, f"parameterisation.statistics={path}").status == 0
        assert the_run(*drawn, f"parameterisation.statistics={path}").id != the_run(*drawn).id
    table = load_index("outputs/default")
    assert list(table.task) == ["statistics", "visualise", "visualise"]
    assert table.pictures[0] == 4 and table.score.isna()[0]
    assert table.score[1] != table.score[2]


def test_statistics_are_drawn(store, folder):
    record = one(store, *STATISTICS, *pictures(folder))
    assert pixels(store, record).shape == (16, 9, 3)
    assert record["unit"] == "" and record["seed"] is None and record["weights_digest"] is None


def test_statistics_are_named_by_the_content_of_the_folder_alone(folder, tmp_path):
    own = the_run(*STATISTICS, *pictures(folder)).id
    others = ("seed=3", "layer=early", "images.item=2", "compute.precision=bfloat16")
    assert the_run(*STATISTICS, *pictures(folder), *others).id == own
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in folder.iterdir():
        (moved / f"renamed {path.name}").write_bytes(path.read_bytes())
    assert the_run(*STATISTICS, "images=folder", f"images.path={moved}").id == own
    assert the_run(STATISTICS[0], "task.size=32", *pictures(folder)).id != own
    (moved / "renamed 0.png").unlink()
    assert the_run(*STATISTICS, "images=folder", f"images.path={moved}").id != own


def test_statistics_leave_out_what_is_no_picture(store, tmp_path, damaged, folder):
    sound, other = (one(store, *STATISTICS, *pictures(where)) for where in (folder, damaged))
    assert (other["metrics"]["pictures"], other["metrics"]["pictures_skipped"]) == (4, 1)
    assert file(store, sound, "statistics").read_bytes() == file(store, other, "statistics").read_bytes()


def test_folders_of_photographs_are_swept_like_anything_else(folder, damaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept = here("-m", *STATISTICS, "images=folder", f"images.path={folder},{damaged}", NO_SHEET)
    assert swept.status == 0, swept.out
    assert len(load_index("outputs/default")) == 2


def test_a_dream_is_checked_for_every_size_of_its_batch(folder, monkeypatch):
    asked = []
    through = memory.check
    monkeypatch.setattr(memory, "check", lambda *given: asked.append(given[2]) or through(*given))
    runs = planned("task=dream", *pictures(folder), "images.item=0,3", "objective=layer", "task.tile=null")
    task_of(runs[0]).check(runs, torch.device("cpu"))
    assert {(40, 60), (120, 80)} <= set(asked)


def test_a_schedule_of_the_learning_rate_bothers_no_task_without_steps():
    for task in ("attribute", "statistics", "examples"):
        assert the_run(f"task={task}", "lr_scheduler=cosine", "objective=logit").config["task"]


def test_a_picture_that_has_changed_is_read_again(tmp_path):
    images = torch.zeros(1, 3, 4, 4)
    for number, colour in enumerate(("red", "green")):
        Image.new("RGB", (4, 4), colour).save(tmp_path / "one.png")
        os.utime(tmp_path / "one.png", (number, number))
        seen = reference(File(str(tmp_path / "one.png")), None, images)[0, :, 0, 0]
        assert seen.argmax() == number
