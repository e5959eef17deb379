"""Closing a config, and what names a run."""

import json
import random
from pathlib import Path

import pytest
import torch
from command_line import ids, planned, python, the_run
from PIL import Image
from safetensors.torch import save_file

from interpret_runs.models import load
from interpret_runs.runner.runs import Run
from interpret_runs.runner.summaries import summarise
from interpret_runs.shapes import CLASSES

LATE = "features.20"
CLASS = CLASSES.index("plain disc")
ATTRIBUTE = ("task=attribute", "objective=logit", "objective.target=1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and photographs, each with a copy and with a look-alike."""
    folder = tmp_path_factory.mktemp("files")
    state = load("shapes", device="cpu").network.state_dict()
    save_file(state, folder / "net.safetensors")
    save_file(state, folder / "copy.safetensors")
    state["head.bias"] = state["head.bias"] + 1
    save_file(state, folder / "other.safetensors")
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("copy of a.png", "red")):
        Image.new("RGB", (8, 8), colour).save(folder / name)
    (folder / "labels.txt").write_text("\n".join(f"thing {i}" for i in range(12)))
    return folder


SUM = ("objective=sum", "+objective@objective.terms.a=channel")


def same(*spellings: tuple[str, ...]) -> bool:
    return len({the_run(*spelling).id for spelling in spellings}) == 1


def test_an_id_is_sixteen_hex_digits_and_the_same_in_every_process():
    """Stores on disk are found by ids, so nothing of the process may be in them."""
    here = ids("objective.channel=1,2", "layer=early")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from command_line import ids; print(*ids(*sys.argv[2:]))"
    there = python(code, str(Path(__file__).parent), "layer=early", "objective.channel=1,2")
    assert there.out.split() == here, there.err
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in here)


@pytest.mark.parametrize(
    "spellings",
    [
        # the layer
        [(), ("layer=late",), (f"layer.path={LATE}",), ("layer.path=features/20",), ("layer.path=late",)],
        [("layer=early",), ("objective.layer=early",), ("layer=logits", "objective.layer=early")],
        [("objective=logit", "layer=early"), ("objective=logit", "layer=late")],
        # the class
        [("objective=logit", f"objective.target={target}")
         for target in (CLASS, f"'{CLASS}'", "plain_disc", "'Plain Disc'")],
        # numbers
        [("parameterisation.size=32",), ("parameterisation.size=[32,32]",)],
        [("parameterisation.decay=1",), ("parameterisation.decay=1.0",), ("parameterisation.decay=1e0",), ()],
        [("seed=1",), ("seed=1.0",)],
        [("transform.scale=[1,2]",), ("transform.scale=[1.0,2.0]",)],
        [("model.mean=[0.5,0.5,0.5]",), ()],
        [("model.input_size=64",), ("model.input_size=[64,64]",), ()],
        [("parameterisation.size=32", "transform.size=32"), ("parameterisation.size=32", "transform.size=[32,32]"),
         ("parameterisation.size=32", "transform.size=null")],
        [("task.snapshots=[2,1]",), ("task.snapshots=[1,2,2]",)],
        [("task=statistics", f"task.size={size}") for size in ("224", "[224,224]")],
        # what changes nothing but speed, or nothing at all
        [("task=examples", f"task.images_at_once={number}") for number in (16, 32)],
        [("task.frames=16",), ("task.frames=32",)],
        # the weights
        [("model=resnet18", "objective.channel=0", f"model.weights={name}")
         for name in ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1")],
        # sums
        [("objective=sum", "+objective@objective.terms.a=channel", weights)
         for weights in ("seed=0", "objective.weights.a=1", "objective.weights.a=[1,1]", "objective.weights.a=1.0",
                         "objective.weights={a: 1}",
                         "objective.weights.b=null", "++objective.weights.zebra=null", "objective.weights=null")],
    ],
    ids=lambda spellings: " | ".join(" ".join(one) for one in spellings)[:60],
)  # fmt: skip
def test_all_spellings_of_one_run_have_one_id(spellings):
    assert same(*spellings)


def test_a_seed_draws_the_same_however_it_is_spelt():
    assert repr(the_run("seed=1.0").config["seed"]) == repr(the_run("seed=1").config["seed"]) == "1"


def test_one_sum_inside_another_is_spelt_in_many_ways_too():
    outer = ("objective=sum", "+objective@objective.terms.a=sum", "+objective@objective.terms.a.terms.a=channel")
    assert same(outer, (*outer, "objective.terms.a.weights.a=1"), (*outer, "objective.terms.a.weights={a: 1.0}"))


def test_a_weight_without_a_term_is_not_forgotten():
    one = ("objective=sum", "+objective@objective.terms.a=channel")
    assert not same(one, (*one, "objective.weights.b=2"))


def test_the_order_of_overrides_does_not_matter():
    overrides = ["objective=neuron", "objective.row=1", "layer=early", "seed=3", "parameterisation=pixel"]
    shuffled = [random.Random(seed).sample(overrides, len(overrides)) for seed in range(4)]
    assert same(*map(tuple, shuffled))


def test_permuting_a_grid_gives_the_same_runs():
    one = ids("layer=early,late", "objective.channel=range(0,4)", "seed=1,2")
    other = ids("seed=2,1", "objective.channel=3,1,0,2", "layer=late,early")
    assert len(set(one)) == 16
    assert sorted(other) == sorted(one)


def test_files_are_known_by_their_content(files, monkeypatch):
    monkeypatch.chdir(files)
    weights = [
        (f"model.weights={path}",) for path in ("net.safetensors", files / "net.safetensors", "copy.safetensors")
    ]
    assert same(*weights)
    assert not same(weights[0], ("model.weights=other.safetensors",))
    assert not same(weights[0], ())
    red = [
        (*ATTRIBUTE, "images=file", "images.path=a.png"),
        (*ATTRIBUTE, "images=file", f"images.path='{files / 'copy of a.png'}'"),
        (*ATTRIBUTE, "images=folder", "images.path=.", "images.item=0"),
        (*ATTRIBUTE, "images=folder", f"images.path={files}", "images.item=a.png"),
        (*ATTRIBUTE, "images=folder", "images.path=.", "images.item='copy of a.png'"),
    ]
    assert same(*red)
    assert not same(red[0], (*ATTRIBUTE, "images=file", "images.path=b.png"))


def test_a_file_that_changes_is_another_run(tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(file)
    overrides = (*ATTRIBUTE, "images=file", f"images.path={file}")
    before = the_run(*overrides).id
    Image.new("RGB", (8, 9), "red").save(file)
    assert the_run(*overrides).id != before


@pytest.mark.parametrize(
    "override",
    [
        "compute.device=cpu",
        "compute.batch_size=2",
        "name=other",
        "outputs=elsewhere",
        "figure.most=3",
        "sweep.rerun=all",
        "sweep.dry_run=true",
        "model.layers.early=features.2",
        "model.seed=7",
        "attribution=saliency",
        "attribution.relu=false",
        "images.item=7",
        "images=folder",
    ],
)
def test_what_does_not_change_a_visualisation_is_not_in_its_id(override):
    assert the_run(override).id == the_run().id


@pytest.mark.parametrize(
    "override",
    ["parameterisation=pixel", "transform=none", "optimizer.lr=1", "seed=9", "layer=early", "parameterisation.size=16"],
)
def test_what_does_not_change_an_attribution_is_not_in_its_id(override):
    base = (*ATTRIBUTE, "attribution=saliency")
    assert the_run(*base, override).id == the_run(*base).id


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "compute.precision=bfloat16",
        "objective.channel=6",
        "objective=neuron",
        "layer=early",
        "parameterisation=pixel",
        "parameterisation.images=2",
        "transform=none",
        "transform.fill=0.4",
        "optimizer.lr=0.06",
        "task.steps=127",
        "task.rescue=false",
        "model.weights=null",
        "model.std=[1,1,1]",
    ],
)
def test_what_changes_a_visualisation_is_in_its_id(override):
    assert the_run(override).id != the_run().id


@pytest.mark.parametrize(
    "override",
    ["images.item=1", "images.split=train", "attribution=grad_cam", "objective.target=2", "compute.precision=bfloat16"],
)
def test_what_changes_an_attribution_is_in_its_id(override):
    base = (*ATTRIBUTE, "attribution=saliency")
    assert the_run(*base, override).id != the_run(*base).id


def test_the_seed_of_the_weights_counts_where_they_are_random():
    assert not same(("model.weights=null", "model.seed=1"), ("model.weights=null",))
    assert same(("model.weights=null", "model.seed=0"), ("model.weights=null",))
    assert same(("model.seed=1",), ())


def test_labels_change_how_a_class_is_called_and_nothing_else(files):
    one = the_run("objective=logit", f"objective.target={CLASS}")
    other = the_run("objective=logit", f"model.labels={files / 'labels.txt'}", f"objective.target='thing {CLASS}'")
    assert one.id == other.id
    assert (one.unit, other.unit) == ("plain disc", f"thing {CLASS}")


def test_an_alias_table_changes_nothing_but_the_aliases():
    assert same(("layer=early", "model.layers.early=features.20"), ("layer=late",))


def test_all_stands_for_every_value():
    early = planned("layer=early", "objective.channel=all")
    assert [run.config["objective"]["channel"] for run in early] == list(range(64))
    assert {run.id for run in early} == set(ids("layer=early", "objective.channel=range(0,64)"))
    classes = planned("objective=logit", "objective.target=all")
    assert [run.config["objective"]["target"] for run in classes] == list(range(12))
    items = planned(*ATTRIBUTE, "images.item=all")
    assert [run.config["images"]["item"] for run in items[:3]] == [0, 1, 2] and len(items) == len({r.id for r in items})


def test_all_images_of_a_folder(files):
    runs = planned(*ATTRIBUTE, "images=folder", f"images.path={files}", "images.item=all")
    assert [run.config["images"]["item"] for run in runs] == [0, 1, 2]
    assert len({run.id for run in runs}) == 2, "a copy is the same image"


def test_all_inside_of_a_sum_multiplies():
    terms = ("objective=sum", "+objective@objective.terms.a=channel", "+objective@objective.terms.b=logit")
    runs = planned(
        *terms, "objective.terms.a.layer=early", "objective.terms.a.channel=all", "objective.terms.b.target=all"
    )
    assert len({run.id for run in runs}) == 64 * 12


def test_all_images_are_one_run_where_the_task_takes_none():
    assert len(planned("images.item=all")) == 1


def test_a_run_holds_what_its_task_uses_and_no_interpolation():
    run = the_run("layer=early")
    assert set(run.config) == {
        "task",
        "model",
        "objective",
        "parameterisation",
        "transform",
        "optimizer",
        "lr_scheduler",
        "seed",
        "compute",
    }
    assert run.config["compute"] == {"precision": "float32"}
    assert "uses" not in run.config["task"]
    assert "${" not in json.dumps(run.config) and "???" not in json.dumps(run.config)
    explained = {"task", "model", "objective", "attribution", "images", "metrics", "rendering", "compute"}
    assert set(the_run(*ATTRIBUTE).config) == explained


def test_choices_are_those_of_what_the_task_uses():
    run = the_run("layer=early", "parameterisation=pixel")
    assert run.choices["layer"] == "early" and run.choices["parameterisation"] == "pixel"
    assert "attribution" not in run.choices and "hydra/launcher" not in run.choices
    assert the_run("layer.path=features.2").choices["layer"] == "features.2"
    assert the_run(*ATTRIBUTE, "attribution=saliency").choices["attribution"] == "saliency"


@pytest.mark.parametrize(
    ("overrides", "unit"),
    [
        (("objective.channel=12",), "channel 12"),
        (("objective=neuron", "objective.channel=3", "objective.row=1", "objective.column=2"), "channel 3 (1, 2)"),
        (("objective=neuron",), "channel 5"),
        (("objective=logit", f"objective.target={CLASS}"), "plain disc"),
        ((*ATTRIBUTE, "objective.target=top1"), "top1"),
        (("objective=layer",), "layer"),
        (
            ("objective=sum", "+objective@objective.terms.a=channel", "+objective@objective.terms.b=l2"),
            "channel 5 + l2",
        ),
    ],
)
def test_a_unit_has_the_name_that_people_use(overrides, unit):
    assert the_run(*overrides).unit == unit


def test_a_run_survives_json():
    run = the_run("objective=neuron")
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run


@pytest.mark.parametrize(
    "overrides",
    [("seed=1,2",), ("objective.channel=1,2",), ("objective=neuron", "objective.row=1,2,null"),
     ("objective=logit", "objective.target=1,2"),
     ("task=attribute", "images.item=1,2"), ("objective=direction", f"objective.direction={[0.0] * 128},{[1.0] * 128}"),
     ("objective=sum", "+objective@objective.terms.a=channel", "objective.terms.a.channel=1,2", "seed=1,2")],
)  # fmt: skip
def test_runs_that_differ_in_unit_seed_or_image_share_a_batch(overrides):
    runs = planned(*overrides)
    assert len({run.id for run in runs}) > 1
    assert len({run.batch_key() for run in runs}) == 1


@pytest.mark.parametrize(
    "override",
    ["layer=early,late", "objective=channel,neuron", "parameterisation=fourier,pixel", "task.steps=1,2",
     "compute.precision=float32,bfloat16", "transform.fill=0,1", "model.weights=DEFAULT,null",
     "parameterisation.size=16,32"],
)  # fmt: skip
def test_runs_that_differ_otherwise_do_not(override):
    runs = planned(override)
    assert len({run.batch_key() for run in runs}) == len(runs) == 2


def test_weights_files_keep_batches_apart(files):
    runs = planned(f"model.weights={files}/net.safetensors,{files}/other.safetensors")
    assert len({run.batch_key() for run in runs}) == 2


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("objective=direction",), "objective.direction is not set; give it a value: objective.direction=..."),
        ((*ATTRIBUTE, "images=file"), "images.path is not set"),
        ((*ATTRIBUTE, "images=folder", "images.item=all"), "images.path is not set"),
        (("model=custom", "objective.channel=all"), "model.factory is not set"),
        (("layer.path=nowhere", "objective.channel=all"), "no layer 'nowhere'"),
        ((*ATTRIBUTE, "attribution.layer=nowhere"), "no layer 'nowhere'"),
        ((*ATTRIBUTE, "images.item=-1"), "images.item is -1"),
        (("objective=sum", "+objective@objective.terms.a=channel", "objective.terms.a.channel=999"), "channel 999"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_said_while_planning(overrides, says):
    with pytest.raises((LookupError, ValueError, OSError)) as error:
        planned(*overrides)
    assert says in str(error.value)


def test_a_summary_is_of_the_network_that_runs():
    config = the_run("layer=early").config["model"]
    model = load("shapes", device="cpu")
    assert summarise(config).layers == model.summary.layers
    with torch.no_grad():
        assert summarise(config).classes == model(torch.zeros(1, 3, 64, 64)).shape[1]


def test_terms_of_a_sum_have_no_names_and_no_order():
    def total(one: str, other: str, weight: str) -> tuple[str, ...]:
        terms = (f"+objective@objective.terms.{one}=channel", f"+objective@objective.terms.{other}=l2")
        return ("objective=sum", *terms, f"objective.weights.{weight}=-0.5")

    assert same(total("a", "b", "b"), total("b", "a", "a"), total("c", "d", "d"))
    assert not same(total("a", "b", "b"), total("a", "b", "a"))
    assert the_run(*total("a", "b", "b")).unit == "channel 5 - 0.5 l2"


def test_the_layer_that_people_read_is_the_one_that_is_read():
    assert the_run("layer=late").choices["layer"] == "late"
    assert the_run("layer.path=features.16").choices["layer"] == "features.16"
    assert the_run("layer=late", "objective.layer=features.16").choices["layer"] == "features.16"
    explain = ("task=attribute", "attribution=grad_cam", "objective=logit", "objective.target=1")
    assert the_run(*explain, "attribution.layer=early").choices["layer"] == "early"


@pytest.mark.parametrize("override", ["seed=99999999999999999999", "compute.precision=float16"])
@pytest.mark.parametrize("task", ["visualise", "attribute"])
def test_what_no_machine_has_is_refused(task, override):
    if task == "attribute" and override.startswith("seed"):
        return  # none of its methods is stochastic
    with pytest.raises(ValueError, match=r"seed is|compute\.precision is"):
        the_run(f"task={task}", override)


# --- pictures, files and sets inside of a config -------------------------------------------------------------------

IMAGE = ("parameterisation=image", "images=file")
FOLDER = ("images=folder", "images.path=.")


def test_a_picture_to_start_from_is_known_by_its_content(files, monkeypatch):
    monkeypatch.chdir(files)
    red = [
        (*IMAGE, "images.path=a.png"),
        (*IMAGE, "images.path='copy of a.png'"),
        ("parameterisation=image", *FOLDER, "images.item=a.png"),
    ]
    assert same(*red)
    assert not same(red[0], (*IMAGE, "images.path=b.png"))


def test_runs_that_start_from_or_compare_with_different_pictures_share_a_batch(files, monkeypatch):
    monkeypatch.chdir(files)
    for kind in ("parameterisation=image", "objective=caricature"):
        runs = [*planned(kind, *FOLDER, "images.item=0"), *planned(kind, *FOLDER, "images.item=1")]
        assert len({run.id for run in runs}) == 2 and len({run.batch_key() for run in runs}) == 1


def test_all_pictures_of_a_set_that_stands_at_two_places_are_one_axis(files, monkeypatch):
    monkeypatch.chdir(files)
    runs = planned("parameterisation=image", "objective=inversion", *FOLDER, "images.item=all")
    assert len(runs) == 3
    for run in runs:
        assert run.config["parameterisation"]["source"] == run.config["objective"]["source"]


@pytest.mark.parametrize("key", ["statistics", "mask"])
def test_files_of_a_parameterisation_are_known_by_their_content(key, files, monkeypatch):
    monkeypatch.chdir(files)
    start = (*IMAGE, "images.path=a.png")
    one, copy, other = ((*start, f"parameterisation.{key}={path}") for path in ("a.png", "'copy of a.png'", "b.png"))
    assert same(one, copy)
    assert not same(one, other) and not same(one, (*IMAGE, "images.path=a.png"))
    assert the_run(*one).batch_key() != the_run(*other).batch_key()


def test_a_set_as_a_whole_is_known_by_the_content_of_all_its_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ("task=examples", "images=folder", "images.path=.")
    Image.new("RGB", (8, 8), "red").save("a.png")
    before = the_run(*overrides)
    assert same(overrides, (*overrides, "images.item=7"), (*overrides, "images.item=all"))
    assert "item" not in before.config["task"]["data"]
    Image.new("RGB", (8, 8), "blue").save("b.png")
    assert the_run(*overrides).id != before.id


def test_a_folder_without_images_is_said_while_planning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task in ("task=examples", "task=statistics", "task=dream"):
        with pytest.raises(LookupError, match="no image in folder"):
            the_run(task, "images=folder", "images.path=.")


def test_statistics_have_no_model():
    assert set(the_run("task=statistics").config) == {"task"}


def test_a_negative_is_a_sum_of_weight_minus_one():
    negative = ("objective=negative", "objective.of.channel=7")
    term = ("+objective@objective.terms.a=channel", "objective.terms.a.channel=7", "objective.weights.a=-1")
    assert same(negative, ("objective=sum", *term))


CAM = ("task=attribute", "attribution=layer_cam")


def test_fused_layers_are_a_set_and_one_layer_is_not_fused():
    ones = [the_run(*CAM, f"attribution.layer={layer}").id for layer in ("late", "[late]", f"[{LATE}]")]
    ones.append(the_run(*CAM, "attribution.layer=late", "attribution.fuse=max").id)
    pairs = [the_run(*CAM, f"attribution.layer={layers}") for layers in ("[early,late]", "[late,early]")]
    assert len(set(ones)) == 1 and pairs[0].id == pairs[1].id != ones[0]
    assert the_run(*CAM, "attribution.layer=[early,late]", "attribution.fuse=max").id != pairs[0].id
    assert pairs[1].choices["layer"] == "late"


def test_layers_of_a_deep_dream_are_made_exact():
    runs = [the_run("objective=deep_dream", f"objective.paths={paths}") for paths in ("[late]", f"[{LATE}]")]
    assert runs[0].id == runs[1].id and runs[0].config["objective"]["paths"] == [LATE]


@pytest.mark.parametrize(
    ("overrides", "unit"),
    [
        (("objective=negative", "objective.of.channel=7"), "-channel 7"),
        (("objective=contrast", "objective.target=0", "objective.against=1"), f"{CLASSES[0]} - {CLASSES[1]}"),
        (("objective=interpolation", "objective.first.channel=1"), "channel 1 to channel 5"),
        (("objective=product", "objective.left.channel=1", "objective.right.channel=2"), "channel 1 x channel 2"),
        ((*SUM, "objective.terms.a.channel=3", "objective.weights.a=[1,0.5]"), "1..0.5 channel 3"),
        (("objective=probability", "objective.target=2"), f"probability {CLASSES[2]}"),
        (("objective=deep_dream",), "deep dream"),
        (("objective=deep_dream", "objective.paths=[early,late]"), f"deep dream features.9 + {LATE}"),
        (("objective=local_group",), "channel 5 3x3"),
        (("objective=local_group", "objective.width=1", "objective.row=2"), "channel 5 3x1 (2, centre)"),
    ],
)
def test_composed_units_have_names(overrides, unit):
    assert the_run(*overrides).unit == unit


def test_the_source_of_ones_own_network_is_part_of_what_a_run_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "edited_net.py"
    custom = ("model=custom", "model.factory=edited_net:plain", "model.input_size=16", "layer.path='0'")
    found = []
    for change in ("", "# changed\n", ""):
        source.write_text(f"from networks import plain\n{change}")
        found.append(the_run(*custom))
    assert found[0].id == found[2].id != found[1].id
    assert found[0].digests.keys() == {"model.factory"} and found[0].batch_key() != found[1].batch_key()


def test_a_layer_that_yaml_reads_as_a_number_is_a_name():
    custom = ("model=custom", "model.factory=networks:plain", "model.input_size=16")
    assert the_run(*custom, "layer.path=2").config["objective"]["layer"] == "2"
