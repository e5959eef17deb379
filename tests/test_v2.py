import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from interpret_runs.runner.build import build
from interpret_runs.v2 import V2


class Cut(nn.Module):
    """Takes off a random number of rows."""

    def forward(self, image):
        return image[:, int(torch.randint(4, ())) :]


def test_torchvisions_transforms_act_one_after_another(images):
    made = V2([v2.Pad(2, fill=1), v2.Grayscale(3)])
    expected = torch.stack([v2.Grayscale(3)(v2.Pad(2, fill=1)(image)) for image in images])
    assert torch.equal(made(images, made.draw(1, (0,), 4)[0]), expected)


def test_each_image_and_each_step_has_a_key_of_its_own(images):
    made = V2([v2.RandomAffine(90, (0.2, 0.2))])
    same = images[:1].repeat(4, 1, 1, 1)
    seen = torch.stack([made(same, step) for step in made.draw(2, (0, 1), 2)]).flatten(0, 1)
    assert torch.unique(seen, dim=0).shape[0] == 8


def test_a_key_seeds_torchs_generator(images):
    made = V2([v2.RandomErasing(1), v2.RandomErasing(1)])
    torch.manual_seed(123)
    expected = v2.RandomErasing(1)(v2.RandomErasing(1)(images[0]))
    assert torch.equal(made(images[:1], torch.tensor([[123.0]]))[0], expected)


def test_the_outcome_has_the_size_asked_for_or_its_own(images):
    for size, expected in ((None, (5, 7)), ((8, 9), (8, 9))):
        made = V2([v2.RandomCrop((5, 7))], size=size)
        assert made(images, made.draw(1, (0,), 4)[0]).shape == (4, 3, *expected)


def test_images_of_several_sizes_are_refused_with_the_next_step(images):
    made = V2([Cut()])
    with pytest.raises(ValueError, match=r"transform.transforms make images of shapes \[.*\]; end with a Resize"):
        made(images, torch.arange(4.0)[:, None])
    made = V2([Cut(), v2.Resize((8, 8))])
    assert made(images, torch.arange(4.0)[:, None]).shape == (4, 3, 8, 8)


def test_the_generator_is_as_before_even_after_an_error(images):
    made = V2([v2.RandomErasing(1), nn.Conv2d(5, 5, 1)])
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError):
        made(images.float(), torch.zeros(4, 1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("transforms", "error", "message"),
    [
        ([], ValueError, "transform.transforms is empty; name one, or take transform=none"),
        (v2.RandomErasing(), TypeError, r"transform.transforms is RandomErasing\(.*\); it must be a list"),
        ([nn.Identity(), 3], TypeError, r"transform.transforms\[1\] is 3, not a transform; give one as \{_target_"),
        ([v2.RandomErasing], TypeError, r"transform.transforms\[0\] is <class .*not a transform"),
    ],
)
def test_what_is_no_transform_is_named(transforms, error, message):
    with pytest.raises(error, match=message):
        V2(transforms)


def test_a_config_names_classes_and_their_settings():
    nodes = [
        {"_target_": "torchvision.transforms.v2.RandomErasing", "p": 0.7, "scale": [0.1, 0.2]},
        {"_target_": "torchvision.transforms.v2.RandomApply", "transforms": [{"_target_": "torch.nn.Identity"}]},
    ]
    erasing, apply = build({"_target_": "interpret_runs.v2.V2", "transforms": nodes}).transforms
    assert erasing.p == 0.7 and list(erasing.scale) == [0.1, 0.2] and isinstance(apply.transforms[0], nn.Identity)
    with pytest.raises(LookupError, match="Nothing"):
        build({"_target_": "interpret_runs.v2.V2", "transforms": [{"_target_": "torchvision.transforms.v2.Nothing"}]})


def test_a_transform_may_change_its_image_in_place(images):
    made = V2([v2.RandomErasing(1, inplace=True)])
    pixels = images.clone().requires_grad_()
    made(pixels, torch.arange(4.0)[:, None]).sum().backward()
    assert torch.equal(pixels.detach(), images) and (pixels.grad == 0).any() and (pixels.grad == 1).any()
