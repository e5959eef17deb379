"""What the run id hashes."""

from copy import deepcopy
from typing import Any

from interpret_runs.runner import image_sets
from interpret_runs.runner.cache import canonical
from interpret_runs.runner.files import FACTORY, FILE_KEYS, WEIGHTS
from interpret_runs.runner.nodes import Config


def identity(config: Config, digests: dict[str, str]) -> Any:
    """What the run id hashes: files by content, and nothing that only changes names or speed."""
    hashed = deepcopy(config)
    model = hashed.get("model", {})
    for key in ("layers", "labels"):
        model.pop(key, None)
    if model.get("weights") is not None:
        model.pop("seed", None)
    if WEIGHTS in digests:
        model["weights"] = {"sha256": digests[WEIGHTS]}
    if FACTORY in digests:
        model["factory"] = {"name": model["factory"], "sha256": digests[FACTORY]}
    task = hashed["task"]
    task.pop("images_at_once", None)
    if "animation" in task and task["animation"] is None:
        task.pop("frames", None)
    _drop_unread_baselines(hashed.get("attribution", {}))
    _order_fused_layers(hashed.get("attribution", {}))
    image_sets.name_by_content(hashed, digests)
    for key in FILE_KEYS:
        if f"parameterisation.{key}" in digests:
            hashed["parameterisation"][key] = {"sha256": digests[f"parameterisation.{key}"]}
    if isinstance(parts := hashed.get("transform", {}).get("parts"), dict):
        hashed["transform"]["parts"] = [parts[name] for name in sorted(parts)]
    if "objective" in hashed:
        hashed["objective"] = _unnamed(hashed["objective"])
    return _numbers(hashed)


def _drop_unread_baselines(attribution: Config) -> None:
    """Take out what says which random baselines integrated gradients draw, where they draw none."""
    drawn = attribution.get("baseline") in ("noise", "dataset")
    if str(attribution.get("_target_")).endswith(".IntegratedGradients") and not drawn:
        for key in ("seed", "baselines", "data"):
            attribution.pop(key, None)


def _order_fused_layers(attribution: Config) -> None:
    """One spelling of the layers whose maps are fused; how to fuse says nothing of a single one."""
    layers = attribution.get("layer")
    if isinstance(layers, (list, tuple)):
        attribution["layer"] = layers[0] if len(layers) == 1 else sorted(layers)
    if isinstance(attribution.get("layer"), str):
        attribution.pop("fuse", None)


def _unnamed(objective: Any) -> Any:
    """An objective with the terms of its sums in a fixed order, without the names that they have in YAML."""
    if not isinstance(objective, dict):
        return objective
    plain = {key: _unnamed(value) for key, value in objective.items()}
    if str(plain.get("_target_", "")).endswith("Sum.negative"):
        return {"_target_": str(plain["_target_"]).replace("negative", "of"), "terms": [[plain["of"], -1.0]]}
    if isinstance(plain.get("terms"), dict):
        weights = plain.pop("weights")
        pairs = [[term, weights.get(name)] for name, term in plain["terms"].items()]
        extra = {name: weight for name, weight in weights.items() if name not in plain["terms"]}
        plain |= {"terms": sorted(pairs, key=canonical), **({"weights": extra} if extra else {})}
    return plain


def _numbers(value: Any) -> Any:
    """1.0 and 1 are one spelling."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
