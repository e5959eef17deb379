"""Anyone's own network: the function that makes it, and the file that this function stands in. Imports no torch."""

import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from importlib import import_module, reload
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from interpret_runs.summary import nearest

INSTALLED, PYTHON = {"site-packages", "dist-packages"}, sysconfig.get_path("stdlib")

# Size and time of each module's file when it was imported here, with its spec, which is another after any reload.
_imported: dict[str, tuple[ModuleSpec | None, tuple[int, int]]] = {}


def source_of(factory: str | None) -> Path | None:
    """The file of the module that ``package.module:function`` names; the module itself is not imported for it.

    None where there is none, and of what is installed, or part of Python: versions tell these.
    """
    module, colon, _ = (factory or "").partition(":")
    if not colon:
        return None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # importing it says why
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    file = Path(spec.origin)
    return None if _is_installed(file) else file


def imported(factory: str) -> Callable[[], Any]:
    """The function ``package.module:function``; a module whose file has changed since is imported anew.

    Raises:
        LookupError: no such module or function; names those nearest.
    """
    module, _, function = factory.partition(":")
    if not module or not function:
        raise LookupError(f"model.factory {factory!r} is neither timm nor of the form package.module:function")
    try:
        found = _up_to_date(module, source_of(factory))
    except ImportError as error:
        raise LookupError(
            f"cannot import model.factory {factory!r}: {error}; it is package.module:function, found in the current "
            f"folder or on PYTHONPATH{_near(module, error)}"
        ) from error
    if not hasattr(found, function):
        names = [name for name in dir(found) if not name.startswith("_")]
        raise LookupError(f"no function {function!r} in {module}; closest: {nearest(function, names)}")
    made: Callable[[], Any] = getattr(found, function)
    return made


def _up_to_date(module: str, source: Path | None) -> Any:
    found = import_module(module)
    if source is None:
        return found
    state = source.stat()
    now = (state.st_size, state.st_mtime_ns)
    spec, then = _imported.get(module, (None, now))
    if spec is found.__spec__ and then != now:
        found = reload(found)
    _imported[module] = (found.__spec__, now)
    return found


@cache  # every run of a sweep asks
def _is_installed(file: Path) -> bool:
    return not INSTALLED.isdisjoint(file.parts) or file.is_relative_to(PYTHON)


def _near(module: str, error: ImportError) -> str:
    """Modules called like one that is missing; nothing where the module is there, and what it imports is missing."""
    missing = error.name or ""
    if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{missing}."):
        return ""
    package = missing.rpartition(".")[0]
    own = [path for path in sys.path if not _is_installed(Path(path))]
    folders = getattr(sys.modules[package], "__path__", ()) if package else own
    names = [one.name for one in iter_modules(folders, f"{package}." * bool(package))]
    return f"; closest: {nearest(missing, names)}"
