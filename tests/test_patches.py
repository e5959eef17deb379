import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret_runs.dataset_examples import survey
from interpret_runs.images import Shapes, to_tensor
from interpret_runs.objectives import Channel, Logit
from interpret_runs.patches import GAP, mosaic, patch, patches
from interpret_runs.receptive_field import receptive_fields

DATA = [Shapes(item) for item in range(8)]


@st.composite
def pictures_and_boxes(draw):
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return (height, width), (top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width)))


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(pictures_and_boxes())
def test_a_patch_holds_its_box_in_the_pictures_proportions(case):
    (height, width), (top, left, bottom, right) = case
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    found = patch(torch.cat([places, places[:1]]), (top, left, bottom, right))
    first, last = found[:2, 0, 0].tolist(), found[:2, -1, -1].tolist()
    assert first[0] <= top and first[1] <= left and last[0] >= bottom - 1 and last[1] >= right - 1
    tall, wide = found.shape[1:]
    assert abs(tall * width - wide * height) < max(height, width)
    assert tall == bottom - top or wide == right - left  # no larger than it must be
    assert patch(places, (0, 0, height, width)).shape == places.shape


def test_an_empty_box_stands_for_the_whole_picture(images):
    assert torch.equal(patch(images[0], (0, 0, 0, 0)), images[0])


def test_patches_are_what_the_places_see(model):
    found = survey(model, [Channel("2", 1)], DATA, 3)
    fields = receptive_fields(model, "2", (16, 16))
    for end, parts in zip((found.strongest, found.weakest), patches(found, 0, DATA, model), strict=True):
        assert len(parts) == 3
        for image, place, part in zip(end.images[:, 0], end.places[:, 0].tolist(), parts, strict=True):
            assert torch.equal(part, patch(DATA[image](model.preprocessing).pixels, fields.box(*place)))
            assert part.shape[1] == part.shape[2] < 16


@pytest.mark.parametrize("unit", [Logit(0), Channel("1", 2)])
def test_without_a_place_the_whole_image_is_shown(model, unit):
    found = survey(model, [unit], DATA, 3)
    _, weakest = patches(found, 0, DATA, model)
    for image, part in zip(found.weakest.images[:, 0], weakest, strict=True):
        assert torch.equal(part, DATA[image](model.preprocessing).pixels)


def test_gaps_have_no_patches(model):
    found = survey(model, [Logit(0)], DATA[:2], 5)
    assert [len(parts) for parts in patches(found, 0, DATA, model)] == [2, 2]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (9, 3, 3), (10, 4, 3)])
def test_a_mosaic_is_filled_row_by_row(count, columns, rows):
    values = [value / 20 for value in range(count)]
    made = mosaic([torch.full((3, 6, 9), value) for value in values], tile=20)
    wide = 30
    assert made.size == (columns * (wide + GAP) - GAP, rows * (20 + GAP) - GAP)
    pixels = to_tensor(made)
    for place, value in enumerate(values + [1.0] * (columns * rows - count)):
        row, column = divmod(place, columns)
        top, left = row * (20 + GAP), column * (wide + GAP)
        assert (pixels[:, top : top + 20, left : left + wide] - value).abs().max() < 1 / 255
    assert columns == 1 or (pixels[:, :, wide : wide + GAP] == 1).all()


def test_an_empty_mosaic_is_refused():
    with pytest.raises(ValueError, match="no picture"):
        mosaic([])
