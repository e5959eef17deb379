"""Which pixels drive an objective: one signed, raw map per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.activations import Activations, as_grid, capture
from interpret_runs.layer_table import trace
from interpret_runs.objective import Objective
from interpret_runs.scoring import frozen, score
from interpret_runs.summary import OUTPUT, PIXELS, ModelSummary

IMAGES_AT_ONCE = 32


class Attribution(ABC):
    """A function of (model, objective, images) that returns one signed map per image.

    Images are RGB in [0, 1], (B, 3, H, W), on the model's device; maps are raw, (B, H, W). Image i is
    explained for unit ``rows[i]`` of a stacked objective, by default unit i. The model and the caller's
    images are left as they were.
    """

    @abstractmethod
    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        """The maps of images that need no gradient of their caller, with a frozen model."""

    def __call__(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            rows = torch.arange(len(images), device=images.device)
        with torch.enable_grad(), frozen(model):
            return self.maps(model, objective, images.detach(), rows).detach()

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:  # noqa: B027  # most explain all
        """Raise LookupError where the method cannot explain `objective`; by one pass over (1, 3, H, W) at most."""

    def resolve(self, summary: ModelSummary) -> Self:
        """The same method with its layer, if it has one, as a dotted path."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **summary.resolve(values))  # type: ignore[type-var]

    def measure(
        self, model: nn.Module, objective: Objective, images: Tensor, maps: Tensor, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Numbers that tell whether the maps can be trusted, (B,) each; none for most methods."""
        return {}


@dataclass(frozen=True)
class Saliency(Attribution):
    """Gradient of the objective: at each pixel that of the colour with the largest magnitude.

    Its absolute value is the saliency map of Simonyan et al. (2014).
    """

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        from captum.attr import Saliency as CaptumSaliency

        method = CaptumSaliency(_scorer(model, objective))
        gradient: Tensor = method.attribute(images.requires_grad_(), abs=False, additional_forward_args=(rows,))
        return gradient.gather(1, gradient.abs().argmax(1, keepdim=True)).squeeze(1)


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Mean gradient on the line from a baseline to the image, times their difference (Sundararajan et al., 2017).

    Summed over colours; by the midpoint rule. The map's sum tends to ``score(image) - score(baseline)``
    as `steps` grows; `measure` returns how far it is off, relative to that difference.

    Args:
        steps: points on the line, at least 2.
        baseline: ``black``, ``white``, or ``mean``, the colour that the model normalises to zero.
        tolerance: largest relative error of a map that counts as converged.
    """

    steps: int = 128
    baseline: str = "black"
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 2:
            raise ValueError(f"attribution.steps is {self.steps!r}; it must be a whole number from 2 on")
        if self.baseline not in ("black", "white", "mean"):
            raise ValueError(f"attribution.baseline is {self.baseline!r}; it is black, white or mean")

    def baselines(self, model: nn.Module, images: Tensor) -> Tensor:
        """The image without evidence, (B, 3, H, W)."""
        if self.baseline == "mean":
            mean = getattr(model, "mean", None)
            if not isinstance(mean, Tensor):
                raise ValueError("baseline mean needs a model that normalises; wrap the network in a VisionModel")
            return mean.expand_as(images).to(images.dtype)
        return torch.full_like(images, float(self.baseline == "white"))

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        from captum.attr import IntegratedGradients as CaptumIntegratedGradients

        maps: Tensor = CaptumIntegratedGradients(_scorer(model, objective)).attribute(
            images.requires_grad_(),
            self.baselines(model, images),
            additional_forward_args=(rows,),
            n_steps=self.steps,
            method="riemann_middle",
            internal_batch_size=max(IMAGES_AT_ONCE, len(images)),
        )
        return maps.sum(1)

    def measure(
        self, model: nn.Module, objective: Objective, images: Tensor, maps: Tensor, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`completeness_error`, relative, and `converged`: whether it is within `tolerance`."""
        if rows is None:
            rows = torch.arange(len(images), device=images.device)
        with frozen(model), torch.no_grad():
            gain = score(model, objective, images, rows)
            gain = gain - score(model, objective, self.baselines(model, images), rows)
        smallest = torch.finfo(gain.dtype).tiny
        error = (maps.flatten(1).sum(1) - gain).abs() / gain.abs().clamp(min=smallest)
        return {"completeness_error": error, "converged": error <= self.tolerance}


@dataclass(frozen=True)
class GradCam(Attribution):
    """A layer's channels weighted by their mean gradient (Selvaraju et al., 2017).

    ``relu(sum_k w_k A_k)`` with ``w_k`` the mean over positions of ``d score / d A_k``, scaled up
    bilinearly. For any objective downstream of `layer`, or on it.

    Args:
        layer: dotted name; its output must be channels on a grid.
        relu: keep only what speaks for the objective; else the map is signed.
    """

    layer: str
    relu: bool = True

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        with torch.enable_grad(), frozen(model):
            rows = torch.zeros(1, dtype=torch.long, device=image.device)
            _activation_and_gradient(model, objective, self.layer, image.detach(), rows)

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        activation, gradient = _activation_and_gradient(model, objective, self.layer, images, rows)
        weights = gradient.flatten(2).mean(2)
        cam = torch.einsum("bc,bchw->bhw", weights, activation)
        cam = cam.relu() if self.relu else cam
        size = list(images.shape[2:])
        return functional.interpolate(cam[:, None], size=size, mode="bilinear", align_corners=False).squeeze(1)


def _scorer(model: nn.Module, objective: Objective) -> Callable[[Tensor, Tensor], Tensor]:
    """What captum differentiates: images and their rows to scores."""
    return lambda images, rows: score(model, objective, images, rows)


def _activation_and_gradient(
    model: nn.Module, objective: Objective, layer: str, images: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """A layer's output on a grid and the objective's gradient there, (B, C, H, W) both, in one pass."""
    if layer in (PIXELS, OUTPUT):
        raise LookupError(f"layer {layer!r} has no feature maps; name a convolutional layer (task=layers lists them)")
    activations = _forward(model, {layer, *objective.layers}, images, rows)
    raw = activations[layer]
    gradient: Tensor | None = torch.autograd.grad(objective(activations).sum(), raw, allow_unused=True)[0]
    if gradient is None:
        last = _last_upstream(model, objective, images[:1], rows[:1])
        raise LookupError(f"layer {layer!r} is not upstream of {objective!r}; the last layer that is: {last!r}")
    size = activations.image_size
    return as_grid(raw, size).detach(), as_grid(gradient, size)


def _forward(model: nn.Module, layers: set[str], images: Tensor, rows: Tensor) -> Activations:
    # With frozen weights only images that ask for gradients give the layers a graph.
    with capture(model, layers) as forward:
        return forward(images.requires_grad_(), rows)


def _last_upstream(model: Any, objective: Objective, images: Tensor, rows: Tensor) -> str:
    """The last layer, in the order they finish, on which the objective depends."""
    layers = model.summary.layers if hasattr(model, "summary") else trace(model, images.detach())[0]
    candidates = [layer.path for layer in layers if layer.calls == 1 and layer.shape]
    activations = _forward(model, {*candidates, *objective.layers}, images, rows)
    gradients = torch.autograd.grad(
        objective(activations).sum(), [activations[name] for name in candidates], allow_unused=True
    )
    upstream = [name for name, gradient in zip(candidates, gradients, strict=True) if gradient is not None]
    return upstream[-1] if upstream else PIXELS
