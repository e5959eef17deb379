import json
import subprocess
import sys

import networks
import pytest

from interpret_runs.summary import ModelSummary, is_weights_file, nearest, plain_label

LABELS = ("crane", "potter's wheel", "crane", "Egyptian cat", "jack-o'-lantern")


@pytest.fixture
def summary() -> ModelSummary:
    return networks.wrapped(networks.plain(), labels=LABELS, aliases={"late": "3"}, name="tiny").summary


def test_planning_needs_no_torch():
    code = "import sys, interpret_runs.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_layer_goes_by_its_path_with_slashes_and_by_its_alias():
    network = networks.Reused()
    summary = networks.wrapped(network, aliases={"late": "block/second"}).summary
    assert summary.layer("block.second") is summary.layer("block/second") is summary.layer("late")
    assert summary.layer("image").shape == (3, 16, 16)
    assert summary.layer("logits").shape == (2,)


def test_an_unknown_layer_names_the_closest_and_the_next_step(summary):
    with pytest.raises(LookupError, match=r"no layer 'lat' in tiny; closest: late.*task=layers"):
        summary.layer("lat")


def test_a_module_that_runs_twice_is_refused_and_its_parent_named():
    with pytest.raises(LookupError, match="'block.act' runs 2 times .* name 'block' instead"):
        networks.wrapped(networks.Reused()).summary.layer("block.act")


@pytest.mark.parametrize(
    "target", [1, "1", "potter's wheel", "potters wheel", "potters_wheel", "Potter's_Wheel", "POTTERS WHEEL"]
)
def test_a_class_goes_by_index_and_by_label_however_it_is_spelt(summary, target):
    assert summary.class_index(target) == 1


def test_an_ambiguous_label_names_its_indices(summary):
    with pytest.raises(LookupError, match="'crane' names classes 0, 2; give one of these indices"):
        summary.class_index("crane")


def test_an_unknown_label_names_the_closest(summary):
    with pytest.raises(LookupError, match=r"no class 'egyptian cart' in tiny; closest: Egyptian cat.*an index, 0 to 4"):
        summary.class_index("egyptian cart")


@pytest.mark.parametrize("target", [5, -1, "5", "-1"])
def test_a_class_out_of_range_names_the_range(summary, target):
    with pytest.raises(LookupError, match="tiny has classes 0 to 4"):
        summary.class_index(target)


def test_a_class_without_a_label_is_its_number(summary):
    assert summary.label(3) == "Egyptian cat"
    unlabelled = networks.wrapped(networks.plain()).summary
    assert unlabelled.label(3) == "3"
    with pytest.raises(LookupError, match="the model has no labels"):
        unlabelled.class_index("cat")


@pytest.mark.parametrize("channel", [8, -1, True, 1.0, "1", None])
def test_a_channel_that_a_layer_lacks_names_its_range(summary, channel):
    assert summary.channels("late") == 8
    assert summary.check_channel("late", 7) == 7
    with pytest.raises(LookupError, match="layer 'late' has (channels )?0 to 7"):
        summary.check_channel("late", channel)


def test_resolving_makes_names_exact_and_touches_nothing_else(summary):
    fields = {"layer": "late", "channel": 3, "target": "egyptian_cat", "weight": 0.5}
    assert summary.resolve(fields) == {"layer": "3", "channel": 3, "target": 3, "weight": 0.5}
    assert fields["layer"] == "late"
    assert summary.resolve({"target": "top1"}) == {"target": "top1"}
    assert summary.resolve({"target": ("Egyptian cat", 1)}) == {"target": (3, 1)}


@pytest.mark.parametrize(
    "fields",
    [
        {"layer": "late", "channel": 8},
        {"layer": "late", "channel": (0, 8)},
        {"layer": "late", "direction": (1.0, 2.0)},
        {"layer": "late", "direction": ((1.0,) * 8, (1.0,) * 7)},
        {"layer": "9"},
        {"target": 5},
    ],
)
def test_resolving_refuses_units_that_do_not_exist(summary, fields):
    with pytest.raises(LookupError):
        summary.resolve(fields)


def test_a_summary_survives_json(summary):
    assert ModelSummary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_nearest_ignores_case_and_falls_back_on_the_first_names():
    assert nearest("RESNET18", ["vgg11", "resnet18"]) == "resnet18"
    assert nearest("zzz", ["a", "b"]) == "a, b"
    assert nearest("zzz", []) == "none"


def test_labels_are_compared_without_case_apostrophe_and_underscore():
    assert plain_label("Jack-O'-Lantern") == plain_label("jack-o-lantern")
    assert plain_label("lady's_slipper") == "ladys slipper"


@pytest.mark.parametrize(
    ("weights", "file"),
    [("DEFAULT", False), ("IMAGENET1K_V1", False), ("net.pth", True), ("folder/net", True), ("net.safetensors", True)],
)
def test_a_file_is_told_from_a_name(weights, file):
    assert is_weights_file(weights) is file


def test_a_list_of_layers_is_made_exact(summary):
    assert summary.resolve({"layer": ["late", 2]}) == {"layer": ["3", "2"]}
