"""The layer table of a model: ``task=layers``."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from interpret_runs.runner.cache import canonical
from interpret_runs.runner.progress import console
from interpret_runs.runner.runs import used_part
from interpret_runs.runner.summaries import summarise
from interpret_runs.summary import ModelSummary


def is_table(config: Mapping[str, Any]) -> bool:
    """Whether a composed config asks for a table of layers rather than for a run."""
    return str(config["task"]["_target_"]) == f"{__name__}.show"


def show_tables(configs: Iterable[dict[str, Any]]) -> None:
    """The table of each distinct model among composed configs."""
    models = [used_part(config)["model"] for config in configs]
    for model in {canonical(model): model for model in models}.values():
        show(summarise(model))


def show(summary: ModelSummary) -> None:
    """Print path, type, output shape and alias of every layer, in the order they finish."""
    aliases = {path: alias for alias, path in summary.aliases.items()}
    table = Table(title=f"{summary.name}: layers for {summary.input_size[0]}x{summary.input_size[1]} images", box=None)
    for column in ("layer.path", "type", "output", "alias"):
        table.add_column(column, no_wrap=True)
    table.add_row("image", "pixels", _shape(summary.layer("image").shape), "")
    for layer in summary.layers:
        alias = aliases.get(layer.path, "") if layer.calls == 1 else f"runs {layer.calls} times: not usable"
        table.add_row(layer.path, layer.kind, _shape(layer.shape), alias)
    table.add_row("logits", "output", str(summary.classes), "logits")
    console.print(table)
    if summary.labels:
        console.print(f"{summary.classes} classes: {', '.join(summary.labels[:12])}{', ...' * (summary.classes > 12)}")


def _shape(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "no channels"
    return " x ".join(map(str, shape if shape[1:] != (1, 1) else shape[:1]))
