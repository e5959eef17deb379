from math import cos, floor, radians, sin

import pytest
import torch
from torch import nn

from interpret_runs.lucid import ANGLES, SCALES, Lucid


def padded(image):
    return nn.ConstantPad2d(12, 0.5)(image)


def cropped(image, top, left, width):
    return image[:, top : image.shape[1] - width + top, left : image.shape[2] - width + left]


def read(image, row, column):
    """TensorFlow 1's bilinear reading; what lies beyond the last pixel is that pixel."""
    top, left = floor(row), floor(column)
    low, right = min(top + 1, image.shape[1] - 1), min(left + 1, image.shape[2] - 1)
    upper = image[:, top, left] * (1 - column + left) + image[:, top, right] * (column - left)
    lower = image[:, low, left] * (1 - column + left) + image[:, low, right] * (column - left)
    return upper * (1 - row + top) + lower * (row - top)


def scaled(image, scale):
    height, width = (int(scale * side + 1e-4) for side in image.shape[1:])
    made = torch.empty(3, height, width, dtype=image.dtype)
    for row in range(height):
        for column in range(width):
            made[:, row, column] = read(image, row * image.shape[1] / height, column * image.shape[2] / width)
    return made


def rotated(image, degrees):
    """TensorFlow 1's rotation by the nearest pixel, black outside."""
    _, height, width = image.shape
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    made = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, row - (height - 1) / 2
            source = (
                round(sine * x + cosine * y + (height - 1) / 2),
                round(cosine * x - sine * y + (width - 1) / 2),
            )
            if 0 <= source[0] < height and 0 <= source[1] < width:
                made[:, row, column] = image[:, source[0], source[1]]
    return made


@pytest.mark.parametrize(
    "step",
    [(0, 8, 0.9, 0, 4, 0), (3, 5, 1.1, 10, 1, 2), (8, 1, 1.0, -7, 0, 4), (2, 2, 1.04, 1, 3, 3), (4, 4, 1, 0, 2, 2)],
)
def test_lucid_is_its_five_steps_one_by_one(step, images):
    top, left, scale, degrees, late_top, late_left = step
    image = scaled(cropped(padded(images[0]), top, left, 8), scale)
    expected = cropped(rotated(image, degrees), late_top, late_left, 4)
    seen = Lucid()(images[:1], torch.tensor([step], dtype=torch.float64))
    assert seen.shape[1:] == expected.shape
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scale", "height"), [(0.9, 24), (0.98, 27), (1.0, 28), (1.1, 31)])
def test_the_size_follows_the_scale(scale, height, images):
    """Of 16 pixels 32 are left after padding and the first crop; sides are rounded down before the last."""
    seen = Lucid()(images, torch.tensor([[0, 0, scale, 0, 0, 0]]).repeat(4, 1))
    assert seen.shape[2] == height


def test_whole_products_are_not_rounded_down():
    """In single precision, as Lucid computes it, 0.94 * 150 is 141."""
    seen = Lucid()(torch.zeros(1, 3, 150 - 16, 150 - 16), torch.tensor([[0, 0, 0.94, 0, 0, 0]]))
    assert seen.shape[2:] == (137, 137)


def test_draws_come_from_lucids_lists():
    drawn = Lucid().draw(3000, (0,))[:, 0]
    for column, values in [(0, range(9)), (1, range(9)), (2, SCALES), (3, ANGLES), (4, range(5)), (5, range(5))]:
        assert drawn[:, column].unique().tolist() == pytest.approx(sorted(set(values)))
    assert [round(100 * scale) for scale in SCALES] == list(range(90, 112, 2))
    assert (drawn[:, 3] == 0).float().mean().item() == pytest.approx(6 / 26, abs=0.02)


def test_a_step_is_drawn_once_for_all_from_the_transforms_own_seed():
    drawn = Lucid(seed=3).draw(4, (0, 1), 2)
    assert torch.equal(drawn, drawn[:, :1].expand(4, 4, 6))
    assert torch.equal(drawn[:, :1], Lucid(seed=3).draw(4, (9,)))
    assert not torch.equal(drawn, Lucid(seed=4).draw(4, (0, 1), 2))


def test_a_wrong_seed_is_named():
    for wrong in (None, 1.5, True):
        with pytest.raises(ValueError, match=f"transform.seed is {wrong}; it must be a whole number"):
            Lucid(seed=wrong)
