"""Where a result comes from: versions, git state, device."""

import platform
import re
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from interpret_runs import __version__
from interpret_runs.runner.cache import short_digest

# What makes a result, as seen from here: the package and its configuration.
CODE = ("..", "../../conf")
COMMIT = re.compile("[0-9a-f]{7,64}")
PACKAGES = ("torch", "torchvision", "timm", "hydra-core", "pillow")


@lru_cache(maxsize=1)
def packages() -> dict[str, str | None]:
    """Versions of this package, Python and what results depend on. Imports no torch."""
    found: dict[str, str | None] = {"interpret-runs": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@lru_cache(maxsize=1)
def versions() -> dict[str, str | None]:
    """`packages`, and CUDA's version where torch has it and there is a GPU."""
    import torch

    return {**packages(), "cuda": torch.version.cuda if torch.cuda.is_available() else None}


@lru_cache(maxsize=1)
def git() -> dict[str, Any] | None:
    """Commit, dirty flag and a digest of changes to the package; None outside of the checkout that this code is of."""
    commit = _git("rev-parse", "HEAD")
    if commit is None or _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    changes = _git("diff", "HEAD", "--", *CODE)
    return {
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "changes": short_digest(changes) if changes else None,
    }


def same_code(commit: str) -> bool:
    """Whether the package is the same in `commit` and in the present one; not where either is unknown."""
    return COMMIT.fullmatch(commit) is not None and _git("diff", "--quiet", commit, "HEAD", "--", *CODE) is not None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
