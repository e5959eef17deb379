"""``task=reproduce``: execute again what made a picture, and say how far the results agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.markup import escape
from rich.table import Table

from interpret_runs.runner import provenance
from interpret_runs.runner.agreement import Agreement, agreement, read
from interpret_runs.runner.files import digests_of
from interpret_runs.runner.progress import Batch, bar, console, say
from interpret_runs.runner.results import RunsFailedError
from interpret_runs.runner.runs import Run
from interpret_runs.runner.slots import named
from interpret_runs.runner.sources import Panel, panels
from interpret_runs.runner.store import Record, Store, now
from interpret_runs.runner.tuning import Tuning

# Relative difference of scores up to which two machines may disagree; see the README.
TOLERANCE = 0.15


@dataclass(frozen=True)
class Replay:
    """What came of a panel this time: its new record, and how far each file agrees."""

    panel: Panel
    record: Record
    files: Mapping[str, Agreement]

    @property
    def well(self) -> bool:
        """Whether it ended well, with a score near the old one."""
        if self.record["status"] != "ok":
            return False
        old, new = self.panel.score, self.record["score"]
        return old is None or new is None or abs(new - old) <= TOLERANCE * abs(old) or new == old


def show(config: Mapping[str, Any]) -> None:
    """Reproduce ``task.source`` and print the agreement of each file, and what is different from then.

    Raises:
        RunsFailedError: a run failed this time, or its score is another.
        FileNotFoundError, LookupError, ValueError: `source` is not to be reproduced, or a file that it read is gone.
    """
    task = config["task"]
    with ExitStack() as stack:
        found = panels(task["source"], config["outputs"], stack)
        place = Path(task["keep"] or stack.enter_context(TemporaryDirectory()))
        _require_files(found, alone=task["alone"])
        replays = replay(found, Store.at(place), config["compute"]["device"], alone=task["alone"])
    _show_table(replays)
    for line in sorted({line for one in replays for line in differences(one)}):
        say(line)
    if wrong := sum(not one.well for one in replays):
        apart = f"a score more than {100 * TOLERANCE:.0f} % off"
        say(f"{wrong} of {len(replays)} not reproduced: failed, or {apart}", style="red")
        raise RunsFailedError


def replay(found: Sequence[Panel], store: Store, device: str, alone: bool = False) -> list[Replay]:
    """Execute the batches of some panels, each once, into `store`; or the runs of the panels `alone`."""
    import torch

    from interpret_runs.runner.execute import execute

    batches: dict[tuple[str, ...], tuple[list[Run], Panel]] = {}
    for panel in found:
        runs = [panel.run] if alone or panel.missing else list(panel.batch)
        batches.setdefault(tuple(run.id for run in runs), (runs, panel))
    records: dict[str, Record] = {}
    threads = torch.get_num_threads()
    with bar(sum(len(runs) for runs, _ in batches.values())):
        for runs, panel in batches.values():
            shown = Batch(len(runs))
            torch.set_num_threads(panel.machine.get("threads") or threads)
            try:
                how = _as_then(panel.machine)
                made = execute(runs, store, _device(panel, device), now(), shown, how=how)
                records |= {one["run_id"]: one for one in made}
            finally:
                torch.set_num_threads(threads)
            shown.end()
    return [Replay(panel, records[panel.run.id], _compared(panel, records[panel.run.id], store)) for panel in found]


def _as_then(machine: Mapping[str, Any]) -> Tuning:
    """How the network was computed; all were contiguous and none compiled before it was noted."""
    from interpret_runs.memory_format import CONTIGUOUS

    layout = machine.get("memory_format") or CONTIGUOUS
    graphs = machine.get("cuda_graphs") is not False
    return Tuning(layout, bool(machine.get("compile")), graphs, at_once=machine.get("at_once") or None)


def _device(panel: Panel, device: str) -> str:
    """The device of then if there is one like it, unless another is asked for."""
    from interpret_runs.runner.devices import present

    then = str(panel.machine.get("device") or "").partition(" ")[0]
    return then if named(device) == ["auto"] and then in present() else named(device)[0]


def _compared(panel: Panel, record: Record, store: Store) -> dict[str, Agreement]:
    made = {name: store.root / artefact["path"] for name, artefact in record["artefacts"].items()}
    found = {}
    for name, old in panel.files.items():
        content = read(old)
        if content is None:
            continue
        others = [made[name]] if name in made else [file for file in made.values() if file.suffix == old.suffix]
        seen = [agreement(content, file.read_bytes(), old.suffix) for file in others]
        if seen:  # a picture that was renamed is the one that it is most like
            found[name or old.name] = min(seen, key=_rank)
    return found


def _rank(found: Agreement) -> tuple[int, float]:
    from interpret_runs.runner.agreement import BYTES, CLOSE, OTHER, VALUES

    return (BYTES, VALUES, CLOSE, OTHER).index(found.kind), found.largest or 0.0


def differences(one: Replay) -> list[str]:
    """What is not as when the panel was made: versions, device, threads, weights, layout, compiling, code, batch."""
    then, today = one.panel.machine, one.record
    lines = []
    for name, version in (then.get("versions") or {}).items():
        present = (today.get("versions") or {}).get(name, version)  # a package that was noted once
        if version != present:
            lines.append(f"{name}: {version} then, {present} now")
    for name in ("device", "threads", "weights_digest", "memory_format", "compile", "cuda_graphs"):
        if then.get(name) is not None and then[name] != today[name]:
            lines.append(f"{name.replace('_', ' ')}: {then[name]} then, {today[name]} now")
    lines += _code(then.get("git"), today.get("git"))
    if one.panel.score is None and today["score"] is not None:
        lines.append("the score of then is not known: scores were not compared")
    if one.panel.missing:
        lines.append("the batch that made it is not known: runs were executed alone, and rounding differs")
    return lines


def _code(then: Mapping[str, Any] | None, today: Mapping[str, Any] | None) -> list[str]:
    if not then or not today:
        return []
    if then["commit"] != today["commit"] and not provenance.same_code(then["commit"]):
        return [f"code: commit {then['commit'][:12]} then, {today['commit'][:12]} now"]
    if then.get("changes") != today.get("changes"):
        return ["code: uncommitted changes are not the same"]
    return []


def _require_files(found: Sequence[Panel], alone: bool) -> None:
    """Raise where a file that runs read is gone; say where it has another content."""
    changed = set()
    for run in {run.id: run for panel in found for run in ([panel.run] if alone else panel.batch)}.values():
        try:
            present = digests_of(run.config)
        except FileNotFoundError as error:
            step = "put it there, or take an archive that holds it: task=export, for weights with task.weights=true"
            raise FileNotFoundError(f"{error} (run {run.id}); {step}") from None
        changed |= {key for key, digest in present.items() if run.digests.get(key, digest) != digest}
    for key in sorted(changed):
        console.print(f"{key} has another content than then", style="yellow", highlight=False)


def _show_table(replays: Sequence[Replay]) -> None:
    table = Table(box=None)
    for column in ("run id", "unit", "score then", "score now", "file", "agreement"):
        table.add_column(column, overflow="fold")
    for one in replays:
        scores = ["" if score is None else f"{score:.4g}" for score in (one.panel.score, one.record["score"])]
        first = [one.record["run_id"], escape(one.record["unit"]), *scores]
        if one.record["status"] != "ok":
            table.add_row(*first, "", escape(f"failed: {one.record['error']}"))
        for place, (name, found) in enumerate(one.files.items()):
            table.add_row(*(first if place == 0 else [""] * 4), escape(name), str(found))
    console.print(table)
