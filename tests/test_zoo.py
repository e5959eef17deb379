"""Every image classifier of torchvision, and a few families of timm, with random weights."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torchvision import models

from interpret_runs.models import VisionModel, load
from interpret_runs.objectives import Channel, Logit
from interpret_runs.parameterisations import Fourier
from interpret_runs.runner.summaries import summarise
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import frozen, score
from interpret_runs.transforms import Unchanged
from interpret_runs.visualisation import visualise

QUICK = {"googlenet", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t"}
NAMES = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in models.list_models(module=models)
]
TIMM = [
    ("resnet18", 64),
    ("convnext_atto", 64),
    ("efficientnet_lite0", 64),
    ("mobilenetv3_small_050", 64),
    ("vit_tiny_patch16_224", 64),
    ("vit_small_patch14_dinov2", 70),
    pytest.param("swin_tiny_patch4_window7_224", 112, marks=pytest.mark.slow),
]
SIZE = 64
SMALLEST = {"inception_v3": 75}
BUILT_FOR = {"vit_h_14": 112}  # at its own 518 pixels it takes a quarter of an hour
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm: pip install 'interpret-runs[timm]'")


def random(name: str, **settings) -> VisionModel:
    with pytest.warns(UserWarning, match="random weights"):
        return load(name, None, **settings)


def check(model: VisionModel, size: int) -> None:
    """Aliases are maps in order, scores and gradients towards each and towards a logit finite, and one step works."""
    summary = model.summary
    places = [summary.layer(alias) for alias in ("early", "middle", "late")]
    order = [layer.path for layer in summary.layers]
    assert sorted({place.path for place in places}, key=order.index) == [place.path for place in places]
    channels = [Channel(place.path, place.shape[0] - 1) for place in places]
    transform = Unchanged(size=None if summary.any_size else summary.input_size)
    parameterisation = Fourier(size, std=1.0, seeds=(0, 1))
    moved = 0.0
    for objective in (*channels, Logit(summary.classes - 1)):
        with frozen(model):
            scores = score(model, objective, transform.clean(parameterisation()))
            (gradient,) = torch.autograd.grad(scores.sum(), parameterisation.parameters())
        assert scores.shape == (2,) and scores.isfinite().all()
        assert gradient.shape == parameterisation.spectrum.shape and gradient.isfinite().all()
        moved += float(gradient.abs().sum())
    assert moved > 0
    found = visualise(model, channels[-1], Fourier(size), schedule=Schedule(steps=1))
    assert found.images.shape == (1, 3, size, size) and found.images.isfinite().all() and found.scores.isfinite().all()


def memory_left() -> float:
    """Bytes that this machine has to give, as far as it tells."""
    file = Path("/proc/meminfo")
    if not file.is_file():
        return float("inf")
    rows = dict(line.split(":") for line in file.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_torchvision_has_aliases_and_gradients(name):
    blank = load(name, None, input_size=BUILT_FOR.get(name), device="meta")
    needed = 4 * 2.5 * sum(parameter.numel() for parameter in blank.parameters()) + 1e9
    if needed > memory_left():
        pytest.skip(f"needs {needed / 1e9:.0f} GB of memory")
    model = random(name, input_size=BUILT_FOR.get(name))
    assert model.summary == blank.summary
    check(model, SMALLEST.get(name, SIZE))


# --- torchvision's peculiarities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["regnet_y_128gf", "swin_v2_b"])
def test_even_the_largest_network_is_summarised_without_weights(name):
    model = load(name, device="meta")
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert model.summary.classes == 1000


@pytest.mark.parametrize(
    ("name", "weights", "size"),
    [("vit_h_14", "DEFAULT", 518), ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", 384), ("vit_b_16", "DEFAULT", 224)],
)
def test_a_transformer_is_built_for_the_size_of_its_weights(name, weights, size):
    summary = load(name, weights, device="meta").summary
    patch = int(name.rpartition("_")[2])
    assert summary.input_size == (size, size) and not summary.any_size
    assert summary.layer("late").shape[1:] == (size // patch, size // patch)


def test_a_transformer_with_random_weights_is_built_for_any_size():
    assert load("vit_b_32", None, input_size=96, device="meta").summary.layer("late").shape == (768, 3, 3)
    assert load("maxvit_t", None, input_size=448, device="meta").summary.layer("late").shape == (512, 14, 14)


@pytest.mark.parametrize(
    ("name", "weights", "size", "message"),
    [
        ("vit_b_16", "DEFAULT", 384, r"input_size is \[384, 384\]; IMAGENET1K_V1 of vit_b_16 takes \[224, 224\] only"),
        ("vit_b_16", None, [32, 64], r"input_size is \[32, 64\]; vit_b_16 takes square images"),
        ("vit_b_16", None, 100, r"vit_b_16 cannot be built for model.input_size=\[100, 100\]: .*patch size"),
        ("maxvit_t", None, 100, "not divisible by partition size"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_an_error(name, weights, size, message):
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match=message):
            load(name, weights, input_size=size, device=device)


def test_a_size_that_is_too_small_is_an_error():
    with pytest.raises(ValueError, match=r"inception_v3 refuses images of model.input_size=\[64, 64\]: .*size"):
        _ = load("inception_v3", input_size=64, device="meta").summary


def test_heads_for_training_alone_are_neither_built_nor_missed(tmp_path):
    """torchvision's file of weights has them; what it has loaded, saved again, does not."""
    network = models.get_model("googlenet", weights=None, init_weights=False, aux_logits=True)
    state = network.state_dict()
    assert any(name.startswith("aux1.") for name in state)
    torch.save(state, tmp_path / "with.pth")
    torch.save({name: value for name, value in state.items() if not name.startswith("aux")}, tmp_path / "without.pth")
    first, second = load("googlenet", str(tmp_path / "with.pth")), load("googlenet", str(tmp_path / "without.pth"))
    assert first.digest == second.digest
    assert first.network.aux1 is None
    assert torch.equal(first.network.fc.weight, network.fc.weight)


def test_trained_inception_networks_turn_their_images_round():
    for name in ("googlenet", "inception_v3"):
        assert load(name, device="meta").network.transform_input
        assert not load(name, None, device="meta").network.transform_input


# --- timm ---------------------------------------------------------------------------------------------------------


@needs_timm
@pytest.mark.parametrize(("name", "size"), TIMM)
def test_families_of_timm_have_aliases_and_gradients(name, size):
    model = random(name, factory="timm", input_size=size)
    blank = load(name, None, factory="timm", input_size=size, device="meta")
    assert model.summary == blank.summary
    assert model.summary.input_size == (size, size)
    check(model, size)


@needs_timm
def test_timm_says_how_photographs_are_prepared():
    preprocessing = load("resnet18.a1_in1k", factory="timm", device="meta").preprocessing
    assert (preprocessing.size, preprocessing.resize) == ((224, 224), 235)  # 95 % of the side
    assert preprocessing.interpolation == "bicubic"
    assert preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    assert load("vit_tiny_patch16_224", factory="timm", device="meta").preprocessing.mean == (0.5, 0.5, 0.5)


@needs_timm
@pytest.mark.parametrize(
    ("name", "weights", "exact"),
    [
        ("resnet18", "gluon_in1k", "gluon_in1k"),
        ("resnet18", "resnet18.gluon_in1k", "gluon_in1k"),
        ("resnet18.gluon_in1k", "DEFAULT", "gluon_in1k"),
        ("resnet18.a1_in1k", "gluon_in1k", "gluon_in1k"),
        ("resnet18.gluon_in1k", None, None),
    ],
)
def test_weights_of_timm_go_by_their_tags(name, weights, exact):
    assert load(name, weights, factory="timm", device="meta").summary.weights == exact


@needs_timm
def test_default_weights_of_timm_are_named():
    import timm

    exact = load("resnet18", factory="timm", device="meta").summary.weights
    assert exact == timm.get_pretrained_cfg("resnet18").tag and f"resnet18.{exact}" in timm.list_pretrained()


@needs_timm
@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet_18", None, "no model 'resnet_18' in timm; closest: .*resnet18"),
        ("resnet18", "v9", r"no weights 'v9' for resnet18; it has .*gluon_in1k.*, DEFAULT, null or a file"),
        ("resnet18.v9", None, "no weights 'v9' for resnet18"),
        ("botnet50ts_256", "DEFAULT", "no weights 'DEFAULT' for botnet50ts_256; it has null or a file"),
    ],
)
def test_unknown_names_of_timm_come_with_those_there_are(name, weights, message):
    with pytest.raises(LookupError, match=message):
        load(name, weights, factory="timm")


@needs_timm
def test_weights_for_timm_come_from_a_file(tmp_path):
    saved = random("mobilenetv3_small_050", factory="timm", seed=3)
    torch.save(saved.network.state_dict(), tmp_path / "net.pth")
    loaded = load("mobilenetv3_small_050", str(tmp_path / "net.pth"), factory="timm")
    assert loaded.digest == saved.digest
    assert loaded.summary.labels == ()


@needs_timm
@pytest.mark.parametrize("error", [RuntimeError("no route\nto host"), ValueError("no route"), OSError("no route")])
def test_a_failed_download_of_timm_says_what_else_there_is(monkeypatch, error):
    def create_model(*args, pretrained, **settings):
        assert pretrained
        raise error

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(
        OSError, match=r"cannot download gluon_in1k of resnet18 \(no route\).*model.weights=FILE"
    ) as found:
        load("resnet18", "gluon_in1k", factory="timm")
    assert "\n" not in str(found.value)


@needs_timm
def test_what_goes_wrong_without_a_download_is_told_as_it_is(monkeypatch):
    def create_model(*args, **settings):
        raise RuntimeError("broken")

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(RuntimeError, match="^broken$"):
        load("resnet18", None, factory="timm")


@needs_timm
def test_a_network_of_timm_without_a_classifier_keeps_its_last_stage():
    model = load("resnet50_gn.a1h_in1k", None, factory="timm", device="meta")
    late = model.summary.layer("late")
    model.network.reset_classifier(0)
    del model.summary
    assert model.summary.classes == late.shape[0] and model.summary.layer("late") == late


def test_without_timm_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LookupError, match=r"model=timm needs timm: pip install 'interpret-runs\[timm\]'"):
        load("resnet18", factory="timm")


@needs_timm
def test_a_summary_of_timm_is_kept_between_commands_for_one_version_of_timm(monkeypatch):
    """A plan needs neither torch nor timm once the network is known."""
    model = {"name": "mobilenetv3_small_050", "weights": None, "factory": "timm", "seed": 0}
    first = summarise(model)
    monkeypatch.setattr("interpret_runs.runner.summaries._known", {})
    monkeypatch.setattr("interpret_runs.runner.summaries._look", None)
    assert summarise(model) == first
    monkeypatch.setattr("interpret_runs.runner.summaries._version", lambda library: f"another {library}")
    monkeypatch.setattr("interpret_runs.runner.summaries._known", {})
    with pytest.raises(TypeError):
        summarise(model)
