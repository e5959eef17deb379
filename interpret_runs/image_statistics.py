"""What photographs have in common: how their colours correlate, and how strong each spatial frequency is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from interpret_runs.resampling import separable, triangles
from interpret_runs.size import Size, height_and_width

# Square root of the covariance of ImageNet's colours (Olah et al., 2017), scaled to a largest column norm of 1.
_COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOUR = _COLOUR / _COLOUR.norm(dim=0).max()

# Half a level of 8 bits: a picture in a file comes back as it was.
NEAREST = 0.5 / 255
# Least variance along an axis of colours, relative to the largest: images without colour still give three axes.
LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Colour correlation and spectrum of a set of photographs.

    Attributes:
        colour: (3, 3), from decorrelated axes to RGB, its largest column of norm 1.
        magnitude: mean |rfft2| (orthonormal) of the decorrelated photographs, (3, h, w // 2 + 1); None is the law
            ``1 / frequency``.

    Raises:
        ValueError: other shapes, a matrix that cannot be inverted, magnitudes that are negative or all 0, values
            that are not finite.
    """

    colour: Tensor
    magnitude: Tensor | None = None

    def __post_init__(self) -> None:
        if self.colour.shape != (3, 3) or not self.colour.isfinite().all():
            raise ValueError(f"its colours are {list(self.colour.shape)}; they must be (3, 3), and finite")
        if torch.linalg.matrix_rank(self.colour) < 3:
            raise ValueError("its matrix of colours has no inverse")
        magnitude = self.magnitude
        if magnitude is None:
            return
        if magnitude.ndim != 3 or magnitude.shape[0] != 3 or not magnitude.numel():
            raise ValueError(f"its spectrum is {list(magnitude.shape)}; it must be (3, h, w // 2 + 1)")
        if not magnitude.isfinite().all() or magnitude.min() < 0 or magnitude.max() == 0:
            raise ValueError("its spectrum must be finite, nowhere negative, and not all 0")

    @classmethod
    def of(cls, file: str | None) -> Self:
        """The statistics in a file, or ImageNet's colours and a power law.

        Args:
            file: ``.safetensors`` as `to_bytes` makes it, or ``.npy`` with a spectrum alone, (3, h, w // 2 + 1),
                which goes with ImageNet's colours.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it holds something else.
        """
        if file is None:
            return cls(COLOUR)
        path = Path(file).absolute()
        if not path.is_file():
            raise FileNotFoundError(
                f"no file of image statistics {file!r}; task=statistics makes one for parameterisation.statistics=FILE"
            )
        try:
            return cls(**_read(path, path.stat().st_mtime_ns))
        except ValueError as error:
            way_out = "task=statistics makes such a file"
            raise ValueError(f"{file} cannot be read as image statistics: {error}; {way_out}") from error

    @classmethod
    def estimate(cls, images: Iterable[Tensor], size: Size | None = None) -> Self:
        """The statistics of `images`, each (3, H, W), RGB in [0, 1], all of one size: `size`, or the first one's.

        They are gone through twice, one at a time: for the colours, then for the spectrum along their axes.

        Raises:
            TypeError: `images` can be gone through once only.
            ValueError: no image, one of another shape or range, or all of one flat colour.
        """
        if isinstance(images, Iterator):
            raise TypeError("images are gone through twice: give a list, or an object that starts anew, no iterator")
        shape = None if size is None else height_and_width(size)
        colour = _square_root(_covariance(_checked(images, shape)))
        total, count = torch.zeros((), dtype=torch.float64), 0
        for image in _checked(images, shape):
            total = total + torch.fft.rfft2(unbounded(image[None], colour)[0], norm="ortho").abs()
            count += 1
        return cls(colour.float(), (total / count).float())

    def to_bytes(self) -> bytes:
        """A ``.safetensors`` file, which `of` reads."""
        tensors = {"colour": self.colour}
        if self.magnitude is not None:
            tensors["magnitude"] = self.magnitude
        return safetensors.torch.save({name: tensor.float().contiguous() for name, tensor in tensors.items()})

    def spectrum(self, size: Size) -> Tensor:
        """The magnitude at the frequencies of an image of `size`, (3, H, W // 2 + 1).

        Between the frequencies of `magnitude` it is bilinear. Frequency 0, which tells how bright the photographs
        were, has the mean of its neighbours instead. Without `magnitude` it is ``1 / max(f, 1 / max(H, W))``.
        """
        height, width = height_and_width(size)
        down, across = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
        if self.magnitude is None:
            frequency = torch.hypot(down[:, None], across)
            return (1 / frequency.clamp(min=1 / max(height, width))).repeat(3, 1, 1)
        stored = self.magnitude.float().clone()
        rows, columns = stored.shape[1:]
        around = [stored[:, 1, 0], stored[:, -1, 0]] if rows > 1 else []
        around += [stored[:, 0, 1]] if columns > 1 else []
        if around:
            stored[:, 0, 0] = torch.stack(around).mean(0)
        # The number of columns leaves open whether the width is even; square images are the likeliest.
        stored_width = rows if rows // 2 + 1 == columns else 2 * (columns - 1)
        # Rows go from frequency 0 up, and from negative frequencies back to 0.
        stored = torch.cat([stored, stored[:, :1]], 1)
        from_rows = triangles(down * rows % rows, rows + 1)
        from_columns = triangles((across * stored_width).clamp(max=columns - 1), columns)
        return separable(stored[None], from_rows, from_columns)[0]


def unbounded(images: Tensor, colour: Tensor | None) -> Tensor:
    """RGB in [0, 1], (B, 3, H, W), to unbounded values, along the axes of a matrix of `colour` if given.

    What lies within `NEAREST` of 0 or 1 is moved that far away from them.
    """
    values = images.clamp(NEAREST, 1 - NEAREST).logit()
    return values if colour is None else torch.einsum("oc,bchw->bohw", torch.linalg.inv(colour), values)


@lru_cache(maxsize=8)
def _read(path: Path, mtime: int) -> dict[str, Tensor]:
    """The fields in a file; the time at which it was last changed is there for the cache."""
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, EOFError) as error:
            raise ValueError(str(error) or "it is damaged") from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ValueError("it holds no array of real numbers")
        return {"colour": COLOUR, "magnitude": torch.from_numpy(array.astype(np.float32))}
    if path.suffix != ".safetensors":
        raise ValueError("it must end in .safetensors or .npy")
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    if not {"colour"} <= tensors.keys() <= {"colour", "magnitude"}:
        names = sorted(tensors)
        held = ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
        raise ValueError(f"it holds {held or 'nothing'}, not colour and magnitude")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _checked(images: Iterable[Tensor], size: tuple[int, int] | None) -> Iterator[Tensor]:
    """The images in float64."""
    shape = None if size is None else (3, *size)
    for place, image in enumerate(images):
        shape = shape or (3, *image.shape[-2:])
        if image.shape != shape:
            raise ValueError(f"image {place} is {list(image.shape)}; all must be {list(shape)}")
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(f"image {place} is not RGB in [0, 1]: {float(image.min()):g} to {float(image.max()):g}")
        yield image.double()


def _covariance(images: Iterable[Tensor]) -> Tensor:
    """Covariance of the colours of all pixels, (3, 3)."""
    count, total, products = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for image in images:
        pixels = image.flatten(1)
        count += pixels.shape[1]
        total += pixels.sum(1)
        products += pixels @ pixels.T
    if not count:
        raise ValueError("no image to take statistics of; give at least one")
    mean = total / count
    return products / count - mean.outer(mean)


def _square_root(covariance: Tensor) -> Tensor:
    """Eigenvectors times the square roots of their eigenvalues, the largest first and of norm 1; red points up."""
    values, vectors = torch.linalg.eigh(covariance)
    if values[-1] < 1e-9:
        raise ValueError("the images are all of one flat colour; statistics need images that differ from it")
    values, vectors = values.flip(0), vectors.flip(1)
    # Where an axis hardly touches red, whose sign would be chance, green or blue decides.
    leading = (vectors.abs() > 0.1).int().argmax(0)
    signs = vectors[leading, torch.arange(3)].sign()
    root: Tensor = vectors * signs * (values / values[0]).clamp(min=LEAST_VARIANCE).sqrt()
    return root
