import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from interpret_runs.photographs import read, read_mask, rgb, size


@pytest.fixture
def photo() -> Image.Image:
    """A smooth picture, wider than high, no two corners alike."""
    ramps = Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.new("L", (256, 256), 90)
    return Image.merge("RGB", ramps).resize((48, 32))


def difference(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_modes_agree(tmp_path: Path, mode: str) -> None:
    """Black and white, which every mode holds, read alike."""
    board = Image.new("L", (8, 8))
    board.paste(255, (0, 0, 4, 8))
    stored = board.point(lambda level: level * 257, "I").convert("I;16") if mode == "I;16" else board.convert(mode)
    stored.save(tmp_path / "board.png")
    image = read(tmp_path / "board.png")
    assert image.mode == "RGB"
    assert image.tobytes() == board.convert("RGB").tobytes()


def test_cmyk_reads_as_its_colours(tmp_path: Path, photo: Image.Image) -> None:
    photo.convert("CMYK").save(tmp_path / "photo.tif")
    assert difference(read(tmp_path / "photo.tif"), photo) <= 1


def test_a_cmyk_photograph_is_not_a_negative(tmp_path: Path, photo: Image.Image) -> None:
    photo.convert("CMYK").save(tmp_path / "photo.jpg", quality=100, subsampling=0)
    with Image.open(tmp_path / "photo.jpg") as stored:
        assert stored.mode == "CMYK"
    assert difference(read(tmp_path / "photo.jpg"), photo) <= 6


@pytest.mark.parametrize(
    "mode", ["YCbCr", "LAB", "HSV", "RGBX", "RGBa", "PA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    made = rgb(Image.new(mode, (3, 2)))
    assert made.mode == "RGB" and made.size == (3, 2)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_colours_survive_other_spaces(mode: str, photo: Image.Image) -> None:
    assert difference(rgb(photo.convert(mode)), photo) <= 8


def test_sixteen_bit_colours_are_scaled(tmp_path: Path) -> None:
    """A PNG of one pixel, as Pillow itself writes none."""
    levels = (65535, 32768, 300)
    pixel = zlib.compress(struct.pack(">B3H", 0, *levels))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"IDAT": pixel, b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    (tmp_path / "deep.png").write_bytes(content)
    assert read(tmp_path / "deep.png").getpixel((0, 0)) == (255, 128, 1)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    for mode in ("I;16", "I;16B"):
        wide = Image.new(mode, (3, 1))
        for x, level in enumerate((300, 32768, 65535)):
            wide.putpixel((x, 0), level)
        wide.save(tmp_path / "wide.tif")
        image = read(tmp_path / "wide.tif")
        assert [image.getpixel((x, 0)) for x in range(3)] == [(1,) * 3, (128,) * 3, (255,) * 3]


def test_sixteen_bits_with_a_transparent_grey(tmp_path: Path) -> None:
    Image.new("I;16", (2, 2), 32768).save(tmp_path / "wide.png", transparency=300)
    assert read(tmp_path / "wide.png").getpixel((0, 0)) == (128,) * 3


def test_floats_are_in_the_unit_interval(tmp_path: Path) -> None:
    Image.new("F", (2, 2), 0.5).save(tmp_path / "half.tif")
    assert read(tmp_path / "half.tif").getpixel((0, 0)) == (128,) * 3
    for value in (1.5, float("nan")):
        Image.new("F", (2, 2), value).save(tmp_path / "other.tif")
        says = rf"other\.tif' cannot be shown: its grey values go from {value} to {value}; scale them to 0 to 1$"
        with pytest.raises(ValueError, match=says):
            read(tmp_path / "other.tif")


def test_transparency_shows_white(tmp_path: Path) -> None:
    for alpha, level in ((0, 255), (255, 0), (102, 153)):
        Image.new("RGBA", (2, 2), (0, 0, 0, alpha)).save(tmp_path / "veil.png")
        assert read(tmp_path / "veil.png").getpixel((0, 0)) == (level,) * 3
    palette = Image.new("P", (2, 2))
    palette.save(tmp_path / "palette.png", transparency=0)
    assert read(tmp_path / "palette.png").getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize(
    ("orientation", "operation"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_exif_orientation_is_undone(
    tmp_path: Path, photo: Image.Image, orientation: int, operation: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.transpose(operation).save(tmp_path / "turned.png", exif=exif)
    assert read(tmp_path / "turned.png").tobytes() == photo.tobytes()


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("film.gif", "film.png", "film.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50, lossless=True)
        assert read(tmp_path / name).getpixel((0, 0)) == (255, 0, 0)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no image .*nowhere.png.*; "):
        read(tmp_path / "nowhere.png")
    with pytest.raises(IsADirectoryError, match="images=folder"):
        read(tmp_path)


def test_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"image\.png' is not an image: the file is empty"):
        read(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"image\.png' is not an image"):
        read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"])
def test_every_cut_is_one_clear_error(tmp_path: Path, photo: Image.Image, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    photo.save(path)
    content = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own, about metadata cut short
                read(path)
        except ValueError as error:
            assert "is not an image: " in str(error) and "\n" not in str(error)
        else:
            assert share > 0.5  # no pixel was missing


def test_damage_inside_is_found(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "damaged.png"
    photo.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an image"):
        read(path)


def test_a_bomb_is_refused(tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    photo.save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="too large"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "I;16"])
def test_a_mask_is_white_where_the_file_is_lighter_than_mid_grey(tmp_path: Path, mode: str) -> None:
    ramp = Image.new("L", (4, 1))
    for x, level in enumerate((0, 127, 128, 255)):
        ramp.putpixel((x, 0), level)
    stored = ramp.point(lambda level: level * 257, "I").convert("I;16") if mode == "I;16" else ramp.convert(mode)
    if mode == "1":
        stored = ramp.point(lambda level: 255 * (level > 127), "1")
    stored.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", (1, 4))
    assert mask.mode == "L" and list(mask.tobytes()) == [0, 0, 255, 255]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 6), 255).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask\.png' has 6x4 pixels, but its image has 4x6"):
        read_mask(tmp_path / "mask.png", (4, 6))


def test_a_mask_of_ones_is_not_taken_for_black(tmp_path: Path) -> None:
    Image.new("L", (4, 6), 1).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="no level above 1 of 255; a mask is white"):
        read_mask(tmp_path / "mask.png", (6, 4))
    Image.new("L", (4, 6), 0).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", (6, 4)).getextrema() == (0, 0)


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    photo.save(tmp_path / "plain.png")
    assert size(tmp_path / "turned.png") == size(tmp_path / "plain.png") == (32, 48)


def test_planning_needs_no_torch() -> None:
    code = "import sys, interpret_runs.photographs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
