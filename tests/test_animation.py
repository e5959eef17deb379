import shutil
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from interpret_runs.animation import gif_bytes, mp4_bytes
from interpret_runs.images import to_pil, to_tensor


def random_frames(count: int, *size: int) -> list[Tensor]:
    """From grey to many colours, as an optimisation goes."""
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    return [0.5 + (image - 0.5) * place / count for place in range(1, count + 1)]


def played(data: bytes) -> tuple[list[Image.Image], list[int]]:
    """The frames of a GIF and how long each is shown, in milliseconds."""
    with Image.open(BytesIO(data)) as file:
        frames, durations = [], []
        for place in range(file.n_frames):
            file.seek(place)
            frames.append(file.convert("RGB"))
            durations.append(file.info["duration"])
        assert file.format == "GIF"
    return frames, durations


# --- GIF --------------------------------------------------------------------------------------------------------


def test_a_gif_shows_every_frame_in_its_colours():
    frames = random_frames(6, 24, 31)
    shown, _ = played(gif_bytes(frames))
    assert len(shown) == 6
    for frame, picture in zip(frames, shown, strict=True):
        assert picture.size == (31, 24)
        # Dithering moves colour between neighbours, so what is seen from afar is compared.
        near, far = (image.filter(ImageFilter.GaussianBlur(2)) for image in (picture, to_pil(frame)))
        assert (to_tensor(near) - to_tensor(far)).abs().mean() < 0.02


@pytest.mark.parametrize(("count", "seconds"), [(1, 4), (7, 1), (32, 4), (30, 2.5), (100, 2)])
def test_a_gif_takes_its_time_and_a_second_more(count, seconds):
    _, durations = played(gif_bytes(random_frames(count, 24, 24), seconds))
    assert sum(durations) == 1000 * seconds + 1000
    assert max(durations[:-1], default=0) - min(durations[:-1], default=0) <= 10
    assert durations[-1] >= 1000


def test_frames_are_not_shorter_than_viewers_show_them():
    _, durations = played(gif_bytes(random_frames(100, 24, 24), 0.5))
    assert durations[:-1] == [20] * 99


def test_a_gif_starts_again_for_ever():
    with Image.open(BytesIO(gif_bytes(random_frames(3, 8, 8)))) as file:
        assert file.info["loop"] == 0


def test_frames_of_8_bits_are_the_same_frames():
    frames = random_frames(3, 8, 8)
    assert gif_bytes([(frame * 255).round().to(torch.uint8) for frame in frames]) == gif_bytes(frames)
    assert gif_bytes(torch.stack(frames)) == gif_bytes(frames)


def test_frames_that_do_not_change_take_as_long():
    _, durations = played(gif_bytes([torch.full((3, 8, 8), 0.5)] * 5))
    assert sum(durations) == 5000


# --- MP4 --------------------------------------------------------------------------------------------------------

COPIES = """#!/bin/sh
echo "$@" > "$(dirname "$0")/arguments"
for last; do :; done
cat > "$last"
"""
FAILS = """#!/bin/sh
echo "a warning" >&2
echo "Unknown encoder 'libx264'" >&2
echo >&2
exit 1
"""
SILENT = "#!/bin/sh\nexit {}\n"


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Puts a shell script in ffmpeg's place; returns its folder."""

    def install(script: str) -> Path:
        (tmp_path / "ffmpeg").write_text(script)
        (tmp_path / "ffmpeg").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path

    return install


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 7), (5, 7)])
def test_ffmpeg_gets_frames_of_even_sides(ffmpeg, size):
    folder = ffmpeg(COPIES)
    frames = random_frames(8, *size)
    height, width = (side + side % 2 for side in size)
    raw = torch.frombuffer(bytearray(mp4_bytes(frames, 2)), dtype=torch.uint8).view(-1, height, width, 3)
    assert len(raw) == 8 + 4  # the last one for a second
    padded = torch.nn.functional.pad(torch.stack(frames), (0, width - size[1], 0, height - size[0]), "replicate")
    expected = (padded * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(raw[:8], expected)
    assert torch.equal(raw[8:], expected[-1:].expand(4, -1, -1, -1))
    arguments = (folder / "arguments").read_text()
    for wanted in (f"-s {width}x{height}", "-pix_fmt rgb24", "-framerate 4.0", "-c:v libx264", "-pix_fmt yuv420p"):
        assert wanted in arguments


def test_what_ffmpeg_says_last_is_the_error(ffmpeg):
    ffmpeg(FAILS)
    with pytest.raises(OSError, match="ffmpeg failed: Unknown encoder 'libx264'; mend it or take task.animation=gif$"):
        mp4_bytes(random_frames(2, 4, 4))


@pytest.mark.parametrize("status", [0, 3])
def test_an_ffmpeg_that_says_nothing_fails_with_its_status(ffmpeg, status):
    ffmpeg(SILENT.format(status))
    with pytest.raises(OSError, match=f"ffmpeg failed: exit status {status}"):
        mp4_bytes(random_frames(2, 64, 64))


def test_without_ffmpeg_there_is_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LookupError, match="task.animation=mp4 needs ffmpeg.*take task.animation=gif"):
        mp4_bytes(random_frames(2, 4, 4))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_makes_an_mp4_file():
    assert mp4_bytes(random_frames(4, 33, 48))[4:8] == b"ftyp"


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [gif_bytes, mp4_bytes])
@pytest.mark.parametrize(
    ("frames", "seconds", "message"),
    [
        ([], 4, "at least one frame"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 4, 5)], 4, r"one size, not \(3, 4, 4\) and \(3, 4, 5\)"),
        ([torch.zeros(1, 4, 4)], 4, "shape"),
        ([torch.full((3, 4, 4), torch.nan)], 4, "finite"),
        ([torch.zeros(3, 4, 4)], 0, "above 0, not 0"),
        ([torch.zeros(3, 4, 4)], float("inf"), "above 0, not inf"),
    ],
)
def test_what_is_no_animation_is_refused(write, frames, seconds, message):
    with pytest.raises(ValueError, match=message):
        write(frames, seconds)
