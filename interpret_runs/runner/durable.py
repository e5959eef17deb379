"""Files that are there whole or not at all, and that stay there when the power goes."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The store is full, or not ours to write: no run's fault, and no other run will fare better.
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}


class StoreError(OSError):
    """A store cannot be written. What was written before is whole, and stays."""


@contextmanager
def saying(root: Path) -> Iterator[None]:
    """Raise what keeps the store at `root` from being written as a `StoreError` that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in FULL:
            step = "what is done is kept, and the same command does the rest"
        elif error.errno in CLOSED:
            step = "what is done is kept; set outputs= to a folder that can be written"
        else:
            raise
        raise StoreError(f"cannot write to {root}: {reason}; {step}") from error


def write_whole(path: Path, content: bytes, writer: str, modified: int | None = None, settled: bool = True) -> None:
    """Write a file aside, then rename it.

    Args:
        writer: a name that no other writer has, for the file aside.
        modified: modification time in nanoseconds, where it is not to be now.
        settled: whether the file has to outlive a power failure at once; else `settle` sees to it.
    """
    aside = path.with_name(f".{path.name}.{writer}")
    try:
        with aside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if settled:
                os.fsync(stream.fileno())
        if modified is not None:
            os.utime(aside, ns=(modified, modified))
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    if settled:
        settle([path.parent])


def settle(paths: Iterable[Path]) -> None:
    """Make files and folders outlive a power failure.

    Many at once cost little more than one: the first takes the file system's journal along.
    """
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # removed meanwhile: nothing to keep
            continue
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network file systems know no such thing for folders.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
