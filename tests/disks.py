"""Disks that are soon full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of that size at `place` for the length of a ``with``; skips the test where that is not allowed."""
    place.mkdir()
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)) != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    assert _mount("-o", f"remount,{options}", str(place)) == 0


def fill(place: Path) -> Path:
    """A file that takes all the room that there is."""
    state = os.statvfs(place)
    file = place / "fill"
    file.write_bytes(bytes(state.f_bavail * state.f_bsize))
    return file


def _mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode
    except FileNotFoundError:
        return 1
