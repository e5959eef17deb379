"""What notebooks show of objects."""

import base64
import re
from io import BytesIO

import pytest
import torch
from PIL import Image

from interpret_runs.attribution_map import AttributionMap
from interpret_runs.display import MOST, Displayed, Panel
from interpret_runs.images import Picture, Shapes, to_tensor
from interpret_runs.preprocessing import Preprocessing
from interpret_runs.visualised import Visualisation

SEEN = Preprocessing((64, 64), 64)


class Panels(Displayed):
    def __init__(self, *panels: Panel) -> None:
        self.made = panels

    def __repr__(self) -> str:
        return "Panels(<b> & 'more')"

    def panels(self):
        return self.made


def panel(caption: str = "", size: tuple[int, int] = (64, 64), colour: str = "red") -> Panel:
    return Panel(Image.new("RGB", size, colour), caption)


def pictures(shown: Displayed) -> list[Image.Image]:
    """The pictures in the HTML of an object."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', shown._repr_html_())
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


def sheet(shown: Displayed) -> Image.Image:
    return Image.open(BytesIO(shown._repr_png_()))


def visualisation(images: torch.Tensor, scores: list[float], **more: torch.Tensor) -> Visualisation:
    return Visualisation(images, torch.tensor(scores), ((), torch.zeros(0, len(scores))), **more)


def test_html_has_each_picture_and_caption_and_the_objects_own_words():
    shown = Panels(panel("a < b"), panel("second", colour="blue"))
    html = shown._repr_html_()
    assert "a &lt; b" in html and "second" in html and "a < b" not in html
    assert "Panels(&lt;b&gt; &amp; &#x27;more&#x27;)" in html
    assert [picture.getpixel((5, 5)) for picture in pictures(shown)] == [(255, 0, 0), (0, 0, 255)]


def test_html_asks_nothing_of_any_server():
    assert not re.search(r"https?:|<script|<link", Panels(panel("x"))._repr_html_())


def test_small_pictures_are_enlarged_by_whole_pixels_and_large_ones_scaled_down():
    fine = Image.new("RGB", (2, 2), "white")
    fine.putpixel((0, 0), (0, 0, 0))
    (small,) = pictures(Panels(Panel(fine)))
    assert small.height >= 224 and small.height % 2 == 0
    assert {colour for _, colour in small.getcolors()} == {(0, 0, 0), (255, 255, 255)}
    (large,) = pictures(Panels(panel(size=(3000, 2000))))
    assert large.height <= 512 and abs(large.width / large.height - 1.5) < 0.01
    assert all(one.height <= 288 for one in pictures(Panels(*[panel(size=(600, 600))] * 3)))


def test_a_row_of_pixels_is_not_made_wider_than_a_page():
    assert pictures(Panels(panel(size=(300, 1))))[0].width <= 1024


def test_no_more_is_shown_than_a_page_holds_and_the_rest_is_counted():
    shown = Panels(*[panel(str(place)) for place in range(MOST + 7)])
    assert len(pictures(shown)) == MOST and "and 7 more" in shown._repr_html_()


def test_the_png_holds_all_pictures_in_rows_with_captions():
    plain, labelled = (sheet(Panels(*[panel(caption)] * 8)) for caption in ("", "caption"))
    assert plain.size == labelled.size
    assert plain.tobytes() != labelled.tobytes(), "captions are not drawn"
    red = sum(count for count, colour in plain.getcolors(10**6) if colour == (255, 0, 0))
    assert red == 8 * 256 * 256, "a picture is cut or covered"


def test_a_long_caption_stays_below_its_picture():
    one = panel("long " * 100)
    drawn = sheet(Panels(one, panel()))
    alone = sheet(Panels(one))
    assert drawn.crop((0, 0, 256, drawn.height)).tobytes() == alone.crop((0, 0, 256, alone.height)).tobytes()
    beyond = drawn.crop((256, 257, drawn.width, drawn.height))
    assert beyond.getcolors() == [(beyond.width * beyond.height, (255, 255, 255))]


def test_a_visualisation_shows_its_images_with_their_scores():
    images = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    found = visualisation(images, [1.5, -2.0])
    assert [picture.getpixel((9, 9)) for picture in pictures(found)] == [(0, 0, 0), (255, 255, 255)]
    assert "score 1.5" in found._repr_html_() and "score -2" in found._repr_html_()
    assert repr(found) == "Visualisation(2 images of 64 x 64, score -2 to 1.5)"
    assert [picture.size for picture in found.pictures()] == [(64, 64), (64, 64)]
    assert repr(visualisation(images[:1], [1.0])) == "Visualisation(1 image of 64 x 64, score 1)"


def test_a_visualisation_shows_the_size_that_was_asked_for():
    found = visualisation(torch.zeros(1, 3, 64, 64), [0.0], rendered=torch.zeros(1, 3, 400, 400))
    assert pictures(found)[0].size == (400, 400) and found.pictures()[0].size == (400, 400)


def test_what_failed_is_shown_as_failed():
    images = torch.zeros(1, 3, 64, 64)
    images[0, 0, 0, 0] = torch.nan
    found = visualisation(images, [float("nan")], failed=torch.tensor([3]))
    assert "not finite from step 3 on" in found._repr_html_() and len(pictures(found)) == 1
    assert "nan" in repr(found)


def test_a_map_shows_its_colour_bar_and_a_batch_one_scale():
    one = AttributionMap(torch.linspace(-1, 1, 4096).view(64, 64), "a < b")
    (drawn,) = pictures(one)
    assert drawn.width > drawn.height, "no bar"
    assert "a &lt; b" in one._repr_html_()
    lower = torch.stack([one.values, one.values / 10])
    first, second = pictures(AttributionMap(lower, "two"))
    assert to_tensor(first).std() > to_tensor(second).std(), "each has a scale of its own"
    assert sheet(AttributionMap(torch.zeros(2, 8, 8), "zeros")).width


def test_a_picture_shows_itself_and_its_mask():
    picture = Shapes(4)(SEEN)
    shown, mask = pictures(picture)
    assert torch.equal(to_tensor(shown)[:, ::4, ::4], (picture.pixels * 255).round() / 255)
    assert torch.equal(to_tensor(mask)[0, ::4, ::4] > 0.5, picture.mask)
    assert repr(picture) == "Picture('shapes test 4', 64 x 64, label 'striped square')"
    assert repr(Picture(torch.zeros(3, 4, 6), "plain")) == "Picture('plain', 4 x 6)"
    assert len(pictures(Picture(torch.zeros(3, 4, 6), "plain"))) == 1


@pytest.mark.parametrize("shown", [AttributionMap(torch.ones(8, 8), "map"), Shapes(0)(SEEN)], ids=["map", "picture"])
def test_showing_changes_nothing(shown):
    before = shown._repr_png_(), shown._repr_html_()
    assert (shown._repr_png_(), shown._repr_html_()) == before
