"""Samples of a layer, their layout in the plane, and the directions of its parts."""

import sys
from importlib.util import find_spec

import pytest
import torch
from networks import plain, state, wrapped

from interpret_runs import reducers
from interpret_runs.activations import capture
from interpret_runs.atlas import bins, cells_of, most_attributed, unit_directions, whitening
from interpret_runs.images import File, Shapes
from interpret_runs.layer_samples import layer_samples
from interpret_runs.reducers import reduce
from interpret_runs.summary import OUTPUT

LAYER = "3"  # 8 channels on a grid of 8 x 8


def shapes(count: int) -> list[Shapes]:
    return [Shapes(item) for item in range(count)]


# --- samples ------------------------------------------------------------------------------------------------------


def test_samples_are_what_the_layer_says_at_their_positions():
    model = wrapped(plain())
    before = state(model)
    found = layer_samples(model, LAYER, shapes(5), positions=3, seed=0, classes=2)
    assert state(model) == before
    assert found.images.tolist() == [image for image in range(5) for _ in range(3)]
    for row in range(len(found)):
        pixels = Shapes(int(found.images[row]))(model.preprocessing).pixels.double()
        with torch.no_grad(), capture(model, [LAYER]) as forward:
            there = forward(pixels[None]).grid(LAYER)[0, :, *found.positions[row]]
        torch.testing.assert_close(found.activations[row].double(), there, atol=1e-6, rtol=1e-6)


def test_what_positions_add_to_a_logit_sums_to_it_where_the_rest_is_linear():
    model = wrapped(plain())
    found = layer_samples(model, LAYER, shapes(4), positions=64, seed=0, classes=5)
    assert len(found) == 4 * 64, "a layer with fewer positions gives all that it has"
    bias = model.network[-1].bias
    for image in range(4):
        pixels = Shapes(image)(model.preprocessing).pixels.double()
        with torch.no_grad(), capture(model, [OUTPUT]) as forward:
            logits = forward(pixels[None])[OUTPUT][0] - bias
        mine = found.images == image
        ranked = found.classes[mine][0]
        assert sorted(ranked.tolist()) == list(range(5))
        torch.testing.assert_close(found.attributed[mine].sum(0).double(), logits[ranked], atol=1e-5, rtol=1e-4)


def test_the_positions_of_an_image_depend_on_the_seed_and_it_alone():
    model = wrapped(plain())
    many = layer_samples(model, LAYER, shapes(6), 4, seed=1, batch_size=4)
    few = layer_samples(model, LAYER, shapes(3), 4, seed=1, batch_size=2)
    assert many.positions[:12].equal(few.positions)
    assert not few.positions.equal(layer_samples(model, LAYER, shapes(3), 4, seed=2).positions)
    assert all(len(set(map(tuple, part.tolist()))) == 4 for part in many.positions.split(4)), "each only once"


def test_images_that_cannot_be_read_are_skipped_unless_none_can(tmp_path):
    missing = File(str(tmp_path / "none.png"))
    found = layer_samples(wrapped(plain()), LAYER, [missing, *shapes(2)], 2, 0)
    assert found.images.tolist() == [1, 1, 2, 2] and len(found.skipped) == 1
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        layer_samples(wrapped(plain()), LAYER, [missing], 2, 0)


def test_samples_that_point_nowhere_are_left_out():
    found = layer_samples(wrapped(plain()), LAYER, shapes(2), 4, 0)
    found.activations[[1, 5]] = 0
    assert len(found.active) == 6
    assert found.active.positions.equal(found.positions[[0, 2, 3, 4, 6, 7]])


# --- reducers -----------------------------------------------------------------------------------------------------

INSTALLED = [name for name in reducers.REDUCERS if find_spec(reducers.PACKAGES.get(name, "torch"))]


@pytest.mark.parametrize("reducer", INSTALLED)
def test_equal_seeds_lay_out_equally(reducer):
    values = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    first = reduce(values, reducer, seed=3)
    assert first.shape == (40, 2) and first.isfinite().all()
    assert first.equal(reduce(values, reducer, seed=3))


@pytest.mark.parametrize("reducer", INSTALLED)
def test_two_groups_stay_apart(reducer):
    draw = torch.Generator().manual_seed(0)
    ends = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0]])
    values = ends.repeat_interleave(20, 0) + 0.05 * torch.rand(40, 5, generator=draw)
    places = reduce(values, reducer)
    middles = places.view(2, 20, 2).mean(1)
    own = (places - middles.repeat_interleave(20, 0)).norm(dim=1)
    assert (own < (middles[0] - middles[1]).norm() / 2).all()


def test_principal_components_keep_distances_of_what_is_flat():
    draw = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(7, 2, generator=draw, dtype=torch.float64))[0]
    flat = torch.randn(30, 2, generator=draw, dtype=torch.float64) @ plane.T
    torch.testing.assert_close(torch.cdist(*[reduce(flat, "pca")] * 2), torch.cdist(flat, flat))


def test_a_layer_of_one_channel_is_laid_out_too():
    assert reduce(torch.rand(9, 1), "pca").shape == (9, 2)


def test_what_cannot_be_laid_out_says_so(monkeypatch):
    with pytest.raises(LookupError, match="no reducer 'umpa'; closest: umap"):
        reduce(torch.rand(9, 3), "umpa")
    with pytest.raises(ValueError, match="3 samples are too few"):
        reduce(torch.rand(3, 3), "pca")
    monkeypatch.setattr(reducers, "find_spec", lambda _: None)
    with pytest.raises(
        LookupError, match=r"task\.reducer=umap is not installed: pip install 'interpret-runs\[atlas\]'"
    ):
        reduce(torch.rand(9, 3), "umap")


def test_the_plain_reducer_needs_no_package():
    before = set(sys.modules)
    reduce(torch.rand(9, 3), "pca")
    assert not {"umap", "sklearn"} & (set(sys.modules) - before)


# --- the map ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_cells_partition_the_samples(count, side):
    places = bins(torch.randn(count, 2, generator=torch.Generator().manual_seed(count)).double(), side)
    assert places.min() >= 0 and places.max() < side
    cells = cells_of(places, 1)
    members = torch.cat([cell.members for cell in cells])
    assert sorted(members.tolist()) == list(range(count))
    assert all((places[cell.members] == torch.tensor([cell.row, cell.column])).all() for cell in cells)
    order = [(cell.row, cell.column) for cell in cells]
    assert order == sorted(set(order))


def test_cells_with_too_few_samples_are_left_out():
    places = torch.tensor([[0, 0], [0, 1], [0, 1], [1, 1], [0, 1]])
    assert [(cell.row, cell.column, cell.members.tolist()) for cell in cells_of(places, 2)] == [(0, 1, [1, 2, 4])]
    assert cells_of(places, 4) == []


def test_a_map_has_right_at_the_right_and_up_above():
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    assert bins(corners, 3).tolist() == [[2, 0], [0, 0], [2, 2], [0, 2]]


def test_one_sample_far_away_does_not_push_the_others_together():
    line = torch.linspace(0, 1, 400, dtype=torch.float64)
    layout = torch.stack([line, line], 1)
    layout[0] = -1e6
    assert len(bins(layout, 8).unique(dim=0)) == 8


def test_samples_in_one_place_share_a_cell():
    assert len(bins(torch.ones(5, 2, dtype=torch.float64), 4).unique(dim=0)) == 1


def test_whitening_undoes_what_channels_share():
    draw = torch.Generator().manual_seed(0)
    mixed = torch.randn(5000, 4, generator=draw).double() @ torch.randn(4, 4, generator=draw).double()
    matrix = whitening(mixed, 1e-9)
    moments = mixed.T @ mixed / len(mixed)
    torch.testing.assert_close(matrix @ moments / moments.diagonal().mean(), torch.eye(4).double(), atol=1e-6, rtol=0)
    assert (whitening(mixed, 1e6) * 1e6 - torch.eye(4)).abs().max() < 1e-4, "much ridge leaves directions as they are"


def test_a_silent_channel_gets_no_infinite_weight():
    values = torch.rand(50, 3)
    values[:, 1] = 0
    assert whitening(values, 0.1).isfinite().all()
    with pytest.raises(ValueError, match="the layer is 0 at every sample"):
        whitening(torch.zeros(9, 3), 0.1)


def test_directions_have_length_one_or_none():
    lengths = unit_directions(torch.tensor([[3.0, 4.0], [0, 0], [1e-20, 0]])).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0, 1]))


def test_classes_are_ranked_by_what_all_samples_add_to_them():
    classes, attributed = torch.tensor([[0, 1], [2, 1], [0, 3]]), torch.tensor([[3.0, 2], [1, 4], [3, -5]])
    assert most_attributed(classes, attributed) == [(0, 2.0), (1, 2.0), (2, pytest.approx(1 / 3))]
    assert most_attributed(classes, -attributed) == [(3, pytest.approx(5 / 3))]
