import pytest
import torch
from explained import Products, batch_law, explained
from networks import bare
from torch import nn

from interpret_runs.activations import capture
from interpret_runs.attribution import gradients
from interpret_runs.localisation import (
    OneCell,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    cell_mass,
    cells_of,
    mosaics,
)
from interpret_runs.objectives import Logit

METRICS = [PointingGame(), RelevanceMass(), RelevanceRank()]
EVERY_METRIC = pytest.mark.parametrize("metric", METRICS, ids=repr)


def blobs() -> torch.Tensor:
    """A square in another place of each of four masks, with 4 x 5 pixels or more."""
    masks = torch.zeros(4, 16, 12, dtype=torch.bool)
    for index in range(4):
        masks[index, index : 2 * index + 4, 2 * index : 2 * index + 5] = True
    return masks


def random_maps(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 16, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def value(model, images):
    """The number of a metric for maps and masks."""

    def number(metric, maps, masks, known=None):
        seen = images[:1].expand(len(maps), -1, -1, -1)
        return metric(explained(model, seen, maps, masks=masks, known=known))[metric.column]

    return number


@EVERY_METRIC
def test_a_map_that_is_the_mask_is_right_and_its_opposite_wrong(metric, value):
    masks = blobs()
    assert (value(metric, masks.double(), masks) == 1).all()
    inside_out = masks.logical_not().double() + 1e-3 * random_maps(4)
    assert (value(PointingGame(0) if metric.column == "pointing_game" else metric, inside_out, masks) < 0.1).all()


@pytest.mark.parametrize("metric", [PointingGame(0), RelevanceMass(), RelevanceRank()], ids=repr)
def test_a_random_map_has_the_share_of_the_mask(metric, value):
    masks = blobs()[3:].expand(600, -1, -1)
    numbers = value(metric, random_maps(600), masks)
    assert (numbers.mean() - masks[0].double().mean()).abs() < 4 * numbers.std() / 600**0.5
    assert numbers.std() > 0


@EVERY_METRIC
def test_where_no_mask_is_known_there_is_no_number(metric, value):
    maps, masks = random_maps(4), blobs()
    assert value(metric, maps, None).isnan().all()
    masks[2] = False
    known = torch.tensor([True, False, True, True])
    numbers = value(metric, maps, masks, known)
    assert numbers.isnan().tolist() == [False, True, True, False]
    torch.testing.assert_close(numbers[[0, 3]], value(metric, maps, blobs())[[0, 3]])


@EVERY_METRIC
def test_the_scale_of_a_map_does_not_matter_and_a_mask_may_hold_numbers(metric, value):
    maps, masks = random_maps(4), blobs()
    number = value(metric, maps, masks)
    torch.testing.assert_close(value(metric, 1e3 * maps, masks), number)
    torch.testing.assert_close(value(metric, maps.flip(2), masks.flip(2).to(torch.uint8)), number)


def test_a_point_is_a_hit_up_to_the_tolerance_and_not_beyond(value):
    """15 pixels at 224 are 15 * 12 / 224 = 0.8 of one where the shorter side has 12; 40 are 2.14."""
    masks = torch.zeros(1, 16, 12, dtype=torch.bool)
    masks[0, 8, 6] = True

    def hit(down: int, across: int, tolerance: float) -> float:
        maps = -random_maps(1).abs()
        maps[0, 8 + down, 6 + across] = 1e-9
        return value(PointingGame(tolerance), maps, masks).item()

    assert [hit(0, 0, 15), hit(0, 1, 15), hit(0, 1, 20)] == [1, 0, 1]
    assert [hit(0, 2, 40), hit(2, 0, 40), hit(1, 1, 40), hit(2, 1, 40), hit(2, 2, 60), hit(-2, -2, 60)] == [
        1,
        1,
        1,
        0,
        1,
        1,
    ]
    assert hit(-8, -6, 1e9) == 1


def test_several_highest_pixels_hit_by_their_share(value):
    maps = torch.zeros(1, 16, 12, dtype=torch.float64)
    maps[0, [2, 2, 12, 13], [2, 3, 8, 8]] = 1
    masks = torch.zeros(1, 16, 12, dtype=torch.bool)
    masks[0, 2, 2:4] = True
    masks[0, 13, 8] = True
    assert value(PointingGame(0), maps, masks).item() == 0.75


def test_maps_of_one_value_point_at_nothing_and_empty_maps_have_no_mass(value):
    for constant in (0.0, 2.0, -1.0):
        maps = torch.full((4, 16, 12), constant, dtype=torch.float64)
        assert value(PointingGame(), maps, blobs()).isnan().all()
        area = blobs().double().mean((1, 2))
        torch.testing.assert_close(value(RelevanceRank(), maps, blobs()), area)
        mass = value(RelevanceMass(), maps, blobs())
        assert torch.allclose(mass, area) if constant > 0 else mass.isnan().all()


def test_relevance_mass_counts_what_is_positive(value):
    maps = torch.zeros(1, 16, 12, dtype=torch.float64)
    maps[0, 0, :4] = torch.tensor([3.0, 1.0, -5.0, -7.0])
    masks = torch.zeros(1, 16, 12, dtype=torch.bool)
    masks[0, 0, [1, 2]] = True
    assert value(RelevanceMass(), maps, masks).item() == 0.25


def test_relevance_rank_counts_the_highest_and_shares_what_is_equal(value):
    maps = torch.zeros(1, 16, 12, dtype=torch.float64)
    maps[0, 0, :5] = torch.tensor([9.0, 7.0, 5.0, 5.0, 5.0])
    masks = torch.zeros(1, 16, 12, dtype=torch.bool)
    masks[0, 0, [0, 2, 7]] = True  # three pixels: 9 is inside, 7 is not, one of three equal ones finds room
    torch.testing.assert_close(value(RelevanceRank(), maps, masks), torch.tensor([(1 + 1 / 3) / 3]).double())


@EVERY_METRIC
def test_a_number_depends_on_its_image_alone(metric, model, images, monkeypatch):
    batch_law(metric, model, Logit((2, 0, 4, 1)), images, monkeypatch, masks=blobs())


@pytest.mark.parametrize("tolerance", [-1, float("inf"), "a", True])
def test_a_tolerance_that_cannot_be_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"metrics.pointing_game.tolerance is .*; it must be a finite number from"):
        PointingGame(tolerance)


# --- mosaics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_cells_of_a_mosaic_are_the_images_row_by_row(grid):
    images = torch.rand(2 * grid**2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    made = mosaics(images, grid)
    assert made.shape == (2, 3, 4 * grid, 6 * grid)
    assert torch.equal(cells_of(made, grid), images)
    assert torch.equal(made[1, :, :4, -6:], images[grid**2 + grid - 1])


def test_mass_in_the_target_cell_is_all_or_nothing_or_chance():
    maps = torch.zeros(5, 8, 6)
    maps[0, 5, 1] = 2  # row 1, column 0: cell 2
    maps[1, 5, 1] = 2
    maps[2] = 1
    maps[3, 0, 0], maps[3, 7, 5], maps[3, 7, 0] = 3, 1, -4
    found = cell_mass(maps, torch.tensor([2, 1, 3, 0, 0]))
    assert found[:4].tolist() == [1, 0, 0.25, 0.75] and found[4].isnan()


def test_a_random_map_has_chance_in_every_cell():
    maps = torch.randn(400, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    mass = cell_mass(maps, torch.arange(400) % 9, grid=3)
    assert (mass.mean() - 1 / 9).abs() < 4 * mass.std() / 20


@pytest.mark.parametrize("cell", [0, 1, 2, 3])
def test_a_network_that_sees_one_cell_has_its_gradient_there_alone(cell):
    """O9: whoever multiplies a gradient has exactly 1; whoever averages one over the mosaic has about chance."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    model = bare(OneCell(features, head, cell), (16, 16))
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cells = torch.full((4,), cell)
    rows = torch.arange(4)
    assert gradients(model, Logit(2), images, rows).abs().sum() > 0
    for maps in (gradients(model, Logit(2), images, rows).abs().sum(1), Products()(model, Logit(2), images)):
        assert (cell_mass(maps, cells) == 1).all()
    with capture(model, ["mosaic", "logits"]) as forward:
        seen = forward(images.requires_grad_())
        (gradient,) = torch.autograd.grad(seen["logits"][:, 2].sum(), seen["mosaic"])
    assert seen["mosaic"].shape == (4, 8, 16, 16)
    layer = (gradient * seen["mosaic"]).sum(1)
    averaged = (gradient.mean((2, 3), keepdim=True) * seen["mosaic"]).sum(1)
    assert (cell_mass(layer, cells) == 1).all()
    assert (cell_mass(averaged, cells) < 0.5).all()
    torch.testing.assert_close(model(images), head(features(cells_of(images)[cell::4])))


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: mosaics(torch.zeros(5, 3, 4, 4)), "5 images fill no mosaics of 2 x 2; give a multiple of 4"),
        (lambda: cells_of(torch.zeros(1, 3, 5, 4)), "5 x 4 pixels are no mosaic of 2 x 2 cells of one size"),
        (lambda: cell_mass(torch.zeros(1, 4, 5), torch.tensor([0])), "4 x 5 pixels are no mosaic of 2 x 2"),
        (lambda: cell_mass(torch.zeros(2, 4, 4), torch.tensor([0, 4])), r"cells are \[0, 4\]; a mosaic .* has 0 to 3"),
        (lambda: cell_mass(torch.zeros(1, 4, 4), torch.tensor([-1])), r"cells are \[-1\]; a mosaic of 2 x 2 has 0 to"),
        (lambda: OneCell(nn.Identity(), nn.Identity(), 9, 3), "cell is 9; a mosaic of 3 x 3 has 0 to 8"),
    ],
)
def test_what_is_no_mosaic_is_refused(ask, text):
    with pytest.raises(ValueError, match=text):
        ask()
