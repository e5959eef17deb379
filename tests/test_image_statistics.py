import os
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import photograph
from torch import Tensor

from interpret_runs.image_statistics import COLOUR, ImageStatistics, unbounded

SIZES = pytest.mark.parametrize("size", [1, 2, 7, 8, (7, 12), (12, 7), (8, 6), (5, 9)])


def random_images(count: int, *size: int, seed: int = 0) -> list[Tensor]:
    """Images whose colours go together."""
    drawn = torch.rand(count, 4, *size, generator=torch.Generator().manual_seed(seed))
    return list(0.6 * drawn[:, :1] + 0.4 * drawn[:, 1:])


def spectrum(*shape: int) -> Tensor:
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) + 0.1


def covariance(images: list[Tensor]) -> Tensor:
    return torch.stack(images, 1).flatten(1).double().cov(correction=0)


# --- files --------------------------------------------------------------------------------------------------------


def test_without_a_file_they_are_imagenets_colours_and_a_power_law():
    statistics = ImageStatistics.of(None)
    assert torch.equal(statistics.colour, COLOUR) and statistics.magnitude is None


@pytest.mark.parametrize("magnitude", [None, spectrum(5, 4)])
def test_statistics_survive_the_round_trip(tmp_path: Path, magnitude: Tensor | None):
    file = tmp_path / "own.safetensors"
    file.write_bytes(ImageStatistics(COLOUR.flip(0), magnitude).to_bytes())
    read = ImageStatistics.of(str(file))
    assert torch.equal(read.colour, COLOUR.flip(0))
    assert read.magnitude is magnitude is None or torch.equal(read.magnitude, magnitude)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
def test_a_spectrum_alone_goes_with_imagenets_colours(tmp_path: Path, dtype: str):
    np.save(tmp_path / "spectrum.npy", spectrum(6, 4).numpy().astype(dtype))
    read = ImageStatistics.of(str(tmp_path / "spectrum.npy"))
    assert torch.equal(read.colour, COLOUR) and torch.equal(read.magnitude, spectrum(6, 4))


def test_a_file_that_changes_is_read_again(tmp_path: Path):
    file = tmp_path / "spectrum.npy"
    for step, factor in enumerate((1, 2)):
        np.save(file, factor * np.ones((3, 4, 3)))
        os.utime(file, (step, step))
        assert float(ImageStatistics.of(str(file)).magnitude.max()) == factor


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"'nowhere.npy'; task=statistics makes one for .*statistics=FILE"):
        ImageStatistics.of("nowhere.npy")
    with pytest.raises(FileNotFoundError, match="no file"):
        ImageStatistics.of(str(tmp_path))


NAN = torch.full((3, 4, 3), torch.nan)


@pytest.mark.parametrize(
    ("magnitude", "reason"),
    [
        (torch.ones(4, 3), r"its spectrum is \[4, 3\]; it must be \(3, h, w // 2 \+ 1\)"),
        (torch.ones(1, 3, 4, 3), "its spectrum is"),
        (torch.ones(4, 3, 3), "its spectrum is"),
        (torch.ones(3, 0, 3), "its spectrum is"),
        (-torch.ones(3, 4, 3), "nowhere negative"),
        (torch.zeros(3, 4, 3), "not all 0"),
        (NAN, "must be finite"),
        (torch.full((3, 4, 3), torch.inf), "must be finite"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_a_wrong_spectrum_is_named(tmp_path: Path, magnitude: Tensor, reason: str, suffix: str):
    file = tmp_path / f"wrong{suffix}"
    if suffix == ".npy":
        np.save(file, magnitude.numpy())
    else:
        safetensors.torch.save_file({"colour": COLOUR, "magnitude": magnitude}, file)
    with pytest.raises(ValueError, match=f"wrong.*cannot be read as image statistics: .*{reason}"):
        ImageStatistics.of(str(file))


@pytest.mark.parametrize(
    ("colour", "reason"),
    [
        (torch.ones(3), "its colours are"),
        (torch.eye(4), "its colours are"),
        (torch.full((3, 3), torch.nan), "finite"),
        (torch.ones(3, 3), "no inverse"),
    ],
)
def test_a_wrong_matrix_of_colours_is_named(tmp_path: Path, colour: Tensor, reason: str):
    safetensors.torch.save_file({"colour": colour}, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=reason):
        ImageStatistics.of(str(tmp_path / "wrong.safetensors"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.safetensors", b"", "header"),
        ("a.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense", "header"),
        ("a.safetensors", safetensors.torch.save({"magnitude": torch.ones(3, 4, 3)}), "holds magnitude, not colour"),
        ("a.safetensors", safetensors.torch.save({"colour": COLOUR, "more": torch.ones(1)}), "holds colour, more, not"),
        ("a.safetensors", safetensors.torch.save({}), "holds nothing"),
        ("a.npy", b"", "No data left"),
        ("a.npy", b"nonsense", "pickled"),
        ("a.pt", b"nonsense", "must end in .safetensors or .npy"),
    ],
)
def test_another_file_is_named(tmp_path: Path, name: str, content: bytes, reason: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read as image statistics: .*{reason}"):
        ImageStatistics.of(str(tmp_path / name))


@pytest.mark.parametrize("array", [np.ones((3, 4, 3), dtype=complex), np.array([["a"]]), np.array([None])])
def test_an_array_of_something_else_is_named(tmp_path: Path, array: np.ndarray):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read as image statistics"):
        ImageStatistics.of(str(tmp_path / "a.npy"))


def test_an_archive_of_arrays_is_named(tmp_path: Path):
    np.savez(tmp_path / "a.npz", np.ones(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="holds no array of real numbers"):
        ImageStatistics.of(str(tmp_path / "a.npy"))


# --- estimates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (7, 12), (1, 9)])
def test_colours_are_a_square_root_of_the_covariance(size: tuple[int, int]):
    images = random_images(5, *size)
    colour = ImageStatistics.estimate(images, size).colour.double()
    expected = covariance(images)
    torch.testing.assert_close(colour @ colour.T, expected / torch.linalg.eigvalsh(expected)[-1], rtol=0, atol=1e-6)
    lengths = colour.norm(dim=0)
    assert lengths[0] == pytest.approx(1) and (lengths.diff() < 0).all(), "the strongest axis comes first"
    for axis in (colour / lengths).T:
        assert axis[axis.abs() > 0.1][0] > 0, "signs are no chance"


def test_the_spectrum_is_the_mean_over_images_along_the_axes_of_their_colours():
    images = random_images(4, 6, 9)
    found = ImageStatistics.estimate(images, (6, 9))
    values = unbounded(torch.stack(images).double(), found.colour.double())
    expected = torch.fft.rfft2(values, norm="ortho").abs().mean(0)
    torch.testing.assert_close(found.magnitude.double(), expected, rtol=1e-4, atol=1e-4)


def test_neither_order_nor_repetition_matters_and_the_size_may_be_left_out():
    images = random_images(3, 6, 6)
    once, again = ImageStatistics.estimate(images, 6), ImageStatistics.estimate(tuple(reversed(images * 2)))
    torch.testing.assert_close(again.colour, once.colour)
    torch.testing.assert_close(again.magnitude, once.magnitude)


def test_images_without_colour_give_axes_that_can_be_inverted():
    images = [image[:1].expand(3, -1, -1) for image in random_images(3, 8, 8)]
    found = ImageStatistics.estimate(images, 8)
    assert torch.linalg.cond(found.colour) <= 101
    torch.testing.assert_close(found.colour[:, 0], torch.full((3,), 3**-0.5))
    assert found.magnitude[0].min() > 0.1 and found.magnitude[1:].max() < 1e-3


def test_photographs_have_a_falling_spectrum_and_brightness_first():
    images = [photograph(name)[0] for name in ("chelsea", "coffee", "astronaut", "rocket")]
    found = ImageStatistics.estimate(images)
    assert (found.colour[:, 0] > 0.4).all()
    coarse, middle, fine = (found.magnitude[0, rows, 0].mean() for rows in (slice(1, 5), slice(20, 30), slice(90, 112)))
    assert coarse > 4 * middle > 12 * fine


class Lazy:
    """Makes each image when it is asked for, and knows which are still there."""

    def __init__(self) -> None:
        self.alive: WeakSet[Tensor] = WeakSet()
        self.most = 0

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(9):
            (image,) = random_images(1, 4, 4, seed=number)
            self.alive.add(image)
            self.most = max(self.most, len(self.alive))
            yield image


def test_images_are_held_one_at_a_time():
    images = Lazy()
    found, expected = ImageStatistics.estimate(images, 4), ImageStatistics.estimate(list(Lazy()), 4)
    assert torch.equal(found.magnitude, expected.magnitude) and images.most <= 2


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "no image to take statistics of; give at least one"),
        ([torch.full((3, 4, 4), 0.3)] * 2, "all of one flat colour"),
        ([torch.rand(3, 4, 4), torch.rand(3, 4, 5)], r"image 1 is \[3, 4, 5\]; all must be \[3, 4, 4\]"),
        ([torch.rand(1, 4, 4)], r"image 0 is \[1, 4, 4\]"),
        ([torch.rand(3, 4, 4) * 255], r"image 0 is not RGB in \[0, 1\]"),
        ([torch.rand(3, 4, 4) - 1], "image 0 is not RGB"),
        ([torch.full((3, 4, 4), torch.nan)], "image 0 is not RGB"),
    ],
)
@pytest.mark.parametrize("size", [None, 4])
def test_images_that_have_no_statistics_are_named(images: list[Tensor], reason: str, size: int | None):
    with pytest.raises(ValueError, match=reason):
        ImageStatistics.estimate(images, size)


def test_images_that_come_once_are_refused():
    with pytest.raises(TypeError, match="gone through twice: give a list"):
        ImageStatistics.estimate(iter(random_images(2, 4, 4)), 4)


# --- spectra of any size ------------------------------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("stored", [(1, 1), (2, 2), (5, 3), (8, 5), (8, 3)])
def test_a_spectrum_has_the_size_asked_for_and_stays_within_the_stored_one(size, stored):
    statistics = ImageStatistics(COLOUR, spectrum(*stored))
    height, width = (size, size) if isinstance(size, int) else size
    made = statistics.spectrum(size)
    assert made.shape == (3, height, width // 2 + 1)
    bottom, top = statistics.magnitude.amin((1, 2)), statistics.magnitude.amax((1, 2))
    assert (made.amin((1, 2)) >= bottom - 1e-6).all() and (made.amax((1, 2)) <= top + 1e-6).all()


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (8, 12), (5, 6)])
def test_at_its_own_size_a_spectrum_is_as_stored_but_for_frequency_zero(size):
    statistics = ImageStatistics(COLOUR, spectrum(size[0], size[1] // 2 + 1))
    made, stored = statistics.spectrum(size), statistics.magnitude.clone()
    stored[:, 0, 0] = (stored[:, 1, 0] + stored[:, -1, 0] + stored[:, 0, 1]) / 3
    torch.testing.assert_close(made, stored)


def test_a_brightness_beyond_measure_leaves_every_other_frequency_alone():
    plain, bright = spectrum(8, 5), spectrum(8, 5)
    bright[:, 0, 0] = 1e9
    for size in (8, 5, (16, 64)):
        made = [ImageStatistics(COLOUR, magnitude).spectrum(size) for magnitude in (plain, bright)]
        assert torch.equal(*made)


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (33, 50)])
def test_frequencies_keep_their_place_when_the_size_changes(size):
    """A stored spectrum that is linear in both frequencies, one of them signed, has that value at any size."""

    def linear(height: int, width: int) -> Tensor:
        down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
        return (2 + down + 3 * across).repeat(3, 1, 1)

    made, expected = ImageStatistics(COLOUR, linear(32, 32)).spectrum(size), linear(*size)
    down, across = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    # Neither where negative rows meet positive ones, nor next to frequency zero, which has another value.
    inside = (down.abs() < 15 / 32) & (torch.maximum(down.abs(), across) >= 1 / 32)
    torch.testing.assert_close(made[:, inside], expected[:, inside], rtol=0, atol=1e-5)


@SIZES
def test_a_spectrum_of_real_images_is_symmetric_at_any_size(size):
    """Frequencies 0 and 1/2 across go with the negative rows as with the positive ones."""
    found = ImageStatistics.estimate(random_images(2, 8, 8), 8).spectrum(size)
    mirrored = found.flip(1).roll(1, 1)
    torch.testing.assert_close(found[:, :, 0], mirrored[:, :, 0])


@SIZES
def test_the_power_law_is_one_over_frequency(size):
    made = ImageStatistics.of(None).spectrum(size)
    height, width = (size, size) if isinstance(size, int) else size
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    torch.testing.assert_close((made * frequency)[:, frequency > 0], torch.ones(3, int((frequency > 0).sum())))
    # Frequency zero reaches as far as one wave along the longer side.
    torch.testing.assert_close(made[:, 0, 0], torch.full((3,), float(max(height, width))))
