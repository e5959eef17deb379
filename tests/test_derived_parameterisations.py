from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

from interpret_runs.derived_parameterisations import Image, Rgba, Shared
from interpret_runs.images import File, Shapes, to_pil, to_tensor
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Fourier
from interpret_runs.preprocessing import Preprocessing
from interpret_runs.size import Size, height_and_width

SIZES = pytest.mark.parametrize("size", [1, 2, 7, 8, (7, 12), (12, 7), (8, 6), (5, 9)])
SPACES = pytest.mark.parametrize("space", ["fourier", "pixel"])


def image(size: Size = 8, images: int = 1, seeds: tuple[int, ...] = (0,), **settings: object) -> Image:
    """Each run starts at another picture: that of its seed."""
    return Image([Shapes(seed) for seed in seeds], size=size, images=images, seeds=seeds, **{"std": 0.1, **settings})


ALL = pytest.mark.parametrize("kind", [image, Rgba, Shared])
Kind = Callable[..., Parameterisation]


def climbed(parameterisation: Parameterisation, steps: int = 3) -> Parameterisation:
    """After steps of Adam towards the same random images in every run."""
    target = torch.rand(parameterisation.images, 3, *parameterisation.size, generator=torch.Generator().manual_seed(0))
    target = target.repeat(len(parameterisation.seeds), 1, 1, 1)
    optimizer = torch.optim.Adam(parameterisation.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        parameterisation.step = step
        (parameterisation() - target).square().sum().backward()
        optimizer.step()
        parameterisation.step = None
    return parameterisation


def photograph(folder: Path, height: int, width: int) -> File:
    """A random picture in a file, dark and bright pixels in it."""
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    to_pil(pixels).save(folder / "picture.png")
    return File(str(folder / "picture.png"))


def mask_file(folder: Path, levels: Tensor) -> str:
    """A grey picture, (H, W), from levels in [0, 1]."""
    to_pil(levels.expand(3, -1, -1)).convert("L").save(folder / "mask.png")
    return str(folder / "mask.png")


# --- all of them --------------------------------------------------------------------------------------------------


@ALL
@SIZES
def test_every_size_gives_rgb_of_that_size(kind: Kind, size: Size):
    images = climbed(kind(size, 2, seeds=(0, 1)))()
    assert images.shape == (4, 3, *height_and_width(size)) and images.dtype == torch.float32
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1 and images.std() > 0


@ALL
@pytest.mark.parametrize("images", [1, 3])
def test_a_run_depends_on_its_own_seed_alone(kind: Kind, images: int):
    together = climbed(kind((8, 6), images, seeds=(5, 3, 9)).double())()
    for run, seed in enumerate((5, 3, 9)):
        alone = climbed(kind((8, 6), images, seeds=(seed,)).double())()
        torch.testing.assert_close(together[run * images : (run + 1) * images], alone, rtol=0, atol=1e-9)
    assert torch.unique(together, dim=0).shape[0] == 3 * images, "no two images are equal"


@ALL
def test_no_parameter_belongs_to_two_runs(kind: Kind):
    parameterisation = kind(6, 2, seeds=(0, 1))
    parameterisation()[2:].square().sum().backward()
    for parameter in parameterisation.parameters():
        half = len(parameter) // 2
        assert len(parameter) in (2, 4) and parameter.grad is not None
        assert (parameter.grad[:half] == 0).all() and (parameter.grad[half:] != 0).any()


@ALL
def test_double_precision_is_the_same_image(kind: Kind):
    parameterisation = kind((8, 7))
    for step in (None, 0, 5):
        parameterisation.step = step
        single, double = parameterisation.float()(), parameterisation.double()()
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-4)


@ALL
def test_a_state_dict_holds_the_image(kind: Kind):
    saved, other = climbed(kind(8, seeds=(1,))), kind(8, seeds=(2,))
    other.load_state_dict(saved.state_dict())
    for step in (None, 3):
        saved.step = other.step = step
        assert torch.equal(other(), saved())


@ALL
def test_global_random_state_neither_matters_nor_changes(kind: Kind):
    first = kind(8, seeds=(1,)).state_dict()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    torch.testing.assert_close(kind(8, seeds=(1,)).state_dict(), first, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- starting at a picture ----------------------------------------------------------------------------------------


@SPACES
@pytest.mark.parametrize("decorrelate", [True, False])
@pytest.mark.parametrize("size", [1, 8, (7, 12), (12, 7), (40, 16)])
def test_the_start_is_the_picture_that_covers_the_image(tmp_path: Path, space: str, decorrelate: bool, size: Size):
    source = photograph(tmp_path, 9, 14)
    height, width = height_and_width(size)
    expected = source(Preprocessing((height, width), min(height, width))).pixels
    images = Image(source, space, size=size, images=2, decorrelate=decorrelate)()
    torch.testing.assert_close(images, expected.expand(2, -1, -1, -1), rtol=0, atol=1 / 255)


@SPACES
def test_each_run_has_its_own_picture(space: str):
    together = Image([Shapes(3), Shapes(1)], space, size=(8, 10), images=2, seeds=(0, 1))()
    for run, item in enumerate((3, 1)):
        alone = Image(Shapes(item), space, size=(8, 10))()
        torch.testing.assert_close(together[2 * run : 2 * run + 2], alone.expand(2, -1, -1, -1))
    assert not torch.allclose(together[0], together[2], atol=0.1)


@SPACES
def test_a_spread_is_added_to_the_parameters(space: str):
    """As much of it as another parameterisation of that space starts with."""
    plain, spread = (Image(Shapes(0), space, size=8, images=2, std=std, seeds=(4,)) for std in (0, 0.3))
    (one,), (other,) = plain.inner.parameters(), spread.inner.parameters()
    added = (other - one).detach()
    assert added.std() == pytest.approx(0.3, rel=0.2) and not torch.allclose(added[0], added[1], atol=0.1)
    assert torch.equal(plain()[0], plain()[1])


@SPACES
def test_what_the_mask_hides_stays_the_pictures(tmp_path: Path, space: str):
    source, levels = photograph(tmp_path, 6, 9), torch.zeros(6, 9)
    levels[:, 3:6], levels[:, 6:] = 0.5, 1
    settings = {"size": (6, 9), "images": 2, "std": 0.1}
    masked = climbed(Image(source, space, mask_file(tmp_path, levels), **settings), 8)
    picture, free = source(Preprocessing((6, 9), 6)).pixels.expand(2, -1, -1, -1), masked.inner()
    made = masked()
    assert torch.equal(made[..., :3], picture[..., :3])
    assert torch.equal(made[..., 6:], free[..., 6:])
    grey = round(0.5 * 255) / 255
    torch.testing.assert_close(made[..., 3:6], ((1 - grey) * picture + grey * free)[..., 3:6])
    assert (free - picture).abs().amax((0, 1, 2)).min() > 0.02, "the image would have changed everywhere"


@SPACES
def test_a_white_mask_changes_nothing(tmp_path: Path, space: str):
    source = photograph(tmp_path, 6, 6)
    white = mask_file(tmp_path, torch.ones(6, 6))
    free, masked = (climbed(Image(source, space, mask, size=6)) for mask in (None, white))
    assert torch.equal(free(), masked())


def test_a_mask_is_read_by_its_brightness(tmp_path: Path):
    red = Pillow.new("RGB", (4, 4), (255, 0, 0))
    red.save(tmp_path / "red.png")
    mask = Image(Shapes(0), mask=str(tmp_path / "red.png"), size=4).mask
    assert mask is not None and mask.shape == (1, 4, 4)
    torch.testing.assert_close(mask, to_tensor(red.convert("L"))[:1])


def test_a_mask_of_another_size_is_named(tmp_path: Path):
    mask = mask_file(tmp_path, torch.ones(6, 9))
    with pytest.raises(ValueError, match=r"parameterisation.mask is 6x9 pixels high and wide, the image 9x6"):
        Image(Shapes(0), mask=mask, size=(9, 6))


def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no mask 'nowhere.png'; give .*parameterisation.mask=FILE"):
        Image(Shapes(0), mask="nowhere.png", size=8)
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ValueError, match="is not an image"):
        Image(Shapes(0), mask=str(tmp_path / "text.png"), size=8)


def test_a_picture_that_is_missing_is_named():
    with pytest.raises(FileNotFoundError, match="no image 'nowhere.png'"):
        Image(File("nowhere.png"), size=8)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pictures_for_other_runs_are_refused(count: int):
    with pytest.raises(ValueError, match=f"parameterisation.source is {count} pictures for 2 runs"):
        Image([Shapes(0)] * count, size=8, seeds=(0, 1))


def test_another_space_is_named():
    with pytest.raises(ValueError, match="parameterisation.space is 'cppn'; it is fourier or pixel"):
        Image(Shapes(0), space="cppn", size=8)


# --- transparency -------------------------------------------------------------------------------------------------


def rgba(size: Size = 8, std: float = 3.0, **settings: object) -> Rgba:
    """Images that are opaque here and transparent there, in float64."""
    return Rgba(size, std=std, **settings).double()


def background(made: Rgba, step: int | None) -> Tensor:
    """What lies below the images at `step`."""
    made.step = step
    mixed = made()
    made.step = None
    assert made.opacity is not None and made.straight is not None
    return ((mixed - made.opacity * made.straight) / (1 - made.opacity)).detach()


@SIZES
def test_images_lie_over_mid_grey_outside_of_the_loop(size: Size):
    made = rgba(size, images=2, seeds=(0, 1))
    mixed = made()
    assert made.opacity is not None and made.straight is not None
    assert made.opacity.shape == (4, 1, *height_and_width(size)) and made.straight.shape == mixed.shape
    assert made.opacity.min() >= 0 and made.opacity.max() <= 1
    torch.testing.assert_close(mixed, made.opacity * made.straight + (1 - made.opacity) * 0.5)


def test_each_image_and_step_has_a_background_of_its_own():
    made = rgba(images=2, seeds=(0, 1), std=0.1)
    shown = torch.cat([background(made, step) for step in (0, 1, 2, 1000, 0)]).round(decimals=6)
    assert torch.unique(shown, dim=0).shape[0] == 16
    assert torch.equal(shown[:4], shown[16:])


def test_a_background_depends_on_the_runs_own_seed_alone():
    together = background(rgba(images=2, seeds=(7, 3), std=0.1), 5)
    torch.testing.assert_close(together[2:], background(rgba(images=2, seeds=(3,), std=0.1), 5))


@pytest.mark.parametrize("size", [(32, 32), (48, 33), (128, 128)])
def test_backgrounds_are_spread_as_photographs_are(size: Size):
    made = rgba(size, images=8, std=0.1)
    shown = torch.cat([background(made, step) for step in range(4)])
    assert 0.17 < shown.std() < 0.29 and shown.mean() == pytest.approx(0.5, abs=0.08)
    values = shown.logit()
    smooth = (values.diff(dim=3).std() / values.std()).item()
    assert smooth < 1, "white noise has 1.4"
    colours = values.transpose(0, 1).flatten(1).corrcoef()
    assert colours[0, 1] > 0.6, "as colours of photographs, these go together"


def test_opacity_has_a_gradient_and_straight_colours_have_none():
    made = rgba()
    made()
    assert made.opacity is not None and made.straight is not None
    made.opacity.sum().backward()
    assert made.spectrum.grad is not None
    assert (made.spectrum.grad[:, :3] == 0).all() and (made.spectrum.grad[:, 3] != 0).any()
    assert not made.straight.requires_grad


def test_what_is_opaque_hides_the_background():
    made = rgba(std=0.5)
    made.spectrum.data[:, 3, 0, 0, 0] = 1e3
    for step in (None, 3):
        made.step = step
        mixed = made()
        assert made.straight is not None
        torch.testing.assert_close(mixed, made.straight)


def test_straight_colours_are_those_of_a_fourier_image():
    made, fourier = rgba(seeds=(3,)), Fourier(8, seeds=(3,)).double()
    fourier.spectrum.data.copy_(made.spectrum[:, :3])
    made()
    torch.testing.assert_close(made.straight, fourier().detach())


def test_no_spread_is_flat_grey_and_half_transparent():
    made = Rgba(8, std=0)
    assert torch.equal(made(), torch.full((1, 3, 8, 8), 0.5))
    assert torch.equal(made.opacity, torch.full((1, 1, 8, 8), 0.5))


# --- images that share a part -------------------------------------------------------------------------------------


@SIZES
def test_nothing_shared_is_fourier_images(size: Size):
    assert torch.equal(Shared(size, 3, share=0, seeds=(4, 5))(), Fourier(size, 3, seeds=(4, 5))())


@SIZES
def test_all_shared_is_the_same_image_in_every_run(size: Size):
    images = climbed(Shared(size, 3, share=1, std=1.0, seeds=(4, 5)))()
    torch.testing.assert_close(images[[0, 0, 0, 3, 3, 3]], images)
    assert not torch.allclose(images[0], images[3], atol=0.01)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_images_are_the_common_one_and_their_own_mixed(share: float):
    made = Shared((5, 8), 2, share=share, std=1.0, decorrelate=False, seeds=(4, 5)).double()
    fourier = Fourier((5, 8), 2, std=1.0, decorrelate=False, seeds=(4, 5)).double()
    own = fourier().logit()
    fourier.spectrum.data.copy_(made.common.repeat_interleave(2, 0))
    common = fourier().logit()
    torch.testing.assert_close(made().logit(), share * common + (1 - share) * own)


def test_what_one_image_learns_the_others_of_its_run_learn_too():
    """The larger the share, the more alike images stay that are pulled apart."""
    apart = []
    for share in (0.0, 0.5, 0.9):
        first, second = climbed(Shared(16, 2, share=share), 20)().detach()
        apart.append(float((first - second).square().mean()))
    assert apart[0] > 1.5 * apart[1] > 3 * apart[2]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, None, "half"])
def test_a_wrong_share_is_named(share: object):
    with pytest.raises(ValueError, match="parameterisation.share is .*; it must be a number from 0 to 1"):
        Shared(8, share=share)
