import pytest
import torch
from command_line import config_of
from torch import nn

from interpret_runs.chain import Chain
from interpret_runs.corruptions import Blur, ColourJitter, Noise
from interpret_runs.runner.build import build
from interpret_runs.transforms import CaptumLong, Crops, Standard, Unchanged
from interpret_runs.v2 import V2


@pytest.mark.parametrize("part", [Standard(), Crops(views=2), Noise(), Unchanged()], ids=repr)
def test_a_chain_of_one_is_that_one(part, images):
    chain = Chain((part,))
    assert chain.views == part.views
    drawn = chain.draw(2, (0, 1), 2)
    assert torch.equal(drawn, part.draw(2, (0, 1), 2))
    assert torch.equal(chain(images, drawn[0]), part(images, drawn[0]))


def test_a_chain_applies_its_parts_first_to_last(images):
    """Of a table without randomness, so that each part can be called alone."""
    parts = (Blur(2, 1), V2([nn.Identity()]), Crops(views=1, spread=0, centre=0), Blur(1, 1))
    expected = images
    for part in parts:
        expected = part(expected, part.draw(3, (0,), 4)[1])
    chain = Chain(parts)
    torch.testing.assert_close(chain(images, chain.draw(3, (0,), 4)[1]), expected, rtol=0, atol=1e-12)


def test_what_follows_does_not_change_what_the_first_part_draws():
    alone, longer = Standard().draw(3, (0, 1)), Chain((Standard(), Noise(), Unchanged())).draw(3, (0, 1))
    assert torch.equal(longer[..., :6], alone)


def test_equal_parts_draw_apart():
    chain = Chain((Noise(), Noise(), Noise()))
    assert chain.draw(4, (0,)).unique().numel() == 4 * 3 * 2


def test_views_multiply_and_stay_a_batch_apart(images):
    """Every view of every image is changed by itself: the outcome is the single crops' of single crops."""
    chain = Chain((Crops(views=2), Crops(views=3)))
    assert chain.views == 6
    parameters = chain.draw(1, (0, 1), 2)[0].double()
    seen = chain(images, parameters)
    assert seen.shape == (24, 3, 16, 12)
    first, second = parameters[:, :6].reshape(4, 2, 3), parameters[:, 6:].reshape(4, 2, 3, 3)
    for place in range(4):
        for outer in range(3):
            for inner in range(2):
                one = Crops(views=1)(images[place : place + 1], first[place, inner][None])
                expected = Crops(views=1)(one, second[place, inner, outer][None])[0]
                found = seen[(outer * 2 + inner) * 4 + place]
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_views_are_changed_apart_by_the_parts_that_follow():
    flat = torch.zeros(2, 3, 8, 8)
    chain = Chain((Crops(views=4), Unchanged(), Noise()))
    seen = chain(flat, chain.draw(1, (0,), 2)[0])
    assert torch.unique(seen.flatten(1), dim=0).shape[0] == 8


def test_a_chain_within_a_chain_is_its_parts():
    inner = Chain((Noise(), Standard(size=9)))
    chain = Chain((ColourJitter(), inner, Crops(views=2)))
    assert chain == Chain((ColourJitter(), Noise(), Standard(size=9), Crops(views=2)))
    assert Chain((inner, Noise())).draw(1, (0,)).unique().numel() == 2 + 6 + 2


def test_the_first_part_makes_the_size_and_the_others_see_it(images):
    chain = Chain((Crops(views=2), Standard()), size=(9, 20))
    assert [part.size for part in chain.parts] == [(9, 20), (9, 20)]
    parts = Chain((Crops(views=2, size=(9, 20)), Standard()))
    parameters = chain.draw(1, (0,), 4)[0]
    torch.testing.assert_close(chain(images, parameters), parts(images, parameters))


def test_a_chain_ends_at_the_size_of_its_last_part_that_has_one(images):
    chain = Chain((Standard(size=20), Noise(size=(9, 7)), Blur()))
    assert chain.size == (9, 7) and chain.clean(images).shape == (4, 3, 9, 7)
    assert chain(images, chain.draw(1, (0,), 4)[0]).shape == (4, 3, 9, 7)
    assert Chain((Standard(), Noise())).size is None


def test_sizes_that_contradict_each_other_are_refused():
    assert Chain((Standard(size=20), Noise(size=[9, 9])), size=9).size == (9, 9)
    message = r"transform.size is 9, but the last part makes \[20, 20\]; leave the part's size null"
    with pytest.raises(ValueError, match=message):
        Chain((Noise(), Standard(size=20)), size=9)


def test_an_empty_chain_says_how_to_add_a_part():
    for made in (lambda: Chain(()), lambda: Chain.of({})):
        with pytest.raises(ValueError, match=r"a chain needs parts; add one with \+transform@transform.parts.a="):
            made()


@pytest.mark.parametrize("wrong", ["crops", nn.Identity(), Standard])
def test_a_part_that_is_no_transform_is_named(wrong):
    with pytest.raises(TypeError, match=r"is not a transform; add one with \+transform@transform.parts.a=standard"):
        Chain((Noise(), wrong))


def test_named_parts_act_in_the_order_of_their_names():
    """A run is named by its config with sorted keys, so the order of a mapping must not matter."""
    parts = {"b": Noise(), "a": CaptumLong(), "c": Blur()}
    assert Chain.of(parts).parts == Chain.of(dict(sorted(parts.items()))).parts == (CaptumLong(), Noise(), Blur())


def test_the_command_line_fills_a_chain():
    config = config_of(
        "transform=chain",
        "+transform@transform.parts.a=crops",
        "+transform@transform.parts.b=noise",
        "transform.parts.a.views=3",
        "transform.parts.b.normal=0.5",
        "transform.size=24",
    )
    assert build(config["transform"]) == Chain((Crops(views=3), Noise(normal=0.5)), size=24)
