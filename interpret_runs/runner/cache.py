"""Small facts that are dear to find again: file digests and model summaries, kept between commands."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

_seen: dict[tuple[Path | None, str, str], Any] = {}


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_digest(text: str) -> str:
    """First 16 hex digits of sha256."""
    return sha256(text.encode()).hexdigest()[:16]


def folder() -> Path:
    """Where facts are kept: $INTERPRET_RUNS_CACHE, else the user's cache folder."""
    own = os.environ.get("INTERPRET_RUNS_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "interpret-runs"


def remember(kind: str, key: str, compute: Callable[[], Any], place: Path | None = None) -> Any:
    """The JSON value found before under (`kind`, `key`) in `place`, else ``compute()``, which is then kept there.

    A cache that cannot be read or written costs time, never a result. It is `folder` unless told.
    """
    if (place, kind, key) in _seen:
        return _seen[place, kind, key]
    file = (place or folder()) / kind / f"{short_digest(key)}.json"
    value = _kept(file, key)
    if value is None:
        value = compute()
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = file.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps({"key": key, "value": value}), encoding="utf-8")
            value = _published(aside, file, key, value)
    _seen[place, kind, key] = value
    return value


def _kept(file: Path, key: str) -> Any:
    """The value in `file`, or None where there is none, or that of another key."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_text(encoding="utf-8"))
        return stored["value"] if stored["key"] == key else None
    return None


def _published(aside: Path, file: Path, key: str, value: Any) -> Any:
    """Move `aside` to `file`, unless another process was first: what was measured may differ, and its value counts."""
    try:
        os.link(aside, file)
    except OSError:  # there already, or no links here
        if (first := _kept(file, key)) is not None:
            value = first
        else:
            aside.replace(file)
            return value
    aside.unlink()
    return value


def file_digest(path: str, key: str) -> str:
    """sha256 of a file's content, 16 hex digits; read once per path, size and modification time.

    `key` is the config key that names the file, for the error.

    Raises:
        FileNotFoundError, IsADirectoryError: nothing to read.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise IsADirectoryError(f"{key}={path} is a folder, not a file")
    try:
        state = file.stat()
    except OSError as error:
        raise FileNotFoundError(f"{key}={path}: no such file") from error

    def read() -> str:
        digest = sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:16]

    result: str = remember("digests", canonical([str(file.resolve()), state.st_size, state.st_mtime_ns]), read)
    return result
