import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import interpret_runs.shapes as shapes
from interpret_runs.shapes import CLASSES, SHAPES, SIZE, TEXTURES, Shape, draw
from interpret_runs.shapes_network import ShapesNetwork

ASSETS = Path(shapes.__file__).parent / "assets"
WEIGHTS = ASSETS / "shapes.safetensors"


@pytest.fixture(scope="module")
def drawn() -> list[Shape]:
    return [draw(index) for index in range(10 * len(CLASSES))]


@pytest.fixture(scope="module")
def network() -> ShapesNetwork:
    network = ShapesNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    with safe_open(WEIGHTS, "pt") as file:
        return dict(file.metadata())


def scene(label: int, seed: int) -> shapes._Scene:
    return shapes._scene(label, torch.Generator().manual_seed(seed))


def grown(mask: Tensor) -> Tensor:
    """The mask and every pixel that touches it."""
    return functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0].bool()


# --- the data set -----------------------------------------------------------------------------------------------


def test_an_index_gives_one_image() -> None:
    for index in (0, 5, 10**9):
        first, second = draw(index), draw(index)
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.mask, second.mask)
        assert first.label == second.label


def test_an_image_depends_on_no_global_state() -> None:
    torch.manual_seed(1)
    first = draw(3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first.image, draw(3).image)
    assert torch.equal(before, torch.get_rng_state())


def test_another_process_draws_the_same_image() -> None:
    code = "from interpret_runs.shapes import draw; s = draw(7); print(repr((s.label, s.image.double().sum().item())))"
    command, root = [sys.executable, "-c", code], ASSETS.parents[1]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    label, total = json.loads(printed.replace("(", "[").replace(")", "]"))
    assert label == draw(7).label
    assert total == pytest.approx(draw(7).image.double().sum().item(), rel=1e-6)


def test_the_draws_are_those_the_weights_were_trained_on() -> None:
    """Pinned: a change of the data set's random numbers must be noticed, and the network trained again."""
    shape = draw(0, "train")
    assert int(shape.mask.sum()) == 1176
    assert shape.image.mean((1, 2)).tolist() == pytest.approx([0.1452, 0.3400, 0.4380], abs=1e-4)


def test_indices_and_splits_differ() -> None:
    images = [draw(index, split).image for index in (0, 12, 24) for split in ("train", "test")]
    for i, first in enumerate(images):
        assert not any(torch.allclose(first, second, atol=0.01) for second in images[i + 1 :])


def test_shapes_types_and_range(drawn: list[Shape]) -> None:
    for shape in drawn:
        assert shape.image.shape == (3, SIZE, SIZE)
        assert shape.image.dtype == torch.float32
        assert shape.image.min() >= 0
        assert shape.image.max() <= 1
        assert shape.mask.shape == (SIZE, SIZE)
        assert shape.mask.dtype == torch.bool


def test_labels_go_round() -> None:
    assert [draw(index, "train").label for index in range(30)] == [index % 12 for index in range(30)]


def test_classes_name_every_pair_of_texture_and_shape() -> None:
    assert len(set(CLASSES)) == len(SHAPES) * len(TEXTURES) == 12
    assert CLASSES[4] == "striped square"
    assert {tuple(name.split()) for name in CLASSES} == {(t, s) for t in TEXTURES for s in SHAPES}


@pytest.mark.parametrize("split", ["val", "", "Test"])
def test_an_unknown_split_names_the_valid_ones(split: str) -> None:
    with pytest.raises(ValueError, match="valid: train, test"):
        draw(0, split)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        draw(-1)


# --- the mask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(12))
def test_no_background_reaches_the_inside_of_the_mask(label: int) -> None:
    """Another background leaves the inside as it was, and changes every channel of every pixel outside."""
    first = scene(label, seed=label)
    second = shapes._Scene(1 - first.background.round(), first.paint, first.coverage)
    differs = first.image() != second.image()
    inside = ~grown(~first.mask())
    assert inside.any()
    assert not differs[:, inside].any()
    assert differs[:, ~grown(grown(first.mask()))].all()


@pytest.mark.parametrize("label", range(12))
def test_no_paint_leaves_the_mask(label: int) -> None:
    """Two pixels are left for the smoothed edge: at the tip of a triangle it is longer than one."""
    first = scene(label, seed=label)
    second = shapes._Scene(first.background, 1 - first.paint, first.coverage)
    differs = (first.image() != second.image()).any(0)
    assert not differs[~grown(grown(first.mask()))].any()
    assert differs[~grown(~first.mask())].all()


@pytest.mark.parametrize("label", range(12))
def test_the_mask_can_be_read_off_the_pixels(label: int) -> None:
    """The mask is where the image is nearer to the paint than to the background."""
    layers = scene(label, seed=100 + label)
    to_paint = (layers.image() - layers.paint).norm(dim=0)
    to_background = (layers.image() - layers.background).norm(dim=0)
    clear = (layers.coverage - 0.5).abs() > 0.01
    assert torch.equal((to_paint < to_background)[clear], layers.mask()[clear])


def test_areas_are_bounded_and_whole(drawn: list[Shape]) -> None:
    """Between 2.1 and 3.3 squared radii; and nothing is cut off by the frame."""
    smallest, largest = shapes.RADIUS
    for shape in drawn:
        assert 2.1 * smallest**2 < shape.mask.sum() < 3.3 * largest**2
        rim = shape.mask.clone()
        rim[1:-1, 1:-1] = False
        assert not rim.any()


@pytest.mark.parametrize(
    ("shape", "area"), [("disc", 3.1416), ("square", 3.24), ("triangle", 2.1954), ("ring", 3.0159)]
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_outlines_have_the_areas_of_geometry(shape: str, area: float, angle: float) -> None:
    outside = shapes._OUTLINES[shape](*shapes._rotated(31.3, 32.6, angle), 20.0)
    assert (outside < 0).sum() == pytest.approx(area * 20**2, rel=0.02)
    y, x = shapes._rotated(31.3, 32.6, angle)
    assert torch.hypot(y, x)[outside < 0].max() <= shapes.REACH * 20


@pytest.mark.parametrize("texture", ["striped", "checked"])
def test_half_of_a_texture_is_light(texture: str) -> None:
    y, x = shapes._rotated(3.0, 5.0, 0.4)
    assert shapes._TEXTURES[texture](y, x, 8.0).mean() == pytest.approx(0.5, abs=0.02)


# --- only outline and texture tell the class --------------------------------------------------------------------


def test_the_label_changes_nothing_behind_the_object() -> None:
    for seed in range(5):
        backgrounds = [scene(label, seed).background for label in range(12)]
        assert all(torch.equal(backgrounds[0], other) for other in backgrounds)


def test_the_label_changes_neither_place_nor_colour() -> None:
    for seed in range(5):
        plain, striped, checked = (scene(label, seed) for label in range(3))
        assert torch.equal(plain.coverage, striped.coverage)
        assert torch.equal(plain.coverage, checked.coverage)
        first = plain.paint[:, 0, 0]
        for textured in (striped, checked):
            assert (textured.paint - first[:, None, None]).abs().amin((1, 2)).max() < 1e-5
        discs, rings = scene(0, seed).mask(), scene(9, seed).mask()
        torch.testing.assert_close(middle(discs), middle(rings), rtol=0, atol=0.5)


def middle(mask: Tensor) -> Tensor:
    return mask.nonzero().float().mean(0)


def test_colours_stand_out() -> None:
    """The colours of nearly all images keep the wanted distance, those of every image a visible one."""
    distances = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        ground = shapes._uniform(generator, 0.1, 0.9, 3)
        first, second = shapes._colours(ground, generator)
        distances.append(min((a - b).norm().item() for a, b in [(first, second), (first, ground), (second, ground)]))
    assert min(distances) > 0.3
    assert sum(distance >= shapes.CONTRAST for distance in distances) > 190


# --- the network and its weights --------------------------------------------------------------------------------


def test_packaged_weights_name_the_class(network: ShapesNetwork) -> None:
    held_out = [draw(index) for index in range(1200)]
    with torch.no_grad():
        answers = network((torch.stack([shape.image for shape in held_out]) - 0.5) / 0.25).argmax(1)
    right = answers == torch.tensor([shape.label for shape in held_out])
    assert right.float().mean() >= 0.97
    assert min(right[label::12].float().mean() for label in range(12)) >= 0.9


def test_weights_are_small_and_float32(network: ShapesNetwork) -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_metadata_and_model_card_agree(metadata: dict[str, str]) -> None:
    card = (ASSETS / "shapes.md").read_text(encoding="utf-8")
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert float(metadata["accuracy"]) >= 0.97
    assert f"**Accuracy.** {metadata['accuracy']} on 2400" in card
    assert f"--seed {metadata['seed']}" in card
    assert all(f"| {name} |" in card for name in CLASSES)


def test_class_activation_map_sums_to_the_logit(network: ShapesNetwork) -> None:
    images = (torch.stack([draw(index).image for index in range(12)]) - 0.5) / 0.25
    with torch.no_grad():
        maps = torch.einsum("ck,bkyx->bcyx", network.head.weight, network.features(images))
        torch.testing.assert_close(maps.mean((2, 3)) + network.head.bias, network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 64), (96, 81)])
def test_the_network_takes_any_size_from_16(size: tuple[int, int]) -> None:
    assert ShapesNetwork(classes=5).eval()(torch.zeros(2, 3, *size)).shape == (2, 5)


def test_features_are_plain_modules_none_in_place() -> None:
    network = ShapesNetwork()
    assert {type(module) for module in network.features} == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d}
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))
