"""Any transforms of torchvision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs.size import Size
from interpret_runs.transform import Transform, keys


@dataclass(frozen=True, eq=False)
class V2(Transform):
    """Transforms of torchvision.transforms.v2, one after another, on each image by itself.

    While they run, torch's own generators are seeded with the image's and step's key; afterwards they are
    as before. Each step waits for the device once, to learn the keys. Numbers that a transform draws on
    the device itself (`GaussianNoise`) depend on the device. A transform must pass gradients and keep
    the type; what it does to the size, it must do to all images.

    Args:
        transforms: modules that map an image (3, H, W) to an image.
        size: height and width of what they get, and to which their outcome is brought; None is as it comes.

    Raises:
        TypeError: one is not a module.
        ValueError: there is none; or, when called, the images differ in size.
    """

    transforms: tuple[nn.Module, ...]
    size: Size | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.transforms, (list, tuple)):
            raise TypeError(f"transform.transforms is {self.transforms!r}; it must be a list")
        if not self.transforms:
            raise ValueError("transform.transforms is empty; name one, or take transform=none")
        for place, wrong in enumerate(self.transforms):
            if not isinstance(wrong, nn.Module):
                rule = "not a transform; give one as {_target_: torchvision.transforms.v2.RandomErasing}"
                raise TypeError(f"transform.transforms[{place}] is {wrong!r}, {rule}")
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def draw(self, steps: int, seeds: Sequence[int], images: int = 1) -> Tensor:
        return keys(steps, seeds, images, 1)

    def __call__(self, images: Tensor, parameters: Tensor) -> Tensor:
        made = []
        for image, key in zip(self.clean(images), parameters[:, 0].tolist(), strict=True):
            with _seeded(int(key), images.device):
                image = image.clone()  # a view of the batch could not be changed in place
                for transform in self.transforms:
                    image = transform(image)
            made.append(image)
        shapes = {tuple(image.shape) for image in made}
        if len(shapes) > 1:
            raise ValueError(f"transform.transforms make images of shapes {sorted(shapes)}; end with a Resize")
        return self.clean(torch.stack(made))


@contextmanager
def _seeded(key: int, device: torch.device) -> Iterator[None]:
    """Torch's generators of the CPU and of `device`, seeded with `key` for the length of the block."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        torch.default_generator.manual_seed(key)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(key)
        yield
