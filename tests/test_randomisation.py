import pytest
import torch
from explained import Edges, Products, batch_law, explained
from networks import Reused, Tokens, ViT, hooks, wrapped
from torch import Tensor, nn

from interpret_runs.attribution import Attribution, scores
from interpret_runs.objectives import Channel, Layer, Logit
from interpret_runs.penalties import L2
from interpret_runs.randomisation import Randomisation, drivers
from interpret_runs.similarity import rank_correlation, structural_similarity

ROWS = torch.arange(4)
COLUMNS = {"randomisation_ssim", "randomisation_ssim_full", "randomisation_rank", "randomisation_rank_full"}


def checked(model, images, method, objective=None, **settings) -> dict[str, Tensor]:
    objective = objective or Logit(2)
    maps = method(model, objective, images)
    return Randomisation(**settings)(explained(model, images, maps, objective, method))


def weights_after(model, images, objective=None, **settings) -> list[dict[str, Tensor]]:
    given = explained(model, images, images[:, 0], objective)
    copies = Randomisation(**settings).models(given)
    return [{name: value.clone() for name, value in copy.state_dict().items()} for copy in copies]


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_a_method_that_asks_no_model_stays_as_it_is(model, images):
    found = checked(model, images, Edges())
    assert set(found) == COLUMNS
    for value in found.values():
        torch.testing.assert_close(value, torch.ones(4).double())


def test_a_method_that_asks_the_model_does_not(model, images):
    found = checked(model, images, Products())
    assert all((value < 0.9).all() for value in found.values())


def test_layers_are_drawn_from_the_top_down_and_stay_drawn(model, images):
    before = dict(model.state_dict())
    stages = weights_after(model, images, stages=3)
    names = [{f"network.{layer}.weight", f"network.{layer}.bias"} for layer in (6, 2, 0)]
    assert [changed(before, after) for after in stages] == [names[0], names[0] | names[1], set().union(*names)]
    for name in names[0]:
        assert torch.equal(stages[0][name], stages[2][name])


@pytest.mark.parametrize(("stages", "expected"), [(1, [6]), (2, [4, 6]), (3, [2, 4, 6]), (50, [2, 4, 6])])
def test_stages_are_spread_over_the_layers_and_end_at_the_first(stages, expected, model, images):
    after = weights_after(model, images, stages=stages)
    assert [len(changed(dict(model.state_dict()), weights)) for weights in after] == expected


def test_the_means_are_over_the_stages(model, images):
    method, objective = Products(), Logit(2)
    maps = method(model, objective, images)
    metric = Randomisation(3)
    shown = [metric.shown(method(copy, objective, images)) for copy in metric.models(explained(model, images, maps))]
    found = metric(explained(model, images, maps))
    for name, alike in (("ssim", structural_similarity), ("rank", rank_correlation)):
        values = torch.stack([alike(metric.shown(maps), other) for other in shown])
        torch.testing.assert_close(found[f"randomisation_{name}"], values.mean(0))
        torch.testing.assert_close(found[f"randomisation_{name}_full"], values[-1])
        assert len({*values[:, 0].tolist()}) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_untouched(fails, model, images):
    class Fails(Attribution):
        def maps(self, model, objective, images, rows):
            raise RuntimeError("as if")

    model.network.train()
    model.network[2].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = explained(model, images, images[:, 0], method=Fails() if fails else Products())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="as if"):
            Randomisation()(given)
    else:
        Randomisation()(given)
    assert changed(before, dict(model.state_dict())) == set() and hooks(model) == 0
    assert model.network.training and not model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, True, False, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_copy_has_no_hooks_left(model, images):
    (copy,) = Randomisation(1).models(explained(model, images, images[:, 0]))
    assert hooks(copy) == 0 and copy is not model


def test_what_is_drawn_hangs_on_the_seed_and_the_module(model, images):
    first, again, other = (weights_after(model, images, stages=1, seed=seed)[0] for seed in (1, 1, 2))
    assert changed(first, again) == set() and changed(first, other) == set(first) - {"mean", "std"}
    alone = weights_after(model, images, Channel("2", 1), stages=1, seed=1)[0]
    assert torch.equal(alone["network.0.weight"], first["network.0.weight"])


def test_what_lies_behind_the_objective_is_no_stage(model, images):
    given = explained(model, images, images[:, 0], Channel("2", 1))
    assert drivers(model, given) == ["network.0", "network.2"]


class HeadFirst(nn.Module):
    """Defines its modules from the last to the first, and one that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 5)
        self.idle = nn.Linear(4, 5)
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (HeadFirst, ["stem", "head"]),
        (Reused, ["block.first", "block.second", "head.2"]),
        (Tokens, ["patches", "block", "head"]),
        (ViT, ["", "patches", "block.attention", "block.mixed", "block.mlp.0", "block.mlp.2", "head"]),
    ],
)
def test_layers_come_in_the_order_that_images_meet_them(network, expected, images):
    model = wrapped(network())
    square = images[:, :, :12]
    found = drivers(model, explained(model, square, square[:, 0], Logit(1)))
    assert found == [f"network.{name}".rstrip(".") for name in expected]


class Attention(nn.Module):
    """Tokens that look at each other; torch's attention reads the parameters of a module that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


def test_parameters_that_another_module_reads_are_drawn_with_it(images):
    model = wrapped(Attention())
    order = ["network.patches", "network.attention", "network.attention.out_proj", "network.head"]
    assert drivers(model, explained(model, images, images[:, 0])) == order
    assert all((value < 0.99).all() for value in checked(model, images, Products()).values())


class Scales(nn.Module):
    """A parameter of its own, which no `reset_parameters` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3, 64, 64), 7.0))
        self.head = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        return self.head((images * self.scale[:, :height, :width]).mean((2, 3)))


def test_parameters_that_cannot_be_reset_become_noise_of_their_size(images):
    scale = weights_after(wrapped(Scales()), images, stages=1)[0]["network.scale"]
    assert abs(scale.mean()) < 0.3 and abs(scale.std() - 7) < 0.3


def test_a_score_without_parameters_cannot_forget(model, images):
    found = checked(model, images, Edges(), L2())
    assert set(found) == COLUMNS and all(value.isnan().all() for value in found.values())


def test_a_map_of_one_value_has_no_likeness_and_one_that_becomes_so_no_rank(model, images):
    found = Randomisation()(explained(model, images, torch.zeros(4, 16, 12).double()))
    assert all(value.isnan().all() for value in found.values())

    class Forgets(Attribution):
        def maps(self, model, objective, images, rows):
            return torch.zeros_like(images[:, 0])

    found = Randomisation()(explained(model, images, images[:, 0], method=Forgets()))
    assert (found["randomisation_rank"] == 0).all() and (found["randomisation_ssim"] < 0.5).all()


class Flips(Attribution):
    """Minus the map that `Explained` was given."""

    def maps(self, model, objective, images, rows):
        return 0.5 - images[:, 0]


def test_the_sign_of_a_map_counts_where_it_is_asked_for(model, images):
    given = explained(model, images, images[:, 0] - 0.5, method=Flips())
    absolute, signed, positive = (Randomisation(sign=sign)(given) for sign in ("absolute", "signed", "positive"))
    torch.testing.assert_close(absolute["randomisation_ssim"], torch.ones(4).double())
    torch.testing.assert_close(absolute["randomisation_rank"], torch.ones(4).double())
    torch.testing.assert_close(signed["randomisation_rank"], -torch.ones(4).double())
    assert (signed["randomisation_ssim"] < 0).all()
    assert ((positive["randomisation_rank"] < 0) & (positive["randomisation_rank"] > -1)).all()


@pytest.mark.parametrize("sign", ["absolute", "positive", "signed"])
def test_the_scale_of_a_map_does_not_matter(sign, model, images):
    method = Products()
    maps = method(model, Logit(2), images)
    one, other = (Randomisation(sign=sign)(explained(model, images, scale * maps)) for scale in (1, 1e3))
    for name in COLUMNS:
        torch.testing.assert_close(one[name], other[name])


@pytest.mark.parametrize("objective", [Logit((2, 0, 4, 1)), Channel("2", (7, 1, 0, 3)), Layer("0")], ids=repr)
def test_a_number_depends_on_its_image_alone(objective, model, images, monkeypatch):
    batch_law(Randomisation(2), model, objective, images, monkeypatch)


def test_random_weights_give_other_scores(model, images):
    (copy,) = Randomisation(1).models(explained(model, images, images[:, 0]))
    before, after = (scores(net, Logit(2), images, ROWS) for net in (model, copy))
    assert (before != after).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Randomisation(0), "metrics.randomisation.stages is 0; it must be a whole number from 1 on"),
        (lambda: Randomisation(sign="both"), "metrics.randomisation.sign is 'both'; it must be one of absolute, pos"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_key(build, text):
    with pytest.raises(ValueError, match=text):
        build()
