"""What a visualisation found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from PIL import Image
from torch import Tensor

from interpret_runs.display import Displayed, Panel
from interpret_runs.images import to_pil


@dataclass(frozen=True, repr=False)
class Visualisation(Displayed):
    """What one batch of runs found; everything on the CPU. In a notebook it shows its images with their scores.

    Attributes:
        images: RGB in [0, 1], (runs * images, 3, H, W); what is transparent is over mid-grey.
        scores: the objective on the final images without any transform, (runs * images,).
        history: steps noted, and the score under transforms at each, (noted, runs * images).
        snapshots: images by step.
        frames: images of an animation, 8 bit, (frames, runs * images, 3, H, W).
        steps: how many steps each image took, (runs * images,).
        failed: for each image the first step at which its score was not finite, or 0.
        transparent: the images with their opacity, (runs * images, 4, H, W); None where all is opaque.
        rendered: the images at the size asked for, (runs * images, 3, h, w).
        importance: how strongly each pixel was pulled at, (runs * images, H, W).
    """

    images: Tensor
    scores: Tensor
    history: tuple[tuple[int, ...], Tensor]
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    frames: Tensor | None = None
    steps: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    failed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    transparent: Tensor | None = None
    rendered: Tensor | None = None
    importance: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[Visualisation]) -> Visualisation:
        """The images of several, one after the other; of those with a shorter history the last score goes on."""
        if len(parts) == 1:
            return parts[0]
        noted = max((part.history[0] for part in parts), key=len)
        scores = [_continued(part.history[1], len(noted)) for part in parts]
        known = [field.name for field in fields(cls) if getattr(parts[0], field.name) is not None]
        joined = {
            name: torch.cat([getattr(part, name) for part in parts], 1 if name == "frames" else 0)
            for name in known
            if name not in ("history", "snapshots")
        }
        snapshots = {step: torch.cat([part.snapshots[step] for part in parts]) for step in parts[0].snapshots}
        return cls(history=(noted, torch.cat(scores, 1)), snapshots=snapshots, **joined)

    def __repr__(self) -> str:
        count, _, height, width = self.images.shape
        images = "1 image" if count == 1 else f"{count} images"
        scores = dict.fromkeys(f"{value:.4g}" for value in (self.scores.amin().item(), self.scores.amax().item()))
        return f"Visualisation({images} of {height} x {width}, score {' to '.join(scores)})"

    def pictures(self) -> list[Image.Image]:
        """The images as 8-bit pictures, to look at and to save; grey where values are not finite."""
        images = self.images if self.rendered is None else self.rendered
        return [to_pil(image.nan_to_num(0.5)) for image in images]

    def panels(self) -> list[Panel]:
        failed = self.failed.tolist() or [0] * len(self.images)
        captions = [
            f"not finite from step {step} on" if step else f"score {score:.4g}"
            for score, step in zip(self.scores.tolist(), failed, strict=True)
        ]
        return [Panel(picture, caption) for picture, caption in zip(self.pictures(), captions, strict=True)]


def _continued(noted: Tensor, count: int) -> Tensor:
    """Scores noted, (n, B), as if the last ones had been noted until there are `count`."""
    return noted if len(noted) == count else torch.cat([noted, noted[-1:].expand(count - len(noted), -1)])
