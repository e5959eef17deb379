"""Settings of how maps are drawn."""

import math

import pytest
import torch
import yaml
from command_line import PROJECT

from interpret_runs.heat_maps import contours, enlarged, heat_map, overlay, robust_limit
from interpret_runs.images import to_pil
from interpret_runs.rendering import Rendering

OPTIONS = sorted((PROJECT / "conf" / "rendering").glob("*.yaml"))


def values(size=32):
    """Positive in the upper half, negative below, with one outlier."""
    places = torch.linspace(-1, 1, size)
    made = torch.exp(-((places[:, None] + 0.4) ** 2 + places**2) / 0.1)
    made = made - 0.7 * torch.exp(-((places[:, None] - 0.4) ** 2 + places**2) / 0.1)
    made[0, 0] = 40
    return made


def image(size=32):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [7, 32, 230])
def test_every_option_draws(path, size):
    settings = yaml.safe_load(path.read_text())
    assert settings.pop("_target_") == "interpret_runs.rendering.Rendering"
    assert set(settings) == set(Rendering.__dataclass_fields__)
    rendering = Rendering(**settings)
    assert rendering == Rendering(**settings) and hash(rendering) is not None
    assert rendering.overlay(image(size), values(size)).height >= 224
    assert rendering.heat_map(values(size)).height >= 224


def test_the_standard_option_is_what_a_notebook_gets():
    settings = yaml.safe_load((PROJECT / "conf" / "rendering" / "standard.yaml").read_text())
    assert Rendering(**{name: value for name, value in settings.items() if name != "_target_"}) == Rendering()


def test_one_limit_serves_colours_lines_and_bar():
    rendering = Rendering(share=0.9, contours=[0.5], interpolation="nearest", smoothing=0.0)
    limit = rendering.scale_of(values())
    assert limit == robust_limit(values(), 0.9) < 40
    assert rendering.heat_map(values()).tobytes() == heat_map(values(), limit).tobytes()
    over = overlay(enlarged(to_pil(image())), values(), limit, interpolation="nearest")
    over = contours(over, values(), [0.5], limit, interpolation="nearest")
    assert rendering.overlay(image(), values()).tobytes() == over.tobytes()


def test_a_limit_that_is_set_is_the_limit_of_all_maps():
    rendering = Rendering(limit=0.7, smoothing=0.0)
    assert {rendering.scale_of(factor * values()) for factor in (0, 1, 3)} == {0.7}
    assert rendering.heat_map(values()).tobytes() == heat_map(values(), 0.7, interpolation="bilinear").tobytes()


def test_without_colours_the_photograph_keeps_its_own():
    assert Rendering(opacity=0).overlay(image(), values()).tobytes() == enlarged(to_pil(image())).tobytes()
    lines = Rendering(opacity=0.0, contours=(0.5,), share=0.9, smoothing=0.0).overlay(image(), values())
    assert lines.tobytes() != enlarged(to_pil(image())).tobytes()


@pytest.mark.parametrize("rendering", [Rendering(contours=[0.5]), Rendering(smoothing=0.1), Rendering(opacity=1.0)])
def test_a_map_of_zeros_is_the_grey_photograph(rendering):
    grey = enlarged(to_pil(image())).convert("L").convert("RGB")
    assert rendering.overlay(image(), torch.zeros(32, 32)).tobytes() == grey.tobytes()


def test_photographs_of_any_size_and_aspect_are_drawn_as_they_are():
    photo = to_pil(torch.rand(3, 300, 440))
    for rendering in (Rendering(), Rendering(contours=[0.5]), Rendering(interpolation="nearest", smoothing=0.05)):
        assert rendering.overlay(photo, values(7)).size == (440, 300)
    small = Rendering().overlay(torch.rand(3, 50, 80), values(7))
    assert small.size == (400, 250)


def test_smoothing_makes_one_of_many_points():
    points = torch.zeros(64, 64)
    points[20:40:4, 20:40:4] = 1
    smooth, rough = Rendering(smoothing=0.05), Rendering(smoothing=0.0)
    assert 0 < smooth.scale_of(points) < rough.scale_of(points) == 1
    flat = torch.full((16, 16), 0.25)
    assert smooth.scale_of(flat) == pytest.approx(0.25)
    assert smooth.scale_of(-flat) == pytest.approx(0.25)
    assert smooth.heat_map(2 * points).size[1] == rough.heat_map(points).size[1]


def test_smoothing_goes_with_the_shorter_side():
    """A spread of a tenth of 40 pixels, along both sides."""
    point = torch.zeros(41, 81, dtype=torch.float64)
    point[20, 40] = 1
    smooth = Rendering(smoothing=0.1).smoothed(point)
    assert smooth.sum() == pytest.approx(1, rel=1e-3)
    for axis, middle in ((1, 20), (0, 40)):
        weights = smooth.sum(axis)
        spread = (weights * (torch.arange(len(weights)) - middle).square()).sum().sqrt()
        assert spread == pytest.approx(4.1, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 0}, "rendering.share is 0; it must be a number above 0 and at most 1"),
        ({"share": 1.5}, "rendering.share is 1.5"),
        ({"share": "much"}, "rendering.share is 'much'"),
        ({"share": math.nan}, "rendering.share is nan"),
        ({"interpolation": "cubic"}, "rendering.interpolation is 'cubic'; it must be bilinear or nearest"),
        ({"smoothing": -0.1}, "rendering.smoothing is -0.1; it must be a number from 0 to 1"),
        ({"smoothing": None}, "rendering.smoothing is None"),
        ({"opacity": 60}, "rendering.opacity is 60; it must be a number from 0 to 1"),
        ({"opacity": True}, "rendering.opacity is True"),
        ({"contours": 0.5}, "rendering.contours is 0.5; it must be a list of shares"),
        ({"contours": [0.5, 2]}, r"rendering.contours is \[0.5, 2\]"),
        ({"contours": "0.5"}, "rendering.contours is '0.5'"),
        ({"contours": [0]}, "rendering.contours"),
        ({"limit": 0}, "rendering.limit is 0; it must be a number above 0, or null"),
        ({"limit": math.inf}, "rendering.limit is inf"),
        ({"limit": "auto"}, "rendering.limit is 'auto'"),
    ],
)
def test_a_setting_that_draws_nothing_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Rendering(**settings)


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("limit", [None, 2])
def test_what_is_no_map_is_refused(smoothing, limit):
    rendering = Rendering(smoothing=smoothing, limit=limit, contours=[0.5])
    unfit = values()
    unfit[3, 4] = math.nan
    for draw in (rendering.heat_map, lambda one: rendering.overlay(image(), one)):
        with pytest.raises(ValueError, match="not finite"):
            draw(unfit)
        with pytest.raises(ValueError, match="shape"):
            draw(values()[None])
        with pytest.raises(ValueError, match="no values"):
            draw(torch.zeros(0, 4))
