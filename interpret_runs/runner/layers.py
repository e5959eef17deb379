"""The layer table of a model: ``task=layers``."""

from rich.table import Table

from interpret_runs.runner.progress import console
from interpret_runs.summary import ModelSummary


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
        return "no tensor"
    return " x ".join(map(str, shape if shape[1:] != (1, 1) else shape[:1]))
