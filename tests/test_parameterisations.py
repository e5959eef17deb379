from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from interpret_runs import parameterisations
from interpret_runs.image_statistics import COLOUR, ImageStatistics
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Cppn, Fourier, Laplacian, Maco, Pixel
from interpret_runs.size import height_and_width

BASES = pytest.mark.parametrize("kind", [Fourier, Pixel, Laplacian])
ALL = pytest.mark.parametrize("kind", [Fourier, Pixel, Laplacian, Cppn, Maco])
SIZES = pytest.mark.parametrize("size", [1, 2, 7, 8, (7, 12), (12, 7), (8, 6), (5, 9)])


def unbounded(images: torch.Tensor) -> torch.Tensor:
    """What the sigmoid was given."""
    return images.double().logit()


def climbed(parameterisation: Parameterisation, steps: int = 4, lr: float = 0.05) -> Parameterisation:
    """After steps of Adam towards the same random image for all, those of one run apart."""
    height, width = parameterisation.size
    target = torch.rand(parameterisation.images, 3, height, width, generator=torch.Generator().manual_seed(0))
    target = target.repeat(len(parameterisation.seeds), 1, 1, 1)
    optimizer = torch.optim.Adam(parameterisation.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (parameterisation() - target).square().sum().backward()
        optimizer.step()
    return parameterisation


@ALL
@SIZES
def test_every_size_gives_rgb_of_that_size(kind, size):
    images = climbed(kind(size, seeds=(0, 1)))()
    assert images.shape == (2, 3, *height_and_width(size))
    assert images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0


@BASES
@SIZES
def test_no_spread_is_flat_grey(kind, size):
    assert torch.equal(kind(size, std=0)(), torch.full((1, 3, *height_and_width(size)), 0.5))


@ALL
def test_rgb_stays_in_range_however_large_the_parameters(kind):
    parameterisation = climbed(kind(16))
    with torch.no_grad():
        for parameter in parameterisation.parameters():
            parameter *= 1e6
    images = parameterisation()
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1


@BASES
def test_the_start_is_nearly_flat_whatever_the_size(kind):
    for size in (32, 64, 128):
        assert 0.001 < kind(size)().std() < 0.006


@ALL
@SIZES
def test_gradients_reach_every_parameter(kind, size):
    """Of a spectrum, a real image leaves some imaginary parts without effect; a single pixel has no place."""
    parameterisation = climbed(kind(size), 1)
    parameterisation.zero_grad()
    weights = torch.randn(parameterisation().shape, generator=torch.Generator().manual_seed(0))
    (parameterisation() * weights).sum().backward()
    for name, parameter in parameterisation.named_parameters():
        assert parameter.grad.isfinite().all()
        if kind is Cppn and size == 1 and name == "weights.0":
            continue
        reached = parameter.grad != 0
        assert (reached.any(-1) if kind is Fourier else reached).all()


@ALL
@pytest.mark.parametrize("images", [1, 3])
def test_a_run_depends_on_its_own_seed_alone(kind, images):
    together = climbed(kind((8, 6), images, seeds=(5, 3, 9)).double())()
    for run, seed in enumerate((5, 3, 9)):
        alone = climbed(kind((8, 6), images, seeds=(seed,)).double())()
        torch.testing.assert_close(together[run * images : (run + 1) * images], alone, rtol=0, atol=1e-9)
    assert torch.unique(together, dim=0).shape[0] == 3 * images, "no two images are equal"


@ALL
def test_no_parameter_belongs_to_two_runs(kind):
    """What one run's images weigh leaves the other's parameters without gradient."""
    parameterisation = climbed(kind(6, 2, seeds=(0, 1)), 1)
    parameterisation.zero_grad()
    parameterisation()[2:].square().sum().backward()
    for parameter in parameterisation.parameters():
        assert len(parameter) == 4
        assert (parameter.grad[:2] == 0).all() and (parameter.grad[2:] != 0).any()


@ALL
def test_global_random_state_neither_matters_nor_changes(kind):
    first = kind(8, seeds=(1,)).state_dict()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    torch.testing.assert_close(kind(8, seeds=(1,)).state_dict(), first, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), before)


@ALL
def test_a_state_dict_holds_the_image(kind):
    saved, other = climbed(kind(8, seeds=(1,))), kind(8, seeds=(2,))
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other(), saved())


@ALL
def test_double_precision_is_the_same_image(kind):
    parameterisation = climbed(kind((8, 7)))
    single, double = parameterisation(), parameterisation.double()()
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-4)


@ALL
def test_images_are_opaque(kind):
    parameterisation = kind(4)
    parameterisation()
    assert parameterisation.opacity is None and parameterisation.straight is None


@BASES
@SIZES
@pytest.mark.parametrize("decorrelate", [True, False])
def test_a_basis_holds_any_picture(kind, size, decorrelate):
    pictures = torch.rand(2, 3, *height_and_width(size), generator=torch.Generator().manual_seed(0))
    pictures[0, 0], pictures[0, 1] = 0, 1
    parameterisation = kind(size, seeds=(0, 1), std=1.0, decorrelate=decorrelate)
    parameterisation.hold(pictures)
    torch.testing.assert_close(parameterisation(), pictures, rtol=0, atol=0.5 / 255 + 1e-5)


@BASES
def test_holding_is_no_step_that_is_differentiated(kind):
    parameterisation = kind(4)
    parameterisation.hold(torch.rand(1, 3, 4, 4, requires_grad=True))
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in parameterisation.parameters())


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_the_spectrum_falls_as_a_power_of_frequency(decay, size):
    images = Fourier(size, images=8, decay=decay, std=0.01, decorrelate=False)()
    amplitude = torch.fft.rfft2(unbounded(images), norm="ortho").abs().mean((0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None]).double()
    inside = frequency > 0
    x, y = frequency[inside].log(), amplitude[inside].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(-decay, abs=0.1)


@BASES
@pytest.mark.parametrize("decorrelate", [True, False])
def test_colours_are_correlated_as_in_photographs(kind, decorrelate):
    values = unbounded(kind(64, images=16, std=0.01, decorrelate=decorrelate)()).transpose(0, 1).flatten(1)
    covariance = values.cov()
    expected = (COLOUR @ COLOUR.T if decorrelate else torch.eye(3)).double()
    torch.testing.assert_close(covariance / covariance.trace(), expected / expected.trace(), rtol=0.15, atol=0.03)


def test_the_colour_matrix_is_the_published_one():
    """Rows are R, G, B; the first axis is brightness. A transposed matrix would tint it."""
    expected = [[0.562829, 0.194825, 0.043295], [0.584476, 0.0, -0.108236], [0.584476, -0.194825, 0.064942]]
    torch.testing.assert_close(COLOUR, torch.tensor(expected), rtol=0, atol=1e-6)
    pixel = Pixel(1, std=0)
    pixel.pixels.data[0, 0] = 1.0
    torch.testing.assert_close(unbounded(pixel()).flatten().float(), COLOUR[:, 0])


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", "64", None, True, (8,), (8, 8, 8), (8, 0), (8, 2.5), (True, 8), ()])
@ALL
def test_a_wrong_size_is_named(kind, size):
    with pytest.raises(ValueError, match="is not a positive number of pixels, nor"):
        kind(size)


@pytest.mark.parametrize("images", [0, -1, 1.5, True, None])
@ALL
def test_a_wrong_number_of_images_is_named(kind, images):
    with pytest.raises(ValueError, match="parameterisation.images is .*; it must be a whole number from 1 on"):
        kind(8, images)


def test_a_parameterisation_must_say_how_it_becomes_an_image():
    with pytest.raises(TypeError):
        Parameterisation(8, 1, (0,))


# --- statistics of other photographs ------------------------------------------------------------------------------


def statistics_file(folder: Path, magnitude: torch.Tensor | None = None) -> str:
    """Statistics whose colours are ImageNet's with red and blue exchanged."""
    file = folder / "own.safetensors"
    file.write_bytes(ImageStatistics(COLOUR.flip(0), magnitude).to_bytes())
    return str(file)


@ALL
def test_statistics_change_the_colours(kind, tmp_path):
    """With red and blue exchanged in the statistics, they are in the image, at the start and whatever it holds."""
    settings = {"seeds": (1,), "decorrelate": True}
    plain, own = kind(8, **settings), kind(8, statistics=statistics_file(tmp_path), **settings)
    for parameter, other in zip(climbed(plain).parameters(), own.parameters(), strict=True):
        other.data.copy_(parameter)
    torch.testing.assert_close(own(), plain().flip(1))


def test_a_fourier_spectrum_follows_that_of_the_photographs(tmp_path):
    down, across = torch.fft.fftfreq(16)[:, None], torch.fft.rfftfreq(16)
    gaussian = (-20 * (down.square() + across.square())).exp().repeat(3, 1, 1)
    made = partial(Fourier, 16, images=64, decorrelate=False, statistics=statistics_file(tmp_path, gaussian))
    for decay in (1.0, 2.0):
        amplitude = torch.fft.rfft2(unbounded(made(decay=decay)()), norm="ortho").abs().mean((0, 1))[1:8, 1:8]
        ratio = amplitude / gaussian[0, 1:8, 1:8] ** decay
        assert ratio.max() / ratio.min() < 1.5


def test_a_fourier_image_moves_as_far_whatever_the_scale_of_the_statistics(tmp_path):
    law = ImageStatistics.of(None).spectrum(8)
    made = Fourier(8, statistics=statistics_file(tmp_path, 1000 * law))
    torch.testing.assert_close(made.scale, Fourier(8).scale)


def test_what_photographs_lack_can_still_be_held(tmp_path):
    magnitude = torch.rand(3, 8, 5, generator=torch.Generator().manual_seed(0)).round()
    magnitude[2] = 0
    made = Fourier(8, statistics=statistics_file(tmp_path, magnitude)).double()
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    made.hold(picture)
    torch.testing.assert_close(made(), picture, rtol=0, atol=0.5 / 255 + 1e-9)


# --- levels -------------------------------------------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_each_level_has_half_the_sides_of_the_one_before_rounded_up(size, levels):
    height, width = height_and_width(size)
    shapes = [tuple(level.shape) for level in Laplacian(size, levels=levels).levels]
    assert shapes == [(1, 3, -(-height // 2**level), -(-width // 2**level)) for level in range(levels)]


@SIZES
def test_levels_add_up(size):
    """What is on a coarse level shows in the image as that level, enlarged."""
    made = Laplacian(size, levels=3, std=0, decorrelate=False).double()
    made.levels[2].data.normal_(generator=torch.Generator().manual_seed(0))
    enlarged = functional.interpolate(made.levels[2], made.size, mode="bilinear")
    torch.testing.assert_close(unbounded(made()), enlarged)
    made.levels[0].data.normal_(generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(unbounded(made()), enlarged + made.levels[0])


def test_levels_start_apart():
    coarse, coarser = Laplacian(4, levels=4).levels[2:]
    assert coarse.shape == coarser.shape and not torch.equal(coarse, coarser)


def test_one_level_is_pixels():
    laplacian, pixel = Laplacian((5, 6), levels=1, std=1.0), Pixel((5, 6), std=1.0)
    pixel.pixels.data.copy_(laplacian.levels[0])
    assert torch.equal(laplacian(), pixel())


# --- networks -----------------------------------------------------------------------------------------------------


def drawn(size, **settings) -> Cppn:
    """Networks whose last map is as strong as the others."""
    made = Cppn(size, channels=6, layers=3, **settings).double()
    last = made.weights[-1].data
    last.copy_(torch.randn(last.shape, generator=torch.Generator().manual_seed(0)) / made.rate / 3)
    return made


@SIZES
def test_a_network_starts_mid_grey(size):
    assert torch.equal(Cppn(size)(), torch.full((1, 3, *height_and_width(size)), 0.5))


@SIZES
def test_rendering_at_its_own_size_is_calling(size):
    made = drawn(size, seeds=(0, 1))
    torch.testing.assert_close(torch.cat([made.render(size, 0), made.render(size, 1)]), made(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 50, 10_000])
def test_a_network_is_what_its_formula_says(monkeypatch, at_once):
    monkeypatch.setattr(parameterisations, "FEWEST", 1)
    monkeypatch.setattr(parameterisations, "CACHED", 6 * 2 * at_once)
    made = drawn((9, 11), seeds=(0, 1))
    down, across = ((torch.arange(side).double() - (side - 1) / 2) * 2 * 3**0.5 / 11 for side in (9, 11))
    values = torch.stack([across.repeat(9), down.repeat_interleave(11)]).expand(2, -1, -1)
    for weight, bias in zip(made.weights, made.biases, strict=True):
        plain = made.rate * (weight @ values + bias)
        values = torch.cat([plain.atan() / 0.67, (plain.atan() ** 2 - 0.45) / 0.396], 1)
    torch.testing.assert_close(made(), plain.sigmoid().view(2, 3, 9, 11), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(24, 24), (17, 30), (30, 17)])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_larger_rendering_shows_the_same_image(size, factor):
    made = drawn(size, seeds=(0, 1))
    larger = torch.cat([made.render([factor * side for side in size], image) for image in (0, 1)])
    assert larger.shape == (2, 3, factor * size[0], factor * size[1])
    images = made()
    assert images.std() > 0.05
    torch.testing.assert_close(functional.avg_pool2d(larger, factor), images, rtol=0, atol=0.03)
    if factor == 3:  # an odd factor has a pixel at the same place
        torch.testing.assert_close(larger[:, :, 1::3, 1::3], images, rtol=0, atol=1e-5)


def test_a_wider_rendering_shows_more_at_the_sides():
    """The longer side decides: as tall in pixels and twice as wide, the image in the middle is half as large."""
    made = drawn(12)
    torch.testing.assert_close(made.render((6, 12), 0), made()[:, :, 3:9], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [0.01, 1])
def test_the_rate_changes_steps_and_no_start(rate):
    usual, other = Cppn(4, channels=5, layers=2), Cppn(4, channels=5, layers=2, rate=rate)
    for one, two in zip(usual.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(0.1 * one, rate * two)
    before = [rate * parameter.detach() for parameter in other.parameters()]
    after = [rate * parameter.detach() for parameter in climbed(other, 2).parameters()]
    moved = max(float((two - one).abs().max()) for one, two in zip(before, after, strict=True))
    assert moved == pytest.approx(rate * 0.1, rel=0.01), "two steps of Adam at 0.05"


def test_more_layers_hold_more_numbers():
    assert Cppn(4, layers=8).copies > Cppn(4, layers=2).copies > Fourier(4).copies


# --- fixed magnitudes ---------------------------------------------------------------------------------------------


def standardised(made: Maco) -> torch.Tensor:
    """What `made` has before colours and sigmoid."""
    return torch.einsum("oc,bchw->bohw", torch.linalg.inv(made.colour.double()), unbounded(made()))


@SIZES
def test_images_of_fixed_magnitude_are_standardised(size):
    values = standardised(climbed(Maco(size, images=2).double())).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(values.std(1, correction=0), torch.ones(2).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (48, 81)])
def test_no_pixel_stands_out_at_the_start(size):
    """A normal phase leaves an impulse of 40 standard deviations in a corner."""
    values = standardised(Maco(size, images=8).double())
    assert values.abs().max() < 6


def test_phases_start_uniform():
    made = Maco(64, images=8, seeds=(1,))
    phase = (made.rate * made.phase).detach().flatten().double()
    assert phase.abs().max() <= torch.pi
    sorted_phase, count = phase.sort().values, phase.numel()
    expected = (torch.arange(count) / count * 2 - 1) * torch.pi
    assert (sorted_phase - expected).abs().max() < 2 * torch.pi * 1.7 / count**0.5, "Kolmogorov and Smirnov"


@pytest.mark.parametrize("size", [(16, 16), (15, 9), (8, 13), (13, 8), (1, 8), (8, 1), (2, 2)])
def test_only_the_phase_is_free(size):
    """But for what a real image has no phase for: frequencies that are their own negative."""
    made = climbed(Maco(size, images=2).double(), steps=8)
    amplitude = torch.fft.rfft2(standardised(made), norm="ortho").abs()
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1] // 2 + 1)
    free = ((2 * rows % size[0] != 0) | (2 * columns % size[1] != 0)).expand(amplitude.shape[1:])
    ratio = (amplitude / made.magnitude)[:, free]
    if free.any():
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-6, atol=0)


def test_magnitudes_are_those_of_the_photographs(tmp_path):
    magnitude = torch.rand(3, 8, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    made = Maco(8, statistics=statistics_file(tmp_path, magnitude))
    ratio = (made.magnitude / magnitude).flatten(1)[:, 1:]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))


def test_a_step_turns_phases_by_the_rate():
    made = Maco(8, rate=3).double()
    before = made.phase.detach().clone()
    turned = 3 * (climbed(made, 1).phase - before)
    torch.testing.assert_close(turned.abs().amax(), torch.tensor(0.15).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), True, "fast"])
@pytest.mark.parametrize("kind", [Cppn, Maco])
def test_a_wrong_rate_is_named(kind: Callable[..., Parameterisation], rate):
    with pytest.raises(ValueError, match="parameterisation.rate is .*; it must be a number above 0"):
        kind(8, rate=rate)


@pytest.mark.parametrize(("kind", "name"), [(Laplacian, "levels"), (Cppn, "layers"), (Cppn, "channels")])
@pytest.mark.parametrize("number", [0, -1, 1.5, True, None])
def test_a_wrong_number_is_named(kind: Callable[..., Parameterisation], name: str, number):
    with pytest.raises(ValueError, match=f"parameterisation.{name} is .*; it must be a whole number from 1 on"):
        kind(8, **{name: number})
