import math

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from interpret_runs.colour_bar import PAPER, _ticks
from interpret_runs.heat_maps import SMALLEST, contours, heat_map, limit_of, overlay, robust_limit, shared_limit
from interpret_runs.images import to_pil, to_tensor


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
    assert overlay(photograph(), values, opacity=0).tobytes() == bare.tobytes()


def test_a_full_overlay_is_the_heat_map() -> None:
    values = torch.tensor([[-1.0, 1.0]]).repeat(2, 1)
    picture = overlay(torch.rand(3, 2, 2), values, opacity=1)
    assert [picture.getpixel((x, 0)) for x in range(2)] == [
        tuple(colour) for colour in colours(heat_map(values), 2, 2)[0].tolist()
    ]


@pytest.mark.parametrize(("signed", "paper"), [(True, 1.0), (False, 0.0)])
def test_an_overlay_is_monotone_in_the_map(signed: bool, paper: float) -> None:
    """Signed, over white, what is nearer to the limit is more coloured; unsigned, over black, it is lighter."""
    values = torch.linspace(0, 1, 50)[None]
    drawn = to_tensor(overlay(torch.full((3, 1, 50), paper), values, limit=1, signed=signed))[:, 0]
    assert (drawn[:, 0] == paper).all()
    change = (paper - drawn).abs().amax(0)
    assert (change.diff() >= 0).all() and change[-1] > 0.2


# --- maps in another resolution ---------------------------------------------------------------------------------


def test_nearest_resizing_repeats_pixels_exactly() -> None:
    image, values = torch.rand(3, 12, 18), torch.randn(4, 3)
    repeated = values.repeat_interleave(3, 0).repeat_interleave(6, 1)
    wanted = overlay(image, repeated)
    assert overlay(image, values, interpolation="nearest").tobytes() == wanted.tobytes()
    assert heat_map(values, interpolation="nearest").tobytes() == heat_map(values).tobytes()


def test_bilinear_resizing_is_what_torch_does() -> None:
    image, values = torch.rand(3, 12, 18), torch.randn(4, 3, dtype=torch.float64)
    finer = functional.interpolate(values[None, None], (12, 18), mode="bilinear")[0, 0]
    wanted = overlay(image, finer, limit=1.5, signed=True)
    assert overlay(image, values, limit=1.5, signed=True, interpolation="bilinear").tobytes() == wanted.tobytes()


@pytest.mark.parametrize("draw", [overlay, lambda *given, **told: contours(*given, [0.5], **told)])
@pytest.mark.parametrize("size", [(30, 50), (224, 150), (7, 7)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_photographs_keep_their_size_and_aspect(draw: object, size: tuple[int, int], interpolation: str) -> None:
    image = torch.rand(3, *size)
    drawn = draw(image, torch.randn(7, 7), interpolation=interpolation)  # type: ignore[operator]
    assert (drawn.height, drawn.width) == size
    of_photograph = draw(to_pil(image), torch.randn(7, 7), interpolation=interpolation)  # type: ignore[operator]
    assert of_photograph.size == drawn.size


def test_a_bilinear_heat_map_has_the_colours_of_its_pixels_in_their_middle() -> None:
    """By an odd factor, the middle of a pixel of the map is the middle of a pixel of the picture."""
    values = torch.randn(32, 32)
    smooth_map, squares = heat_map(values, interpolation="bilinear"), heat_map(values)
    assert smooth_map.size == squares.size and smooth_map.tobytes() != squares.tobytes()
    factor, top = 7, (squares.height - 224) // 2
    for x, y in ((0, 0), (5, 9), (31, 31)):
        middle = 1 + factor * x + 3, top + factor * y + 3
        assert smooth_map.getpixel(middle) == squares.getpixel(middle)


@pytest.mark.parametrize("draw", [overlay, lambda *given, **told: contours(*given, [0.5], **told)])
def test_a_map_of_another_size_is_not_resized_unasked(draw: object) -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 4\) does not fit an image of \(8, 9\); say how"):
        draw(torch.rand(3, 8, 9), torch.rand(4, 4))  # type: ignore[operator]
    with pytest.raises(ValueError, match="interpolation is 'cubic'; it must be bilinear or nearest"):
        draw(torch.rand(3, 8, 9), torch.rand(4, 4), interpolation="cubic")  # type: ignore[operator]


# --- scales -----------------------------------------------------------------------------------------------------


def test_a_shared_limit_is_that_of_all_values_together() -> None:
    maps = [torch.randn(5, 7), 3 * torch.randn(2, 4, 4), torch.zeros(3, 3, dtype=torch.float64)]
    together = torch.cat([one.flatten().double() for one in maps])
    for share in (0.5, 0.9, 1.0):
        assert shared_limit(maps, share) == robust_limit(together, share)
        assert shared_limit(maps[::-1], share) == shared_limit(maps, share)
    assert shared_limit(maps, 1) == max(limit_of(one) for one in maps)
    assert shared_limit(maps[:1]) == pytest.approx(robust_limit(maps[0]))


def test_maps_of_one_limit_have_one_colour_for_one_value() -> None:
    maps = [torch.tensor([[0.5, 2.0]]), torch.tensor([[8.0, 0.5]])]
    limit = shared_limit(maps, 1)
    first, second = (colours(heat_map(one, limit), 1, 2)[0].tolist() for one in maps)
    assert first[0] == second[1] and first[1] != second[0]


def test_a_larger_share_has_a_larger_limit() -> None:
    values = torch.randn(40, 40)
    limits = [robust_limit(values, share) for share in (0.0, 0.3, 0.9, 0.99, 1.0)]
    assert limits == sorted(limits) and limits[-1] == limit_of(values)
    assert (values.abs() <= limits[2]).float().mean() == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(0, 9), (-9, 0), (-9, 9), (-1, 1)])
def test_the_bar_ends_in_a_point_where_values_lie_beyond_it(low: float, high: float) -> None:
    picture = heat_map(torch.tensor([[low, high, 0.5, -0.5]]), limit=1)
    column, margin = 1 + 4 * SMALLEST + 12 + 1, (picture.height - SMALLEST) // 2  # the bar's left side
    assert (picture.getpixel((column, margin + 2)) == PAPER) == (high > 1)
    assert (picture.getpixel((column, margin + SMALLEST - 3)) == PAPER) == (low < -1)


def test_an_unsigned_bar_has_no_point_for_what_is_below_zero() -> None:
    values = torch.tensor([[-9.0, 1.0]])
    assert (
        heat_map(values, limit=1, signed=False).tobytes()
        == heat_map(values.clamp(min=0), limit=1, signed=False).tobytes()
    )


# --- contours ---------------------------------------------------------------------------------------------------


def bump(size: int = 64) -> Tensor:
    """A Gaussian in the middle, 1 at its top."""
    places = torch.linspace(-1, 1, size, dtype=torch.float64)
    return torch.exp(-(places[:, None] ** 2 + places**2) / 0.2)


def inked(picture: Image.Image, bare: Tensor) -> Image.Image:
    """White where a line is, black elsewhere."""
    changed = (to_tensor(picture) - bare).abs().amax(0) > 0.02
    return to_pil(changed.float().expand(3, -1, -1))


def enclosed(picture: Image.Image, bare: Tensor) -> int:
    """How many pixels cannot be reached from the corner."""
    lines = inked(picture, bare)
    ImageDraw.floodfill(lines, (0, 0), (255, 0, 0))
    return int((to_tensor(lines) != torch.tensor([1.0, 0, 0]).view(3, 1, 1)).any(0).sum())


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_contour_of_a_bump_encloses_its_middle(colour: float, sign: int) -> None:
    bare = torch.full((3, 64, 64), colour)
    lines = inked(contours(bare, sign * bump(), [0.5]), bare)
    assert lines.getpixel((32, 32)) == (0, 0, 0)
    ImageDraw.floodfill(lines, (0, 0), (255, 0, 0))
    assert lines.getpixel((32, 32)) == (0, 0, 0)


def test_contours_are_nested() -> None:
    bare = torch.zeros(3, 64, 64)
    areas = [enclosed(contours(bare, bump(), [level]), bare) for level in (0.2, 0.5, 0.8)]
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == 3
    for level, area in zip((0.2, 0.5, 0.8), areas, strict=True):
        assert (bump() > level).sum() < area < 2 * (bump() > level).sum() + 100  # and the line's own width


def test_a_contour_runs_where_the_map_has_its_level() -> None:
    """On a slope, a straight line at its share of the way."""
    bare = torch.zeros(3, 41, 101)
    slope = torch.linspace(0, 2, 101, dtype=torch.float64).expand(41, 101)
    drawn = to_tensor(contours(bare, slope, [0.25]))
    weights = drawn.sum(0)
    assert weights.sum(1).min() > 0  # from edge to edge
    middle = (weights * torch.arange(101)).sum(1) / weights.sum(1)
    torch.testing.assert_close(middle, torch.full((41,), 25.0), atol=0.3, rtol=0)


def test_only_the_ratio_to_the_limit_has_a_contour() -> None:
    image = photograph()
    one = contours(image, smooth(), [0.3, 0.6]).tobytes()
    assert contours(image, 1024 * smooth(), [0.3, 0.6]).tobytes() == one
    told = contours(image, smooth(), [0.3, 0.6], limit=limit_of(smooth()))
    assert told.tobytes() == one
    assert contours(image, smooth(), (0.6, 0.3)).tobytes() == one


def test_negating_a_map_keeps_its_contours_and_mirrors_their_colours() -> None:
    bare = torch.zeros(3, 64, 64)
    plus, minus = (contours(bare, sign * bump(), [0.5], signed=True) for sign in (1, -1))
    red, blue = (to_tensor(picture).sum((1, 2)) for picture in (plus, minus))
    assert red[0] > red[2] and blue[2] > blue[0]
    assert inked(plus, bare).tobytes() == inked(minus, bare).tobytes()


def test_signed_maps_have_lines_on_both_sides_and_unsigned_drawings_one() -> None:
    bare, values = torch.zeros(3, 64, 128), torch.cat([bump(), -bump()], 1)
    both, one = (inked(contours(bare, values, [0.5], signed=signed), bare) for signed in (True, False))
    assert both.crop((64, 0, 128, 64)).getbbox() and both.crop((0, 0, 64, 64)).getbbox()
    assert not one.crop((64, 0, 128, 64)).getbbox() and one.crop((0, 0, 64, 64)).getbbox()


@pytest.mark.parametrize(("values", "levels"), [(torch.zeros(64, 64), [0.5]), (bump(), []), (torch.ones(64, 64), [1])])
def test_without_a_line_the_photograph_is_as_it_was(values: Tensor, levels: list[float]) -> None:
    image = torch.rand(3, 64, 64)
    assert contours(image, values, levels).tobytes() == to_pil(image).tobytes()
    assert contours(torch.rand(3, 1, 1), values[:1, :1], levels).size == (1, 1)


def test_drawing_leaves_the_photograph_alone() -> None:
    photo = to_pil(torch.rand(3, 64, 64))
    before = photo.tobytes()
    contours(photo, bump(), [0.5])
    overlay(photo, bump())
    assert photo.tobytes() == before


@pytest.mark.parametrize("level", [0, -0.5, 1.01, math.nan])
def test_a_level_is_a_share_of_the_limit(level: float) -> None:
    with pytest.raises(ValueError, match=f"a level is {level}; levels are shares of the limit"):
        contours(torch.rand(3, 64, 64), bump(), [0.5, level])


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        heat_map,
        limit_of,
        robust_limit,
        lambda values: shared_limit([torch.ones(2, 2), values]),
        lambda values: overlay(torch.rand(3, 4, 4), values),
        lambda values: contours(torch.rand(3, 4, 4), values, [0.5]),
    ],
)
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
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"share is {share}; it must be a number from 0 to 1"):
            robust_limit(torch.ones(2, 2), share)
    with pytest.raises(ValueError, match="no values"):
        robust_limit(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="no maps to share a limit"):
        shared_limit([])
    with pytest.raises(ValueError, match="interpolation is 'cubic'"):
        heat_map(torch.zeros(4, 4), interpolation="cubic")
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(torch.rand(3, 4, 4), torch.zeros(4, 4), opacity=2)


def test_maps_keep_their_gradient_to_themselves() -> None:
    values = smooth(32, 32).requires_grad_()
    heat_map(values)
    overlay(torch.rand(3, 32, 32), values)
    assert values.grad is None
