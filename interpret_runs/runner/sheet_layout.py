"""How the runs of a section lie: in a table, in blocks of lines, or one after the other.

The columns of the index that tell runs apart are labels: units (visualisations) or input pictures (attributions) go
side by side, the combinations of everything else below each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from interpret_runs.runner.sheet_runs import Run, labelled, ordered, values, varying
from interpret_runs.runner.sheet_section import Section, Tile

WIDEST = 12  # columns of a table
LONGEST, SMALLEST = 10, 4  # runs in a line of a block, at most; in a block on average, at least


def laid_out(heading: str, constant: str, runs: Sequence[Run]) -> Section:
    """The runs under their labels."""
    tasks = [task for (task,) in values(runs, "task")]
    usual = "task" if len(tasks) > 1 else "picture" if tasks == ["attribute"] else "unit"
    main, others = varying(runs, usual)
    if main is None and len(others) > 1:  # what comes last in the configuration goes side by side
        main = others.pop()
    found = (_table(runs, main, others) or _blocks(runs, main, others)) if main and others else None
    tiles, columns, rows, names = found or _flow(runs, [main or usual, *others] if main or not others else others)
    return Section(heading, constant, tiles, columns, rows, names)


_Lines = Sequence[Sequence[str]]
_Layout = tuple[list[Tile], _Lines, _Lines, Sequence[str]]  # tiles, labels of columns and of rows, what the latter name


def _table(runs: Sequence[Run], main: str, others: Sequence[str]) -> _Layout | None:
    """Tiles in rows and columns; None where two runs would share a place, or that is too wide or mostly gaps.

    Where there are gaps, the last of `others` stand above the columns if that leaves none.
    """
    tables = [_placed(runs, others[:down], [*others[down:], main]) for down in range(len(others), 0, -1)]
    full = [table for table in tables if table and len(table[0]) == len(table[1]) * len(table[2])]
    return next(iter(full), tables[0])


def _placed(runs: Sequence[Run], down: Sequence[str], beside: Sequence[str]) -> _Layout | None:
    """The table with `down` at the left and `beside` above."""
    rows, columns = ordered(runs, down), ordered(runs, beside)
    cells = [(rows.index(_of(run, down)), columns.index(_of(run, beside))) for run in runs]
    if len(columns) > WIDEST or len(set(cells)) < len(runs) or len(runs) <= len(rows) * len(columns) / 2:
        return None
    tiles = [Tile(run, *cell) for run, cell in zip(runs, cells, strict=True)]
    above = [[*dict.fromkeys(_labels(beside, one)), *_class_of(runs, beside[-1], one[-1])] for one in columns]
    return tiles, above, [_labels(down, row) for row in rows], down


def _blocks(runs: Sequence[Run], main: str, others: Sequence[str]) -> _Layout | None:
    """Lines of tiles with a caption each, a block of them for each combination of `others`."""
    groups = [[run for run in runs if _of(run, others) == key] for key in ordered(runs, others)]
    largest = max(map(len, groups))
    if len(values(runs, *others, main)) < len(runs) or len(runs) < SMALLEST * len(groups):
        return None
    across = math.ceil(largest / math.ceil(largest / LONGEST))
    order, tiles, rows = ordered(runs, [main]), list[Tile](), list[list[str]]()
    for group in groups:
        group.sort(key=lambda run: order.index(_of(run, [main])))
        for place, run in enumerate(group):
            row, column = divmod(place, across)
            caption = (labelled(main, run[main]), *_class_of(runs, main, run[main]))
            tiles.append(Tile(run, len(rows) + row, column, caption))
        rows += [_labels(others, _of(group[0], others))] * math.ceil(len(group) / across)
    return tiles, [()] * across, rows, others


def _flow(runs: Sequence[Run], names: Sequence[str]) -> _Layout:
    """Tiles one after the other, about as many down as across; the first name has a line of its own."""
    several = any(run.get("parameterisation.images", "1") not in ("", "1") for run in runs)
    across = min(len(runs), 2 if several else max(4, math.ceil(math.sqrt(len(runs)))))
    keys = [*names[1:], names[0]]
    order = ordered(runs, keys)
    tiles = []
    for place, run in enumerate(sorted(runs, key=lambda run: order.index(_of(run, keys)))):
        first, *rest = [labelled(name, run.get(name, "")) for name in names if run.get(name) or name == names[0]]
        rest += _class_of(runs, names[0], run.get(names[0], ""))
        tiles.append(Tile(run, *divmod(place, across), (first, ", ".join(rest)) if rest else (first,)))
    return tiles, [()] * across, (), ()


def _of(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(run.get(name, "") for name in names)


def _labels(names: Sequence[str], of: Sequence[str]) -> list[str]:
    return [labelled(name, value) for name, value in zip(names, of, strict=True)]


def _class_of(runs: Sequence[Run], main: str, value: str) -> list[str]:
    """The class that is explained in a column of pictures, where each has its own."""
    units = values([run for run in runs if run.get(main) == value and run.get("unit")], "unit")
    return [units[0][0]] if main == "picture" and len(units) == 1 < len(values(runs, "unit")) else []
