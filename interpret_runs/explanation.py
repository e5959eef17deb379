"""What attribution says of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from interpret_runs.attribution import Attribution
from interpret_runs.attribution_map import AttributionMap
from interpret_runs.display import Displayed, Panel
from interpret_runs.images import Picture, to_pil
from interpret_runs.objective import Objective
from interpret_runs.png import png_bytes
from interpret_runs.rendering import Rendering
from interpret_runs.whole_files import written_whole


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Displayed):
    """Maps of images for one objective, by one method; everything on the CPU.

    In a notebook one image is shown beside its overlay and its heat map; of several, the overlays are shown, each on a
    scale of its own.

    Attributes:
        maps: signed and raw, (B, H, W).
        scores: the objective on each image, (B,).
        pictures: the images, as the network saw them.
        units: what the objective looks at in each image: a class by its label, else the objective.
        objective: with its layers and classes made exact, so also those that an image's ranking or label gives.
        method: with its layer made exact.
        name: of the method, for labels.
        rendering: how maps are drawn; `dataclasses.replace` changes it.
    """

    maps: Tensor
    scores: Tensor
    pictures: tuple[Picture, ...]
    units: tuple[str, ...]
    objective: Objective
    method: Attribution
    name: str
    rendering: Rendering = Rendering()

    def __repr__(self) -> str:
        units = ", ".join(dict.fromkeys(self.units))
        images = "1 image" if len(self.maps) == 1 else f"{len(self.maps)} images"
        return f"Explanation({self.name} of {images}, {units if len(units) <= 80 else units[:79] + '…'})"

    @property
    def images(self) -> Tensor:
        """The images, (B, 3, H, W), RGB in [0, 1]."""
        return torch.stack([picture.pixels for picture in self.pictures])

    def map(self, label: str | None = None) -> AttributionMap:
        """The maps as a value, (B, H, W), to calculate with; called like the method unless told."""
        return AttributionMap(self.maps, self.name if label is None else label)

    def heat_maps(self) -> list[Image.Image]:
        """Each map in colours, with its colour bar."""
        return [self.rendering.heat_map(values) for values in self.maps]

    def overlays(self) -> list[Image.Image]:
        """Each map over its image."""
        shown = zip(self.pictures, self.maps, strict=True)
        return [self.rendering.overlay(picture.pixels, values) for picture, values in shown]

    def save(self, folder: str | Path) -> None:
        """Write ``overlay-I.png`` and ``heat_map-I.png`` of each image I, from 0, and ``map.npz`` to a folder.

        Pictures carry objective, method and score as text; `read_map` reads the maps. Files of these names are
        replaced.

        Raises:
            OSError: the folder cannot be made or written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for place, drawn in enumerate(zip(self.overlays(), self.heat_maps(), strict=True)):
            text = {
                "image": self.pictures[place].name,
                "unit": self.units[place],
                "objective": repr(self.objective),
                "method": repr(self.method),
                "score": repr(float(self.scores[place])),
            }
            for name, picture in zip(("overlay", "heat_map"), drawn, strict=True):
                with written_whole(folder / f"{name}-{place}.png") as file:
                    file.write_bytes(png_bytes(picture, text))
        with written_whole(folder / "map.npz") as file:
            self.map().write(file)

    def panels(self) -> list[Panel]:
        said = [f"{unit}: {score:.4g}" for unit, score in zip(self.units, self.scores.tolist(), strict=True)]
        if len(self.maps) > 1:
            captions = [f"{picture.name}, {text}" for picture, text in zip(self.pictures, said, strict=True)]
            return [Panel(drawn, text) for drawn, text in zip(self.overlays(), captions, strict=True)]
        (picture,), (overlay,), (heat_map,) = self.pictures, self.overlays(), self.heat_maps()
        return [Panel(to_pil(picture.pixels), picture.name), Panel(overlay, said[0]), Panel(heat_map, self.name)]
