"""Planning: a dry run of a grid, as a whole command."""

from pathlib import Path
from tempfile import TemporaryDirectory

import measure

RUN = str(measure.ROOT / "run.py")
GRIDS = {
    1024: ["objective.channel=range(0,128)", "parameterisation=fourier,pixel", "layer=middle,late", "seed=0,1"],
    10240: [
        "objective.channel=range(0,128)",
        "parameterisation=fourier,pixel",
        "layer=middle,late",
        "seed=range(0,20)",
    ],
}
BARS = {1024: "3 s", 10240: "20 s (for 10,000)"}


def main() -> None:
    options = measure.parser(__doc__).parse_args()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        # A first command finds the facts of the model that every later plan reads from the cache.
        measure.command(RUN, "-m", f"outputs={folder}", "sweep.dry_run=true", cwd=place)
        for count, grid in GRIDS.items():
            arguments = [RUN, "-m", f"outputs={folder}", "sweep.dry_run=true", *grid]
            times = [measure.command(*arguments, cwd=place) for _ in range(options.repeats)]
            measure.report(f"planning {count} runs, whole command", measure.spread(times), BARS[count], options.record)


if __name__ == "__main__":
    main()
