import pytest
import torch
from torch import Tensor

from interpret_runs.activations import Activations
from interpret_runs.objectives import Channel
from interpret_runs.penalties import L1, L2, Blur, Border, TotalVariation, Transparency

# Each penalty with the most that an image in [0, 1] can have.
PENALTIES = [(TotalVariation(), 2.0), (L1(), 0.5), (L2(), 0.5), (Blur(), 0.5), (Border(2), 0.25)]


def of(penalty, image: Tensor) -> Tensor:
    return penalty(Activations({"image": image}))


def plain(value: float) -> Tensor:
    return torch.full((2, 3, 6, 7), value, dtype=torch.float64)


def checks() -> Tensor:
    """Every pixel black or white, and unlike its neighbours."""
    rows, columns = torch.arange(8)[:, None], torch.arange(8)
    return ((rows + columns) % 2).double().expand(2, 3, 8, 8)


@pytest.mark.parametrize(("penalty", "most"), PENALTIES, ids=repr)
def test_grey_has_no_penalty_and_no_image_has_more_than_the_most(penalty, most, images):
    torch.testing.assert_close(of(penalty, plain(0.5)), torch.zeros(2, dtype=torch.float64), rtol=0, atol=2e-6)
    for image in (images, checks(), plain(0.0), plain(1.0)):
        values = of(penalty, image)
        assert (values >= 0).all() and (values <= most + 1e-6).all()
    assert (of(penalty, images) > 0).all()


@pytest.mark.parametrize(("penalty", "_most"), PENALTIES, ids=repr)
def test_a_mirrored_or_turned_image_has_the_same_penalty(penalty, _most, images):
    for moved in (images.flip(2), images.flip(3), images.transpose(2, 3), 1 - images):
        torch.testing.assert_close(of(penalty, moved), of(penalty, images))


@pytest.mark.parametrize(("penalty", "_most"), PENALTIES, ids=repr)
def test_descending_a_penalty_lowers_it(penalty, _most, images):
    image = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(penalty, image).sum(), image)
    assert (of(penalty, images - 1e-3 * gradient / gradient.abs().amax()) < of(penalty, images)).all()


@pytest.mark.parametrize(("penalty", "_most"), PENALTIES, ids=repr)
def test_a_penalty_reads_pixels_alone(penalty, _most):
    assert penalty.layers == {"image"} and not penalty.dies


def test_total_variation_of_a_ramp_is_its_slope():
    """A ramp across: every pixel but those of the last column differs by the slope from its right neighbour."""
    ramp = (0.1 * torch.arange(5.0)).expand(2, 3, 4, 5)
    expected = torch.full((2,), 0.1 * 4 / 5)
    torch.testing.assert_close(of(TotalVariation(), ramp), expected)
    torch.testing.assert_close(of(TotalVariation(), ramp.transpose(2, 3)), expected)
    assert of(TotalVariation(), torch.full((2, 3, 4, 5), 0.3)).abs().max() == 0


@pytest.mark.parametrize("value", [0.0, 0.5, 0.8])
def test_l1_and_l2_of_one_colour_are_its_distance_from_grey(value):
    expected = torch.full((2,), abs(value - 0.5), dtype=torch.float64)
    torch.testing.assert_close(of(L1(), plain(value)), expected)
    torch.testing.assert_close(of(L2(), plain(value)), expected, rtol=1e-5, atol=1e-5)


def test_l1_counts_distance_where_l2_counts_the_far_more(images):
    assert (of(L1(), images) < of(L2(), images)).all()
    torch.testing.assert_close(of(L1(), checks()), of(L2(), checks()), rtol=1e-5, atol=1e-5)


def test_blur_leaves_one_colour_and_ramps_alone_and_finds_checks():
    assert of(Blur(), plain(0.2)).abs().max() < 1e-15
    ramp = (0.01 * torch.arange(40.0, dtype=torch.float64)).expand(1, 3, 40, 40)
    inside = of(Blur(), ramp)
    assert inside < 1e-6 < of(Blur(), ramp[..., torch.randperm(40, generator=torch.Generator().manual_seed(0))])
    # A 3 x 3 box leaves a ninth of checks with their sign changed, twice a box the 81st part: 80/81 of 0.5 is lost.
    far = torch.zeros(1, 3, 20, 20, dtype=torch.float64) + checks()[:1].repeat(1, 1, 3, 3)[..., :20, :20]
    torch.testing.assert_close(of(Blur(), far), torch.full((1,), (80 / 81 * 0.5) ** 2 / 2).double(), rtol=0.05, atol=0)


def test_the_blur_is_a_fixed_target(images):
    """The gradient of mean((x - c)^2) / 2 for a constant c is (x - c) / n: nothing of it spreads to neighbours."""
    image = plain(0.5)[:1].clone()
    image[0, 0, 3, 3] = 1.0
    image.requires_grad_()
    (gradient,) = torch.autograd.grad(of(Blur(), image).sum(), image)
    assert gradient[0, 0, 3, 3] > 0 and gradient[0, 0, 3, 2] < 0
    assert gradient[0, 0, :, 6].abs().max() < 1e-12
    torch.testing.assert_close(gradient.square().sum() * image.numel() / 2, of(Blur(), image.detach())[0])


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_border_is_what_lies_within_its_width_of_an_edge(width, images):
    tall, wide = images.shape[2:]
    rows = torch.minimum(torch.arange(tall), torch.arange(tall - 1, -1, -1))[:, None]
    columns = torch.minimum(torch.arange(wide), torch.arange(wide - 1, -1, -1))
    edge = torch.minimum(rows, columns) < width
    expected = (images - 0.5).square()[:, :, edge].flatten(1).mean(1)
    torch.testing.assert_close(of(Border(width), images), expected)
    inside = torch.where(edge, 0.5, images)
    assert of(Border(width), inside).abs().max() == 0


def test_a_border_that_leaves_no_middle_is_refused(images):
    of(Border(5), images)
    for width in (6, 20):
        with pytest.raises(ValueError, match=rf"objective.width is {width}; a border of 16x12 pixels has .* 1 to 5"):
            of(Border(width), images)


@pytest.mark.parametrize("width", [0, -1, 1.5, True, None])
def test_the_width_of_a_border_is_a_whole_number(width):
    with pytest.raises(ValueError, match=r"objective.width is .*; it must be a whole number of pixels from 1 on"):
        Border(width)


def test_transparency_is_one_minus_the_mean_opacity(images):
    opacity = images[:, :1]
    activations = Activations({"opacity": opacity, "0": images})
    torch.testing.assert_close(Transparency()(activations), 1 - opacity.mean((1, 2, 3)))
    for value in (0.0, 1.0):
        opaque = Activations({"opacity": torch.full((2, 1, 4, 4), value)})
        assert Transparency()(opaque).tolist() == [1 - value] * 2
    times = Channel("0", 1) * Transparency()
    assert times.layers == {"0", "opacity"}
    torch.testing.assert_close(times(activations), images[:, 1].mean((1, 2)) * (1 - opacity.mean((1, 2, 3))))


def test_transparency_says_which_parameterisation_has_it(images):
    with pytest.raises(ValueError, match="transparency needs parameterisation=rgba"):
        Transparency()(Activations({"image": images}))
