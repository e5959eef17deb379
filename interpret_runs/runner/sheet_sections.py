"""What a contact sheet shows: the runs of an index in sections, by their task or by queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interpret_runs.runner.counts import number_of
from interpret_runs.runner.figure_labels import plain, queried
from interpret_runs.runner.figure_notes import weights_note
from interpret_runs.runner.sheet_layout import laid_out
from interpret_runs.runner.sheet_runs import CHOICES, SELDOM, Run, labelled, runs_of, values
from interpret_runs.runner.sheet_section import Section

if TYPE_CHECKING:
    import pandas as pd

HEADINGS = {
    "visualise": "Visualisations",
    "attribute": "Attributions",
    "examples": "Dataset examples",
    "activationgrid": "Activation grids",
    "atlas": "Activation atlases",
}
BESIDE = ("visualise", "examples")
IMAGES = "parameterisation.images"


def sections_of(index: pd.DataFrame, most: int, wanted: Mapping[str, str]) -> list[Section]:
    """One section for each query that is `wanted`, or for each task; dataset examples go beside visualisations.

    A single section that nobody asked for has no heading.

    Of more than `most` runs each section shows its share, the first ones.
    """
    parts = [
        (heading, queried(index, query, f"figure.sections, {heading!r}")) for heading, query in wanted.items()
    ] or _by_task(index)
    total = sum(len(part) for _, part in parts)
    sections = []
    for heading, part in parts:
        share = len(part) if total <= most else max(1, most * len(part) // total)
        if len(part):
            runs = runs_of(part.iloc[:share])
            title = heading if wanted or len(parts) > 1 else ""
            sections.append(laid_out(title, _constant(runs, len(part) - share), runs))
    return sections


def check_sections(wanted: Any) -> None:
    """Refuse what no index could be divided by; whether there are such columns is known once there is an index.

    Raises:
        ValueError: no mapping of headings to queries, or a query that is no expression.
    """
    import pandas as pd

    rule = "it must be headings with queries over the index, as figure.sections={Late: \"layer == 'late'\"}"
    if not isinstance(wanted, Mapping) or not all(isinstance(query, str) for query in wanted.values()):
        raise ValueError(f"figure.sections is {wanted!r}; {rule}")
    for heading, query in wanted.items():
        try:
            pd.DataFrame().query(query)
        except NameError:
            continue
        except Exception as error:  # pandas raises whatever Python, numpy or itself does
            reason = str(error).partition(" (<unknown>")[0]
            raise ValueError(f"figure.sections, {heading!r}: {query!r} is no query: {reason}; {rule}") from error


def _by_task(index: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    tasks = [plain(task) for task in index["task"]] if "task" in index else [""] * len(index)

    def those(*wanted: str) -> pd.DataFrame:
        return index.iloc[[place for place, task in enumerate(tasks) if task in wanted]]

    names = [task for task in dict.fromkeys([*HEADINGS, *tasks]) if task in tasks]
    parts = [
        part for task in names for part in _by_images(HEADINGS.get(task, task.capitalize() or "Runs"), those(task))
    ]
    naming = [name for name in ("model", "layer", "unit") if name in index]
    units = [set(those(task)[naming].itertuples(index=False, name=None)) for task in BESIDE]
    if units[0] & units[1]:
        alone = [(HEADINGS.get(task, task.capitalize()), those(task)) for task in names if task not in BESIDE]
        return [("Visualisations and dataset examples", those(*BESIDE)), *alone]
    return parts


def _by_images(heading: str, part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Runs of several images apart from those of one, whose tiles are narrower."""
    if IMAGES not in part:
        return [(heading, part)]
    several = [plain(images) not in ("", "1") for images in part[IMAGES]]
    if len(set(several)) == 1:
        return [(heading, part)]
    return [(heading, part[[not one for one in several]]), (f"{heading} of several images", part[several])]


def _constant(runs: Sequence[Run], left_out: int) -> str:
    """What all runs have in common, random weights, and how many more runs there are."""
    said = {
        name: f"{name} {labelled(name, runs[0][name])}"
        for name in (*CHOICES, "unit")
        if name not in SELDOM and runs[0].get(name) and len(values(runs, name)) == 1
    }
    weights = weights_note(runs)
    if not weights and runs[0].get("model.weights") and "model" in said and len(values(runs, "model.weights")) == 1:
        weights = f"weights {labelled('model.weights', runs[0]['model.weights'])}"
    more = f"{number_of(left_out, 'more run')} left out" if left_out else ""
    return ", ".join(filter(None, [said.pop("model", ""), weights, *said.values(), more]))
