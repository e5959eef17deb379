"""What one run or batch of runs does, and what comes out of it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import QUICK, planned, the_run
from PIL import Image
from safetensors.torch import save_file

from interpret_runs import shapes
from interpret_runs.models import load
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.runner import devices
from interpret_runs.runner.build import build
from interpret_runs.runner.execute import check, execute, now
from interpret_runs.runner.objects import model_of, objective_of
from interpret_runs.runner.store import Record, Store
from interpret_runs.runner.tasks.visualise import Visualise

CPU = torch.device("cpu")
ATTRIBUTE = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=top1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "some")


def done(store: Store, *overrides: str) -> list[Record]:
    """The records of the runs that `overrides` stand for, executed as one batch."""
    records = execute(planned(*overrides), store, "cpu", now())
    assert [record["error"] for record in records] == [None] * len(records)
    return records


def pixels(store: Store, record: Record, name: str) -> np.ndarray:
    with Image.open(store.root / record["artefacts"][name]["path"]) as image:
        return np.asarray(image)


def test_a_visualisation_is_scored_on_the_image_it_leaves(store):
    (record,) = done(store, *QUICK, "layer=early", "task.snapshots=[1,2]", "task.history_every=1")
    assert pixels(store, record, "image").shape == (16, 16, 3)
    assert set(record["artefacts"]) == {"image", "snapshot-0001", "snapshot-0002"}
    assert (pixels(store, record, "snapshot-0002") == pixels(store, record, "image")).all()
    assert (pixels(store, record, "snapshot-0001") != pixels(store, record, "image")).any()
    assert record["history"]["step"] == [1.0, 2.0] and len(record["history"]["score"]) == 2
    assert record["metrics"]["image_std"] > 0


def test_more_steps_score_higher(store):
    few, many = (done(store, *QUICK, "layer=early", "transform=none", f"task.steps={n}")[0] for n in (1, 24))
    assert many["score"] > few["score"]


def test_images_of_one_run_are_side_by_side(store):
    records = done(store, *QUICK, "layer=early", "parameterisation.images=3", "objective.channel=1,2")
    assert [pixels(store, record, "image").shape for record in records] == [(16, 48, 3)] * 2
    assert (pixels(store, records[0], "image") != pixels(store, records[1], "image")).any()


def test_a_size_that_is_no_square_is_height_by_width(store):
    (record,) = done(store, *QUICK[:1], "layer=early", "parameterisation.size=[16,24]")
    assert pixels(store, record, "image").shape == (16, 24, 3)


@pytest.mark.parametrize(
    "overrides",
    [
        ("objective=neuron", "objective.channel=1,2", "objective.row=1"),
        ("objective=logit", "objective.target=0,3"),
        ("objective=layer", "seed=0,1"),
        ("objective=direction", f"objective.direction={[1.0] * 64},{[-1.0] * 64}"),
        ("objective=sum", "+objective@objective.terms.a=channel", "+objective@objective.terms.b=total_variation",
         "objective.weights.b=-0.5", "objective.terms.a.channel=1,2"),
    ],
    ids=lambda overrides: overrides[0],
)  # fmt: skip
def test_each_run_of_a_batch_has_its_own_unit(store, tmp_path, overrides):
    together = done(store, *QUICK, "layer=early", *overrides)
    assert len(together) == 2 and together[0]["score"] != together[1]["score"]
    for run, record in zip(planned(*QUICK, "layer=early", *overrides), together, strict=True):
        (alone,) = execute([run], Store(tmp_path, "alone"), "cpu", now())
        assert alone["score"] == pytest.approx(record["score"], rel=1e-3, abs=1e-5)


def test_half_precision_is_near_full_precision(store):
    full, half = (
        done(store, *QUICK, "layer=early", f"compute.precision={name}")[0] for name in ("float32", "bfloat16")
    )
    assert half["run_id"] != full["run_id"]
    assert half["score"] == pytest.approx(full["score"], rel=0.2, abs=0.02)


def test_an_attribution_keeps_the_raw_map_and_shows_it(store):
    (record,) = done(store, *ATTRIBUTE, "images.item=2")
    values = np.load(store.root / record["artefacts"]["map"]["path"])
    assert values.shape == (64, 64) and values.dtype == np.float32 and np.isfinite(values).all()
    for name in ("heat_map", "overlay"):
        assert pixels(store, record, name).shape[2] == 3
    drawn = shapes.draw(2, "test")
    assert record["metrics"]["picture_label"] == shapes.CLASSES[drawn.label]
    assert record["metrics"]["picture"] == "shapes test 2"


def test_the_class_that_the_network_says_is_each_images_own(store):
    records = done(store, *ATTRIBUTE, "images.item=range(0,6)")
    assert all(record["unit"] == record["metrics"]["predicted"] for record in records)
    assert len({record["unit"] for record in records}) > 1
    named = done(store, *ATTRIBUTE, f"objective.target={records[0]['metrics']['predicted_class']}", "images.item=0")[0]
    assert named["score"] == pytest.approx(records[0]["score"], rel=1e-4)
    assert named["run_id"] != records[0]["run_id"], "a class by name is another question than the first class"


def test_a_batch_may_ask_for_named_and_first_classes_together(store):
    records = done(store, *ATTRIBUTE, "objective.target=3,top1", "images.item=1")
    assert records[0]["unit"] == shapes.CLASSES[3]
    assert records[1]["unit"] == records[1]["metrics"]["predicted"]


def test_a_hidden_channel_can_be_explained(store):
    """One objective serves both tasks."""
    overrides = ("layer=early", "objective.channel=5,6")
    maps = done(store, "task=attribute", "attribution=saliency", *overrides)
    seen = done(store, *QUICK, *overrides)
    assert [record["unit"] for record in maps] == [record["unit"] for record in seen]
    assert maps[0]["config"]["objective"] == seen[0]["config"]["objective"]


def test_a_photograph_is_explained_at_the_networks_size(store, tmp_path):
    Image.linear_gradient("L").resize((100, 80)).convert("RGB").save(tmp_path / "a.png")
    (record,) = done(store, *ATTRIBUTE, "images=file", f"images.path={tmp_path / 'a.png'}")
    assert np.load(store.root / record["artefacts"]["map"]["path"]).shape == (64, 64)
    assert record["metrics"]["picture"] == "a.png" and record["metrics"].get("picture_label") is None
    assert len(record["digests"]["images"]) == 16


def test_weights_from_a_file_are_those_that_run(store, tmp_path):
    state = load("shapes").network.state_dict()
    for name, shift in (("same", 0), ("other", 1)):
        save_file({**state, "head.bias": state["head.bias"] + shift}, tmp_path / f"{name}.safetensors")
    logit = (*QUICK, "objective=logit", "objective.target=0")
    (own,) = done(store, *logit)
    same, other = (done(store, *logit, f"model.weights={tmp_path / name}.safetensors")[0] for name in ("same", "other"))
    assert same["score"] == own["score"] and same["weights_digest"] == own["weights_digest"]
    assert (
        other["score"] == pytest.approx(own["score"] + 1, abs=1e-3) and other["weights_digest"] != own["weights_digest"]
    )


def test_a_weights_file_that_changes_is_loaded_anew(tmp_path):
    state = load("shapes").network.state_dict()
    file, biases = tmp_path / "net.safetensors", []
    for shift in (0, 1):
        save_file({**state, "head.bias": state["head.bias"] + shift}, file)
        run = the_run("objective=logit", f"model.weights={file}")
        biases.append(model_of(run, CPU).network.state_dict()["head.bias"][0].item())
    assert biases[1] == pytest.approx(biases[0] + 1)


def test_random_weights_follow_their_seed():
    def weights(seed: int) -> torch.Tensor:
        with pytest.warns(UserWarning, match="random weights"):
            return load("shapes", None, seed).network.get_parameter("head.weight")

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_stacking_keeps_the_order_of_runs():
    runs = planned("layer=early", "objective.channel=7,3,9")
    objective = Objective.stack([objective_of(run, model_of(run, CPU)) for run in runs])
    assert isinstance(objective, Channel) and objective.channel == (7, 3, 9)


def test_checking_says_how_many_runs_fit(monkeypatch):
    from interpret_runs import memory
    from interpret_runs.runner.execute import task_of

    run = the_run(*QUICK, "layer=early", "parameterisation.images=2")
    monkeypatch.setattr(memory, "available", lambda _: 64 * 2**20)
    each = memory.bytes_per_image(model_of(run, CPU), {run.config["objective"]["layer"]}, (16, 16))
    assert task_of(run).check([run], CPU) == 64 * 2**20 // each // 2
    monkeypatch.setattr(memory, "available", lambda _: each)
    with pytest.raises(ValueError, match="2 image"):
        check([run], "cpu")


def test_building_passes_on_what_a_constructor_says():
    with pytest.raises(ValueError, match="attribution.steps is 0"):
        build({"_target_": "interpret_runs.integrals.IntegratedGradients", "steps": 0})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        build({"_target_": "interpret_runs.gradient_maps.Saliency", "nothing": 1})
    with pytest.raises(LookupError, match="interpret_runs.gradient_maps.Nothing"):
        build({"_target_": "interpret_runs.gradient_maps.Nothing"})


def test_lists_arrive_as_plain_lists():
    made: Any = build({"_target_": "builtins.dict", "values": [1, {"a": [2]}]})
    assert type(made["values"]) is list and type(made["values"][1]["a"]) is list


def test_auto_is_the_best_device_there_is():
    assert devices.choose("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert devices.choose("cpu") == CPU and devices.describe(CPU) == "cpu"
    assert "cpu" in devices.present()


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta", "", "cpu:3"])
def test_a_device_that_is_not_there_names_those_that_are(name):
    with pytest.raises(ValueError, match=f"no device {name!r}.*here there are: cpu"):
        devices.choose(name)


@pytest.mark.parametrize("size", ["null", "224", "[224,224]"])
def test_a_closed_model_sees_photographs_as_its_weights_do(size):
    """Closing writes the input size out; that must not change from which side the photograph is resized."""
    run = the_run("model=squeezenet1_0", "model.weights=null", f"model.input_size={size}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights; loaded once, and warned of then
        found = model_of(run, CPU).preprocessing
    assert found == load("squeezenet1_0", device="meta").preprocessing
    assert found.resize == 256


def test_an_image_that_shows_nothing_is_called_dead(store):
    negative = ("objective=sum", "+objective@objective.terms.a=channel", "objective.weights.a=-1")
    assert [record["metrics"]["alive"] for record in done(store, *QUICK, *negative)] == [False]
    assert [record["metrics"]["alive"] for record in done(store, "task.steps=16", "parameterisation.size=32")] == [True]


def test_the_memory_check_counts_the_image_at_its_own_size(monkeypatch):
    monkeypatch.setattr("interpret_runs.memory.available", lambda _device: 2**30)
    sizes = ("parameterisation.size=1024", "transform.size=64")
    large, small = (Visualise().check([the_run(*some)], CPU) for some in (sizes, sizes[1:]))
    assert large < small / 10


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("transform.fill=nan", "transform.fill is nan"),
        ("transform.jitter=x", "transform.jitter is 'x'"),
        ("transform.scale=1", "transform.scale is 1"),
        ("model.std=[0,0,0]", "divided by 0"),
        ("optimizer._target_=torch.optim.LBFGS", "optimizer: "),
        ("task.history_every=x", "task.history_every is 'x'"),
        ("parameterisation.size=4", "shapes refuses images of 4x4"),
    ],
)
def test_what_would_fail_in_the_first_step_is_found_before(override, line):
    with pytest.raises((ValueError, TypeError), match=line):
        check([the_run(override)], "cpu")
