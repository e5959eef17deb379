"""What tells a class from the classes that it resembles most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpret_runs.attribution import Attribution, check_count, check_number
from interpret_runs.cam import Cam
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.objective import Objective
from interpret_runs.objectives import ClassObjective, Logit
from interpret_runs.units import pick_channel

METHODS: dict[str, type[Cam]] = {
    "grad_cam": GradCam,
    "grad_cam_plus_plus": GradCamPlusPlus,
    "hi_res_cam": HiResCam,
    "x_grad_cam": XGradCam,
    "layer_cam": LayerCam,
}


@dataclass(frozen=True)
class FinerCam(Attribution):
    """A class activation map of a logit less its rivals': what is finer than the kind of thing (Zhang et al., 2025).

    Explains ``z_c - strength * mean_d z_d`` over the `similar` classes d whose logits are nearest to z_c for the
    image at hand, or all other classes if there are fewer. Of ``objective=logit`` alone.

    Args:
        layer, relu, fuse: as for other class activation maps.
        strength: how much the rivals count, from 0, where the map is that of `method`.
        similar: how many rivals, from 1 on.
        method: which class activation map: ``grad_cam``, ``grad_cam_plus_plus``, ``hi_res_cam``, ``x_grad_cam`` or
            ``layer_cam``.
    """

    layer: str | tuple[str, ...]
    relu: bool = True
    fuse: str = "mean"
    strength: float = 0.6
    similar: int = 3
    method: str = "grad_cam"

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        check_count("similar", self.similar)
        if self.method not in METHODS:
            raise ValueError(f"attribution.method is {self.method!r}; it is one of {', '.join(METHODS)}")
        object.__setattr__(self, "layer", self._cam.layer)

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        self._cam.check(model, self._contrast(objective), image)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        return self._cam.maps(model, self._contrast(objective), images, rows)

    @property
    def _cam(self) -> Cam:
        return METHODS[self.method](self.layer, self.relu, self.fuse)

    def _contrast(self, objective: Objective) -> _Contrast:
        if not isinstance(objective, Logit):
            raise LookupError(
                f"finer_cam compares a class with similar ones and cannot explain {objective!r}; take objective=logit"
            )
        return _Contrast(objective, self.strength, self.similar)


@dataclass(frozen=True)
class _Contrast(ClassObjective):
    """``z_c - strength * mean_d z_d`` over the `similar` classes with logits nearest to that of class c."""

    of: Logit
    strength: float
    similar: int

    def score(self, output: Tensor, rows: Tensor | None) -> Tensor:
        if output.shape[1] < 2:
            raise LookupError("finer_cam compares a class with similar ones, and this network has one output")
        own = self.of.score(output, rows)
        classes = torch.arange(output.shape[1], device=output.device).expand(len(output), -1)
        chosen = pick_channel(classes[:, :, None, None], self.of.target, rows, "class").flatten(1)  # type: ignore[arg-type]
        distances = (output - own[:, None]).detach().abs().scatter(1, chosen, torch.inf)
        rivals = distances.topk(min(self.similar, output.shape[1] - 1), largest=False).indices
        return own - self.strength * output.gather(1, rivals).mean(1)
