"""Tensors and pictures: conversion, preprocessing, and the sets attributions take images from.

An image is a float tensor (3, H, W), RGB in [0, 1]; a photograph is a Pillow image in mode RGB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from interpret_runs import folders, photographs, shapes
from interpret_runs.display import Displayed, Panel
from interpret_runs.folders import Photograph
from interpret_runs.models import Preprocessing
from interpret_runs.summary import SHAPES_ITEMS, ModelSummary

# How white the part of a photograph is made that a network did not see.
FADED = 0.6


def to_pil(image: Tensor) -> Image.Image:
    """An image (3, H, W) as 8-bit RGB, rounded to the nearest level; what lies outside [0, 1] is clipped.

    With opacity, (4, H, W), it becomes RGBA.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if image.ndim != 3 or image.shape[0] not in (3, 4):
        raise ValueError(f"an image has shape (3, H, W), or (4, H, W) with opacity, not {tuple(image.shape)}")
    if not image.isfinite().all():
        raise ValueError("the image holds values that are not finite")
    levels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


def to_tensor(photo: Image.Image) -> Tensor:
    """A photograph as a float32 image (3, H, W); ``to_pil(to_tensor(photo))`` is the photograph."""
    rgb = photo.convert("RGB")
    levels = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3)
    return levels.permute(2, 0, 1).contiguous().float() / 255


def preprocess(photo: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """The image (3, *preprocessing.size) that a network sees of a photograph, not normalised.

    Normalised, it equals torchvision's ``ImageClassification`` preset. Where the
    crop would be larger than the resized photograph, the photograph is enlarged to cover it, not padded.
    """
    frame = _Frame.of(photo, preprocessing)
    return to_tensor(frame.crop(frame.resize(photo, preprocessing.interpolation)))


@dataclass(frozen=True)
class _Frame:
    """How a photograph is resized, and where in it the crop lies, in pixels after resizing.

    Attributes:
        whole: (height, width) of the resized photograph.
        corner: (top, left) of the crop.
        size: (height, width) of the crop.
    """

    whole: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, photo: Image.Image, preprocessing: Preprocessing) -> _Frame:
        height, width = preprocessing.size
        tall, wide = _resized(photo, preprocessing.resize)
        if tall < height or wide < width:
            scale = max(height / photo.height, width / photo.width)
            tall, wide = max(height, round(photo.height * scale)), max(width, round(photo.width * scale))
        return cls((tall, wide), (round((tall - height) / 2), round((wide - width) / 2)), preprocessing.size)

    def resize(self, photo: Image.Image, interpolation: str) -> Image.Image:
        """The photograph, not cropped."""
        return photo.convert("RGB").resize(self.whole[::-1], Image.Resampling[interpolation.upper()])

    def crop(self, resized: Image.Image) -> Image.Image:
        (top, left), (height, width) = self.corner, self.size
        return resized.crop((left, top, left + width, top + height))


def _resized(photo: Image.Image, short: int) -> tuple[int, int]:
    """(height, width) with a short side of `short`; the long side rounded down, as torchvision does."""
    if photo.height <= photo.width:
        return short, int(short * photo.width / photo.height)
    return int(short * photo.height / photo.width), short


@dataclass(frozen=True, repr=False)
class Picture(Displayed):
    """One image to explain, and what is known of it. In a notebook it shows itself, and its mask.

    Attributes:
        pixels: (3, H, W) float32, RGB in [0, 1], at the network's size.
        name: short, for labels and the index.
        label: the name of the true class, where known.
        mask: (H, W) bool, true on the object, where known.
        whole: the photograph in its own proportions, of which `pixels` are a part, as large; None where they are all.
        corner: (top, left) of `pixels` in `whole`.
    """

    pixels: Tensor
    name: str
    label: str | None = None
    mask: Tensor | None = None
    whole: Image.Image | None = None
    corner: tuple[int, int] = (0, 0)

    def __repr__(self) -> str:
        known = [] if self.label is None else [f"label {self.label!r}"]
        height, width = self.pixels.shape[1:]
        return f"Picture({', '.join([repr(self.name), f'{height} x {width}', *known])})"

    def panels(self) -> list[Panel]:
        shown = [Panel(to_pil(self.pixels))]
        return shown if self.mask is None else [*shown, Panel(to_pil(self.mask.expand(3, -1, -1)), "mask")]

    def in_whole(self, drawn: Image.Image) -> Image.Image:
        """The whole photograph, faded, with `drawn` over the part that the network saw.

        Raises:
            ValueError: `drawn` is not as large as `pixels`.
        """
        height, width = self.pixels.shape[1:]
        if (drawn.height, drawn.width) != (height, width):
            raise ValueError(f"what is drawn has {drawn.height}x{drawn.width} pixels, not the {height}x{width} seen")
        shown = drawn.convert("RGB")
        if self.whole is not None:  # faded: else the colours of what the network did not see look like a map's
            shown = Image.blend(self.whole, Image.new("RGB", self.whole.size, "white"), FADED)
        shown.paste(drawn, self.corner[::-1])
        return shown

    def class_index(self, summary: ModelSummary) -> int | None:
        """The class of a network that `label` names, an index or a label of its own; None without a label.

        Raises:
            LookupError: the network has no such class; the text names the closest.
        """
        return None if self.label is None else summary.class_index(self.label)


def picture_of(
    photo: Image.Image,
    preprocessing: Preprocessing,
    name: str,
    label: str | None = None,
    mask: Image.Image | None = None,
) -> Picture:
    """A photograph as a network sees it; its mask, in mode L and as large, goes the same way, to the nearest pixel."""
    frame = _Frame.of(photo, preprocessing)
    whole = frame.resize(photo, preprocessing.interpolation)
    seen = None if mask is None else to_tensor(frame.crop(frame.resize(mask, "nearest")))[0] > 0.5
    return Picture(to_tensor(frame.crop(whole)), name, label, seen, whole, frame.corner)


def _read(found: Photograph, preprocessing: Preprocessing) -> Picture:
    photo = photographs.read(found.path)
    mask = None if found.mask is None else photographs.read_mask(found.mask, (photo.height, photo.width))
    return picture_of(photo, preprocessing, found.name, found.label, mask)


class ImageSet(ABC):
    """Says which image to explain; called with a network's preprocessing it returns the image.

    Raises, when called: OSError, LookupError or ValueError for what is missing or unreadable.
    """

    @abstractmethod
    def __call__(self, preprocessing: Preprocessing) -> Picture: ...

    @abstractmethod
    def items(self) -> Sequence[ImageSet]:
        """All images of the file, folder or split, whatever item is named; in order, each as a set of its own."""

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the image as it is stored, in pixels."""


@dataclass(frozen=True)
class File(ImageSet):
    """One image file.

    Args:
        label: name of its class, where known.
        mask: a file of its size, lighter than mid-grey on the object; ``photo.mask.png`` beside ``photo.jpg``, if there
            is one, by default.
    """

    path: str
    label: str | None = None
    mask: str | None = None

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        return _read(folders.single(self.path, self.label, self.mask), preprocessing)

    def items(self) -> Sequence[ImageSet]:
        return [self]

    def size(self) -> tuple[int, int]:
        return photographs.size(self.path)


@dataclass(frozen=True)
class Folder(ImageSet):
    """Image `item` of a folder: its place in the sorted folder, from 0, or its name; see `folders.listing`.

    Args:
        recursive: whether sub-folders count, which name the classes; by default if the folder itself holds no image.
        labels: a CSV file with columns file and label.
        masks: a folder of masks, see `File`, named like the images but for the suffix.
    """

    path: str
    item: int | str = 0
    recursive: bool | None = None
    labels: str | None = None
    masks: str | None = None

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        return _read(self._listing().find(self.item), preprocessing)

    def items(self) -> Sequence[ImageSet]:
        found = self._listing().photographs
        return [File(str(one.path), one.label, None if one.mask is None else str(one.mask)) for one in found]

    def size(self) -> tuple[int, int]:
        return photographs.size(self._listing().find(self.item).path)

    def _listing(self) -> folders.Listing:
        return folders.listing(self.path, self.recursive, self.labels, self.masks)


@dataclass(frozen=True)
class Shapes(ImageSet):
    """Image `item` of the embedded data set, with its label and mask; resized, uncropped, to the network's size."""

    item: int = 0
    split: str = "test"

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        drawn = shapes.draw(self.item, self.split)
        pixels, mask = drawn.image, drawn.mask
        size = list(preprocessing.size)
        if size != list(mask.shape):
            pixels = functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
            mask = functional.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].bool()
        return Picture(pixels, f"shapes {self.split} {self.item}", shapes.CLASSES[drawn.label], mask)

    def items(self) -> Sequence[ImageSet]:
        return [Shapes(item, self.split) for item in range(SHAPES_ITEMS)]

    def size(self) -> tuple[int, int]:
        drawn = shapes.draw(self.item, self.split).image
        return drawn.shape[1], drawn.shape[2]
