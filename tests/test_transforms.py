from math import radians

import pytest
import torch

from interpret_runs.randomness import generator
from interpret_runs.transforms import (
    CAPTUM_ANGLES,
    CAPTUM_SCALES,
    CaptumLong,
    Crops,
    Deterministic,
    Standard,
    Unchanged,
    _grid,
)

STILL = {"jitter": 0, "scale": (1, 1), "rotate": 0, "late_jitter": 0}


def parameters(first=(0, 0), scale=1, degrees=0, second=(0, 0)):
    """One image's parameters in the order in which they act; shifts are (down, right) in pixels."""
    return torch.tensor([[*first, scale, radians(degrees), *second]], dtype=torch.float64)


def coordinates(height, width):
    """(1, 2, H, W): each pixel's row and column, from the centre."""
    rows = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]


def dot(row, column, size=(9, 9)):
    image = torch.zeros(1, 3, *size, dtype=torch.float64)
    image[:, :, row, column] = 1
    return image


def brightest(image):
    place = image[0, 0].argmax().item()
    return divmod(place, image.shape[3])


# --- where things go --------------------------------------------------------------------------------------------


def test_no_strength_is_the_identity(images):
    transform = Standard(**STILL)
    for step in transform.draw(3, (0, 1), 2):
        torch.testing.assert_close(transform(images, step), images, rtol=0, atol=1e-12)
        single = images.float()
        torch.testing.assert_close(transform(single, step), single, rtol=0, atol=1e-5)


@pytest.mark.parametrize("when", ["first", "second"])
@pytest.mark.parametrize(("down", "right"), [(2, 0), (0, 2), (-3, 1), (1, -2)])
def test_a_shift_moves_the_image_down_and_right(when, down, right, images):
    moved = Standard(fill=0.25)(images[:1], parameters(**{when: (down, right)}))
    expected = torch.full_like(images[:1], 0.25)
    height, width = images.shape[2:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                expected[..., row, column] = images[:1, :, row - down, column - right]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)


def test_half_a_pixel_is_the_mean_of_two():
    moved = Standard(fill=0)(dot(4, 4), parameters(first=(0, 0.5)))
    assert moved[0, 0, 4, 4].item() == pytest.approx(0.5)
    assert moved[0, 0, 4, 5].item() == pytest.approx(0.5)


def test_a_scale_above_1_magnifies_about_the_centre():
    for row, column, expected in [(4, 4, (4, 4)), (4, 5, (4, 6)), (3, 4, (2, 4)), (3, 5, (2, 6))]:
        assert brightest(Standard(fill=0)(dot(row, column), parameters(scale=2))) == expected
    shrunk = Standard(fill=0)(torch.ones(1, 3, 8, 8, dtype=torch.float64), parameters(scale=0.5))
    assert shrunk.sum().item() == pytest.approx(3 * 16, rel=1e-9), "half the side is a quarter of the area"


def test_a_positive_angle_turns_clockwise_about_the_centre(images):
    square = images[:, :, :12]
    turned = Standard()(square, parameters(degrees=90).repeat(4, 1))
    torch.testing.assert_close(turned, torch.rot90(square, -1, (2, 3)), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        Standard()(images, parameters(degrees=180).repeat(4, 1)), images.flip(2, 3), rtol=0, atol=1e-9
    )
    assert brightest(Standard(fill=0)(dot(4, 6, (9, 15)), parameters(degrees=90))) == (3, 7), "not square"


def test_the_image_is_not_squeezed_when_it_turns():
    """A 3 x 3 block in a wide image stays 3 x 3 under a quarter turn."""
    block = torch.zeros(1, 3, 9, 21, dtype=torch.float64)
    block[..., 3:6, 9:12] = 1
    torch.testing.assert_close(Standard(fill=0)(block, parameters(degrees=90)), block, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(24, 24), (20, 33)])
def test_jitter_scale_rotation_and_late_jitter_act_in_that_order(size):
    """Sampling a map of coordinates tells from where each pixel was read."""
    first, scale, degrees, second = (2.0, -1.5), 1.3, 25.0, (-0.5, 3.0)
    here = coordinates(*size)
    cosine, sine = (f(torch.tensor(radians(degrees), dtype=torch.float64)) for f in (torch.cos, torch.sin))
    row, column = here[0, 0] - second[0], here[0, 1] - second[1]
    row, column = cosine * row - sine * column, sine * row + cosine * column  # turn back
    expected = torch.stack([row / scale - first[0], column / scale - first[1]])
    inside = (expected.abs() <= torch.tensor(size)[:, None, None] / 2 - 0.5).all(0)
    found = Standard(fill=0)(here, parameters(first, scale, degrees, second))[0]
    torch.testing.assert_close(found[:, inside], expected[:, inside], rtol=0, atol=1e-9)
    assert inside.float().mean() > 0.4


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_what_lies_outside_is_fill(fill):
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    transform = Standard(fill=fill)
    assert torch.equal(transform(images, parameters(first=(20, 0))), torch.full_like(images, fill))
    flat = torch.full_like(images, fill)
    torch.testing.assert_close(transform(flat, parameters((1, 2), 0.7, 30, (3, 3))), flat)


def test_each_image_takes_its_own_parameters(images):
    own = torch.cat([parameters(first=(shift, 0)) for shift in range(4)])
    together = Standard()(images, own)
    alone = [Standard()(image[None], own[[index]]) for index, image in enumerate(images)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradients_pass(images):
    transform = Standard()
    transform(images.requires_grad_(), transform.draw(1, range(4))[0]).sum().backward()
    assert (images.grad != 0).float().mean() > 0.5


# --- what is drawn ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 3])
def test_one_table_is_drawn_per_run_whatever_the_batch(images):
    transform = Standard()
    together = transform.draw(5, (7, 1, 4), images)
    assert together.shape == (5, 3 * images, 6)
    for run, seed in enumerate((7, 1, 4)):
        alone = transform.draw(5, (seed,), images)
        assert torch.equal(together[:, run * images : (run + 1) * images], alone)
    assert torch.unique(together.flatten(0, 1), dim=0).shape[0] == 5 * 3 * images, "no two draws are equal"


def test_global_random_state_neither_matters_nor_changes():
    first = Standard().draw(3, (0,))
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(Standard().draw(3, (0,)), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_fill_their_ranges_evenly():
    drawn = Standard(jitter=8, scale=(0.5, 1.5), rotate=20, late_jitter=2).draw(4000, (0,)).flatten(0, 1)
    for column, (low, high) in enumerate([(-4, 4), (-4, 4), (0.5, 1.5), (-radians(20), radians(20)), (-1, 1), (-1, 1)]):
        values = drawn[:, column]
        width = high - low
        assert low <= values.min() < low + 0.01 * width and high - 0.01 * width < values.max() <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * width)
        assert values.std().item() == pytest.approx(width / 12**0.5, rel=0.03)


def test_no_change_draws_nothing(images):
    assert Unchanged().draw(5, (0, 1), 3).shape == (5, 6, 0)
    assert Unchanged()(images, Unchanged().draw(1, (0, 1), 2)[0]) is images


# --- size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [Standard(**STILL, size=(24, 18)), Unchanged(size=(24, 18))], ids=repr)
def test_the_network_sees_the_size_asked_for(transform, images):
    seen = transform(images, transform.draw(1, range(4))[0])
    assert seen.shape == (4, 3, 24, 18)
    torch.testing.assert_close(seen, transform.clean(images), rtol=0, atol=1e-12)
    torch.testing.assert_close(seen.mean(), images.mean(), rtol=0.02, atol=0)


def test_one_number_is_a_square_and_none_the_images_own_size(images):
    assert Unchanged(7).clean(images).shape == (4, 3, 7, 7)
    assert Unchanged().clean(images) is Standard(size=(16, 12)).clean(images) is images


def test_shrinking_averages_rather_than_skips():
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::4] = 1
    inner = Unchanged(8).clean(stripes)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.25), rtol=0, atol=0.02)


def test_shifts_are_in_the_pixels_that_the_network_sees():
    shifted = Standard(size=8, fill=0)(torch.ones(1, 3, 16, 16, dtype=torch.float64), parameters(first=(0, 2)))
    assert shifted[0, 0, 0].tolist() == pytest.approx([0, 0, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("kind", [Standard, Deterministic])
@pytest.mark.parametrize("scale", [(0, 1), (1.1, 0.9), (-1, 1)])
def test_a_wrong_scale_is_named(kind, scale):
    with pytest.raises(ValueError, match=r"transform.scale is \[.*\]; it must be \[lowest, highest\], both above 0"):
        kind(scale=scale)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Standard(scale=1), r"transform.scale is 1; it must be \[lowest, highest\]"),
        (lambda: Standard(scale=(1, float("inf"))), r"transform.scale is .*; it must be \[lowest, highest\]"),
        (lambda: Standard(rotate="x"), "transform.rotate is 'x'; it must be a finite number"),
        (lambda: Deterministic(fill=None), "transform.fill is None; it must be a finite number"),
        (lambda: CaptumLong(jitter=-1), "transform.jitter is -1; it must be a whole number from 0 on"),
        (lambda: CaptumLong(times=0.5), "transform.times is 0.5; it must be a whole number"),
        (lambda: CaptumLong(scales=()), r"transform.scales is \(\); it must be a list of numbers above 0"),
        (lambda: CaptumLong(scales=[1, 0]), r"transform.scales is \[1, 0\]; it must be a list of numbers above 0"),
        (lambda: CaptumLong(angles=3), r"transform.angles is 3; it must be a list of numbers$"),
        (lambda: Crops(views=0), "transform.views is 0; it must be a whole number from 1 on"),
        (lambda: Crops(centre=-1), "transform.centre is -1; it must be a finite number from 0 on"),
        (lambda: Crops(side=0.5), r"transform.side is 0.5; it must be \[first, last\], both above 0 and at most 1"),
        (lambda: Crops(side=[0.5, 0]), r"transform.side is \[0.5, 0\]; it must be \[first, last\]"),
        (lambda: Crops(side=[1.5, 0.5]), r"transform.side is \[1.5, 0.5\]; it must be \[first, last\]"),
    ],
)
def test_a_wrong_setting_is_named(made, message):
    with pytest.raises(ValueError, match=message):
        made()


def test_start_and_transforms_are_drawn_apart():
    """One stream for both would move a run's transforms whenever its image changes size."""
    streams = [torch.rand(8, generator=generator(*key)) for key in [(0, "start"), (0, "transform"), (1, "start")]]
    assert torch.unique(torch.stack(streams), dim=0).shape[0] == 3
    assert torch.equal(torch.rand(8, generator=generator(0, "start")), streams[0])


# --- captum's long set ------------------------------------------------------------------------------------------


def test_captums_lists_are_as_long_as_captums():
    assert len(CAPTUM_SCALES) == 125 and min(CAPTUM_SCALES) == 0.995**79 and max(CAPTUM_SCALES) == 0.995**-5
    assert len(CAPTUM_ANGLES) == 75 and min(CAPTUM_ANGLES) == -20 and max(CAPTUM_ANGLES) == 19


def test_jitters_are_whole_and_their_sum_spreads_as_ten():
    drawn = CaptumLong(jitter=4, times=10).draw(3000, (0,))[:, 0, :2]
    assert torch.equal(drawn, drawn.round()) and drawn.min() >= -30 and drawn.max() <= 40
    assert drawn.mean().item() == pytest.approx(5, abs=0.5)
    assert drawn.std().item() == pytest.approx((10 * (8**2 - 1) / 12) ** 0.5, rel=0.03)


@pytest.mark.parametrize("jitter", [1, 2, 3])
def test_one_jitter_takes_every_whole_number_in_its_range(jitter):
    drawn = CaptumLong(jitter=jitter, times=1, late_jitter=jitter).draw(300, (0,))[:, 0]
    for column in (0, 1, 4, 5):
        assert drawn[:, column].unique().tolist() == list(range(1 - jitter, jitter + 1))


def test_scales_and_angles_come_from_their_lists():
    own = CaptumLong(scales=[1, 0.5], angles=[0, 90]).draw(50, (0,))[:, 0]
    assert own[:, 2].unique().tolist() == [0.5, 1]
    assert own[:, 3].unique().tolist() == pytest.approx([0, radians(90)])
    default = CaptumLong().draw(2000, (0,))[:, 0]
    assert set(default[:, 2].tolist()) == set(torch.tensor(CAPTUM_SCALES).tolist())
    assert set(default[:, 3].rad2deg().round().tolist()) == set(CAPTUM_ANGLES)


def test_ten_jitters_in_one_warp_are_ten_jitters_one_by_one():
    """Where nothing leaves the frame, whole shifts are exact and add up."""
    image = torch.zeros(1, 3, 40, 40, dtype=torch.float64)
    image[..., 18:22, 18:22] = torch.rand(3, 4, 4, dtype=torch.float64)
    step = CaptumLong(jitter=2, times=4, scales=[1], angles=[0], fill=0).draw(1, (3,))[0]
    late = step[0, 4:]
    one_by_one = image.roll(tuple(map(int, step[0, :2])), (2, 3)).roll(tuple(map(int, late)), (2, 3))
    torch.testing.assert_close(CaptumLong(fill=0)(image, step), one_by_one, rtol=0, atol=1e-9)


# --- the deterministic set --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, (9, 20)])
@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_deterministic_is_standard_without_rotation(fill, size, images):
    transform = Deterministic(fill=fill, size=size)
    drawn = transform.draw(1, (0, 1), 2)[0].double()
    same = torch.cat([drawn, torch.zeros(4, 3, dtype=torch.float64)], 1)
    expected = Standard(fill=fill, size=size)(images, same)
    torch.testing.assert_close(transform(images, drawn), expected, rtol=0, atol=1e-9)


def operations(tensor):
    """Names of the operations through which gradients go back from `tensor`."""
    names, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(node.name())
            todo += [child for child, _ in node.next_functions]
    return names


PLAIN = {"BmmBackward0", "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "PermuteBackward0"}
PLAIN |= {"AddBackward0", "SubBackward0", "ExpandBackward0", "SqueezeBackward1", "UnsqueezeBackward0", "CloneBackward0"}
PLAIN |= {"torch::autograd::AccumulateGrad", "TransposeBackward0", "MmBackward0"}


@pytest.mark.parametrize("size", [None, (9, 20)])
def test_gradients_of_the_deterministic_set_go_through_products_alone(size, images):
    """CUDA's backward passes of sampling, interpolating and indexing add in any order."""
    images.requires_grad_()
    transform = Deterministic(size=size)
    assert operations(transform(images, transform.draw(1, (0,), 4)[0])) <= PLAIN
    crops = Crops(size=size)
    assert operations(crops(images, crops.draw(1, (0,), 4)[0])) <= PLAIN
    standard = Standard(size=size)
    assert operations(standard(images, standard.draw(1, (0,), 4)[0])) - PLAIN == {"GridSampler2DBackward0"}


# --- crops ------------------------------------------------------------------------------------------------------


def crop(top, left, side):
    return torch.tensor([[top, left, side]], dtype=torch.float64)


def test_a_crop_shows_its_part_of_the_image(images):
    seen = Crops(views=1, size=(8, 6))(images[:1], crop(0.25, 0.5, 0.5))
    torch.testing.assert_close(seen, images[:1, :, 4:12, 6:12], rtol=0, atol=1e-12)


def test_a_crop_is_enlarged_as_the_image_around_it_goes_on(images):
    seen = Crops(views=1)(images[:1], crop(0.25, 0.25, 0.5))
    expected = torch.nn.functional.interpolate(images[:1], scale_factor=2, mode="bilinear")[..., 8:24, 6:18]
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)


def test_a_crop_that_shrinks_averages_rather_than_skips():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    stripes[..., ::4] = 1
    inner = Crops(views=1, size=8)(stripes, crop(0.25, 0.25, 0.5))[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.25), rtol=0, atol=0.02)


def test_views_of_an_image_are_a_batch_apart(images):
    transform = Crops(views=3)
    parameters = transform.draw(1, (0, 1), 2)[0].double()
    seen = transform(images, parameters)
    for view in range(3):
        one = Crops(views=1)(images, parameters[:, 3 * view : 3 * view + 3])
        torch.testing.assert_close(seen[4 * view : 4 * view + 4], one, rtol=0, atol=1e-12)


def test_crops_lie_within_the_image_and_shrink_over_the_steps():
    transform = Crops(views=4, centre=0.5, side=(0.9, 0.2), spread=0.2)
    drawn = transform.draw(200, range(20)).reshape(200, -1, 3)
    start, side = drawn[..., :2], drawn[..., 2:]
    assert side.min() >= 0.05 and side.max() <= 1
    assert start.min() >= 0 and (start + side).max() <= 1 + 1e-6
    mean = Crops(views=4, side=(0.7, 0.3), spread=0.1).draw(5, range(400)).reshape(5, -1, 3)[..., 2].mean(1)
    assert mean.tolist() == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3], abs=0.01)


def test_centres_spread_as_asked_where_the_border_is_far():
    drawn = Crops(views=2, centre=0.05, side=(0.1, 0.1), spread=0.02).draw(100, range(20)).reshape(-1, 3)
    centre = drawn[:, :2] + drawn[:, 2:] / 2
    assert centre.mean().item() == pytest.approx(0.5, abs=0.005)
    assert centre.std().item() == pytest.approx(0.05, rel=0.05)
    assert drawn[:, 2].std().item() == pytest.approx(0.02, rel=0.1)


def test_a_crop_has_the_proportions_of_the_image():
    """A block as high as wide stays so in a wide image."""
    wide = torch.zeros(1, 3, 20, 40, dtype=torch.float64)
    wide[..., 8:12, 18:22] = 1
    seen = Crops(views=1)(wide, crop(0.25, 0.25, 0.5))[0, 0]
    assert seen.sum(0).max().item() == pytest.approx(seen.sum(1).max().item()) == pytest.approx(8, abs=0.5)


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
def test_the_grid_of_a_warp_is_that_of_torch(size):
    matrices = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(matrices, [4, 3, *size], align_corners=False)
    assert torch.allclose(_grid(matrices, *size), expected, atol=1e-12)
