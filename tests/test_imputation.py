import pytest
import torch

from interpret_runs import imputation
from interpret_runs.imputation import linear_imputation


def holes(*shape: int, share: float, seed: int = 0) -> torch.Tensor:
    """Which pixels are known; the rest is missing, the first image's in one piece."""
    known = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > share
    known[0] = True
    side = int(share * shape[1])
    known[0, :side] = False
    return known


def dense(image: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The equations of one image, (C, H, W), row by row, and their solution by elimination."""
    height, width = known.shape
    left, right = torch.eye(height * width).double(), image.flatten(1).T.clone()
    for row, column in (~known).nonzero().tolist():
        here = row * width + column
        right[here] = left[here, here] = 0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                there = row + down, column + across
                if (down or across) and 0 <= there[0] < height and 0 <= there[1] < width:
                    weight = 1 / 12 if down and across else 1 / 6
                    left[here, here] += weight
                    left[here, there[0] * width + there[1]] = -weight
    return torch.linalg.solve(left, right).T.reshape(image.shape)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [(16, 12), (23, 31), (1, 9), (40, 17)])
def test_missing_pixels_solve_the_equations_of_their_neighbours(size, share):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known = holes(3, *size, share=share)
    known[:, 0, -1] = True
    made = linear_imputation(images, known)
    for image, place, found in zip(images, known, made, strict=True):
        torch.testing.assert_close(found, dense(image, place), rtol=1e-8, atol=1e-8)


def test_a_linear_ramp_with_a_hole_comes_back_as_it_was():
    down, across = torch.meshgrid(torch.arange(40).double(), torch.arange(30).double(), indexing="ij")
    ramps = torch.stack([down, 2 * across - down, 1 + 0 * down])[None]
    known = torch.ones(1, 40, 30, dtype=torch.bool)
    known[:, 5:33, 4:26] = False
    known[:, 35, 28] = False
    torch.testing.assert_close(linear_imputation(ramps, known), ramps, rtol=1e-8, atol=1e-8)


def test_what_missing_pixels_hold_is_not_read(images):
    known = holes(4, 16, 12, share=0.5)
    spoilt = images.masked_fill(~known[:, None], torch.nan)
    made = linear_imputation(spoilt, known)
    assert torch.equal(made, linear_imputation(images, known)) and spoilt.isnan().any()
    assert torch.equal(made.masked_select(known[:, None]), images.masked_select(known[:, None]))


def test_an_image_with_all_its_pixels_stays_and_black_stays_black(images):
    known = torch.ones(4, 16, 12, dtype=torch.bool)
    assert torch.equal(linear_imputation(images, known), images)
    known[:, :8] = False
    black = torch.zeros_like(images)
    assert torch.equal(linear_imputation(black, known), black)


def test_an_image_is_filled_as_it_is_alone():
    images = torch.rand(4, 3, 48, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    known = holes(4, 48, 40, share=0.8)
    together = linear_imputation(images, known)
    for index in range(4):
        alone = linear_imputation(images[index : index + 1], known[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-10)


def test_single_precision_is_enough_for_eight_bits():
    images = torch.rand(2, 3, 100, 80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    known = holes(2, 100, 80, share=0.9)
    error = linear_imputation(images.float(), known).double() - linear_imputation(images, known)
    assert error.abs().max() < 1 / 255 / 4


def test_a_hole_of_200_pixels_needs_few_steps(monkeypatch):
    steps = []
    counted = imputation._all_grids
    monkeypatch.setattr(
        imputation, "_all_grids", lambda rest, grids: (steps.append(len(rest[0, 0])), counted(rest, grids))[1]
    )
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    known = torch.ones(1, 224, 224, dtype=torch.bool)
    known[:, 12:212, 12:212] = False
    linear_imputation(images, known)
    assert steps.count(224) < 100


def test_nothing_can_be_filled_in_from_nothing(images):
    known = torch.ones(4, 16, 12, dtype=torch.bool)
    known[2] = False
    with pytest.raises(ValueError, match="an image has no known pixel"):
        linear_imputation(images, known)
