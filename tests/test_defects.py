"""What other systems get wrong, and this one must not: one test a defect.

`seed` is the project that this one grew from; the others are its rivals. Each docstring says what the peer did.
"""

import ast
import json
import random
import re
import shlex
import socket
import sys
import tomllib
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from inspect import signature
from operator import add, mul, sub, truediv
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
import yaml
from command_line import PROJECT, QUICK, Said, config_of, here, hydra, python, records, tree
from hydra.utils import get_object
from networks import bare, hooks, wrapped
from torch import Tensor, nn
from torchvision.transforms import v2

from interpret_runs import load_index
from interpret_runs.activations import capture
from interpret_runs.cams import GradCam
from interpret_runs.chain import Chain
from interpret_runs.comparisons import Caricature
from interpret_runs.corruptions import Blur, ColourJitter, Noise
from interpret_runs.dataset_examples import survey
from interpret_runs.derived_parameterisations import Image, Rgba, Shared
from interpret_runs.heat_maps import heat_map
from interpret_runs.images import File, Shapes, to_pil
from interpret_runs.integrals import IntegratedGradients
from interpret_runs.lucid import Lucid
from interpret_runs.metrics import robustness
from interpret_runs.models import Preprocessing, VisionModel
from interpret_runs.objective import Objective, Sum
from interpret_runs.objectives import (
    Channel,
    Contrast,
    DeepDream,
    Direction,
    Layer,
    LocalGroup,
    Logit,
    Neuron,
    NeuronDirection,
    Probability,
)
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Cppn, Fourier, Laplacian, Maco, Pixel
from interpret_runs.penalties import L2, TotalVariation
from interpret_runs.runner.compose import Composer
from interpret_runs.runner.figures import contact_sheet
from interpret_runs.runner.grid import points
from interpret_runs.runner.layers import show
from interpret_runs.schedule import Schedule
from interpret_runs.scoring import class_probabilities, score
from interpret_runs.transform import Transform
from interpret_runs.transforms import CaptumLong, Crops, Deterministic, Standard, Unchanged
from interpret_runs.v2 import V2
from interpret_runs.visualisation import Visualisation, visualise

SIZE = (16, 12)
PARAMETERISATIONS: dict[str, Callable[..., Parameterisation]] = {
    "fourier": Fourier,
    "pixel": Pixel,
    "laplacian": Laplacian,
    "cppn": partial(Cppn, layers=2, channels=4),
    "maco": Maco,
    "image": partial(Image, Shapes(1)),
    "rgba": Rgba,
    "shared": Shared,
}
TRANSFORMS: dict[str, Transform] = {
    "standard": Standard(),
    "captum_long": CaptumLong(),
    "deterministic": Deterministic(),
    "crops": Crops(views=3),
    "colour_jitter": ColourJitter(),
    "noise": Noise(),
    "blur": Blur(),
    "lucid": Lucid(size=SIZE),
    "v2": V2((v2.RandomAffine(10, translate=(0.1, 0.1)), v2.RandomErasing())),
    "chain": Chain((Crops(views=2), ColourJitter(), Standard(jitter=2))),
    "none": Unchanged(),
}
OBJECTIVES: list[Objective] = [
    Channel("0", 0),
    Neuron("2", 1, 0, 3),
    LocalGroup("0", 2),
    Layer("2"),
    DeepDream(("0", "2")),
    Direction("0", (1, -1, 0, 0, 0, 2), 2),
    NeuronDirection("0", (1, -1, 0, 0, 0, 2)),
    Logit(3),
    Probability(3),
    Contrast(0, 1),
    Caricature("2", Shapes(1)),
    Channel("2", 1) * Logit(2) - 0.1 * TotalVariation() + 0.1 * L2(),
]
EVERY_PARAMETERISATION = pytest.mark.parametrize("kind", PARAMETERISATIONS.values(), ids=PARAMETERISATIONS)
EVERY_TRANSFORM = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
EVERY_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
PACKAGE = sorted((PROJECT / "interpret_runs").rglob("*.py"))


def run(
    model: VisionModel,
    objective: Objective,
    kind: Callable[..., Parameterisation] = Fourier,
    transform: Transform | None = None,
    seeds: tuple[int, ...] = (0,),
    progress: Callable[[int], None] | None = None,
    **schedule: Any,
) -> Visualisation:
    settings = Schedule(**{"steps": 3, **schedule})
    start = kind(size=SIZE, seeds=seeds).double()
    return visualise(model, objective, start, transform or Unchanged(), schedule=settings, progress=progress)


def returned(model: VisionModel, module: str, images: Tensor) -> Tensor:
    """What a module returns, copied by a hook of the test's own."""
    kept: list[Tensor] = []
    network = model.network.get_submodule(module)
    handle = network.register_forward_hook(lambda _module, _args, output: kept.append(output.detach().clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    return kept[0]


# --- seed 1 to 9: objectives ------------------------------------------------------------------------------------------


def test_seed_01_the_default_parameterisation_makes_images(model):
    """Its default called `torch.irfft`, which torch no longer has."""
    found = visualise(model.float(), Logit(1), schedule=Schedule(steps=2))
    assert found.images.shape == (1, 3, 128, 128) and found.images.isfinite().all() and found.images.std() > 0


@pytest.mark.parametrize(
    ("objective", "layer", "truth"),
    [
        (Channel("2", 0), "2", lambda seen: seen[:, 0].mean((1, 2))),
        (Neuron("2", 0, 0, 0), "2", lambda seen: seen[:, 0, 0, 0]),
        (Neuron("2", 3, 0, 5), "2", lambda seen: seen[:, 3, 0, 5]),
        (Neuron("2", 3, 5, 0), "2", lambda seen: seen[:, 3, 5, 0]),
        (LocalGroup("2", 0, 1, 1), "2", lambda seen: seen[:, 0, :3, :3].mean((1, 2))),
        (NeuronDirection("2", (1.0,) + 7 * (0.0,), 0, 0), "2", lambda seen: seen[:, 0, 0, 0]),
        (Logit(0), "6", lambda seen: seen[:, 0]),
        (Contrast(0, 1), "6", lambda seen: seen[:, 0] - seen[:, 1]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Objective) else "",
)
def test_seed_02_channel_0_is_channel_0_and_not_all(objective, layer, truth, model, images):
    """It took 0, of a channel or a neuron, for nothing given, and optimised the mean of all."""
    torch.testing.assert_close(score(model, objective, images), truth(returned(model, layer, images)))


def test_seed_03_a_neuron_at_every_row_and_column_can_be_reached(model, images):
    """It read neuron n as position (n, n), so nothing off the diagonal could be reached."""
    seen = returned(model, "2", images)
    rows, columns = seen.shape[2:]
    assert rows != columns
    found = [[score(model, Neuron("2", 1, row, column), images) for column in range(columns)] for row in range(rows)]
    torch.testing.assert_close(torch.stack([torch.stack(row, 1) for row in found], 1), seen[:, 1])


@EVERY_OBJECTIVE
def test_seed_04_every_objective_scores_each_image(objective, model, images):
    """Its logit objective returned one number for a whole batch."""
    together = score(model, objective, images)
    assert together.shape == (len(images),)
    torch.testing.assert_close(together, torch.cat([score(model, objective, one[None]) for one in images]))


def test_seed_04_examples_of_a_class_are_the_images_with_the_largest_logits(model):
    """It found no data set examples for class logits, as it had one score for all images."""
    dataset = [Shapes(item) for item in range(6)]
    pixels = torch.stack([one(model.preprocessing).pixels for one in dataset]).double()
    with torch.no_grad():
        best = model(pixels).topk(2, 0).indices[:, [2, 0]]
    assert torch.equal(survey(model, [Logit(2), Logit(0)], dataset, k=2).strongest.images, best)


def test_seed_05_tokens_after_a_map_are_scored_as_tokens(images):
    """It set no loss for outputs (B, T, C): none the first time, and the last layer's ever after."""
    model = bare(networks.Tokens())
    maps = score(model, Channel("patches", 1), images)
    torch.testing.assert_close(maps, returned(model, "patches", images)[:, 1].mean((1, 2)))
    torch.testing.assert_close(
        score(model, Channel("block", 1), images), returned(model, "block", images)[:, 1:, 1].mean(1)
    )


def test_seed_05_an_output_without_channels_is_refused_each_time(images):
    """It optimised the loss of an earlier layer where it could not read one."""
    model = bare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Unflatten(1, (2, 2)), nn.Flatten(1)))
    for _ in range(2):
        score(model, Channel("0", 1), images)
        with pytest.raises(TypeError, match=r"has no channels on a grid; name another layer"):
            score(model, Channel("1", 1), images)


@pytest.mark.parametrize("kind", ["tuple", "list", "named tuple", "dict"])
def test_seed_06_modules_that_return_several_values_are_read(kind, images):
    """Its hook made a generator of a tuple, which has no shape."""
    model = bare(networks.Unpacks(kind))
    truth = returned(model, "several.conv", images)[:, 1].mean((1, 2))
    torch.testing.assert_close(score(model, Channel("several", 1), images), truth)
    torch.testing.assert_close(score(model, Channel("several", 1) + 0 * Logit(0), images), truth)


def test_seed_06_steps_add_no_hooks(model):
    """It registered one more hook with every step."""
    counts: list[int] = []
    run(model, Channel("0", 1) + Channel("2", 1), progress=lambda _: counts.append(hooks(model)), steps=6)
    assert counts == [2] * 6


def test_seed_07_a_sum_takes_one_forward_pass(images):
    """It ran the network once for each term of a sum."""
    model = wrapped(nn.Sequential(networks.Counted(), networks.plain()))
    objective = Channel("1.0", 1) + Channel("1.2", 2) * Neuron("1.2", 0) - 0.5 * Logit(3)
    score(model, objective, images)
    model.network[0].calls = 0
    score(model, objective, images)
    assert model.network[0].calls == 1


def test_seed_07_objectives_multiply(model, images):
    """It had no product of objectives."""
    left, right = Channel("0", 1), Logit(2)
    torch.testing.assert_close(
        score(model, left * right, images), score(model, left, images) * score(model, right, images)
    )


@pytest.mark.parametrize(
    "number", [2, 2.0, np.float32(2), np.float64(2), np.int64(2)], ids=lambda number: type(number).__name__
)
def test_seed_07_any_number_is_a_weight(number, model, images):
    """It refused the numbers of NumPy."""
    truth = 2 * score(model, Logit(1), images)
    for weighted in (number * Logit(1), Logit(1) * number, Sum((Logit(1),), (number,))):
        assert isinstance(weighted, Objective)
        torch.testing.assert_close(score(model, weighted, images), truth)


@pytest.mark.parametrize(("combine", "sign"), [(add, "+"), (sub, "-"), (mul, "*"), (truediv, "/")])
def test_seed_07_what_cannot_be_combined_is_said_of_the_right_sign(combine, sign):
    """It said "can't add" of a product."""
    with pytest.raises(TypeError, match=re.escape(f"unsupported operand type(s) for {sign}: 'Channel' and 'NoneType'")):
        combine(Channel("0", 1), None)


@pytest.mark.parametrize("layer", ["1", "3", "4", "5"])
def test_seed_08_layers_without_weights_have_neurons(layer, model):
    """Its repr asked the layer for weights, so a neuron of a ReLU or a pooling layer crashed."""
    objective = Neuron(layer, 0)
    assert eval(repr(objective)) == objective
    assert run(model, objective).scores.isfinite().all()


def test_seed_09_the_pass_stops_inside_of_a_child(images):
    """It ran the whole child of the network in which the layer was."""
    counted = [networks.Counted() for _ in range(3)]
    child = nn.Sequential(counted[0], nn.Conv2d(3, 4, 1), counted[1])
    model = bare(nn.Sequential(child, counted[2], nn.Flatten()))
    score(model, Channel("0.1", 1), images)
    for each in counted:
        each.calls = 0
    score(model, Channel("0.1", 1), images)
    assert [each.calls for each in counted] == [1, 0, 0]


@pytest.mark.parametrize("network", [networks.Tokens, networks.ViT, networks.ChannelsLast, networks.Residual])
def test_seed_09_what_a_network_does_between_its_modules_counts(network, images):
    """It called the network's children one after another, and skipped what its forward did in between."""
    model = bare(network())
    with torch.no_grad():
        truth = model(images)[:, 1]
    torch.testing.assert_close(score(model, Logit(1), images), truth)


# --- seed 10 to 16: batches, sizes, models, devices -------------------------------------------------------------------


@EVERY_PARAMETERISATION
def test_seed_10_many_runs_are_made_at_once_as_they_are_alone(kind):
    """Its colours asserted a batch of one image."""
    seeds, images = (3, 1, 4), 2
    together = kind(size=SIZE, images=images, seeds=seeds).double()()
    alone = [kind(size=SIZE, images=images, seeds=(seed,)).double()() for seed in seeds]
    assert together.shape == (6, 3, *SIZE)
    torch.testing.assert_close(together, torch.cat(alone))


@EVERY_TRANSFORM
def test_seed_10_a_batch_is_transformed_image_by_image(transform, images):
    """Its transforms raised for more than one image."""
    parameters = transform.draw(2, range(len(images)))[1]
    together = transform(images, parameters)
    views = together.reshape(transform.views, len(images), 3, *SIZE)
    for place in range(len(images)):
        alone = transform(images[place : place + 1], parameters[place : place + 1])
        torch.testing.assert_close(views[:, place], alone)


def test_seed_11_each_run_is_seen_at_its_own_size(model):
    """Below 224 pixels it appended an upsampling to the transforms, through which all later runs went too."""
    sizes: list[tuple[int, ...]] = []
    _ = model.summary
    model.network[0].register_forward_pre_hook(lambda _module, args: sizes.append(tuple(args[0].shape[2:])))
    for size in ((16, 12), (20, 24), (8, 8)):
        sizes.clear()
        visualise(model, Channel("2", 1), Pixel(size).double(), schedule=Schedule(steps=2))
        assert set(sizes) == {size}


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    """One run of the command line without IPython, without a display, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("default"))
        patch.setitem(sys.modules, "IPython", None)
        patch.delenv("DISPLAY", raising=False)
        yield here(*QUICK)


def test_seed_12_the_defaults_need_no_notebook_and_no_display(default_run):
    """By default it raised outside of IPython."""
    assert (default_run.status, default_run.err) == (0, "")
    assert Path(default_run.out.splitlines()[-1]).is_file()


def test_seed_12_a_visualisation_shows_nothing_by_itself(model, monkeypatch, capsys):
    """It displayed pictures while it optimised them."""
    for name in ("IPython", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    run(model, Logit(1), snapshots=(1, 2), frames=2)
    assert capsys.readouterr() == ("", "")


def test_seed_13_the_model_is_given_back_as_it_was():
    """It left the user's model frozen and in evaluation mode."""
    model = wrapped(networks.plain()).train()
    model.network[0].weight.requires_grad_(False)
    model.network[2].eval()
    asked = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    run(model, Logit(1))
    assert [parameter.requires_grad for parameter in model.parameters()] == asked
    assert [module.training for module in model.modules()] == modes


def test_seed_13_all_weights_are_frozen_on_the_way_whatever_their_name():
    """It froze what was called weight or bias, and left class tokens and embeddings with gradients."""
    model = bare(networks.ViT())
    assert model.network.class_token.requires_grad
    wanting: list[bool] = []
    run(model, Logit(1), progress=lambda _: wanting.extend(one.requires_grad for one in model.parameters()))
    assert wanting and not any(wanting)
    assert model.network.class_token.requires_grad and model.network.class_token.grad is None


@EVERY_PARAMETERISATION
def test_seed_14_whatever_the_loop_does_suits_every_parameterisation(kind, model):
    """What it did to gradients needed a field `noise` that two of its parameterisations lacked."""
    images = len(kind(size=SIZE, seeds=(0, 1))())
    found = run(model, Channel("3", 1), kind, Standard(jitter=2), (0, 1), steps=4,
                importance=True, stop=0.01, snapshots=(2,), frames=2, history_every=1)  # fmt: skip
    assert found.importance is not None and found.importance.shape == (images, *SIZE)
    assert (found.importance.flatten(1).sum(1) > 0).all()
    assert found.snapshots[2].shape == found.images.shape and found.history[1].shape == (4, images)


# Imports every module of the package, and prints what of Python and torch is then not as it was.
IMPORTING = """
import json, logging, os, random, sys, warnings
from importlib import import_module
import hydra, numpy, rich.default_styles, torch, torchvision
from torch import nn

classes = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Conv2d, nn.ReLU, torch.Tensor, nn.Parameter)

def state():
    here = {f"{one.__name__}.{name}": id(value) for one in classes for name, value in list(vars(one).items())}
    here |= {f"torch.{name}": id(value) for name, value in vars(nn.functional).items() if callable(value)}
    settings = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
                torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic,
                torch.backends.cudnn.allow_tf32, warnings.filters, os.getcwd(), logging.root.handlers)
    here |= {f"setting {place}": repr(value) for place, value in enumerate(settings)}
    drawn = (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    return here | {f"generator {place}": hash(str(value)) for place, value in enumerate(drawn)}

before = state()
for name in sys.argv[1:]:
    import_module(name)
after = state()
changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
part = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Flatten())[:2]
print(json.dumps({"changed": changed, "type": type(part).__name__, "length": len(part)}))
"""


def test_seed_15_importing_changes_nothing_of_torch_or_python():
    """Its import replaced `Module.__getitem__`, and slices of any Sequential in the process became None."""
    names = [".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE]
    done = python(IMPORTING, *names)
    assert done.status == 0, done.err
    assert json.loads(done.out) == {"changed": [], "type": "Sequential", "length": 2}
    assert done.err == ""


@EVERY_PARAMETERISATION
def test_seed_16_parameterisations_live_where_they_are_moved(kind):
    """Its coordinates and spectra were no buffers, and came from NumPy with every step."""
    moved = kind(size=SIZE, images=2).to("meta")
    moved.step = 3
    images = moved()
    assert images.is_meta
    images.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in moved.parameters())


@EVERY_PARAMETERISATION
def test_seed_16_parameterisations_have_the_precision_they_are_moved_to(kind):
    """What was no buffer kept its type."""
    moved = kind(size=SIZE).double()
    assert {tensor.dtype for tensor in moved.state_dict().values() if tensor.is_floating_point()} == {torch.float64}
    assert moved().dtype == torch.float64


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - {"lucid", "v2"}))  # these two wait for the device
def test_seed_16_transforms_work_where_the_images_are(name):
    """Its blur fixed a device when it was imported."""
    transform = TRANSFORMS[name]
    made = transform(torch.rand(2, 3, *SIZE, device="meta"), transform.draw(1, (0, 1))[0].to("meta"))
    assert made.is_meta and made.shape == (2 * transform.views, 3, *SIZE)


@EVERY_OBJECTIVE
def test_seed_16_objectives_score_where_the_activations_are(objective, model):
    """Its devices were fixed to 'cuda' where there is one."""
    objective = Objective.stack([objective, objective])
    _ = model.summary
    model = model.to("meta")
    images = torch.rand(2, 3, *SIZE, device="meta", dtype=torch.float64)
    assert score(model, objective, images, torch.zeros(2, dtype=torch.long, device="meta")).is_meta


def test_seed_16_a_model_on_the_cpu_stays_there_beside_a_gpu(model, monkeypatch):
    """It took the first GPU wherever there was one, and failed with a model on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    start = Fourier(SIZE).double()
    found = visualise(model, Logit(1), start, TRANSFORMS["v2"], partial(torch.optim.SGD, lr=1), Schedule(steps=3))
    assert found.images.device.type == "cpu" and {one.device.type for one in model.parameters()} == {"cpu"}


# --- seed 17 to 21: transforms, colours, tables, starts ---------------------------------------------------------------


@EVERY_TRANSFORM
def test_seed_17_what_is_drawn_hangs_on_the_runs_seed_and_on_nothing_else(transform, images):
    """It drew with Python's `random`, which torch's seed does not touch."""
    seen = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), torch.get_rng_state().tolist()
        seen.append(transform(images, transform.draw(2, (5, 6), 2)[1]))
        assert (random.getstate(), torch.get_rng_state().tolist()) == before
    assert torch.equal(*seen)
    other = transform(images, transform.draw(2, (7, 8), 2)[1])
    assert torch.equal(seen[0], other) == isinstance(transform, (Unchanged, Blur, Lucid))


@pytest.mark.parametrize(
    "transform",
    [
        Standard(2.5, (0.95, 1.05), 7.5, 1.5, 0.25),
        CaptumLong(scales=(0.9, 1), angles=(-2.5, 0)),
        Deterministic(2.5),
        Crops(2, 0.1, (1, 0.5)),
        ColourJitter(1, 1),
        Noise(1, 0),
        Blur(1.5, 0.5),
        Blur(2, 0),
    ],
    ids=repr,
)
def test_seed_17_settings_may_be_whole_or_not(transform, images):
    """Its padding and blur passed floats where torch takes whole numbers, and crashed."""
    made = transform(images, transform.draw(2, range(4))[0])
    assert made.shape == (4 * transform.views, *images.shape[1:]) and made.isfinite().all()


def test_seed_17_a_blur_that_fades_leaves_more_with_every_step(images):
    """Its blur that fades crashed."""
    blur = Blur(3, 0)
    kept = torch.stack([TotalVariation().score(blur(images, step)) for step in blur.draw(5, range(4))])
    assert (kept.diff(dim=0) > 0).all()
    torch.testing.assert_close(kept[-1], TotalVariation().score(images))


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()], ids=repr)
def test_seed_18_dead_relus_get_a_gradient(relu):
    """What was to give dead ReLUs a gradient raised a NameError."""
    network = networks.plain()
    network[1] = relu
    nn.init.constant_(network[0].bias, -0.5)
    model = wrapped(network)
    assert run(model, Channel("1", 2), steps=24, rescue=False).scores == 0
    assert run(model, Channel("1", 2), steps=24).scores > 0


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 255), (-2, 3), (0, 1)])
def test_seed_19_images_are_scaled_to_the_range_of_the_network(low, high, images):
    """It added the low end and divided by the high one, so 0 in (-1, 1) became -1."""
    extent = high - low
    preprocessing = Preprocessing(SIZE, 12, (-low / extent,) * 3, (1 / extent,) * 3)
    model = VisionModel(networks.Pixels(), preprocessing).double()
    torch.testing.assert_close(model.normalise(images), low + extent * images, rtol=1e-5, atol=1e-5)
    alone = torch.cat([model.normalise(one[None]) for one in images])
    assert torch.equal(model.normalise(images), alone)


def test_seed_19_zero_has_the_middle_colour_of_a_signed_map():
    """It drew 0 between -1 and 1 in the lowest colour."""
    drawn = heat_map(torch.tensor([[-1.0, 0.0, 1.0]]))
    low, zero, high = (drawn.getpixel((112 + 224 * place, 112)) for place in range(3))
    assert max(zero) - min(zero) < 8 and zero != low and zero != high
    assert max(low) - min(low) > 50 and max(high) - min(high) > 50


def test_seed_19_an_array_with_colours_last_is_no_image(images):
    """It took any array for (3, H, W)."""
    with pytest.raises(ValueError, match=r"an image has shape \(3, H, W\)"):
        to_pil(images[0].permute(1, 2, 0))


def test_seed_20_reading_the_layers_prints_nothing(model, capsys):
    """It printed a title though it was told to print nothing."""
    assert model.summary.layers
    assert capsys.readouterr() == ("", "")


def test_seed_20_the_table_shows_what_layers_return(model, capsys):
    """It listed the sizes of weights, not of activations."""
    images = torch.zeros(1, 3, *model.preprocessing.size, dtype=torch.float64)
    show(model.summary)
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    for layer in model.summary.layers:
        sides = [str(side) for side in returned(model, layer.path, images).shape[1:] if side > 1]
        assert rows[layer.path].split()[1:3] == [layer.kind, sides[0]]
        assert " x ".join(sides) in rows[layer.path]


@pytest.mark.parametrize("kind", [Fourier, Pixel, Laplacian, Cppn, Rgba, Shared])
@pytest.mark.parametrize("decorrelate", [True, False])
def test_seed_21_images_start_grey(kind, decorrelate):
    """Its pixels went through normalisation and sigmoid twice, and started at 0.7."""
    colours = kind(size=SIZE, decorrelate=decorrelate)().mean((0, 2, 3))
    torch.testing.assert_close(colours, torch.full((3,), 0.5), rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", [Fourier, Pixel, Laplacian, Rgba, Shared])
def test_seed_21_the_spread_of_the_start_is_the_one_asked_for(kind):
    """It ignored the spread it was given."""
    narrow, wide = (kind(size=SIZE, std=std) for std in (0.1, 0.3))
    for one, three in zip(narrow.parameters(), wide.parameters(), strict=True):
        torch.testing.assert_close(3 * one, three)
    assert 2 < wide().std() / narrow().std() < 4


@pytest.mark.parametrize(("kind", "numbers"), [(Fourier, 2), (Maco, 1)])
@pytest.mark.parametrize("size", [(16, 12), (7, 9), (8, 8)])
def test_seed_21_a_spectrum_is_held_once(kind, numbers, size):
    """It held both halves of a spectrum of which one gives the other."""
    height, width = size
    held = sum(parameter.numel() for parameter in kind(size=size).parameters())
    assert held == numbers * 3 * height * (width // 2 + 1)


@EVERY_PARAMETERISATION
@pytest.mark.parametrize("size", [(7, 12), (12, 7), (9, 9)])
def test_seed_21_and_horama_images_need_not_be_square(kind, size):
    """Both made square images only."""
    images = kind(size=size)()
    assert images.shape[1:] == (3, *size) and 0 <= images.min() <= images.max() <= 1


@pytest.mark.parametrize("space", ["fourier", "pixel"])
def test_seed_21_a_picture_of_full_colours_is_where_an_image_starts(space, tmp_path):
    """Colours of a file became infinite where they were 0 or 1, or left [0, 1]."""
    pixels = torch.stack([torch.ones(8, 8), torch.zeros(8, 8), torch.eye(8)])
    to_pil(pixels).save(tmp_path / "full.png")
    start = Image(File(str(tmp_path / "full.png")), space, size=8)
    assert all(parameter.isfinite().all() for parameter in start.parameters())
    torch.testing.assert_close(start()[0], pixels, rtol=0, atol=0.6 / 255)


# --- seed 22 to 24: attribution, metrics, tests -----------------------------------------------------------------------


def test_seed_22_integrated_gradients_are_an_option_that_is_complete(model, images):
    """It did not export them, left out the difference to the baseline, and took one image only."""
    method = get_object(config_of("attribution=integrated_gradients")["attribution"]["_target_"])(steps=64)
    assert isinstance(method, IntegratedGradients)
    maps = method(model, Logit(2), images)
    gain = score(model, Logit(2), images) - score(model, Logit(2), torch.zeros_like(images))
    torch.testing.assert_close(maps.sum((1, 2)), gain, rtol=0.05, atol=0)
    alone = torch.cat([method(model, Logit(2), one[None]) for one in images])
    torch.testing.assert_close(maps, alone)


def test_seed_22_grad_cam_explains_every_image_of_a_batch(model, images):
    """It explained the first image of a batch, through a backward hook that torch no longer has."""
    maps = GradCam("2", relu=False)(model, Logit(2), images)
    alone = torch.cat([GradCam("2", relu=False)(model, Logit(2), one[None]) for one in images])
    torch.testing.assert_close(maps, alone)
    assert all((one != maps[0]).any() for one in maps[1:])


def test_seed_22_grad_cam_asks_for_a_layer():
    """By default it took the network's first child."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'layer'"):
        GradCam()


def test_seed_22_grad_cam_leaves_gradients_as_it_found_them(model, images):
    """It switched the gradients of the user's weights on and off, and left them so."""
    model.network[0].weight.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    GradCam("2")(model, Logit(2), images)
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert not images.requires_grad and all(parameter.grad is None for parameter in model.parameters())


def test_seed_23_a_run_has_as_many_metrics_as_there_are(default_run):
    """With two metrics its validation failed on a list index."""
    (record,) = records()
    numbers = {name: value for name, value in record["metrics"].items() if isinstance(value, float)}
    assert len(numbers) > 2 and all(np.isfinite(value) for value in numbers.values())
    (row,) = load_index("outputs/default").to_dict("records")
    assert all(row[name] == value for name, value in numbers.items())


def test_seed_23_figures_are_drawn_with_the_matplotlib_there_is(default_run, tmp_path):
    """Its figures passed an argument to matplotlib that is no longer there."""
    sheet = contact_sheet(load_index("outputs/default"), Path("outputs/default"), tmp_path / "sheet.png")
    assert sheet.stat().st_size > 0


def test_seed_24_images_batches_and_seeds_are_what_they_should_be(model):
    """Its tests asked whether the loss falls, and nothing of images, batches or seeds."""
    found = run(model, Logit(1), seeds=(0, 1, 0), transform=Standard(jitter=2))
    assert found.images.min() >= 0 and found.images.max() <= 1
    torch.testing.assert_close(found.images[0], found.images[2])
    assert (found.images[0] - found.images[1]).abs().max() > 1e-3
    alone = run(model, Logit(1), seeds=(1,), transform=Standard(jitter=2))
    torch.testing.assert_close(alone.images[0], found.images[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.scores, score(model, Logit(1), found.images))


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_seed_24_no_two_tests_are_one(path):
    """Three of its tests were the same case under three names."""
    tests = [one for one in ast.parse(path.read_text()).body if isinstance(one, ast.FunctionDef)]
    tests = [one for one in tests if one.name.startswith("test_")]
    assert tests
    assert max(Counter(one.name for one in tests).values()) == 1
    bodies: dict[str, str] = {}
    for one in tests:
        lines = one.body[1:] if ast.get_docstring(one) else one.body
        same = ast.dump(ast.Module([*lines, *map(ast.Expr, one.decorator_list)], []))
        assert same not in bodies, f"{one.name} is {bodies[same]}"
        bodies[same] = one.name
        for node in one.decorator_list:
            given = [ast.dump(case) for case in _cases(node)]
            assert len(set(given)) == len(given), f"{one.name} has one case twice"


def _cases(decorator: ast.expr) -> list[ast.expr]:
    """The cases that a `parametrize` lists."""
    if isinstance(decorator, ast.Call) and len(decorator.args) == 2 and isinstance(decorator.args[1], ast.List):
        return decorator.args[1].elts
    return []


# --- Xplique and DreamLens: the algebra of objectives -----------------------------------------------------------------


def test_xplique_sums_weigh_each_term_once(model, images):
    """Its running total was multiplied by the weight of each term, so a + 3b - 5c was -15a - 15b - 5c."""
    terms = Channel("0", 1), Channel("2", 4), Logit(3)
    a, b, c = (score(model, term, images) for term in terms)
    first, second, third = terms
    for objective in (
        first * 1 + second * 3 + third * -5,
        first + 3 * second - 5 * third,
        -(5 * third - first) + 3 * second,
    ):
        torch.testing.assert_close(score(model, objective, images), a + 3 * b - 5 * c)


@pytest.mark.parametrize(
    "combine",
    [
        add,
        sub,
        mul,
        lambda a, _: -a,
        lambda a, _: 3 * a,
        lambda a, _: a / 3,
        lambda a, b: sum([a, b]),
        lambda a, _: Objective.stack([a, a]),
        lambda a, _: a.resolve(wrapped(networks.plain()).summary),
    ],
    ids=["+", "-", "*", "negative", "times 3", "over 3", "sum", "stack", "resolve"],
)
def test_xplique_operands_never_change(combine, model, images):
    """Its products and differences changed their operands."""
    a, b = 2 * Channel("0", 1) - Logit(0), Channel("2", 4) + Channel("2", 5)
    before = repr(a), repr(b), score(model, a, images)
    combine(a, b)
    combine(a, b)
    assert (repr(a), repr(b)) == before[:2]
    assert torch.equal(score(model, a, images), before[2])


# --- Horama: ranges, documents, files ---------------------------------------------------------------------------------


def test_horama_sides_of_crops_lie_between_the_two_documented():
    """Its crops had sides from [b, 2b - a], 0.25 to 0.30, where 0.20 to 0.25 was documented."""
    sides = Crops(views=4, side=(0.25, 0.2), spread=0).draw(11, (0, 1)).reshape(11, 2, 4, 3)[..., 2]
    torch.testing.assert_close(sides[0], torch.full((2, 4), 0.25))
    torch.testing.assert_close(sides[-1], torch.full((2, 4), 0.2))
    assert (sides.diff(dim=0) < 0).all()
    spread = Crops(views=64, side=(0.5, 0.5), spread=0.1).draw(50, (0,)).reshape(-1, 3)[:, 2]
    assert abs(spread.mean() - 0.5) < 0.01 and abs(spread.std() - 0.1) < 0.01


@pytest.mark.parametrize(
    "path",
    [
        path
        for group in ("parameterisation", "transform", "attribution")
        for path in (PROJECT / "conf" / group).iterdir()
    ],
    ids=lambda path: f"{path.parent.name}={path.stem}",
)
def test_horama_documented_settings_are_those_of_the_code(path):
    """Its README named an argument that the code refused, and other defaults than the code's."""
    settings = yaml.safe_load(path.read_text())
    takes = signature(get_object(settings.pop("_target_"))).parameters
    assert set(settings) == set(takes) - {"seeds"}
    for name, value in settings.items():
        default = takes[name].default
        if default is not takes[name].empty and not str(value).startswith("${"):
            assert (tuple(value) if isinstance(value, list) else value) == default


def test_horama_documented_commands_name_options_and_settings_that_exist():
    """Its README named settings that do not exist."""
    text = (PROJECT / "README.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line, comments=True) for line in re.findall(r"python run\.py (.*)", text)]
    commands = [[word for word in words if word != "-m"] for words in commands if "--help" not in words]
    assert len(commands) > 5
    with hydra() as (loader, master):
        composer = Composer(loader, master)
        for overrides in commands:
            first, *_ = points(overrides, None, [], loader)
            composer.compose(first)


@EVERY_PARAMETERISATION
def test_horama_nothing_is_downloaded_and_no_file_appears(kind, tmp_path, monkeypatch):
    """It downloaded its spectrum into the working directory."""

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("offline")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", offline)
    kind(size=SIZE)()
    assert tree(tmp_path) == set()


@lru_cache
def nodes() -> list[ast.AST]:
    """The package's code."""
    return [node for path in PACKAGE for node in ast.walk(ast.parse(path.read_text()))]


def requirements(*extras: str) -> dict[str, str]:
    """What the package asks for when it is installed with `extras`, by name, with the versions that do."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras or ["timm"] for one in optional[extra])]
    found = [re.fullmatch(r"([\w-]+)(\[[\w,]+\])?(.*)", one) for one in wanted]
    return {one[1]: one[3] for one in found if one}


def test_horama_everything_imported_is_installed():
    """`einops`, which it imports, was not among its requirements."""
    names = {alias.name for node in nodes() if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes() if isinstance(node, ast.ImportFrom) and not node.level}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"interpret_runs"}
    called = {"PIL": "pillow", "hydra": "hydra-core", "sklearn": "scikit-learn", "umap": "umap-learn"}
    assert {"torch", "PIL", "hydra"} <= foreign
    assert {called.get(name, name) for name in foreign} - requirements("timm", "slurm", "atlas").keys() == set()


@EVERY_PARAMETERISATION
def test_horama_a_run_may_have_several_images(kind):
    """It made one image a run."""
    made = partial(kind, std=0.1) if kind is PARAMETERISATIONS["image"] else kind
    start = made(size=SIZE, images=3).double()
    with torch.no_grad():
        for parameter in start.parameters():  # a network starts grey whatever its weights are
            parameter.add_(torch.randn(parameter.shape[1:], generator=torch.Generator().manual_seed(0)))
    images = start()
    assert images.shape == (3, 3, *SIZE)
    assert (images[0] - images[1]).abs().max() > 1e-3 and (images[1] - images[2]).abs().max() > 1e-3


# --- Lucent: hooks, gradients, errors, versions, names ----------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_lucent_only_what_is_read_is_hooked_and_nothing_stays(fails, model):
    """It hooked every module, and each rendering added hooks that were never removed."""
    counts: list[int] = []

    def watch(step: int) -> None:
        counts.append(hooks(model))
        if fails and step == 2:
            raise KeyboardInterrupt

    for _ in range(2):
        if fails:
            with pytest.raises(KeyboardInterrupt):
                run(model, Channel("2", 1), progress=watch)
        else:
            run(model, Channel("2", 1), progress=watch)
        assert set(counts) == {1} and hooks(model) == 0


def test_lucent_activations_live_no_longer_than_they_are_needed(model, images):
    """It kept the activations of all layers alive."""
    with capture(model, ["0", "2"]) as forward:
        seen = forward(images)
        kept = [weakref.ref(seen[layer]) for layer in ("0", "2")]
        del seen
        assert [each() for each in kept] == [None, None]


def test_lucent_weights_get_no_gradient(model, images):
    """It left gradients on for all weights, and computed them in every step."""
    run(model, Logit(1))
    assert all(parameter.grad is None for parameter in model.parameters())
    model.network[0].weight.grad = torch.ones_like(model.network[0].weight)
    run(model, Logit(1))
    assert (model.network[0].weight.grad == 1).all()


class Breaks(nn.Module):
    """Returns what it is given, but for one time, when it has an error to raise."""

    error: Exception | None = None

    def forward(self, values: Tensor) -> Tensor:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return values


def breaking() -> VisionModel:
    """A network that works, so far."""
    model = bare(nn.Sequential(Breaks(), nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert model.summary.classes == 4
    return model


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_lucent_an_error_in_a_step_is_not_swallowed(error):
    """It swallowed every RuntimeError, memory that ran out among them, and optimised features from before."""
    model = breaking()

    def spoil(_step: int) -> None:
        model.network[0].error = error("no more")

    with pytest.raises(error, match="no more"):
        run(model, Channel("1", 1), progress=spoil)


USES: dict[str, Callable[[VisionModel, Tensor], Any]] = {
    "score": lambda model, images: score(model, Channel("1", 1), images),
    "survey": lambda model, _: survey(model, [Channel("1", 1)], [Shapes(0)], 1),
    "robustness": lambda model, images: robustness(model, Channel("1", 1), images, Unchanged(), range(4)),
    # One image; of several, memory that runs out makes smaller pieces.
    "attribution": lambda model, images: GradCam("1")(model, Logit(1), images[:1]),
    "probabilities": class_probabilities,
    "summary": lambda model, _: VisionModel(model.network, model.preprocessing).double().summary,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_lucent_memory_that_runs_out_is_not_swallowed(use, images):
    """It took memory that ran out for a network that cannot be run to its end."""
    model = breaking()
    model.network[0].error = torch.OutOfMemoryError("no more")
    with pytest.raises(torch.OutOfMemoryError, match="no more"):
        use(model, images)


def test_lucent_versions_are_not_compared():
    """It compared versions as text, so torch 1.10 came before 1.8."""
    compared = [ast.unparse(node) for node in nodes() if isinstance(node, ast.Compare)]
    assert len(compared) > 100
    assert not [one for one in compared if re.search(r"__version__|torch\.version|\bversion\(", one)]


def test_lucent_no_requirement_holds_torch_back():
    """It pinned an old version of a package, and with it old versions of others."""
    found = requirements()
    assert {"torch", "torchvision", "hydra-core"} <= found.keys()
    assert all(">=" in versions for versions in found.values())
    bounded = {name for name, versions in found.items() if re.search(r"==|<|~=|!=", versions)}
    assert bounded == {"hydra-core", "omegaconf"}, "these two fit each other only"


def test_lucent_layer_names_are_never_ambiguous(images):
    """It joined the parts of a name by "_", so a module "a_b" and a module "b" inside of "a" were one."""
    inner = nn.Sequential(OrderedDict(b=nn.Conv2d(3, 4, 1)))
    rest = OrderedDict(a=inner, a_b=nn.Conv2d(4, 4, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    model = bare(nn.Sequential(rest))
    inside, beside = (returned(model, name, images)[:, 1].mean((1, 2)) for name in ("a.b", "a_b"))
    assert (inside != beside).all()
    for name, truth in (("a.b", inside), ("a/b", inside), ("a_b", beside)):
        torch.testing.assert_close(score(model, Channel(name, 1), images), truth)


# --- Lucent, captum.optim: tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "layer", "patches"),
    [
        (networks.Tokens(), "block", lambda seen: seen[:, 1:]),
        (networks.Tokens(0), "block", lambda seen: seen),
        (networks.ViT(), "block", lambda seen: seen[:, 1:]),
        (networks.ChannelsLast(), "block", lambda seen: seen.flatten(1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tokens_channel_n_is_feature_n_and_not_token_n(network, layer, patches, images):
    """They took `activation[:, n]` of tokens (B, N, C), which is token n, without a word."""
    model = bare(network)
    features = patches(returned(model, layer, images)).mean(1)
    assert model.summary.channels(layer) == features.shape[1]
    for channel in range(features.shape[1]):
        torch.testing.assert_close(score(model, Channel(layer, channel), images), features[:, channel])


# --- faccent: hooks, views, regularised runs --------------------------------------------------------------------------


def test_faccent_the_users_own_hooks_stay_and_are_called(model):
    """It cleared all hooks of every layer, the user's too."""
    called: list[str] = []
    model.network[2].register_forward_hook(lambda *_: called.append("after"))
    model.network[2].register_forward_pre_hook(lambda *_: called.append("before"))
    run(model, Channel("2", 1))
    assert called.count("before") == called.count("after") >= 3 and hooks(model) == 2


@pytest.mark.parametrize("transform", [Crops(views=16), Chain((Crops(views=4), Crops(views=4), Noise()))], ids=repr)
def test_faccent_the_network_sees_all_views_in_one_pass(transform):
    """It applied 16 transforms one after the other in a Python loop."""
    model = wrapped(nn.Sequential(networks.Counted(), networks.plain()))
    run(model, Channel("1.0", 1), transform=transform)
    model.network[0].calls = 0
    run(model, Channel("1.0", 1), transform=transform, steps=4)
    assert model.network[0].calls == 4 + 1, "a step each, and the final score"


@EVERY_TRANSFORM
def test_faccent_regularised_runs_tell_their_progress_with_every_transform(transform, model):
    """Its regularised, and its talkative, runs with one transform read a name that was never given."""
    told: list[int] = []
    objective = Channel("2", 1) - 0.1 * TotalVariation() - 0.1 * L2()
    found = run(model, objective, transform=transform, seeds=(0, 1), progress=told.append)
    assert told == [1, 2, 3] and found.scores.isfinite().all()


# --- captum.optim: modules that run never or twice --------------------------------------------------------------------


def test_captum_a_layer_that_does_not_run_is_an_error_and_one_that_runs_is_not(images):
    """Its warning that a layer gave no output came when there was one, and only then."""
    model = bare(networks.InPlace("function"))
    assert score(model, Channel("conv", 1), images).shape == (4,)
    with pytest.raises(LookupError, match="layer 'relu' does not run in a forward pass"):
        score(model, Channel("relu", 1), images)


def test_captum_a_module_that_runs_twice_is_refused_with_a_layer_to_take_instead(images):
    """It warned of a module that ran again, and went on with one of its outputs."""
    model = bare(networks.Reused())
    with pytest.raises(LookupError, match="layer 'block.act' runs 2 times in one forward pass; name 'block'"):
        score(model, Channel("block.act", 1), images)
    with pytest.raises(LookupError, match="layer 'block.act' runs 2 times in one forward pass; name 'block'"):
        run(model, Channel("block.act", 1))
    torch.testing.assert_close(
        score(model, Channel("block", 1), images), returned(model, "block", images)[:, 1].mean((1, 2))
    )


# --- DreamLens: what a step costs -------------------------------------------------------------------------------------


@EVERY_PARAMETERISATION
def test_dreamlens_no_step_waits_for_the_device(kind, model):
    """It read the loss as a number in every step; tensors on `meta` have none to read."""
    objective = Channel("3", 1) + 0.5 * Neuron("2", 1) - 0.1 * TotalVariation()
    _ = model.summary
    told: list[int] = []
    chain = Chain((Crops(views=2), ColourJitter(), Noise()))
    settings = Schedule(steps=4, importance=True, stop=0.1, history_every=1)
    start = kind(size=SIZE, seeds=(0, 1)).double()
    with pytest.raises(NotImplementedError, match="meta"):  # at the end, where the images are asked for
        visualise(model.to("meta"), objective, start, chain, schedule=settings, progress=told.append)
    assert told == [1, 2, 3, 4]


def test_dreamlens_the_pass_ends_at_the_layer_and_copies_nothing(images):
    """It ran the whole network for any layer, and copied what it captured."""
    model = wrapped(nn.Sequential(networks.plain(), networks.Counted()))
    score(model, Channel("0.2", 1), images)
    model.network[1].calls = 0
    outputs: list[Tensor] = []
    model.network[0][2].register_forward_hook(lambda _module, _args, output: outputs.append(output))
    with capture(model, ["0.2"]) as forward:
        assert forward(images)["0.2"] is outputs[-1]
    assert model.network[1].calls == 0


def test_dreamlens_fixed_magnitudes_serve_several_objectives_and_runs(model):
    """Its MaCo refused more than one objective."""
    wanted = [Channel("2", unit) + 0.5 * Logit(unit) - 0.1 * TotalVariation() for unit in (1, 4)]
    objective = Objective.stack(wanted)
    before = run(model, objective, Maco, seeds=(0, 1), steps=1).scores
    assert (run(model, objective, Maco, seeds=(0, 1), steps=24).scores > before).all()


# --- all of them: operations in place ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["module", "function", "method", "operator"])
@pytest.mark.parametrize("further", [0 * Channel("conv", 0), 0 * Logit(0)], ids=["stops", "goes on"])
def test_in_place_operations_after_a_layer_do_not_change_what_is_read_of_it(way, further, images):
    """Their hooks on a convolution read what an in-place ReLU made of it: nothing below 0."""
    model = bare(networks.InPlace(way))
    truth = torch.nn.functional.conv2d(images, model.network.conv.weight, model.network.conv.bias, padding=1)
    assert truth.min() < 0
    torch.testing.assert_close(score(model, Channel("conv", 1) + further, images), truth[:, 1].mean((1, 2)))
    with capture(model, sorted(further.layers | {"conv"})) as forward:
        torch.testing.assert_close(forward(images)["conv"], truth)
