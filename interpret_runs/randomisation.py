"""Whether a map still looks the same when the network has forgotten what it learned."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from interpret_runs.activations import evaluating
from interpret_runs.metric import Explained, Metric, check_choice, check_counts
from interpret_runs.randomness import generator
from interpret_runs.scoring import score
from interpret_runs.similarity import rank_correlation, structural_similarity

SIGNS = ("absolute", "positive", "signed")


@dataclass(frozen=True)
class Randomisation(Metric):
    """How alike a map is to those of the network as its layers become random, from the top down (Adebayo et al., 2018).

    In a copy of the model the modules with parameters on which the score depends are drawn anew, from the last to the
    first that the image meets, in `stages` of as many modules each; after each stage the method maps the image again.
    A module is drawn by its own `reset_parameters`; parameters of others become normal numbers of the same root mean
    square. What is drawn hangs on `seed` and the module's name.

    `randomisation_ssim` and `randomisation_rank` are the mean over stages of the maps' `structural_similarity`, each
    map divided by its largest magnitude, and of their `rank_correlation`, 0 for a map of one value that was none
    before; with ``_full`` those at the last stage, where all is random. A map that depends on what was learned has low
    values, one that ignores the model 1. NaN for maps of one value, and for scores without parameters.

    Args:
        stages: how often the method is asked.
        sign: compare ``absolute`` values, ``positive`` parts, or ``signed`` maps.
    """

    stages: int = 4
    sign: str = "absolute"
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "stages")
        check_choice(self, "sign", SIGNS)

    def __call__(self, explained: Explained) -> dict[str, Tensor]:
        original = self.shown(explained.maps)
        ssims, ranks = [], []
        for model in self.models(explained):
            maps = explained.method(model, explained.objective, explained.images, explained.rows)
            shown = self.shown(maps)
            ssims.append(structural_similarity(original, shown))
            ranks.append(rank_correlation(original, shown).nan_to_num(0))
        low, high = original.flatten(1).aminmax(dim=1)
        nothing = low == high
        found = {}
        for name, values in (("ssim", ssims), ("rank", ranks)):
            stages = torch.stack(values) if values else original.new_full((1, len(original)), torch.nan)
            found[f"randomisation_{name}"] = stages.mean(0).masked_fill(nothing, torch.nan)
            found[f"randomisation_{name}_full"] = stages[-1].masked_fill(nothing, torch.nan)
        return found

    def shown(self, maps: Tensor) -> Tensor:
        """What of the maps is compared, in [0, 1]; a signed 0 is 0.5."""
        maps = maps.clamp(min=0) if self.sign == "positive" else maps if self.sign == "signed" else maps.abs()
        most = maps.abs().flatten(1).amax(1)[:, None, None]
        scaled = maps / torch.where(most == 0, 1, most)
        return (scaled + 1) / 2 if self.sign == "signed" else scaled

    def models(self, explained: Explained) -> Iterator[nn.Module]:
        """A copy of the model after each stage; one object, that is changed on."""
        copy = deepcopy(explained.model)
        names = drivers(copy, explained)[::-1]
        modules = dict(copy.named_modules())
        done = 0
        for upto in sorted({-(-len(names) * stage // self.stages) for stage in range(1, self.stages + 1)} - {0}):
            for name in names[done:upto]:
                _draw(modules[name], generator(self.seed, f"randomisation {name}").initial_seed())
            done = upto
            yield copy


def drivers(model: nn.Module, explained: Explained) -> list[str]:
    """Names of the modules with parameters of their own on which the score depends, in the order that images meet.

    `model` is a copy that may be changed: its parameters are made to need gradients.
    """
    order: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        order.setdefault(name, len(order))

    modules = dict(model.named_modules())
    handles = [module.register_forward_pre_hook(partial(note, name)) for name, module in modules.items()]
    parameters = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_()
    try:
        with torch.enable_grad(), evaluating(model):
            total = score(model, explained.objective, explained.images[:1], explained.rows[:1]).sum()
    finally:
        for handle in handles:
            handle.remove()
    if not (parameters and total.requires_grad):
        return []
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    used = {parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    found = [name for name, module in modules.items() if not used.isdisjoint(module.parameters(recurse=False))]
    return sorted(found, key=lambda name: _met(name, order))


def _met(name: str, order: dict[str, int]) -> int:
    """When a module was called; one whose parameters another reads, when the module around it was."""
    while name not in order and name:
        name = name.rpartition(".")[0]
    return order.get(name, -1)


@torch.no_grad()
def _draw(module: nn.Module, seed: int) -> None:
    """New parameters for a module, drawn on the CPU whatever its device."""
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.is_floating_point()]
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        device = own[0].device
        module.cpu()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            reset()
        module.to(device)
        return
    source = torch.Generator().manual_seed(seed)
    for parameter in own:
        drawn = torch.randn(parameter.shape, generator=source, dtype=parameter.dtype)
        parameter.copy_(drawn.to(parameter.device) * parameter.square().mean().sqrt())
