import pytest
import torch

from interpret_runs.image_statistics import COLOUR
from interpret_runs.parameterisation import Parameterisation
from interpret_runs.parameterisations import Fourier, Pixel
from interpret_runs.size import height_and_width

BOTH = pytest.mark.parametrize("kind", [Fourier, Pixel])
SIZES = pytest.mark.parametrize("size", [1, 2, 7, 8, (7, 12), (12, 7), (8, 6), (5, 9)])


def unbounded(images: torch.Tensor) -> torch.Tensor:
    """What the sigmoid was given."""
    return images.double().logit()


@BOTH
@SIZES
def test_every_size_gives_rgb_of_that_size(kind, size):
    images = kind(size, std=1.0, seeds=(0, 1))()
    assert images.shape == (2, 3, *height_and_width(size))
    assert images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0


@BOTH
@SIZES
def test_no_spread_is_flat_grey(kind, size):
    assert torch.equal(kind(size, std=0)(), torch.full((1, 3, *height_and_width(size)), 0.5))


@BOTH
def test_rgb_stays_in_range_however_large_the_parameters(kind):
    images = kind(16, std=1e4)()
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1


@BOTH
def test_the_start_is_nearly_flat_whatever_the_size(kind):
    for size in (32, 64, 128):
        assert 0.001 < kind(size)().std() < 0.006


@BOTH
@SIZES
def test_gradients_reach_every_parameter(kind, size):
    """Of the spectrum, a real image leaves the imaginary part of a few coefficients without effect."""
    parameterisation = kind(size, std=0.1)
    weights = torch.randn(parameterisation().shape, generator=torch.Generator().manual_seed(0))
    (parameterisation() * weights).sum().backward()
    for parameter in parameterisation.parameters():
        reached = parameter.grad != 0
        assert parameter.grad.isfinite().all()
        assert (reached.any(-1) if kind is Fourier else reached).all()


@BOTH
@pytest.mark.parametrize("images", [1, 3])
def test_a_start_depends_on_its_own_seed_alone(kind, images):
    together = kind((8, 6), images, seeds=(5, 3, 9))()
    for run, seed in enumerate((5, 3, 9)):
        alone = kind((8, 6), images, seeds=(seed,))()
        torch.testing.assert_close(together[run * images : (run + 1) * images], alone, rtol=0, atol=1e-6)
    assert torch.unique(together, dim=0).shape[0] == 3 * images, "no two images start equal"


@BOTH
def test_global_random_state_neither_matters_nor_changes(kind):
    first = kind(8, seeds=(1,))()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(kind(8, seeds=(1,))(), first)
    assert torch.equal(torch.random.get_rng_state(), before)


@BOTH
def test_a_state_dict_holds_the_image(kind):
    saved, other = kind(8, seeds=(1,)), kind(8, seeds=(2,))
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other(), saved())


@BOTH
def test_double_precision_is_the_same_image(kind):
    single, double = kind((8, 7), std=1.0)(), kind((8, 7), std=1.0).double()()
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


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


@pytest.mark.parametrize("kind", [Fourier, Pixel])
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
@BOTH
def test_a_wrong_size_is_named(kind, size):
    with pytest.raises(ValueError, match="is not a positive number of pixels, nor"):
        kind(size)


@pytest.mark.parametrize("images", [0, -1, 1.5, True, None])
@BOTH
def test_a_wrong_number_of_images_is_named(kind, images):
    with pytest.raises(ValueError, match="parameterisation.images is .*; it must be a whole number from 1 on"):
        kind(8, images)


def test_a_parameterisation_must_say_how_it_becomes_an_image():
    with pytest.raises(TypeError):
        Parameterisation(8, 1, (0,))
