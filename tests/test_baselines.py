"""The images without evidence."""

import networks
import pytest
import torch
from networks import wrapped
from PIL import Image as Pillow

from interpret_runs.baselines import BLUR, FIXED, NAMES, Baselines, fixed
from interpret_runs.images import File, Folder, Shapes

COUNT = 5


def found(name, model, images, places=None, numbers=None, **settings):
    """Baselines of `images`: by default number i of image i."""
    made = Baselines(name, COUNT, **{"data": Shapes(), **settings})
    places = torch.arange(len(images)) if places is None else torch.tensor(places)
    numbers = torch.arange(len(images)) if numbers is None else torch.tensor(numbers)
    return made.of(model, images)(places, numbers)


@pytest.mark.parametrize(("name", "value"), [("black", 0.0), ("white", 1.0), ("mean", 0.5)])
def test_a_plain_baseline_has_one_colour(name, value, model, images):
    torch.testing.assert_close(fixed(name, model, images), torch.full_like(images, value), rtol=0, atol=0)


def test_the_model_normalises_its_mean_to_zero(images):
    model = wrapped(networks.plain())
    model.mean.copy_(torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1))
    assert (model.normalise(fixed("mean", model, images)) == 0).all()


def test_blur_keeps_one_colour_and_the_range_and_lowers_the_variance(model, images):
    flat = images[:, :, :1, :1].expand_as(images)
    torch.testing.assert_close(fixed("blur", model, flat), flat)
    blurred = fixed("blur", model, images)
    assert blurred.min() >= 0 and blurred.max() <= 1
    assert (blurred.flatten(2).var(2) < 0.5 * images.flatten(2).var(2)).all()
    torch.testing.assert_close(fixed("blur", model, images.flip(3)), blurred.flip(3))
    torch.testing.assert_close(fixed("blur", model, images.mT), blurred.mT)


def test_blur_spreads_a_point_by_its_share_of_the_shorter_side(model):
    point = torch.zeros(1, 3, 121, 91, dtype=torch.float64)
    point[:, :, 60, 45] = 1
    down, across = (fixed("blur", model, point)[0, 0].sum(axis) for axis in (1, 0))
    for weights in (down, across):
        places = torch.arange(len(weights), dtype=torch.float64)
        variance = (weights * (places - len(weights) // 2).square()).sum()
        assert variance.sqrt() == pytest.approx(BLUR * 91, rel=0.01)


def test_noise_is_uniform(model):
    drawn = found("noise", model, torch.zeros(COUNT, 3, 64, 64, dtype=torch.float64)).flatten()
    assert drawn.min() >= 0 and drawn.max() <= 1
    shares = torch.histc(drawn, 10, 0, 1) / len(drawn)
    assert (shares - 0.1).abs().max() < 5 * (0.09 / len(drawn)) ** 0.5


def test_the_data_set_gives_its_own_images_each_once_before_any_twice(model, images, tmp_path):
    for shade in (10, 20, 30):
        Pillow.new("RGB", (12, 16), (shade, shade, shade)).save(tmp_path / f"{shade}.png")
    drawn = found("dataset", model, images, [0] * COUNT, range(COUNT), data=Folder(str(tmp_path)))
    shades = (drawn * 255).round().flatten(1)
    assert (shades == shades[:, :1]).all()
    first = shades[:, 0].tolist()
    assert sorted(first[:3]) == [10, 20, 30] and first[3:] == first[:2]


def test_the_order_of_a_data_set_depends_on_the_seed(model, images):
    orders = {str(found("dataset", model, images, seed=seed).sum((1, 2, 3)).tolist()) for seed in range(4)}
    assert len(orders) == 4


@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_depends_on_its_image_its_number_and_the_seed_alone(name, spread, model, images):
    settings = {"spread": spread, "seed": 3}
    together = found(name, model, images, [0, 1, 2, 3], [1, 0, 4, 2], **settings)
    alone = [found(name, model, images[[i]], [0], [n], **settings) for i, n in enumerate([1, 0, 4, 2])]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)
    more = Baselines(name, 3 * COUNT, 3, Shapes(), spread).of(model, images)
    torch.testing.assert_close(more(torch.arange(4), torch.tensor([1, 0, 4, 2])), together)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_numbers_change_what_is_drawn_and_nothing_else(name, model, images):
    one = found(name, model, images, [0, 0], [0, 1], seed=0)
    other = found(name, model, images, [0, 0], [0, 1], seed=1)
    assert torch.equal(one, other) is (name in FIXED)
    assert torch.equal(one[0], one[1]) is (name in FIXED)


@pytest.mark.parametrize("name", NAMES)
def test_spread_is_the_standard_deviation_of_what_is_added(name, model):
    images = torch.rand(COUNT, 3, 64, 64, dtype=torch.float64)
    added = found(name, model, images, spread=0.2) - found(name, model, images)
    assert added.std() == pytest.approx(0.2, rel=0.02) and added.mean().abs() < 0.01
    assert not torch.equal(added[0], added[1])


@pytest.mark.parametrize("name", NAMES)
def test_float32_sees_the_baselines_of_float64(name, model, images):
    exact = found(name, model, images, spread=0.1)
    rounded = found(name, model.float(), images.float(), spread=0.1)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=1e-6)


def test_what_is_wrong_is_named(model, images, tmp_path):
    with pytest.raises(ValueError, match="attribution.baseline is 'grey'; it is black, .*, noise or dataset"):
        Baselines("grey")
    with pytest.raises(ValueError, match="attribution.baseline is 'noise'; it is black, white, mean or blur"):
        fixed("noise", model, images)
    with pytest.raises(ValueError, match=r"attribution.data names no images; .* attribution.data='\${images}'"):
        Baselines("dataset")
    with pytest.raises(TypeError, match="attribution.data is 'folder'; it must be a set of images"):
        Baselines("dataset", data="folder")
    with pytest.raises(ValueError, match="attribution.baseline mean needs a model that normalises"):
        Baselines("mean").of(networks.plain(), images)
    with pytest.raises(OSError, match="missing"):
        Baselines("dataset", data=File(str(tmp_path / "missing.png"))).of(model, images)
