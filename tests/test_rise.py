import networks
import pytest
import torch
from networks import wrapped
from torch import nn
from torch.nn import functional

from interpret_runs import variants
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Logit
from interpret_runs.rise import Rise

METHODS = [Rise(40), Rise(40, grid=3, probability=0.2, seed=5), Rise(40, baseline="white")]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)


@pytest.fixture
def linear():
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


def masks(method, images):
    return method.masks(images)(torch.arange(method.samples))


def shown(side, grid):
    """How much of each cell each pixel shows, (shifts, side, grid): torch's own interpolation, cut out anywhere."""
    cell = -(-side // grid)
    cells = torch.eye(grid, dtype=torch.float64)[None]
    whole = functional.interpolate(cells, size=(grid + 1) * cell, mode="linear", align_corners=False)[0].T
    return torch.stack([whole[shift : shift + side] for shift in range(cell)])


def correlations(side, grid):
    """Covariances of the masks at any two pixels of a row, over those of a cell, (side, side)."""
    weights = shown(side, grid)
    return (weights @ weights.mT).mean(0)


# --- masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [1, 3, 7, 20])
def test_a_mask_is_a_grid_of_cells_scaled_up_and_cut_out(grid, images):
    """Its rows are mixtures of cells that some shift shows, and so are its columns."""
    found = masks(Rise(50, grid=grid), images)
    assert found.shape == (50, 16, 12) and found.dtype == torch.float64
    assert found.min() >= 0 and found.max() <= 1
    down, across = shown(16, grid), shown(12, grid)
    for mask in found:
        fits = []
        for top in down:
            for left in across:
                cells = torch.linalg.pinv(top) @ mask @ torch.linalg.pinv(left).T
                fits.append((top @ cells @ left.T - mask).abs().max())
        assert min(fits) < 1e-9


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_masks_have_the_mean_and_the_covariance_of_their_cells(probability, images):
    method = Rise(20000, grid=3, probability=probability)
    found = masks(method, images[:, :, :8, :6])
    assert (found.mean(0) - probability).abs().max() < 4 * 0.5 / 20000**0.5
    flat = found.flatten(1) - probability
    covariance = flat.T @ flat / 20000 / (probability * (1 - probability))
    expected = torch.kron(correlations(8, 3), correlations(6, 3))
    assert (covariance - expected).abs().max() < 0.05 and expected.max() > 0.3


def test_mask_n_depends_on_seed_and_n_and_size_alone(images):
    first = masks(Rise(8), images)
    assert torch.equal(masks(Rise(20), images)[:8], first)
    assert torch.equal(masks(Rise(8), images[:1].flip(3)), first)
    assert torch.equal(Rise(8).masks(images)(torch.tensor([5, 2])), first[[5, 2]])
    torch.manual_seed(99)
    assert torch.equal(masks(Rise(8), images), first)
    assert len(torch.unique(first, dim=0)) == 8
    assert not torch.equal(masks(Rise(8, seed=1), images), first)
    torch.testing.assert_close(masks(Rise(8), images.float()).double(), first, rtol=0, atol=1e-6)


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "baseline", "shade"), [(0.5, "black", 0.0), (0.2, "white", 1.0), (0.8, "mean", 0.5)]
)
def test_a_linear_networks_map_tends_to_what_each_cell_gives(probability, baseline, shade, linear, images, monkeypatch):
    """The error of 16 times as many samples is a quarter."""
    monkeypatch.setattr(variants, "AT_ONCE", 500)
    model, weights = linear
    given = (weights[3] * (images - shade)).sum(1)
    expected = correlations(16, 4) @ given @ correlations(12, 4).T
    errors = []
    for samples in (500, 8000):
        found = [
            Rise(samples, grid=4, probability=probability, baseline=baseline, seed=seed)(model, Logit(3), images)
            for seed in range(4)
        ]
        errors.append((torch.stack(found) - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    assert errors[1] < 0.1
    assert 3 < errors[0] / errors[1] < 5.5


def test_one_cell_is_the_whole_image(model, images):
    """With one cell all or nothing is seen, and the map is what the whole image adds."""
    with torch.no_grad():
        gain = model(images)[:, 1] - model(torch.zeros_like(images))[:, 1]
    method = Rise(300, grid=1)
    seen = masks(method, images)[:, 0, 0]
    assert set(seen.tolist()) == {0.0, 1.0}
    expected = (gain * seen.var() / 0.25)[:, None, None].expand(-1, 16, 12)
    torch.testing.assert_close(method(model, Logit(1), images), expected, rtol=1e-9, atol=1e-12)


@EVERY_METHOD
def test_a_constant_that_is_added_to_the_score_changes_nothing(method, model, images):
    before = method(model, Logit(1), images)
    with torch.no_grad():
        model.network[6].bias += 1000
    torch.testing.assert_close(method(model, Logit(1), images), before, rtol=1e-9, atol=1e-9)


@EVERY_METHOD
def test_maps_are_linear_in_the_objective(method, model, images):
    one, other = Logit(1), Channel("3", 2)
    parts = [method(model, objective, images) for objective in (one, other)]
    torch.testing.assert_close(method(model, 2 * one - other, images), 2 * parts[0] - parts[1], rtol=1e-9, atol=1e-9)


def test_an_image_that_is_its_baseline_explains_nothing(model):
    black = torch.zeros(1, 3, 16, 12, dtype=torch.float64)
    assert (Rise(40)(model, Logit(1), black).abs() < 1e-12).all()


# --- batches and memory ---------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_neither_the_batch_nor_the_size_of_a_piece_matters(method, at_once, model, images, monkeypatch):
    targets = [Logit(target) - Channel("3", target) for target in (4, 0, 2)]
    rows = torch.tensor([2, 2, 0, 1])
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows, images, strict=True)]
    monkeypatch.setattr(variants, "AT_ONCE", at_once)
    together = method(model, Objective.stack(targets), images, rows)
    assert together.shape == (4, 16, 12) and (together.flatten(1).std(1) > 0).all()
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_memory_that_runs_out_changes_nothing(model, images, monkeypatch):
    expected = Rise(40)(model, Logit(1), images)
    real = variants.scores
    sizes: list[int] = []

    def little(model, objective, images, rows):
        sizes.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, objective, images, rows)

    monkeypatch.setattr(variants, "scores", little)
    torch.testing.assert_close(Rise(40)(model, Logit(1), images), expected, rtol=1e-9, atol=1e-9)
    assert sizes == [32, 16, 8] + [4] * 40


def test_never_are_more_masks_made_than_are_shown_at_once(model, images, monkeypatch):
    made: list[int] = []
    real = Rise.masks

    def counted(self, images):
        mask = real(self, images)

        def counting(numbers):
            made.append(len(numbers))
            return mask(numbers)

        return counting

    monkeypatch.setattr(Rise, "masks", counted)
    Rise(100)(model, Logit(1), images)
    assert max(made) == variants.AT_ONCE and sum(made) == 4 * 100 + 100


@EVERY_METHOD
def test_single_precision_is_near_double(method, model, images):
    expected = method(model, Logit(1), images)
    found = method(model.float(), Logit(1), images.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_same_seed_gives_the_same_bytes(model, images):
    first = Rise(40)(model, Logit(1), images)
    torch.manual_seed(99)
    assert torch.equal(Rise(40)(model, Logit(1), images), first)
    assert not torch.equal(Rise(40, seed=1)(model, Logit(1), images), first)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_wrong_numbers_are_named(value):
    with pytest.raises(ValueError, match="attribution.samples is .*; it must be a whole number from 2 on"):
        Rise(samples=value)
    with pytest.raises(ValueError, match="attribution.grid is .*; it must be a whole number from 1 on"):
        Rise(grid=value)
    with pytest.raises(ValueError, match="attribution.samples is 1; "):
        Rise(samples=1)


@pytest.mark.parametrize("value", [0, 1, -0.5, 1.5, True, "half", float("nan")])
def test_a_probability_that_leaves_no_choice_is_refused(value):
    with pytest.raises(ValueError, match="attribution.probability is .*; it must lie between 0 and 1"):
        Rise(probability=value)


def test_a_wrong_baseline_is_named(images):
    with pytest.raises(ValueError, match="attribution.baseline is 'grey'"):
        Rise(baseline="grey")
    with pytest.raises(ValueError, match="baseline mean needs a model that normalises"):
        Rise(baseline="mean").check(networks.plain().double(), Logit(1), images[:1])
