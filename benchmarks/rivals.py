"""Captum as it is commonly called: for one image, (1, 3, H, W), and its class, with captum's own defaults."""

import captum.attr as captum
from torch import Tensor

from interpret_runs.models import VisionModel


def saliency(model: VisionModel, image: Tensor, target: int) -> Tensor:
    return captum.Saliency(model).attribute(image.requires_grad_(), target)


def integrated_gradients(model: VisionModel, image: Tensor, target: int, steps: int) -> Tensor:
    return captum.IntegratedGradients(model).attribute(image, target=target, n_steps=steps)


def grad_cam(model: VisionModel, image: Tensor, target: int, layer: str) -> Tensor:
    cam = captum.LayerGradCam(model, model.network.get_submodule(layer)).attribute(image, target)
    return captum.LayerAttribution.interpolate(cam, tuple(image.shape[2:]), "bilinear")


def occlusion(model: VisionModel, image: Tensor, target: int, window: int, stride: int) -> Tensor:
    return captum.Occlusion(model).attribute(image, (3, window, window), (3, stride, stride), target=target)
