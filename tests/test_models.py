import json
from urllib.error import URLError

import networks
import pytest
import torch
from networks import bare, plain
from torch import nn

from interpret_runs.models import Preprocessing, VisionModel, load
from interpret_runs.scoring import class_probabilities

ALIASES = {
    "shapes": ("features.9", "features.16", "features.20"),
    "resnet18": ("layer1.1", "layer3.1", "layer4.1"),
    "vgg11": ("features.4", "features.14", "features.19"),
    "squeezenet1_0": ("features.5", "features.10", "features.12"),
    "googlenet": ("conv3", "inception4e", "inception5b"),
    "inception_v3": ("Conv2d_4a_3x3", "Mixed_6e", "Mixed_7c"),
    "convnext_tiny": ("features.3.2", "features.5.8", "features.7.2"),
    "swin_t": ("features.3.1", "features.5.5", "features.7.1"),
    "efficientnet_b0": ("features.2.1", "features.5.2", "features.8.2"),
    "densenet121": ("features.denseblock1", "features.denseblock3", "features.norm5"),
    "mobilenet_v3_large": ("features.3", "features.12", "features.16.2"),
    "regnet_y_400mf": tuple(f"trunk_output.block{n}.block{n}-{m}.activation" for n, m in ((1, 0), (3, 5), (4, 5))),
    "alexnet": ("features.1", "features.4", "features.11"),
    "vit_b_16": ("encoder.layers.encoder_layer_3", "encoder.layers.encoder_layer_7", "encoder.layers.encoder_layer_11"),
}


def random(name="shapes", **settings) -> VisionModel:
    with pytest.warns(UserWarning, match="random weights"):
        return load(name, None, **settings)


@pytest.fixture(scope="module")
def resnet():
    return load("resnet18", device="meta").summary


# --- what is known without weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALIASES)
def test_aliases_need_no_weights_and_stay_what_they_are(name):
    """Aliases are part of a run's identity, so a change here changes run ids."""
    model = load(name, device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())
    aliases = model.summary.aliases
    assert (aliases["early"], aliases["middle"], aliases["late"]) == ALIASES[name]
    order = [layer.path for layer in model.summary.layers]
    assert sorted(ALIASES[name], key=order.index) == list(ALIASES[name])


def test_a_summary_is_the_same_with_and_without_weights():
    assert load("shapes").summary == load("shapes", device="meta").summary


def test_a_network_that_takes_one_size_only_says_so():
    assert load("shapes", device="meta").summary.any_size
    assert not load("vit_b_16", device="meta").summary.any_size


@pytest.mark.parametrize(
    ("label", "index"),
    [("crane", 517), ("Egyptian cat", 285), ("potters_wheel", 739), ("jack-o-lantern", 607), ("ladys_slipper", None)],
)
def test_imagenet_labels_are_found_however_they_are_spelt(resnet, label, index):
    if index is None:
        with pytest.raises(LookupError, match="closest: yellow lady's slipper"):
            resnet.class_index(label)
    else:
        assert resnet.class_index(label) == index


def test_every_imagenet_label_as_it_stands_is_its_own_class(resnet):
    assert [resnet.class_index(label) for label in resnet.labels] == list(range(1000))


def test_a_dog_and_a_garment_differ_by_a_capital_only(resnet):
    assert (resnet.class_index("Cardigan"), resnet.class_index("cardigan")) == (264, 474)
    with pytest.raises(LookupError, match="names classes 264, 474"):
        resnet.class_index("CARDIGAN")


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2", "DEFAULT"])
def test_torchvision_weights_go_by_their_own_names(weights):
    summary = load("resnet50", weights, device="meta").summary
    assert summary.weights == "IMAGENET1K_V2"
    assert summary.labels[285] == "Egyptian cat"


def test_preprocessing_comes_with_the_weights():
    assert load("resnet50", "IMAGENET1K_V1", device="meta").preprocessing.resize == 256
    assert load("resnet50", "IMAGENET1K_V2", device="meta").preprocessing.resize == 232
    assert load("inception_v3", device="meta").preprocessing.size == (299, 299)


def test_unknown_names_come_with_the_closest():
    with pytest.raises(LookupError, match="no model 'resnet_18'; closest: .*resnet18"):
        load("resnet_18")
    with pytest.raises(LookupError, match="no weights 'V9' for resnet18; it has IMAGENET1K_V1, DEFAULT, null"):
        load("resnet18", "V9")
    with pytest.raises(LookupError, match="no weights 'IMAGENET1K_V1' for shapes"):
        load("shapes", "IMAGENET1K_V1")


def test_a_failed_download_says_what_else_there_is(monkeypatch):
    def get_model(*args, weights, **settings):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.get_model", get_model)
    with pytest.raises(OSError, match="cannot download IMAGENET1K_V1 of vgg11 .*model.weights=FILE"):
        load("vgg11")


# --- weights ----------------------------------------------------------------------------------------------------


def test_random_weights_follow_their_seed_alone():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, again, other = random(seed=0), random(seed=0), random(seed=1)
    assert first.digest == again.digest != other.digest
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.summary.labels == (), "labels mean nothing to random weights"


def test_random_weights_are_warned_about_with_their_seed():
    with pytest.warns(UserWarning, match=r"squeezenet1_0 has random weights \(model.weights=null, model.seed=3\)"):
        load("squeezenet1_0", None, seed=3)


def test_the_digest_follows_every_weight():
    model = bare(plain())
    before = model.digest
    del model.digest
    model.network[6].bias.data[4] += 1e-9
    assert model.digest != before and len(before) == 16


def test_weights_come_from_a_file(tmp_path):
    saved = random(seed=5)
    torch.save(saved.network.state_dict(), tmp_path / "net.pth")
    loaded = load("shapes", str(tmp_path / "net.pth"))
    assert loaded.digest == saved.digest
    assert loaded.summary.labels == load("shapes").summary.labels
    with pytest.raises(FileNotFoundError, match="absent"):
        load("shapes", str(tmp_path / "absent.pth"))
    with pytest.raises(ValueError, match="not of this network: 'features.0.weight' is"):
        load("squeezenet1_0", str(tmp_path / "net.pth"))


# --- one's own network ------------------------------------------------------------------------------------------


def test_a_factory_makes_anyones_network(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n\nc\nd\ne\n")
    model = random("mine", factory="networks:plain", input_size=(24, 16), labels=str(tmp_path / "labels.txt"))
    assert model.summary.labels == ("a", "b", "c", "d", "e")
    assert model.summary.input_size == (24, 16)
    torch.save(plain(seed=4).state_dict(), tmp_path / "net.pth")
    model = load("mine", str(tmp_path / "net.pth"), factory="networks:plain")
    assert torch.equal(model.network[0].weight, plain(seed=4)[0].weight)


def test_labels_may_be_json(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(["a", "b", "c", "d", "e"]))
    assert random("mine", factory="networks:plain", labels=str(tmp_path / "labels.json")).labels[4] == "e"


def test_too_few_labels_are_an_error_rather_than_none(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    model = random("mine", factory="networks:plain", labels=str(tmp_path / "labels.txt"))
    with pytest.raises(ValueError, match="2 labels .* 5 classes"):
        _ = model.summary


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("no_such_package:net", LookupError, "cannot import model.factory 'no_such_package:net'"),
        ("networks:plaim", LookupError, "no function 'plaim' in networks; closest: plain"),
        ("networks", LookupError, "neither timm nor of the form package.module:function"),
        ("builtins:dict", TypeError, "'builtins:dict' returned dict, not a torch.nn.Module"),
    ],
)
def test_a_wrong_factory_says_what_is_wrong(factory, error, message):
    with pytest.raises(error, match=message):
        load("mine", None, factory=factory)


def test_a_factory_takes_a_file_and_no_name():
    with pytest.raises(LookupError, match="'DEFAULT' is not a file"):
        load("mine", factory="networks:plain")


def test_own_aliases_win_and_must_exist():
    aliases = {"late": "1", "early": None}
    model = random("mine", factory="networks:plain", layers=aliases)
    assert model.summary.aliases["late"] == "1"
    with pytest.raises(LookupError, match="no layer 'nowhere'"):
        _ = bare(plain(), aliases={"late": "nowhere"}).summary


# --- images in, images normalised ---------------------------------------------------------------------------------


def test_a_model_normalises_rgb():
    images = torch.rand(2, 3, 8, 8)
    preprocessing = Preprocessing((8, 8), 8, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    seen = VisionModel(nn.Identity(), preprocessing)(images)
    for colour, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), strict=True)):
        torch.testing.assert_close(seen[:, colour], (images[:, colour] - mean) / std)


def test_mean_and_std_may_be_set():
    model = random(mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    assert model.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert model.std.flatten().tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="model.mean has 1 numbers; it needs three"):
        random(mean=(0.5,))


def test_a_loaded_model_is_ready_to_look():
    assert not any(module.training for module in load("shapes").modules())


# --- real weights -----------------------------------------------------------------------------------------------


def test_squeezenet_knows_a_cat_and_an_espresso(squeezenet, cat, coffee):
    found = class_probabilities(squeezenet, torch.cat([cat, coffee])).max(1)
    assert [squeezenet.summary.label(index) for index in found.indices.tolist()] == ["Egyptian cat", "espresso"]
    assert found.values.gt(0.5).all()


def test_a_network_that_lacks_an_attribute_says_which():
    """torch's Module takes an AttributeError in a property for a property that is missing."""
    network = nn.Conv2d(3, 4, 1)
    network.forward = lambda images: images.nothing_of_the_kind()
    with pytest.raises(ValueError, match="refuses images .*: 'Tensor' object has no attribute 'nothing_of_the_kind'"):
        _ = bare(network).summary


def test_probabilities_are_none_where_the_network_refuses_the_size():
    model = bare(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)))
    assert class_probabilities(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64)) is None
    assert class_probabilities(model, torch.zeros(3, 3, 16, 16, dtype=torch.float64)).shape == (3, 2)


def test_the_classes_of_a_map_are_ranked_by_their_mean():
    """A head that is a convolution gives (B, K, H, W): class 1 here, though class 0 holds the largest value."""
    network = networks.Pixels().pixels
    images = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    images[:, 0, 0, 0], images[:, 1] = 0.9, 0.2
    assert class_probabilities(bare(network), images).argmax(1).tolist() == [1]
