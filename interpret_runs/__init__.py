"""Shows what PyTorch vision networks have learned, by feature visualisation and attribution."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "load": "models",
    "VisionModel": "models",
    "wrap": "models",
    "visualise": "notebook",
    "attribute": "notebook",
    "Schedule": "schedule",
    "score": "scoring",
    "sweep": "runner.notebook",
    "load_index": "runner.index",
    "AttributionMap": "attribution_map",
    "read_map": "attribution_map",
}


def __getattr__(name: str) -> Any:
    """Import names on first use (PEP 562), so that reading an index needs no torch."""
    if name in _HOME:
        return getattr(import_module(f"interpret_runs.{_HOME[name]}"), name)
    raise AttributeError(f"module 'interpret_runs' has no attribute {name!r}")


__all__ = [
    "AttributionMap",
    "Schedule",
    "VisionModel",
    "attribute",
    "load",
    "load_index",
    "read_map",
    "score",
    "sweep",
    "visualise",
    "wrap",
]
