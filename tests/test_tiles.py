import pytest
import torch

from interpret_runs.tiles import windows


@pytest.mark.parametrize("size", [(8, 8), (9, 20), (33, 17), (100, 64)])
@pytest.mark.parametrize("tile", [8, 11, 64, 200])
def test_windows_cover_the_image_and_are_of_one_size(size, tile):
    for step in range(20):
        covered = torch.zeros(size)
        for row, column in windows(size, tile, step):
            covered[row, column] += 1
            assert covered[row, column].shape == (min(tile, size[0]), min(tile, size[1]))
        assert (covered > 0).all()


def test_an_image_no_larger_than_a_tile_is_one_window():
    assert windows((8, 12), 12, 3) == [(slice(0, 8), slice(0, 12))]


def test_seams_move_from_step_to_step_and_are_the_same_again():
    places = [tuple((row.start, column.start) for row, column in windows((64, 64), 16, step)) for step in range(10)]
    assert len(set(places)) > 5
    assert places == [
        tuple((row.start, column.start) for row, column in windows((64, 64), 16, step)) for step in range(10)
    ]
