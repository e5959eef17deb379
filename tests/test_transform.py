"""What holds for every transform."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from interpret_runs.chain import Chain
from interpret_runs.corruptions import Blur, ColourJitter, Noise
from interpret_runs.lucid import Lucid
from interpret_runs.transform import Transform, check_counts, check_numbers, keys, numbers, one_of, uniform
from interpret_runs.transforms import CaptumLong, Crops, Deterministic, Standard, Unchanged
from interpret_runs.v2 import V2

EACH = {
    "standard": Standard(jitter=3),
    "captum_long": CaptumLong(jitter=1),
    "deterministic": Deterministic(jitter=3),
    "crops": Crops(views=3),
    "colour_jitter": ColourJitter(),
    "noise": Noise(),
    "blur": Blur(first=2, last=0.5),
    "lucid": Lucid(),
    "v2": V2([v2.RandomErasing(0.9), v2.RandomHorizontalFlip()]),
    "chain": Chain((Crops(views=2), Noise(), Standard(jitter=2), Crops(views=2))),
    "unchanged": Unchanged(),
}
NO_STRENGTH = {
    "standard": Standard(jitter=0, scale=(1, 1), rotate=0, late_jitter=0),
    "captum_long": CaptumLong(jitter=0, scales=(1,), angles=(0,), late_jitter=0),
    "no jitter at all": CaptumLong(times=0, scales=(1,), angles=(0,), late_jitter=0),
    "deterministic": Deterministic(jitter=0, scale=(1, 1)),
    "crops": Crops(views=3, side=(1, 1), spread=0),
    "colour_jitter": ColourJitter(0, 0),
    "noise": Noise(0, 0),
    "blur": Blur(0, 0),
    "v2": V2([nn.Identity()]),
    "chain": Chain((Noise(0, 0), Crops(views=2, side=(1, 1), spread=0), Blur(0, 0), Unchanged())),
    "unchanged": Unchanged(),
}
RANDOM = {name: transform for name, transform in EACH.items() if name != "unchanged"}
# Their draws depend on how many steps there are.
SCHEDULED = ("crops", "blur", "chain")


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_draws_the_same_whatever_the_batch(transform, count):
    together = transform.draw(3, (7, 1, 4), count)
    assert together.shape[:2] == (3, 3 * count) and together.device.type == "cpu"
    for run, seed in enumerate((7, 1, 4)):
        assert torch.equal(together[:, run * count : (run + 1) * count], transform.draw(3, (seed,), count))


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_an_image_is_changed_the_same_whatever_the_batch(transform, images):
    parameters = transform.draw(2, (0, 5), 2)[1]
    together = transform(images, parameters)
    assert len(together) == transform.views * len(images)
    for place, image in enumerate(images):
        alone = transform(image[None], parameters[place : place + 1])
        torch.testing.assert_close(together[place :: len(images)], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(EACH) - set(SCHEDULED)))
def test_more_steps_begin_as_fewer_do(name):
    assert torch.equal(EACH[name].draw(5, (3,), 2)[:2], EACH[name].draw(2, (3,), 2))


@pytest.mark.parametrize("name", sorted(set(RANDOM) - {"blur", "lucid"}))
def test_runs_images_and_steps_draw_apart(name):
    drawn = RANDOM[name].draw(3, (0, 1), 2).flatten(0, 1)
    assert torch.unique(drawn, dim=0).shape[0] == 12


@pytest.mark.parametrize("transform", NO_STRENGTH.values(), ids=NO_STRENGTH)
@pytest.mark.parametrize("size", [None, 16, (9, 20), (24, 18)])
def test_no_strength_changes_nothing_but_the_size(transform, size, images):
    transform = replace(transform, size=size)
    for step in transform.draw(2, (0, 1), 2):
        seen = transform(images, step)
        expected = transform.clean(images).repeat(transform.views, 1, 1, 1)
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(transform(images.float(), step), expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("transform", RANDOM.values(), ids=RANDOM)
def test_some_strength_changes_the_image(transform, images):
    seen = transform(images, transform.draw(1, (0,), 4)[0])
    assert seen.shape[2:] != images.shape[2:] or (seen[:4] - images).abs().max() > 0.01


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_every_size_can_be_asked_for(transform, images):
    for size in (8, (24, 18)):
        seen = replace(transform, size=size)(images, transform.draw(1, (0,), 4)[0])
        assert seen.shape == (4 * transform.views, 3, *((8, 8) if size == 8 else size))


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_single_precision_stays_single_and_is_nearly_double(transform, images):
    parameters = transform.draw(1, (0,), 4)[0]
    single, double = transform(images.float(), parameters), transform(images, parameters)
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    far = (single - double).abs() > 1e-4
    assert far.float().mean() < 0.02, "only a nearest pixel may fall to the other side"


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_gradients_reach_the_image(transform, images):
    parameters = transform.draw(1, (0,), 4)[0]
    transform(images.requires_grad_(), parameters).sum().backward()
    assert images.grad.isfinite().all() and (images.grad != 0).float().mean() > 0.3


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_global_random_state_neither_matters_nor_changes(transform, images):
    first = transform(images, transform.draw(1, (0,), 4)[0])
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(transform(images, transform.draw(1, (0,), 4)[0]), first)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("transform", EACH.values(), ids=EACH)
def test_the_images_themselves_stay_as_they_are(transform, images):
    before = images.clone()
    transform(images, transform.draw(1, (0,), 4)[0])
    assert torch.equal(images, before)


# --- what transforms are made with --------------------------------------------------------------------------------


def test_one_of_chooses_each_value_as_often():
    chosen = one_of((3, -1, 0.5), uniform(500, (0,), 3, 2))
    for value in (3, -1, 0.5):
        assert (chosen == value).float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    assert one_of((3, -1), torch.tensor([0, 0.4999, 0.5, 1 - 2**-24])).tolist() == [3, 3, -1, -1]


def test_keys_are_whole_and_exact():
    drawn = keys(100, (0, 1), 2, 3)
    assert drawn.dtype == torch.float32 and torch.equal(drawn, drawn.long().float())
    assert drawn.min() >= 0 and 2**23 < drawn.max() < 2**24


def test_the_default_type_does_not_change_what_is_drawn():
    before = uniform(2, (0,), 1, 4)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(uniform(2, (0,), 1, 4), before)
    finally:
        torch.set_default_dtype(torch.float32)


@dataclass(frozen=True)
class Settings(Transform):
    value: object
    size = None

    def draw(self, steps, seeds, images=1):
        raise NotImplementedError

    def __call__(self, images, parameters):
        raise NotImplementedError


@pytest.mark.parametrize("value", ["x", None, float("nan"), float("inf"), [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"transform.value is .*; it must be a finite number$"):
        check_numbers(Settings(value), "value")
    with pytest.raises(ValueError, match=r"transform.value is .*; it must be a whole number from 0 on"):
        check_counts(Settings(value), "value")
    with pytest.raises(ValueError, match=r"transform.value is .*; it must be two numbers"):
        numbers("value", value, "two numbers", 2)


def test_bounds_belong_to_what_is_allowed():
    check_numbers(Settings(0), "value", low=0)
    check_counts(Settings(1), "value", low=1)
    assert numbers("value", [0, 1.5], "") == numbers("value", (0, 1.5), "", 2) == (0, 1.5)
    with pytest.raises(ValueError, match=r"transform.value is -1; it must be a finite number from 0 on"):
        check_numbers(Settings(-1), "value", low=0)
    for wrong in (0, True, 1.0):
        with pytest.raises(ValueError, match=r"it must be a whole number from 1 on"):
            check_counts(Settings(wrong), "value", low=1)
    for wrong in ((), [1, "x"], [1, float("nan")]):
        with pytest.raises(ValueError, match=r"it must be numbers"):
            numbers("value", wrong, "numbers")
