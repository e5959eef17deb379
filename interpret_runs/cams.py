"""Class activation maps: how a layer's activations and gradients become one map."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from interpret_runs.cam import Cam, Evidence


@dataclass(frozen=True)
class GradCam(Cam):
    """Channels weighted by their mean gradient (Selvaraju et al., 2017).

    ``relu(sum_k w_k A_k)`` with ``w_k = mean_ij g_kij``.
    """

    def combine(self, evidence: Evidence) -> Tensor:
        return evidence.averaged


@dataclass(frozen=True)
class GradCamPlusPlus(Cam):
    """Channels weighted by positive gradients, those of small areas more (Chattopadhay et al., 2018).

    ``relu(sum_k w_k A_k)`` with ``w_k = sum_ij alpha_kij relu(g_kij)`` and
    ``alpha = g**2 / (2 g**2 + (sum_ab A_kab) g**3)``, 0 where g is 0. The paper's score is an exponential, which would
    scale each image's map by ``exp(score)``; that factor is left out. Meant for activations that are not negative.
    """

    def combine(self, evidence: Evidence) -> Tensor:
        # Divided by g**2, which underflows; where g is not positive, so is its share nothing.
        total, risen = evidence.total[:, :, None, None], evidence.risen
        shares = torch.addcmul(risen.new_tensor(2), total, risen)
        if shares.device.type != "cpu" or bool((total < 0).any()):  # else 2 is the least
            shares.masked_fill_(shares == 0, inf)
        return evidence.weighted(torch.div(risen, shares, out=shares).sum((2, 3)))


@dataclass(frozen=True)
class HiResCam(Cam):
    """Gradient times activation at each position (Draelos and Carin, 2020): ``relu(sum_k g_k * A_k)``.

    It is zero wherever the objective does not depend on the layer.
    """

    def combine(self, evidence: Evidence) -> Tensor:
        return evidence.product.sum(1)


@dataclass(frozen=True)
class XGradCam(Cam):
    """Channels weighted by their mean gradient where they are active (Fu et al., 2020).

    ``relu(sum_k w_k A_k)`` with ``w_k = sum_ij g_kij A_kij / sum_ij A_kij``, 0 where a channel's sum is 0. The map's
    sum without `relu` is that of ``g * A``.
    """

    def combine(self, evidence: Evidence) -> Tensor:
        weights = evidence.product.sum((2, 3)) / evidence.total
        return evidence.weighted(torch.where(evidence.total == 0, 0, weights))


@dataclass(frozen=True)
class LayerCam(Cam):
    """Activations weighted by positive gradients at each position (Jiang et al., 2021).

    ``relu(sum_k relu(g_k) * A_k)``, which also suits early layers. The tanh by which the paper brightens those is left
    to rendering.
    """

    def combine(self, evidence: Evidence) -> Tensor:
        return (evidence.risen * evidence.activation).sum(1)
