import networks
import pytest
import torch
from networks import Counted, Fails, bare, hooks, wrapped
from torch import nn
from torch.nn import functional
from torchvision.models import swin_t
from torchvision.models.vision_transformer import VisionTransformer

from interpret_runs import variants
from interpret_runs.attention import AttentionRollout, GradientRollout, attentions
from interpret_runs.cams import GradCam, GradCamPlusPlus, HiResCam, LayerCam, XGradCam
from interpret_runs.finer_cam import FinerCam
from interpret_runs.models import VisionModel
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Layer, Logit, Neuron
from interpret_runs.penalties import TotalVariation
from interpret_runs.score_cam import ScoreCam

METHODS = [AttentionRollout(), GradientRollout()]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)
LAST = "encoder.layers.encoder_layer_2"


def torchvisions() -> VisionModel:
    """torchvision's ViT with three blocks of two heads for 16 x 16 pixels in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(16, 4, 3, 2, 8, 16, num_classes=5)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.4)
    return wrapped(network)


class Pooled(nn.Module):
    """PyTorch's own blocks on patches of 4 x 4 pixels, without a class token; the head sees the patches' mean."""

    def __init__(self, **settings) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)
        self.blocks = nn.Sequential(block, nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.blocks(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


class Attends(nn.Module):
    """One attention of 4 x 4 patches to themselves, called as told; returns what comes out and the weights."""

    def __init__(self, call=None, repeat: int = 1, **settings) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, **settings)
        self.call = call or {}
        self.repeat = repeat

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = tokens if self.attention.batch_first else tokens.transpose(0, 1)
        for _ in range(self.repeat):
            tokens, weights = self.attention(tokens, tokens, tokens, **self.call)
        tokens = tokens if self.attention.batch_first else tokens.transpose(0, 1)
        self.returned = None if weights is None else weights.detach()
        return tokens.mean(1)


@pytest.fixture
def square():
    """Three random images of 16 x 16 pixels in float64."""
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weights_by_hand(model, images, changes=None):
    """Each block's attention in torchvision's ViT, (B, heads, T, T), and the logits; `changes` are added to them."""
    network, found = model.network, []
    tokens = network._process_input(model.normalise(images))
    tokens = torch.cat([network.class_token.expand(len(images), -1, -1), tokens], 1) + network.encoder.pos_embedding
    for number, block in enumerate(network.encoder.layers):
        own = block.self_attention
        packed = functional.linear(block.ln_1(tokens), own.in_proj_weight, own.in_proj_bias)
        query, key, value = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in packed.chunk(3, 2))
        weights = (query @ key.mT / 2).softmax(3)
        found.append(weights.detach())
        if changes is not None:
            weights = weights + changes[number]
        tokens = tokens + own.out_proj((weights @ value).transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return found, network.heads(network.encoder.ln(tokens)[:, 0])


def on_image(row, size=(16, 16)):
    """The patches' part of a class token's row, (B, 17), as a map."""
    return functional.interpolate(row[:, 1:].reshape(-1, 1, 4, 4), size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]


def test_attention_is_read_as_it_is_computed(square):
    model = torchvisions()
    expected, logits = weights_by_hand(model, square)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode(), attentions(model) as seen:
            torch.testing.assert_close(model(square), logits)
        assert list(seen) == [f"encoder.layers.encoder_layer_{block}.self_attention" for block in range(3)]
        for found, weights in zip(seen.values(), expected, strict=True):
            torch.testing.assert_close(found, weights)


def test_rollout_is_the_product_of_attentions_with_shortcuts(square):
    """Abnar and Zuidema, 2020, by whole matrices."""
    model = torchvisions()
    joint = torch.eye(17, dtype=torch.float64)
    for weights in weights_by_hand(model, square)[0]:
        mixed = weights.mean(1) + torch.eye(17, dtype=torch.float64)
        joint = mixed / mixed.sum(2, keepdim=True) @ joint
    torch.testing.assert_close(joint.sum(2), torch.ones(3, 17, dtype=torch.float64))
    torch.testing.assert_close(AttentionRollout()(model, Logit(1), square), on_image(joint[:, 0]))


def test_gradient_rollout_is_the_papers_rule(square):
    """Chefer et al., 2021: ``R <- R + mean_heads(relu(g * A)) R``, the class token's row; g by what is added to A."""
    model, targets = torchvisions(), (3, 0, 3)
    changes = [torch.zeros(3, 2, 17, 17, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights, logits = weights_by_hand(model, square, changes)
    gradients = torch.autograd.grad(logits[range(3), targets].sum(), changes)
    relevance = torch.eye(17, dtype=torch.float64).repeat(3, 1, 1)
    for gradient, own in zip(gradients, weights, strict=True):
        relevance = relevance + (gradient * own).relu().mean(1) @ relevance
    expected = on_image(relevance[:, 0])
    assert (expected > 0).any()
    torch.testing.assert_close(GradientRollout()(model, Logit(targets), square), expected)


def test_rollout_is_the_same_for_every_objective_and_gradient_rollout_is_not(square):
    model = torchvisions()
    objectives = [Logit(1), Logit(2), Channel(LAST, 3), Neuron("encoder.layers.encoder_layer_1", 2, 1, 1)]
    plain, gradient = ([method(model, objective, square) for objective in objectives] for method in METHODS)
    for one in range(4):
        assert torch.equal(plain[one], plain[0])
        assert all(not torch.allclose(gradient[one], gradient[other]) for other in range(one))
        assert (gradient[one] >= 0).all() and gradient[one].isfinite().all()


def test_a_neuron_is_traced_back_from_its_own_patch(square):
    """Behind one block it attends from its place, and the shortcut shows the place itself."""
    model = torchvisions()
    maps = GradientRollout()(model, Neuron("encoder.layers.encoder_layer_0", 2, 1, 3), square)
    cells = functional.avg_pool2d(maps[:, None], 4).flatten(1)
    assert (cells.argmax(1) == 1 * 4 + 3).all()


@EVERY_METHOD
def test_without_a_class_token_all_tokens_count(method, square):
    """Where everything attends evenly, so does the map; what one patch lacks in attention it lacks in the map."""
    model = bare(Pooled())
    maps = method(model, Logit(2), square)
    assert maps.shape == (3, 16, 16) and maps.isfinite().all() and (maps > 0).all()
    for block in model.network.blocks:
        nn.init.zeros_(block.self_attn.in_proj_weight)
        nn.init.zeros_(block.self_attn.in_proj_bias)
    if isinstance(method, AttentionRollout):
        maps = method(model, Logit(2), square)
        torch.testing.assert_close(maps, torch.full_like(maps, 1 / 16))


@pytest.mark.parametrize("norm_first", [True, False])
def test_pytorchs_fast_path_does_not_hide_attention(norm_first, square):
    model = bare(Pooled(norm_first=norm_first))
    with torch.no_grad():
        expected = model(square)
        with attentions(model) as seen:
            found = model(square)
    torch.testing.assert_close(found, expected)
    assert [tuple(weights.shape) for weights in seen.values()] == [(3, 2, 16, 16)] * 2


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 8, "vdim": 8}])
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("averaged", [True, False])
def test_a_network_gets_from_its_attention_what_it_asked_for(batch_first, bias, widths, needed, averaged, square):
    call = {"need_weights": needed, "average_attn_weights": averaged}
    model = bare(Attends(call, batch_first=batch_first, bias=bias, **widths))
    if widths:  # torch packs its projections where the widths are equal
        own = model.network.attention
        own._qkv_same_embed_dim = False
        for name, part in zip("qkv", own.in_proj_weight.detach().chunk(3), strict=True):
            setattr(own, f"{name}_proj_weight", nn.Parameter(part.clone()))
        own.in_proj_weight = None
    expected, returned = model(square), model.network.returned
    with attentions(model) as seen:
        torch.testing.assert_close(model(square), expected)
    found = model.network.returned
    assert (found is None) == (returned is None) == (not needed)
    if needed:
        torch.testing.assert_close(found, returned)
        torch.testing.assert_close(seen["attention"].mean(1), returned if averaged else returned.mean(1))


def test_timms_attention_is_read_although_it_is_fused(square):
    timm = pytest.importorskip("timm.models.vision_transformer")
    settings = {"img_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = bare(timm.VisionTransformer(reg_tokens=2, **settings))
    switches = [block.attn.fused_attn for block in model.network.blocks]
    assert all(switches)
    expected = model(square)
    packed: list[torch.Tensor] = []
    handles = [
        block.attn.qkv.register_forward_hook(lambda *args: packed.append(args[2])) for block in model.network.blocks
    ]
    with attentions(model) as seen:
        torch.testing.assert_close(model(square), expected)
    for found, one in zip(seen.values(), packed, strict=True):
        query, key, _ = one.unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        torch.testing.assert_close(found, (query @ key.mT / 2).softmax(3))
    for handle in handles:
        handle.remove()
    for method in METHODS:
        maps = method(model, Logit((0, 1, 1)), square)
        assert maps.shape == (3, 16, 16) and (maps > 0).any()
    assert [block.attn.fused_attn for block in model.network.blocks] == switches and hooks(model) == 0


# --- every method of the family on a vision transformer --------------------------------------------------------------


@pytest.mark.parametrize("method", [GradCam, GradCamPlusPlus, HiResCam, XGradCam, LayerCam, ScoreCam, FinerCam])
def test_class_activation_maps_read_a_vision_transformer(method, square):
    model = torchvisions()
    maps = method(f"{LAST}.ln_1", relu=False)(model, Logit((0, 1, 1)), square)
    assert maps.shape == (3, 16, 16) and maps.isfinite().all()
    assert (maps.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("layer", [LAST, "encoder", f"{LAST}.mlp"])
def test_the_last_block_is_refused_and_an_earlier_layer_named(layer, square):
    with pytest.raises(LookupError, match=f"its class token alone; the nearest layer that serves: '{LAST}.ln_1'"):
        GradCam(layer)(torchvisions(), Logit(1), square)


# --- batches ----------------------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_neither_the_batch_nor_the_chunk_changes_a_map(method, chunk, square, monkeypatch):
    model, targets = torchvisions(), [Logit(4) - Channel(LAST, 4), Logit(0) - Channel(LAST, 0)]
    rows = torch.tensor([1, 1, 0])
    alone = [method(model, targets[row], image[None]) for row, image in zip(rows.tolist(), square, strict=True)]
    monkeypatch.setattr(variants, "AT_ONCE", chunk)
    together = method(model, Objective.stack(targets), square, rows)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-12)


@EVERY_METHOD
def test_the_first_call_on_a_model_equals_the_next(method, square):
    """What is found out about a model once, by a pass of its own, is not read."""
    model, objective = torchvisions(), Channel("encoder.layers.encoder_layer_1", 2)
    first = method(model, objective, square)
    assert torch.equal(method(model, objective, square), first)


@EVERY_METHOD
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_images_are_left_as_they_were_found(method, fails, square):
    model = torchvisions().train()
    model.network.class_token.requires_grad_(False)
    if fails:
        model.network.heads = Fails()
    before = square.clone()
    if fails:
        with pytest.raises(RuntimeError, match="this head refuses"):
            method(model, Logit(1), square)
        with pytest.raises(RuntimeError, match="this head refuses"), attentions(model):
            model(square)
    else:
        with torch.no_grad():
            method(model, Logit(1), square)
    assert hooks(model) == 0 and all(module.training for module in model.modules())
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == ["network.class_token"]
    assert all(parameter.grad is None for parameter in model.parameters()) and torch.equal(square, before)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("network", [networks.plain, networks.ViT, lambda: swin_t()], ids=["plain", "ViT", "swin"])
def test_a_network_whose_attention_cannot_be_read_is_refused(method, network, square):
    """Also one that computes attention by itself."""
    model = bare(network())
    for ask in (lambda: method(model, Logit(1), square), lambda: method.check(model, Logit(1), square[:1])):
        with pytest.raises(LookupError, match="network whose attention can be read, .*; this one has none") as error:
            ask()
        assert "\n" not in str(error.value)


@EVERY_METHOD
def test_attention_within_windows_is_refused(method, square):
    timm = pytest.importorskip("timm.models.swin_transformer")
    settings = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 8, "num_classes": 5}
    model = bare(timm.SwinTransformer(depths=(1,), num_heads=(2,), **settings))
    with pytest.raises(LookupError, match=r"attention .* has weights \(12, 2, 16, 16\): .* not within windows"):
        method(model, Logit(1), square)


@EVERY_METHOD
def test_attention_between_channels_is_refused(method, square):
    timm = pytest.importorskip("timm.models.xcit")
    model = bare(timm.Xcit(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=5))
    with pytest.raises(LookupError, match="attention 'XCA' has weights .*: .* not within windows, to channels"):
        method(model, Logit(1), square)
    assert hooks(model) == 0


@EVERY_METHOD
def test_attention_that_runs_twice_is_refused(method, square):
    with pytest.raises(LookupError, match="layer 'attention' runs 2 times"):
        method(bare(Attends(repeat=2, batch_first=True)), Logit(1), square)


@EVERY_METHOD
def test_attention_to_added_keys_is_refused(method, square):
    with pytest.raises(LookupError, match="cannot read nn.MultiheadAttention with added keys"):
        method(bare(Attends(batch_first=True, add_bias_kv=True)), Logit(1), square)


@EVERY_METHOD
def test_tokens_without_a_grid_are_refused(method):
    model = bare(Attends(batch_first=True))
    strip = torch.rand(1, 3, 44, 4, dtype=torch.float64)
    assert method(model, Logit(1), strip).shape == (1, 44, 4)
    model.network.patches = nn.Conv2d(3, 8, (2, 4), stride=(2, 4)).double()
    with pytest.raises(LookupError, match="22 tokens are no grid of patches of images of 44x4"):
        method(model, Logit(1), strip)


def test_an_objective_before_all_attention_is_refused(square):
    for objective in (TotalVariation(), Layer("conv_proj")):
        for ask in (
            GradientRollout().maps,
            lambda model, what, images, _: GradientRollout().check(model, what, images),
        ):
            with pytest.raises(LookupError, match="no attention is upstream of .*; name a later layer"):
                ask(torchvisions(), objective, square, torch.arange(3))
    assert AttentionRollout()(torchvisions(), TotalVariation(), square).shape == (3, 16, 16)


class Idle(nn.Module):
    """Has an attention and does not use it."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Counted()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, images):
        return self.counted(images).mean((2, 3))


def test_attention_that_does_not_run_is_refused(square):
    with pytest.raises(LookupError, match="no attention of this network runs"):
        AttentionRollout()(bare(Idle()), Logit(1), square)
    with pytest.raises(LookupError, match="no attention is upstream"):
        GradientRollout()(bare(Idle()), Logit(1), square)


@EVERY_METHOD
def test_check_accepts_what_can_be_explained(method, square):
    model = torchvisions()
    method.check(model, Logit(1), square[:1])
    assert hooks(model) == 0 and method.resolve(model.summary) == method
