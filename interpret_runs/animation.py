"""Animations of how an image came to be, as GIF and MP4 files.

Frames are images (3, H, W) of one size: RGB in [0, 1], or 8 bit. They are shown evenly, and the last one stays.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from interpret_runs.images import to_pil

SECONDS = 4.0
HOLD = 1.0  # seconds that the last frame stays
SHORTEST = 2  # hundredths of a second; viewers show what is shorter for much longer
OTHERWISE = "take task.animation=gif"
SAMPLES = 8  # frames from which a GIF takes its colours


def gif_bytes(frames: Sequence[Tensor], seconds: float = SECONDS) -> bytes:
    """A GIF file that plays `frames` in `seconds`, holds the last one for another second, and starts again.

    At most 50 frames are shown a second. All share one palette of 256 colours and are dithered, so that nothing
    flickers between them.

    Raises:
        ValueError: no frame, frames that are no images or of several sizes, `seconds` not above 0.
    """
    pictures = _pictures(frames, seconds)
    # A GIF counts hundredths of a second; rounding where each frame starts keeps the sum right.
    each = max(100 * seconds / len(pictures), SHORTEST)
    starts = [round(each * place) for place in range(len(pictures) + 1)]
    durations = [10 * (end - start) for start, end in pairwise(starts)]
    durations[-1] += round(1000 * HOLD)
    palette = _palette(pictures)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures)
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return file.getvalue()


def mp4_bytes(frames: Sequence[Tensor], seconds: float = SECONDS) -> bytes:
    """An MP4 file (H.264) that plays `frames` in `seconds` and holds the last one for another second.

    An odd side gets one more row or column, equal to the last, as H.264 takes even sides only.

    Raises:
        LookupError: there is no ffmpeg.
        OSError: ffmpeg fails; the text has the last line of what it says.
        ValueError: as `gif_bytes`.
    """
    pictures = [_even(picture) for picture in _pictures(frames, seconds)]
    if shutil.which("ffmpeg") is None:
        raise LookupError(f"task.animation=mp4 needs ffmpeg, which is not on PATH; install it or {OTHERWISE}")
    rate = len(pictures) / seconds
    pictures += pictures[-1:] * math.ceil(HOLD * rate)
    width, height = pictures[0].size
    with TemporaryDirectory() as folder:
        made = Path(folder) / "animation.mp4"
        command = ["ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-framerate", f"{rate:.6f}", "-i", "-", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", str(made)]
        done = subprocess.run(command, input=b"".join(picture.tobytes() for picture in pictures), capture_output=True)
        if done.returncode or not made.is_file():
            lines = done.stderr.decode(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()] or [f"exit status {done.returncode}"]
            raise OSError(f"ffmpeg failed: {said[-1]}; mend it or {OTHERWISE}")
        return made.read_bytes()


def _pictures(frames: Sequence[Tensor], seconds: float) -> list[Image.Image]:
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"an animation takes a number of seconds above 0, not {seconds}")
    if not len(frames):
        raise ValueError("an animation needs at least one frame")
    sizes = sorted({tuple(frame.shape) for frame in frames})
    if len(sizes) > 1:
        raise ValueError(f"the frames of an animation have one size, not {' and '.join(map(str, sizes))}")
    return [to_pil(frame.float() / 255 if frame.dtype == torch.uint8 else frame) for frame in frames]


def _palette(pictures: list[Image.Image]) -> Image.Image:
    """The colours of frames from first to last."""
    count = min(SAMPLES, len(pictures))
    sampled = [pictures[-1 - place * (len(pictures) - 1) // max(1, count - 1)] for place in range(count)]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * count))
    for place, picture in enumerate(sampled):
        sheet.paste(picture, (0, place * height))
    # Median cut, which Pillow takes by default, loses the few bright colours.
    return sheet.quantize(256, Image.Quantize.FASTOCTREE)


def _even(picture: Image.Image) -> Image.Image:
    """The picture with its last column and row doubled where their number is odd."""
    width, height = picture.size
    if width % 2 == height % 2 == 0:
        return picture
    larger = Image.new("RGB", (width + width % 2, height + height % 2))
    for corner in ((1, 1), (1, 0), (0, 1), (0, 0)):
        larger.paste(picture, corner)
    return larger
