"""One run alone, and runs of a store once more. Imports torch only to execute."""

from collections.abc import Mapping, Sequence

from interpret_runs.runner import report
from interpret_runs.runner.backend import Here
from interpret_runs.runner.index import write_index
from interpret_runs.runner.nodes import Config
from interpret_runs.runner.progress import bar, batch, console, say
from interpret_runs.runner.record import run_of
from interpret_runs.runner.results import RunsFailedError, restore_index
from interpret_runs.runner.runs import close
from interpret_runs.runner.slots import named
from interpret_runs.runner.store import Record, Store, existing, now
from interpret_runs.runner.sweep import check, plan_of
from interpret_runs.runner.tuning import Tuning
from interpret_runs.summary import nearest

# The artefact that a run is about, whichever it has first.
MAIN = ("statistics", "animation", "image", "overlay", "values")


def run_alone(config: Config, choices: Mapping[str, str]) -> float | None:
    """Execute one composed config, or print where its result is; returns its score.

    Raises:
        ValueError, LookupError, OSError: a setting is wrong; nothing was written.
        RunsFailedError: the run failed; its record says why.
    """
    runs = close(config, choices)
    if len(runs) != 1:
        raise ValueError(f"this is {len(runs)} runs: add -m to sweep")
    store = Store(config["outputs"], config["name"])
    begun = now()
    planned = plan_of(runs, config, store)
    if config["sweep"]["dry_run"]:
        report.show_plan(planned, store)
        return None
    if planned.batches:
        device = named(config["compute"]["device"])[0]
        check(planned, config, store, Here(device))
        from interpret_runs.runner.execute import execute

        with bar(1), batch(1) as progress:
            how = Tuning.of(config["compute"])
            done = execute(planned.batches[0], store, device, begun, progress, strict=True, how=how)
        if not done and runs[0].id not in store.finished():
            raise ValueError(f"run {runs[0].id} is being executed by another process; try again when it is done")
        write_index(store)
    else:
        restore_index(store)
    record = store.newest([runs[0].id])[runs[0].id]
    _show(record, store, again=not planned.batches)
    return _returned(record, config["sweep"]["score"])


def _returned(record: Record, name: str) -> float | None:
    """What a sweeper that searches gets of a run: its score, or a number among its metrics."""
    numbers = {"score": record["score"], **record["metrics"]}
    if name not in numbers:
        raise LookupError(
            f"sweep.score is {name!r}, which this run does not have; closest: {nearest(name, list(numbers))}"
        )
    return None if numbers[name] is None else float(numbers[name])


def run_again(config: Config, ids: Sequence[str]) -> None:
    """Execute runs of a store once more, one by one, whatever came of them.

    Raises:
        LookupError: the store has no record of a run.
        RunsFailedError: a run failed again; its record says why.
    """
    from interpret_runs.runner.execute import execute

    store = existing(config["outputs"], config["name"])
    records = store.newest([name for name in ids if isinstance(name, str)])
    if missing := [name for name in ids if name not in records]:
        close = nearest(str(missing[0]), list(store.finished()))
        raise LookupError(f"no run {missing[0]!r} in {store.root}; closest: {close} (in quotes: \"batch.ids=['ID']\")")
    made: dict[str, Record] = {}
    for name in ids:
        run = run_of(records[name])
        with bar(1), batch(1) as progress:
            compute = config["compute"]
            device = named(compute["device"])[0]
            done = execute([run], store, device, now(), progress, how=Tuning.of(compute))
        if not done:
            raise ValueError(f"run {name} is being executed by another process; try again when it is done")
        made[name] = done[0]
    write_index(store)
    for record in sorted(made.values(), key=lambda record: record["status"] == "failed"):
        _show(record, store, again=False)


def _show(record: Record, store: Store, again: bool) -> None:
    if record["status"] == "failed":
        say(f"failed: {record['error']}", style="red")
        raise RunsFailedError
    metrics = record["metrics"]
    says = ""
    if "predicted" in metrics:  # not where the network refuses images of this size
        says = f"; the network says {metrics['predicted']} ({metrics['predicted_probability']:.2f})"
    score = "" if record["score"] is None else f": score {record['score']:.4g}"
    say(
        f"{record['task']} {record['unit']}".rstrip()
        + f"{score}{says}, {record['seconds']:.1f} s"
        + (" (already done; sweep.rerun=all runs it again)" if again else ""),
    )
    if metrics.get("alive") is False:
        console.print("this image is dead: the score is not above 0, or the image is flat", style="yellow")
    if metrics.get("limit") == 0:
        console.print(
            "this map is zero everywhere: the score does not depend on what the method looks at", style="yellow"
        )
    if skipped := metrics.get("pictures_skipped"):
        console.print(
            f"{skipped} of {skipped + metrics['pictures']} pictures cannot be read, and were left out", style="yellow"
        )
    shown = [record["artefacts"][name] for name in MAIN if name in record["artefacts"]]
    say(str(store.root / shown[0]["path"]))
