"""The memory format of a batch: noted, remembered, and of no effect on what a run is."""

from pathlib import Path

import pytest
import torch
from command_line import NO_SHEET, QUICK, here, ids, records, store, the_run
from safetensors.torch import save_file

from interpret_runs import load
from interpret_runs.memory_format import format_of
from interpret_runs.runner import cache, layout
from interpret_runs.runner.execute import execute, now
from interpret_runs.runner.objects import model_of
from interpret_runs.runner.store import Store
from interpret_runs.runner.tuning import Tuning

RUN = (*QUICK, "layer=early", "objective.channel=1")
EXPLAIN = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=1")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERPRET_RUNS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_seen", {})
    return tmp_path


def finds(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """Measurements find `name` the fastest; returns what was measured."""
    measured: list[object] = []
    monkeypatch.setattr(layout, "fastest", lambda model, layers, *rest: measured.append((*layers, *rest)) or name)
    return measured


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_the_format_is_no_part_of_a_run_and_its_record_tells_it(name):
    setting = f"compute.memory_format={name}"
    assert ids(*RUN, setting) == ids(*RUN)
    assert here(*RUN, setting).status == 0
    (record,) = records()
    assert record["memory_format"] == name and "memory_format" not in record["config"]["compute"]


@pytest.mark.parametrize("task", [RUN, EXPLAIN])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_the_fastest_is_found_once_and_used(monkeypatch, tmp_path, name, task):
    measured = finds(monkeypatch, name)
    for outputs in ("first", "second"):
        assert here(*task, f"outputs={outputs}").status == 0
        assert [record["memory_format"] for record in made_in(outputs)] == [name]
        cache._seen.clear()  # as a new process
    assert len(measured) == 1


def made_in(outputs: str) -> list[dict[str, object]]:
    return list(Store(outputs, "default").records())


def test_an_edited_network_is_measured_anew(monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    measured = finds(monkeypatch, "contiguous")
    own = ("model=custom", "model.factory=edited:make", "layer.path='0'", "objective.channel=1", *QUICK)
    for channels in (4, 5):
        Path("edited.py").write_text(
            f"from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, {channels}, 3))\n"
        )
        assert here(*own).status == 0
    assert len(measured) == 2


def test_other_weights_of_one_architecture_share_its_format(monkeypatch, folder):
    """Measurements may differ by chance: equal weights from another file would then give another score."""
    monkeypatch.setattr(layout, "fastest", lambda *_: found.pop())
    found, logit = ["channels_last", "contiguous"], (*QUICK, "objective=logit", "objective.target=0")
    save_file(load("shapes").network.state_dict(), folder / "same.safetensors")
    for again in ((), ("model.weights=same.safetensors",), ("model.weights=null", "model.seed=3")):
        assert here(*logit, *again).status == 0
    assert [record["memory_format"] for record in records()] == ["contiguous"] * 3 and found == ["channels_last"]
    scores = {record["config"]["model"]["weights"]: record["score"] for record in records()}
    assert scores["same.safetensors"] == scores["DEFAULT"]


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_workers_get_the_setting_and_again_by_its_id(name):
    sweep = ("-m", *RUN, NO_SHEET, "compute.device=cpu", f"compute.memory_format={name}")
    assert here(*sweep, "compute.per_device=1").status == 0
    (record,) = records()
    assert record["memory_format"] == name
    assert here(f"batch.ids=['{record['run_id']}']", f"compute.memory_format={name}").status == 0
    assert store().newest()[record["run_id"]]["memory_format"] == name


def test_what_an_earlier_batch_did_to_a_network_that_stays_loaded_is_undone():
    """A task that asks for no format computes in the usual one."""
    run, shown = the_run(*RUN), the_run("task=examples", "images=shapes", "task.k=2", *RUN[2:])
    (first,) = execute([run], store(), "cpu", now(), how=Tuning("channels_last"))
    network = model_of(run, torch.device("cpu"))
    assert first["memory_format"] == format_of(network) == "channels_last"
    (second,) = execute([shown], store(), "cpu", now())
    assert second["status"] == "ok" and second["memory_format"] == format_of(network) == "contiguous"


def test_a_picture_is_reproduced_in_the_format_of_then(monkeypatch):
    for name, other in (("channels_last", "contiguous"), ("contiguous", "channels_last")):
        assert here(*RUN, f"outputs={name}", f"compute.memory_format={name}").status == 0
        (picture,) = Path(name).rglob("image.png")
        finds(monkeypatch, other)
        done = here("task=reproduce", f"task.source={picture}", "task.keep=kept")
        assert done.status == 0 and "identical bytes" in done.out
        kept = Store.at(Path("kept").resolve())
        assert next(kept.records())["memory_format"] == name


@pytest.mark.parametrize("again", [(), ("-m",)])
def test_a_format_that_does_not_exist_is_refused(again, folder):
    done = here(*again, *RUN, NO_SHEET, "compute.memory_format=rows")
    assert done.status == 1
    assert "compute.memory_format is 'rows'; it is one of auto, contiguous, channels_last" in done.err
    assert not (folder / "outputs").exists()
