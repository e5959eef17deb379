import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import NO_SHEET, QUICK, here, python, records, the_run, tree
from PIL import Image

from interpret_runs import load_index
from interpret_runs.runner import index
from interpret_runs.runner.catalogue import Catalogue
from interpret_runs.runner.store import Store

ATTRIBUTE = ("task=attribute", "objective=logit", "objective.target=top1", NO_SHEET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with both tasks, a run that failed, and a sum."""
    home = tmp_path_factory.mktemp("index")
    Image.new("RGB", (8, 8), "red").save(home / "a.png")
    (home / "b.png").write_text("not an image")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert here("-m", *QUICK, NO_SHEET, "layer=early,late", "objective.channel=1,2", "seed=0,1").status == 0
        assert here("-m", *ATTRIBUTE, "attribution=saliency,grad_cam", "images.item=0,1").status == 0
        assert (
            here("-m", *ATTRIBUTE, "attribution=saliency", "images=folder", "images.path=.", "images.item=all").status
            == 1
        )
        terms = ("objective=sum", "+objective@objective.terms.a=channel", "objective.weights.a=-0.5")
        assert here(*QUICK, *terms).status == 0
    return home / "outputs" / "default"


@pytest.fixture
def table(folder: Path) -> pd.DataFrame:
    return load_index(folder)


def test_there_is_one_row_a_run(table):
    assert len(table) == 8 + 4 + 2 + 1
    assert table.run_id.is_unique
    assert list(table.columns[:7]) == ["run_id", "status", "task", "unit", "score", "seconds", "image"]


def test_the_table_that_was_kept_is_the_table_that_is_made(folder, table):
    made = index.build(Store(folder.parent, folder.name))
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "index.parquet"), made)
    pd.testing.assert_frame_equal(table, made)
    kept = pd.read_csv(folder / "index.csv")
    assert list(kept.columns) == list(made.columns)
    assert list(kept.run_id) == list(made.run_id)


def test_rebuilding_twice_gives_the_same_bytes(folder):
    store = Store(folder.parent, folder.name)
    index.write_index(store)
    before = (folder / "index.csv").read_bytes()
    index.write_index(store)
    assert (folder / "index.csv").read_bytes() == before


def test_deleted_tables_come_back(folder, monkeypatch):
    before = load_index(folder)
    for suffix in ("parquet", "csv"):
        (folder / f"index.{suffix}").unlink()
    pd.testing.assert_frame_equal(load_index(folder), before)
    monkeypatch.chdir(folder.parents[1])
    done = here("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=1", "seed=0")
    assert done.status == 0 and "nothing to do" in done.out
    assert {"index.parquet", "index.csv"} <= tree(folder), "also by a command that has nothing else to do"


def test_a_table_older_than_the_records_is_not_believed(folder):
    store = Store(folder.parent, folder.name)
    record = {**records_of(folder)[0], "run_id": "new", "finished": "2999"}
    time.sleep(0.01)
    store.write_records([record])
    try:
        assert "new" in set(load_index(folder).run_id)
    finally:
        file = max(store.record_files(), key=lambda path: path.stat().st_mtime_ns)
        file.unlink()
    assert "new" not in set(load_index(folder).run_id)


def records_of(folder: Path) -> list[dict]:
    before = Path.cwd()
    os.chdir(folder.parents[1])
    try:
        return records()
    finally:
        os.chdir(before)


def test_choices_are_columns_and_leaves_have_dotted_names(table):
    seen = table[table.task == "visualise"]
    assert {"model", "layer", "objective", "parameterisation", "transform", "optimizer", "attribution"} <= set(table)
    assert set(seen.parameterisation) == {"fourier"} and set(seen.model) == {"shapes"}
    early = seen[(seen.layer == "early") & (seen.objective == "channel")]
    assert sorted(early["objective.channel"]) == [1, 1, 2, 2]
    assert set(early["layer.path"]) == {the_run("layer=early").config["objective"]["layer"]}
    assert set(seen["parameterisation.size"]) == {16}
    assert set(seen["task.steps"]) == set(seen.steps) == {2}
    assert set(seen["seed"].dropna()) == {0, 1}
    assert not [name for name in table if name.endswith("_target_")]
    assert {"compute.precision", "device", "weights_digest", "finished"} <= set(table)


def test_how_a_run_was_computed_is_told(table):
    computed = table[table.status == "ok"]
    assert set(computed.memory_format) <= {"contiguous", "channels_last"}
    assert (computed.at_once >= 1).all() and not computed.compile.any() and computed.cuda_graphs.isna().all()


def test_terms_of_a_sum_are_columns(table):
    (row,) = table[table.objective == "sum"].to_dict("records")
    assert (row["objective@objective.terms.a"], row["objective.terms.a.channel"]) == ("channel", 5)
    assert row["objective.weights.a"] == -0.5


def test_tables_can_be_pivoted_and_grouped(table):
    seen = table[(table.objective == "channel") & (table.seed == 0)]
    pivot = seen.pivot(index="layer", columns="objective.channel", values="score")
    assert pivot.shape == (2, 2) and pivot.notna().all(axis=None)
    means = table[table.status == "ok"].groupby("attribution").score.mean()
    assert set(means.index) == {"grad_cam", "saliency"} and means.notna().all()


def test_a_failed_run_is_a_row_with_its_reason(table):
    (row,) = table[table.status == "failed"].to_dict("records")
    assert "b.png' is not an image" in row["error"]
    assert pd.isna(row["score"]) and pd.isna(row["image"])
    assert row["images.path"] == "."


def test_paths_start_from_the_store(folder, table):
    ok = table[table.status == "ok"]
    assert ok.image.map(lambda path: (folder / path).is_file()).all()
    maps = table[(table.task == "attribute") & (table.status == "ok")]
    assert maps["artefact.map"].str.endswith("map.npy").all()
    assert set(maps.image) == set(maps["artefact.overlay"])


def test_metrics_are_columns(table):
    assert (table[table.task == "visualise"].image_std > 0).all()
    shown = table[table["images.split"] == "test"]
    assert shown.picture_label.notna().all() and shown.predicted_probability.between(0, 1).all()
    assert set(shown.unit) <= set(shown.predicted), "the unit of top1 is what the network says"


def test_the_newest_record_makes_the_row(folder):
    store = Store(folder.parent, folder.name)
    first = records_of(folder)[0]
    store.write_records([{**first, "score": -7.0, "finished": "2999"}])
    try:
        row = index.build(store).set_index("run_id").loc[first["run_id"]]
        assert row.score == -7.0
        assert len(index.build(store)) == 15
    finally:
        max(store.record_files(), key=lambda path: path.stat().st_mtime_ns).unlink()


def test_a_run_can_be_found_by_what_was_asked_for(table):
    run = the_run(*QUICK, "layer=early", "objective.channel=2", "seed=1")
    (row,) = table[table.run_id == run.id].to_dict("records")
    assert (row["objective.channel"], row["seed"], row["unit"]) == (2, 1, "channel 2")


def test_columns_that_mix_types_become_text(tmp_path):
    store = Store(tmp_path, "some")
    base = {
        "status": "ok",
        "task": "t",
        "unit": "",
        "score": None,
        "seconds": 0,
        "artefacts": {},
        "choices": {},
        "metrics": {},
    }
    values = {"a": 1, "b": "one", "c": None, "d": [1, 2], "e": True}
    for name, value in values.items():
        store.write_records(
            [{**base, "run_id": name, "finished": name, "batch": [name], "config": {"x": {"y": value}}}]
        )
    made = index.write_index(store).set_index("run_id")["x.y"]
    assert [None if pd.isna(made[name]) else made[name] for name in values] == ["1", "one", None, "[1, 2]", "True"]
    assert list(load_index(tmp_path / "some").run_id) == list(values)


@pytest.mark.parametrize("made", [False, True])
def test_no_store_is_no_table(tmp_path, made):
    if made:
        (tmp_path / "some" / "records").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no records in .*some; a store is outputs/<name>, made by a run"):
        load_index(tmp_path / "some")


LOADS = """
import sys
from interpret_runs import load_index
print(len(load_index(sys.argv[1])))
{}
sys.exit("torch" in sys.modules)
"""


def test_loading_an_index_needs_no_torch(folder):
    loaded = python(LOADS.format("pass"), str(folder))
    assert (loaded.status, loaded.out) == (0, "15\n"), loaded.err


def test_the_test_for_torch_can_fail(folder):
    assert python(LOADS.format("import torch"), str(folder)).status == 1


def test_an_index_made_while_another_sweep_wrote_is_not_taken_for_whole(tmp_path, monkeypatch):
    mine = Store(tmp_path, "some")
    base = {"status": "ok", "task": "t", "unit": "", "score": None, "seconds": 0}
    base |= {"artefacts": {}, "choices": {}, "metrics": {}, "config": {}}
    mine.write_records([{**base, "run_id": "a", "finished": "a", "batch": ["a"]}])
    extended = Catalogue.extended

    def meanwhile(*given: Any) -> Catalogue:
        read = extended(*given)
        Store(tmp_path, "some").write_records([{**base, "run_id": "b", "finished": "b", "batch": ["b"]}])
        return read

    monkeypatch.setattr(Catalogue, "extended", meanwhile)
    index.write_index(mine)
    monkeypatch.undo()
    assert set(load_index(tmp_path / "some")["run_id"]) == {"a", "b"}
