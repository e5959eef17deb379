"""What people call the unit of a run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from interpret_runs.summary import ModelSummary


def unit_label(objective: Mapping[str, Any], summary: ModelSummary) -> str:
    """What people call the unit: `channel 12`, `channel 12 (3, 4)`, a class label, or the terms of a sum."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(objective.get("_target_", "")).rpartition(".")[2]).lower()
    if "of" in objective:
        return _sum_label([(unit_label(objective["of"], summary), -1.0)])
    for one, other, between in (("left", "right", " x "), ("first", "last", " to ")):
        if one in objective and other in objective:
            return unit_label(objective[one], summary) + between + unit_label(objective[other], summary)
    if "terms" in objective:
        weights = objective.get("weights") or {}
        return _sum_label([(unit_label(term, summary), weights.get(name)) for name, term in objective["terms"].items()])
    if "target" in objective:
        classes = [objective[key] for key in ("target", "against") if key in objective]
        named = " - ".join(summary.label(one) if isinstance(one, int) else str(one) for one in classes)
        return f"probability {named}" if kind == "probability" else named
    if "channel" in objective:
        place = ["centre" if objective.get(key) is None else str(objective[key]) for key in ("row", "column")]
        window = f" {objective['height']}x{objective['width']}" if "height" in objective else ""
        spot = f" ({', '.join(place)})" if place != ["centre"] * 2 else ""
        return f"channel {objective['channel']}{window}{spot}"
    if isinstance(objective.get("paths"), (list, tuple)) and len(objective["paths"]) > 1:
        return f"{kind} {' + '.join(map(str, objective['paths']))}"
    return f"{kind} {_picture(objective['source'])}" if "source" in objective else kind


def _picture(source: Mapping[str, Any]) -> str:
    """A picture's file name, or its place in its set."""
    item = source.get("item")
    if isinstance(item, str):
        return item
    path = str(source.get("path", ""))
    return Path(path).name if item is None else f"{path and Path(path).name or 'image'} {item}"


def _short(number: Any) -> str:
    """A number in few letters; what is none as it is, for the error that it will cause."""
    return f"{number:g}" if isinstance(number, (int, float)) else str(number)


def _sum_label(terms: Sequence[tuple[str, Any]]) -> str:
    """`channel 5 - 0.1 total variation`; a weight that changes as `1..0.1`."""
    text = ""
    for label, weight in terms:
        if not isinstance(weight, (int, float, NoneType)):
            ends = weight if isinstance(weight, (list, tuple)) else [weight]
            text += f"{' + ' * bool(text)}{'..'.join(map(_short, ends))} {label}"
            continue
        size = 1.0 if weight is None else float(weight)
        sign = (" - " if size < 0 else " + ") if text else "-" * (size < 0)
        text += f"{sign}{label}" if abs(size) == 1 else f"{sign}{abs(size):g} {label}"
    return text
