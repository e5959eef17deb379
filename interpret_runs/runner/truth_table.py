"""The table and the figure of the known-truth suite: methods against measures, with intervals. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_essentials import figure_essentials
from interpret_runs.runner.print_names import in_print, in_words
from interpret_runs.runner.print_style import files_of, write_figure
from interpret_runs.runner.progress import console, say
from interpret_runs.runner.truth_page import truth_page
from interpret_runs.runner.venue import inches
from interpret_runs.whole_files import written_whole

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LEVEL = 0.95
SEED = 0
CHANCE = "random"  # the method whose mean stands for chance, where that is not known
NARROWEST = 13  # letters of a column
HEADER = (
    *("method", "problem", "measure", "mean", "low", "high"),
    *("samples", "undefined", "seeds", "chance", "higher_is_better", "networks_not_learned"),
)
Column = tuple[str, str]  # problem and measure


@dataclass
class Cell:
    """What one method came to in one measure: the numbers of all samples, seed by seed."""

    seeds: dict[int, list[float]] = field(default_factory=dict)
    undefined: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.seeds.values()))

    @property
    def mean(self) -> float:
        """Of the seeds' means; nan where no sample has a number."""
        means = [sum(values) / len(values) for values in self.seeds.values() if values]
        return sum(means) / len(means) if means else float("nan")


@dataclass
class Truth:
    """All that an index and its files say of a suite."""

    cells: dict[tuple[str, Column], Cell] = field(default_factory=dict)
    chance: dict[Column, list[float]] = field(default_factory=dict)
    higher: dict[Column, bool] = field(default_factory=dict)
    networks: dict[str, dict[str, float]] = field(default_factory=dict)
    asked: dict[Column, set[str]] = field(default_factory=dict)  # digests of networks
    methods: dict[str, None] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def columns(self) -> list[Column]:
        """Measures in the order of their problems."""
        order = list(self.problems)
        return sorted(self.higher, key=lambda column: order.index(column[0]))

    def chance_of(self, column: Column) -> float | None:
        """What random maps come to: as it is known, or as they were measured."""
        if known := self.chance[column]:
            return sum(known) / len(known)
        cell = self.cells.get((CHANCE, column))
        return cell.mean if cell and cell.count else None

    def not_learned(self, column: Column) -> set[str]:
        """The networks of a measure that do not know their classes: of them no map is right."""
        known = {name: self.networks[name] for name in self.asked[column]}
        return {name for name, one in known.items() if one["accuracy"] < one.get("least", 0.0)}


def known_truth(
    index: pd.DataFrame,
    root: Path,
    out: Path,
    title: str = "",
    resamples: int = 1000,
    width: str | float = "nature.text",
    formats: Sequence[str] = (),
) -> Path:
    """Print the table of the runs of task ``known_truth`` in `index`, and draw it; returns the first file.

    Beside the figure `out` the table is written as ``.csv``, one row for each method and measure. Means are over seeds
    of the means over samples; intervals hold 95 % of the means of `resamples` bootstraps, which draw seeds and then
    samples of each, with replacement. A run that failed, as its method refuses the network, is a dash. Measures of a
    network that did not learn have a ``!``.

    Args:
        root: the folder that the paths in the index start from.
        out: a file in a folder that exists; its suffix is the format where there are no `formats`.
        resamples: from 1 on.
        width: see `venue.inches`.
        formats: of ``png``, ``pdf``, ``svg``: a file each.

    Raises:
        ValueError: no such runs; two runs of one method, problem and seed.
    """
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 1:
        raise ValueError(f"figure.resamples is {resamples!r}; it must be a whole number from 1 on")
    wide = inches(width)
    files_of(out, formats)
    truth = gathered(index, root)
    if not truth.columns:
        raise ValueError("no run of task=known_truth has a result")
    ends = {key: interval(cell, resamples) for key, cell in truth.cells.items()}
    for table in tables(truth, ends, title):
        console.print(table)
    say("\n".join(caption(truth)))
    if said := warning(truth):
        say(said, style="yellow")
    with written_whole(out.with_suffix(".csv")) as aside:
        aside.write_text(csv_text(truth, ends), newline="")
    runs = index.loc[index["problem"].notna(), "run_id"] if "run_id" in index else ()
    headings = {one: _heading(truth, one, in_print("problem", one[0])) for one in truth.columns}
    essentials = figure_essentials("known_truth", runs, root, {"resamples": resamples})
    return write_figure(truth_page(truth, ends, wide, headings), out, formats, essentials, title)


def gathered(index: pd.DataFrame, root: Path) -> Truth:
    """The samples of all runs of `index`; methods and problems in its order, those that failed with them."""
    truth = Truth()
    if "problem" not in index.columns:
        return truth
    for row in index[index["problem"].notna()].to_dict("records"):
        problem, method, seed = str(row["problem"]), str(row["attribution"]), int(row["seed"])
        truth.methods.setdefault(method)
        truth.problems.setdefault(problem)
        file = row.get("artefact.values")
        if row["status"] != "ok" or not isinstance(file, str):
            continue
        said = json.loads((root / file).read_text(encoding="utf-8"))
        truth.networks |= said["networks"]
        truth.seconds += float(row["attribution_seconds"])
        for name, found in said["measures"].items():
            _add(truth, method, (problem, name), seed, found)
    return truth


def _add(truth: Truth, method: str, column: Column, seed: int, found: dict[str, Any]) -> None:
    truth.higher[column] = found["higher"]
    truth.asked.setdefault(column, set()).update(found.get("networks", ()))
    known = truth.chance.setdefault(column, [])
    if found["chance"] is not None:
        known.append(found["chance"])
    cell = truth.cells.setdefault((method, column), Cell())
    if seed in cell.seeds:
        raise ValueError(f"two runs of {method} on {column[0]} with seed {seed}: sweep no other setting, or name=...")
    cell.seeds[seed] = [value for value in found["values"] if value is not None]
    cell.undefined += len(found["values"]) - len(cell.seeds[seed])


def interval(cell: Cell, resamples: int) -> tuple[float, float]:
    """The ends of a bootstrap's interval of the mean: of seeds, and of the samples of each."""
    import numpy as np

    groups: list[np.ndarray] = [np.asarray(values) for values in cell.seeds.values() if values]
    if not groups:
        return float("nan"), float("nan")
    draw = np.random.default_rng(SEED)
    # One column a seed: the means of `resamples` draws from its samples.
    means = [group[draw.integers(len(group), size=(resamples, len(group)))].mean(1) for group in groups]
    chosen = draw.integers(len(groups), size=(resamples, len(groups)))
    low, high = np.quantile(_drawn(np.stack(means, 1), chosen, draw), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _drawn(means: np.ndarray, chosen: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The mean over the seeds chosen; one that is chosen twice gives the means of two draws."""
    import numpy as np

    shuffled = draw.permuted(np.broadcast_to(means, (chosen.shape[1], *means.shape)), axis=1)
    found: np.ndarray = np.stack([shuffled[slot, np.arange(len(means)), seeds] for slot, seeds in enumerate(chosen.T)])
    return np.asarray(found.mean(0))


Ends = dict[tuple[str, Column], tuple[float, float]]


def tables(truth: Truth, ends: Ends, title: str) -> Iterator[Table]:
    """The table, in parts that fit the screen."""
    first = max(map(len, truth.methods)) + 2
    at_once = max(1, (console.width - first) // (NARROWEST + 2))
    for start in range(0, len(truth.columns), at_once):
        part = truth.columns[start : start + at_once]
        table = Table(title=title if start == 0 else None, box=None, title_justify="left")
        table.add_column("method", no_wrap=True)
        for column in part:
            table.add_column(_heading(truth, column, column[0]), justify="right", overflow="fold", min_width=NARROWEST)
        for method in truth.methods:
            keys = [(method, column) for column in part]
            table.add_row(method, *(shown(truth.cells.get(key), ends.get(key)) for key in keys))
        table.add_row("(chance)", *(_number(truth.chance_of(column)) for column in part), style="dim")
        yield table


def shown(cell: Cell | None, ends: tuple[float, float] | None) -> str:
    """``0.7990 ±.021``: mean and half of the interval; a star where some samples have no number."""
    if cell is None or ends is None or not cell.count:
        return "-"
    half = f"{(ends[1] - ends[0]) / 2:.3f}".removeprefix("0")
    return f"{_number(cell.mean)} ±{half}{'*' if cell.undefined else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _heading(truth: Truth, column: Column, problem: str) -> str:
    mark = " !" if truth.not_learned(column) else ""
    measure = in_words(column[1].removeprefix(f"{column[0]}_"))
    return f"{problem}{mark}\n{measure}" + ("" if truth.higher[column] else " (low is good)")


def caption(truth: Truth) -> Iterator[str]:
    """How much was asked, and what it took."""
    counts = []
    for problem in truth.problems:
        cells = [cell for (_, column), cell in truth.cells.items() if column[0] == problem]
        if cells:
            sizes = sorted({cell.count + cell.undefined for cell in cells})
            seeds = max(len(cell.seeds) for cell in cells)
            counts.append(f"{problem} {' or '.join(map(str, sizes))} of {seeds} seed{'s' * (seeds > 1)}")
    yield f"samples: {', '.join(counts)}; ± is half of a bootstrap's 95 % interval over seeds and samples"
    starred = [cell for cell in truth.cells.values() if cell.undefined]
    if starred:
        most = max(cell.undefined / (cell.count + cell.undefined) for cell in starred)
        yield f"* some maps have no number (up to {most:.0%}; no positive mass, or one value) and are left out"
    yield "- not asked, or the run failed, as where a method refuses the network (the index says why)"
    if truth.networks:
        seconds = sum(one["seconds"] for one in truth.networks.values())
        least = min(one["accuracy"] for one in truth.networks.values())
        trained = number_of(len(truth.networks), "network")
        yield f"training, apart: {trained}, {seconds:.0f} s in all, accuracy from {least:.3f} up"
    yield f"attribution and measures: {truth.seconds:.0f} s"


def warning(truth: Truth) -> str:
    """Which networks did not learn; nothing where all did."""
    names = sorted(set().union(*map(truth.not_learned, truth.columns)))
    networks = [truth.networks[name] for name in names]
    found = ", ".join(f"{one['accuracy']:.3f} of {one['least']:.3f}" for one in networks)
    if not names:
        return ""
    return (
        f"! {len(names)} of {number_of(len(truth.networks), 'network')} did not learn (accuracy {found} wanted): "
        "no map of them is right, and measures marked with ! say little; raise problem.epochs or problem.images, or "
        "take another seed"
    )


def csv_text(truth: Truth, ends: Ends) -> str:
    """One row for each method and measure, those without a result too."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for method in truth.methods:
        for column in truth.columns:
            cell, chance = truth.cells.get((method, column), Cell()), truth.chance_of(column)
            low, high = ends.get((method, column), (float("nan"),) * 2)
            numbers = ["" if value is None or value != value else value for value in (cell.mean, low, high)]
            known = ["" if chance is None else chance, truth.higher[column], len(truth.not_learned(column))]
            writer.writerow([method, *column, *numbers, cell.count, cell.undefined, len(cell.seeds), *known])
    return text.getvalue()
