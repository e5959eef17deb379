"""How much each patch of the image is attended to, through all blocks of a vision transformer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.activations import as_grid, calls, network_of
from interpret_runs.attribution import Attribution
from interpret_runs.cam import enlarged, has_grid
from interpret_runs.objective import Objective
from interpret_runs.scoring import frozen, score
from interpret_runs.summary import OUTPUT, runs_again
from interpret_runs.variants import fitting, in_pieces

Keep = Callable[[Tensor], None]


@dataclass(frozen=True)
class AttentionRollout(Attribution):
    """Attention from the class token to each patch through all blocks (Abnar and Zuidema, 2020).

    The class token's row of ``prod_l (mean_heads A_l + I) / 2``, last block first, A_l being a block's attention after
    its softmax; the mean of all rows where there is no class token. It knows nothing of classes: **the map is the same
    whatever the objective**. Not negative; with the class tokens' own share a map on the grid sums to 1 before it is
    scaled up. For networks that `attentions` can read.
    """

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        with frozen(model):
            _rollout(model, image.detach())

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        return _in_pieces(model, {OUTPUT}, images, lambda start, stop: _rollout(model, images[start:stop]))


@dataclass(frozen=True)
class GradientRollout(Attribution):
    """Attention that raises the score, through all blocks that the objective depends on (Chefer et al., 2021).

    ``s R`` with ``R = prod_l (I + mean_heads relu(g_l * A_l))``, last block first, A_l being a block's attention after
    its softmax and g_l the score's gradient there. s shares out 1 among the tokens by how much the score depends on
    what they attend to in the last of these blocks, ``sum |g * A|``: all of it goes to the class token where the
    network reads its classes there, which is the paper's rule. For any objective behind an attention of a network that
    `attentions` can read. Not negative.
    """

    def check(self, model: nn.Module, objective: Objective, image: Tensor) -> None:
        with torch.enable_grad(), frozen(model):
            _gradient_rollout(model, objective, image.detach(), torch.zeros(1, dtype=torch.long, device=image.device))

    def maps(self, model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
        def work(start: int, stop: int) -> Tensor:
            return _gradient_rollout(model, objective, images[start:stop], rows[start:stop])

        return _in_pieces(model, objective.layers, images, work)


@contextmanager
def attentions(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """For the length of a ``with``, what passes leave of each attention: its weights after the softmax, by name.

    (B, heads, T, T), in the order in which they ran, upstream of what the network returns. Read are
    `nn.MultiheadAttention` without added keys, and timm's modules with the fields `fused_attn` and `attn_drop`, whose
    fused kernel is switched off meanwhile. Hooks and switches are put back, also after errors.

    Raises:
        LookupError: there is nothing to read.
    """
    readers = {
        name: _reading if isinstance(module, nn.MultiheadAttention) else _reading_timms
        for name, module in network_of(model).named_modules()
        if isinstance(module, nn.MultiheadAttention) or _is_timms(module)
    }
    if not readers:
        raise LookupError(
            "attention rollouts need a network whose attention can be read, nn.MultiheadAttention or timm's with "
            "attn_drop; this one has none, take another attribution"
        )
    seen: dict[str, Tensor] = {}

    def keep(name: str, weights: Tensor) -> None:
        seen[name] = weights

    with ExitStack() as stack:
        for name, reader in readers.items():
            stack.enter_context(reader(network_of(model).get_submodule(name), partial(keep, name)))
        yield seen


@contextmanager
def _reading(module: Any, keep: Keep) -> Iterator[None]:
    asked: list[tuple[bool, bool]] = []

    def ask(_module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        call = signature(module.forward).bind(*args, **kwargs)
        call.apply_defaults()
        asked[:] = [(call.arguments["need_weights"], call.arguments["average_attn_weights"])]
        call.arguments.update(need_weights=True, average_attn_weights=False)
        return call.args, call.kwargs

    def answer(_module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        weights = output[1]
        keep(weights)
        needed, averaged = asked[0]
        returned = weights.mean(1) if averaged else weights
        return _attended(module, args[2], weights), returned if needed else None

    handles = [module.register_forward_pre_hook(ask, with_kwargs=True), module.register_forward_hook(answer)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attended(module: Any, value: Tensor, weights: Tensor) -> Tensor:
    """What the module returns, made from the weights that it gives out: those are a copy beside the way of its own."""
    packed = module.in_proj_weight
    projection = module.v_proj_weight if packed is None else packed.chunk(3)[2]
    bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[2]
    value = value if module.batch_first else value.transpose(0, 1)
    if weights.shape[-1] != value.shape[1]:
        raise LookupError("attention rollouts cannot read nn.MultiheadAttention with added keys (add_bias_kv)")
    values = functional.linear(value, projection, bias)
    values = values.view(*values.shape[:2], module.num_heads, -1).transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).flatten(2)
    output = functional.linear(mixed, module.out_proj.weight, module.out_proj.bias)
    return output if module.batch_first else output.transpose(0, 1)


def _is_timms(module: nn.Module) -> bool:
    switch, drop = getattr(module, "fused_attn", None), getattr(module, "attn_drop", None)
    return isinstance(switch, bool) and isinstance(drop, nn.Module)


@contextmanager
def _reading_timms(module: Any, keep: Keep) -> Iterator[None]:
    fused = module.fused_attn
    tokens: list[int] = []

    def begin(_module: nn.Module, args: Any) -> None:
        tokens[:] = args[0].shape[1:2] if args else ()

    def read(_module: nn.Module, _args: Any, weights: Tensor) -> None:
        if weights.shape[-1:] != tuple(tokens):
            raise LookupError(_not_all_tokens(type(module).__name__, weights))
        keep(weights)

    handles = [module.register_forward_pre_hook(begin), module.attn_drop.register_forward_hook(read)]
    module.fused_attn = False
    try:
        yield
    finally:
        module.fused_attn = fused
        for handle in handles:
            handle.remove()


def _in_pieces(model: nn.Module, layers: Collection[str], images: Tensor, work: Callable[[int, int], Tensor]) -> Tensor:
    pieces: list[Tensor] = []
    # The estimate is for fused attention, which keeps no weights.
    at_once = max(1, fitting(model, layers, images) // 2)
    in_pieces(len(images), lambda start, stop: pieces.append(work(start, stop)), at_once)
    return torch.cat(pieces)


def _rollout(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad(), attentions(model) as seen:
        model(images)
    weights = _checked(seen, model, images)
    if not weights:
        raise LookupError("no attention of this network runs in a forward pass; take another attribution")
    tokens = weights[0].shape[-1]
    flow = images.new_full((len(images), tokens), 1 / tokens)
    if _prefix(tokens, images):
        flow = torch.zeros_like(flow)
        flow[:, 0] = 1
    for attention in reversed(weights):
        flow = (flow + _passed_on(flow, attention.mean(1))) / 2
    return _on_image(flow, images)


def _gradient_rollout(model: nn.Module, objective: Objective, images: Tensor, rows: Tensor) -> Tensor:
    calls(model, images[:1])  # once per model, by a pass that is not to be read
    with attentions(model) as seen:
        total = score(model, objective, images.detach().requires_grad_(), rows).sum()
    weights = [own for own in _checked(seen, model, images) if own.requires_grad]
    found = torch.autograd.grad(total, weights, allow_unused=True) if weights and total.requires_grad else ()
    pairs = [(gradient, own) for gradient, own in zip(found, weights, strict=bool(found)) if gradient is not None]
    if not pairs:
        raise LookupError(f"no attention is upstream of {objective!r}; name a later layer, or take objective=logit")
    products = [gradient * own.detach() for gradient, own in pairs]
    flow = products[-1].abs().sum((1, 3))
    flow = flow / flow.sum(1, keepdim=True).clamp_min(torch.finfo(flow.dtype).tiny)
    for product in reversed(products):
        flow = flow + _passed_on(flow, product.relu().mean(1))
    return _on_image(flow, images)


def _passed_on(flow: Tensor, attention: Tensor) -> Tensor:
    """What tokens give to those that they attend to, (B, T), of (B, T) and (B, T, T)."""
    return torch.einsum("bt,bts->bs", flow, attention)


def _checked(seen: dict[str, Tensor], model: nn.Module, images: Tensor) -> list[Tensor]:
    """The weights of every attention, where each pairs all tokens of an image.

    Raises:
        LookupError: one runs several times, or attends within windows or to something else.
    """
    counts = calls(model, images[:1])
    for name, weights in seen.items():
        if counts[name] > 1:
            raise LookupError(f"attention rollouts read each attention once: {runs_again(name, counts[name])}")
        first = next(iter(seen.values()))
        if weights.shape[:1] != images.shape[:1] or weights.shape[2:] != (first.shape[-1],) * 2:
            raise LookupError(_not_all_tokens(name, weights))
        _prefix(first.shape[-1], images)
    return list(seen.values())


def _not_all_tokens(name: str, weights: Tensor) -> str:
    return (
        f"attention {name!r} has weights {tuple(weights.shape)}: rollouts need blocks that all attend from every token "
        "of an image to every other, not within windows, to channels or to a pooled token; take another attribution"
    )


def _prefix(tokens: int, images: Tensor) -> int:
    """How many class and register tokens come before the patches; LookupError where the patches have no grid."""
    size, one = (images.shape[2], images.shape[3]), images.new_zeros(1, tokens, 1)
    if not has_grid(one, size):
        raise LookupError(
            f"{tokens} tokens are no grid of patches of images of {size[0]}x{size[1]}; take another attribution"
        )
    return tokens - as_grid(one, size).numel()


def _on_image(flow: Tensor, images: Tensor) -> Tensor:
    """What patches were given, (B, T), as maps of the image, (B, H, W)."""
    size = (images.shape[2], images.shape[3])
    return enlarged(as_grid(flow[:, :, None], size).squeeze(1), size)
