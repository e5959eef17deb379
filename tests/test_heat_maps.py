import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from interpret_runs.heat_maps import SMALLEST, _ticks, heat_map, limit_of, overlay
from interpret_runs.images import to_pil


def smooth(height: int = 224, width: int = 224) -> Tensor:
    """A signed map, values from about -0.03 to 0.05."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return 0.05 * torch.exp(-((y + 0.3) ** 2 + x**2) / 0.1) - 0.03 * torch.exp(-((y - 0.4) ** 2 + x**2) / 0.1)


def colours(picture: Image.Image, height: int, width: int) -> Tensor:
    """The colours of the map's own pixels: the map is scaled by a whole factor and stands left of the bar."""
    factor = math.ceil(SMALLEST / height)
    top = (picture.height - factor * height) // 2
    return torch.tensor(
        [[picture.getpixel((1 + factor * x, top + factor * y)) for x in range(width)] for y in range(height)]
    )


def photograph() -> Tensor:
    return torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_zero_is_the_neutral_colour() -> None:
    values = torch.tensor([[-1.0, 0.0, 1.0]])
    low, zero, high = colours(heat_map(values), 1, 3)[0].tolist()
    assert max(zero) - min(zero) <= 2 and min(zero) > 230  # a light grey
    assert low[2] > low[0] and high[0] > high[2]  # blue below, red above
    assert colours(heat_map(torch.tensor([[0.3, 0.0, 0.7]]), signed=True), 1, 3)[0, 1].tolist() == zero


def test_unsigned_colours_get_lighter() -> None:
    rising = colours(heat_map(torch.linspace(0, 3, 40)[None]), 1, 40)[0].float()
    luminance = rising @ torch.tensor([0.299, 0.587, 0.114])
    assert (luminance.diff() > 0).all()


def test_negating_a_map_mirrors_its_colours() -> None:
    values = torch.linspace(-1, 1, 31)[None]
    assert torch.equal(colours(heat_map(-values), 1, 31), colours(heat_map(values), 1, 31).flip(1))


@pytest.mark.parametrize("signed", [True, False])
def test_only_the_ratio_to_the_limit_has_a_colour(signed: bool) -> None:
    values = smooth(20, 20)
    one = colours(heat_map(values, signed=signed), 20, 20)
    assert torch.equal(one, colours(heat_map(1024 * values, signed=signed), 20, 20))
    assert torch.equal(one, colours(heat_map(values, limit=limit_of(values), signed=signed), 20, 20))
    assert torch.equal(one, colours(heat_map(values.double(), signed=signed), 20, 20))


def test_values_beyond_the_limit_take_its_colour() -> None:
    a, b, c, d = colours(heat_map(torch.tensor([[-9.0, -1.0, 1.0, 9.0]]), limit=1), 1, 4)[0].tolist()
    assert a == b and c == d
    low, zero = colours(heat_map(torch.tensor([[-9.0, 0.0]]), limit=1, signed=False), 1, 2)[0].tolist()
    assert low == zero


@pytest.mark.parametrize("signed", [True, False, None])
def test_a_map_of_zeros_is_drawn(signed: bool | None) -> None:
    zeros = torch.zeros(64, 64)
    assert len(colours(heat_map(zeros, signed=signed), 64, 64).flatten(0, 1).unique(dim=0)) == 1  # type: ignore[no-untyped-call]
    overlay(torch.rand(3, 64, 64), zeros, limit=0.0, signed=signed)


@pytest.mark.parametrize("size", [(7, 7), (64, 64), (224, 224), (300, 200)])
def test_pictures_are_high_enough_to_read(size: tuple[int, int]) -> None:
    picture = heat_map(smooth(*size))
    assert SMALLEST <= picture.height < 2 * SMALLEST + 40
    assert picture.width > picture.height * size[1] / size[0]  # the bar is beside it


@pytest.mark.parametrize("limit", [1e-30, 3.47e-7, 0.0347, 0.1, 1, 2, 9.99, 10, 1234.5, 1e30])
@pytest.mark.parametrize("signed", [True, False])
def test_ticks_are_round_numbers_inside_the_bar(limit: float, signed: bool) -> None:
    ticks = _ticks(limit, signed)
    assert 3 <= len(ticks) <= (9 if signed else 5)
    assert (0, "0") in ticks
    for part, label in ticks:
        assert (-1 if signed else 0) <= part <= 1 + 1e-9
        assert float(label) == pytest.approx(part * limit, rel=1e-3)
        assert len(label) <= 7


@pytest.mark.parametrize("signed", [True, False])
def test_an_overlay_of_zeros_is_the_grey_photograph(signed: bool) -> None:
    image = photograph()
    picture = overlay(image, torch.zeros(224, 224), signed=signed)
    assert picture.tobytes() == to_pil(image).convert("L").convert("RGB").tobytes()
    grey = image[:1].expand(3, -1, -1)
    assert overlay(grey, torch.zeros(224, 224), signed=signed).tobytes() == to_pil(grey).tobytes()


def test_an_overlay_touches_only_where_the_map_is() -> None:
    values = smooth()
    values[:, :100] = 0
    drawn, bare = (overlay(photograph(), v, limit=0.05, signed=True) for v in (values, 0 * values))
    assert drawn.crop((0, 0, 100, 224)).tobytes() == bare.crop((0, 0, 100, 224)).tobytes()
    assert drawn.tobytes() != bare.tobytes()
    assert overlay(photograph(), values, strength=0).tobytes() == bare.tobytes()


def test_a_full_overlay_is_the_heat_map() -> None:
    values = torch.tensor([[-1.0, 1.0]]).repeat(2, 1)
    picture = overlay(torch.rand(3, 2, 2), values, strength=1)
    assert [picture.getpixel((x, 0)) for x in range(2)] == [
        tuple(colour) for colour in colours(heat_map(values), 2, 2)[0].tolist()
    ]


@pytest.mark.parametrize("draw", [heat_map, limit_of, lambda values: overlay(torch.rand(3, 4, 4), values)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(draw: object, value: float) -> None:
    values = torch.zeros(4, 4)
    values[1, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        draw(values)  # type: ignore[operator]


def test_arguments_that_make_no_picture() -> None:
    with pytest.raises(ValueError, match=r"shape \(H, W\)"):
        heat_map(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="no values"):
        limit_of(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="limit"):
        heat_map(torch.zeros(4, 4), limit=-1)
    with pytest.raises(ValueError, match="does not fit"):
        overlay(torch.rand(3, 8, 8), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="strength"):
        overlay(torch.rand(3, 4, 4), torch.zeros(4, 4), strength=2)


def test_maps_keep_their_gradient_to_themselves() -> None:
    values = smooth(32, 32).requires_grad_()
    heat_map(values)
    overlay(torch.rand(3, 32, 32), values)
    assert values.grad is None
