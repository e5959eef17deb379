"""Images without evidence, with which a method compares the image that it explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs.corruptions import Blur
from interpret_runs.images import ImageSet
from interpret_runs.randomness import generator, noise, sample_keys
from interpret_runs.references import reference

FIXED = ("black", "white", "mean", "blur")
NAMES = (*FIXED, "noise", "dataset")
BLUR = 1 / 15  # of the shorter side: 20 pixels of 299 (Sturmfels et al., 2020)

# From places of images and numbers of baselines, (n,) each, the baselines, (n, 3, H, W).
Lookup = Callable[[Tensor, Tensor], Tensor]


def check_name(name: str, names: Sequence[str] = NAMES) -> None:
    """Raise ValueError where `name` is not one of `names`."""
    if name not in names:
        raise ValueError(f"attribution.baseline is {name!r}; it is {', '.join(names[:-1])} or {names[-1]}")


def fixed(name: str, model: nn.Module, images: Tensor) -> Tensor:
    """The one baseline of each image, (B, 3, H, W), RGB in [0, 1].

    ``black``, ``white``, ``mean``: the colour that the model normalises to zero, or ``blur``: the image behind a
    Gaussian blur whose standard deviation is `BLUR` of its shorter side.

    Raises:
        ValueError: another name, or ``mean`` of a model that does not normalise.
    """
    check_name(name, FIXED)
    if name == "blur":
        sigma = BLUR * min(images.shape[2:])
        with torch.autocast(images.device.type, enabled=False):
            return Blur()(images, images.new_full((len(images), 1), sigma))
    if name == "mean":
        mean = getattr(model, "mean", None)
        if not isinstance(mean, Tensor):
            raise ValueError(
                "attribution.baseline mean needs a model that normalises; wrap the network in a VisionModel"
            )
        return mean.to(images).expand_as(images)
    return torch.full_like(images, float(name == "white"))


@dataclass(frozen=True)
class Baselines:
    """Baselines number 0 to `count` - 1 of any image.

    Number n depends on the settings, n and the image alone, and those that are drawn on the image's size only.

    Args:
        name: of `FIXED`; ``noise``, every number uniform in [0, 1]; or ``dataset``, images of `data` in an order drawn
            from `seed`, and the first again after the last.
        count: how many there are. Those of a name in `FIXED` are all the same, but for `spread`.
        seed: of what is drawn.
        data: a set of images, of which all items count; for ``dataset`` only. They are cropped to the image's shape.
        spread: standard deviation of normal noise that is added to each baseline, in units of [0, 1], without clipping.
    """

    name: str
    count: int = 1
    seed: int = 0
    data: ImageSet | None = None
    spread: float = 0.0

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.data is not None and not isinstance(self.data, ImageSet):
            raise TypeError(
                f"attribution.data is {self.data!r}; it must be a set of images: attribution.data='${{images}}'"
            )
        if self.name == "dataset" and self.data is None:
            raise ValueError(
                "attribution.baseline is dataset, but attribution.data names no images; "
                "set it to a set of images, e.g. attribution.data='${images}'"
            )

    def of(self, model: nn.Module, images: Tensor) -> Lookup:
        """What finds the baselines of `images`.

        Raises:
            ValueError: ``mean`` of a model that does not normalise.
            OSError, LookupError, ValueError: a picture of `data` is missing or unreadable.
        """
        find = self._without_spread(model, images)
        if not self.spread:
            return find
        spread = self._normal("spread", images)
        return lambda places, numbers: find(places, numbers) + self.spread * spread(numbers)

    def _without_spread(self, model: nn.Module, images: Tensor) -> Lookup:
        if self.name == "noise":
            normal = self._normal("noise", images)
            return lambda _, numbers: torch.special.ndtr(normal(numbers))
        if self.name == "dataset":
            pictures = self._pictures(images)
            return lambda _, numbers: pictures[numbers % len(pictures)]
        own = fixed(self.name, model, images)
        return lambda places, _: own[places]

    def _normal(self, purpose: str, images: Tensor) -> Callable[[Tensor], Tensor]:
        keys = sample_keys(self.seed, f"{purpose} of baselines", self.count).to(images.device)
        return lambda numbers: noise(keys[numbers], images.shape[1:]).to(images.dtype)

    def _pictures(self, images: Tensor) -> Tensor:
        """The first `count` images of `data` in their drawn order, (n, 3, H, W)."""
        assert self.data is not None
        items = self.data.items()
        order = torch.randperm(len(items), generator=generator(self.seed, "order of baselines"))
        return reference(tuple(items[place] for place in order[: self.count].tolist()), None, images)
