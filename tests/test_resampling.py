import pytest
import torch
from torch.nn import functional

from interpret_runs.resampling import normalised, resized, separable, triangles, windows


def random(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("size", [(16, 12), (8, 6), (5, 12), (7, 11), (32, 18), (1, 1), (40, 3)])
def test_resizing_is_antialiased_interpolation(size, images):
    expected = functional.interpolate(images, size=list(size), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized(images, size), expected, rtol=0, atol=1e-9)
    assert resized(images.float(), size).dtype == torch.float32


def test_its_own_size_returns_the_image_itself(images):
    assert resized(images, (16, 12)) is images


def test_rows_and_columns_are_mixed_apart(images):
    rows, columns = random(5, 16), random(7, 12)
    expected = rows @ images @ columns.T
    torch.testing.assert_close(separable(images, rows, columns), expected)
    each = separable(images, rows.expand(4, 5, 16), columns.expand(4, 7, 12))
    torch.testing.assert_close(each, expected)


def test_each_image_and_each_view_has_its_own_matrices(images):
    rows, columns = random(3, 4, 5, 16), random(3, 4, 7, 12)
    made = separable(images, rows, columns)
    assert made.shape == (12, 3, 5, 7)
    for view in range(3):
        for place, image in enumerate(images):
            expected = rows[view, place] @ image @ columns[view, place].T
            torch.testing.assert_close(made[view * 4 + place], expected)


def test_triangles_interpolate_linearly_with_zeros_outside():
    places = torch.tensor([0, 1.25, 3, -0.5, 3.75, -2], dtype=torch.float64)
    values = torch.tensor([1, 3, 7, 2], dtype=torch.float64)
    assert (triangles(places, 4) @ values).tolist() == pytest.approx([1, 4, 2, 0.5, 0.5, 0])


def test_a_longer_reach_averages():
    weights = triangles(torch.tensor([2.0]), 5, 2.0)
    assert weights.tolist() == [[0, 0.5, 1, 0.5, 0]]
    assert normalised(weights).tolist() == [[0, 0.25, 0.5, 0.25, 0]]


def test_a_window_of_whole_pixels_is_a_slice():
    signal = random(12)
    weights = windows(torch.tensor(0.25).double(), torch.tensor(0.5).double(), 12, 6)
    torch.testing.assert_close(weights @ signal, signal[3:9])


@pytest.mark.parametrize("size", [4, 8, 17])
def test_a_window_of_a_ramp_is_a_ramp(size):
    """Inside of the signal the antialiasing filter is even, so that it moves nothing."""
    start, side = 0.3, 0.4
    ramp = torch.arange(40, dtype=torch.float64)
    found = windows(torch.tensor(start).double(), torch.tensor(side).double(), 40, size) @ ramp
    expected = start * 40 + (torch.arange(size) + 0.5) * side * 40 / size - 0.5
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)


def test_no_window_changes_a_flat_signal():
    start, side = random(3, 4) / 2, random(3, 4) / 2
    weights = windows(start, side, 9, 5)
    assert weights.shape == (3, 4, 5, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 5, dtype=torch.float64))
