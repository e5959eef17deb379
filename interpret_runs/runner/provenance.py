"""Where a result comes from: versions, git state, device."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from interpret_runs import __version__

PACKAGES = ("torch", "torchvision", "timm", "hydra-core", "pillow")


@lru_cache(maxsize=1)
def versions() -> dict[str, str | None]:
    """Versions of this package, Python and what results depend on; CUDA's where torch is loaded and has it."""
    import torch

    found: dict[str, str | None] = {"interpret-runs": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return {**found, "cuda": torch.version.cuda if torch.cuda.is_available() else None}


@lru_cache(maxsize=1)
def git() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this code runs from; None outside of one."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
