"""PNG files and the text in them."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from interpret_runs import photographs
from interpret_runs.images import to_pil
from interpret_runs.png import png_bytes, png_text, with_text


def random_image(*size: int) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(0))


def opened(png: bytes) -> Image.Image:
    """The picture in a file, all of whose checksums are looked at."""
    with Image.open(BytesIO(png)) as checked:
        checked.verify()
    picture = Image.open(BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (64, 48)])
def test_a_picture_comes_back_with_every_pixel(mode: str, size: tuple[int, int]) -> None:
    picture = Image.merge(mode, [Image.effect_noise(size, 90) for _ in range(Image.getmodebands(mode))])
    read = opened(png_bytes(picture, {}))
    assert (read.mode, read.size) == (mode, size) and read.tobytes() == picture.tobytes()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK"])
def test_other_modes_are_written_in_the_colours_that_a_viewer_shows(mode: str) -> None:
    picture = to_pil(random_image(6, 5)).convert(mode)
    read = opened(png_bytes(picture, {}))
    assert read.mode == "RGB" and read.tobytes() == photographs.rgb(picture).tobytes()


def test_text_survives_the_round_trip(tmp_path: Path) -> None:
    text = {"run_id": "0123456789abcdef", "config": '{"name": "Möwe 鷗"}\n' * 5000, "empty": ""}
    picture = to_pil(random_image(5, 6))
    (tmp_path / "image.png").write_bytes(png_bytes(picture, text))
    assert png_text(tmp_path / "image.png") == text
    with Image.open(tmp_path / "image.png") as read:
        assert read.tobytes() == picture.tobytes()


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert png_bytes(to_pil(random_image(5, 6)), {"a": "b"}) == png_bytes(to_pil(random_image(5, 6)), {"a": "b"})


def test_text_is_added_to_a_picture_and_nothing_else_changes(tmp_path: Path) -> None:
    picture, more = png_bytes(to_pil(random_image(5, 6)), {"a": "b"}), {"score": "1.5", "long": "鷗" * 5000}
    (tmp_path / "image.png").write_bytes(with_text(picture, more))
    assert png_text(tmp_path / "image.png") == {"a": "b", **more}
    assert with_text(picture, more).endswith(picture[33:]), "what comes after the header"
    assert with_text(picture, {}) == picture and with_text(b"GIF89a", more) == b"GIF89a"


@pytest.mark.parametrize("key", ["", "k" * 80, "鷗"])
def test_keys_that_png_does_not_take(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 79 Latin-1"):
        png_bytes(Image.new("RGB", (2, 2)), {key: "value"})


def test_text_of_another_format_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "image.jpg")
    with pytest.raises(ValueError, match=r"image\.jpg' is a JPEG file; text is read from PNG files$"):
        png_text(tmp_path / "image.jpg")
