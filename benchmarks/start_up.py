"""Start-up: ``run.py --help``, and ``run.py`` from cold to an image."""

from pathlib import Path
from tempfile import TemporaryDirectory

import measure

RUN = str(measure.ROOT / "run.py")


def main() -> None:
    options = measure.parser(__doc__).parse_args()
    helps = [measure.command(RUN, "--help") for _ in range(options.repeats)]
    measure.report("run.py --help", measure.spread(helps), "1 s", options.record)
    images = []
    for _ in range(options.repeats):
        with TemporaryDirectory() as folder:
            images.append(measure.command(RUN, f"outputs={folder}", cwd=Path(folder)))
    measure.report("run.py, cold to image", measure.spread(images), "15 s", options.record)


if __name__ == "__main__":
    main()
