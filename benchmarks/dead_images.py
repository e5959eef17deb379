"""How many channels of a real network end as dead images, by default and without the rescue.

Dead is an image whose values spread less than 0.02, or whose final activation is not above 0. Default settings:
a Fourier image of 128 pixels, 128 steps of Adam, the standard transforms.
"""

from collections.abc import Sequence
from pathlib import Path

import measure

from interpret_runs.models import VisionModel, load
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.schedule import Schedule
from interpret_runs.visualisation import visualise

REAL = measure.ROOT.parent / "shared/weights/squeezenet1_0-imagenet.safetensors"
FLATTEST = 0.02


def dead(model: VisionModel, layer: str, channels: Sequence[int], schedule: Schedule, batch: int) -> list[int]:
    """Which of `channels` have a dead image, or a channel that is never active."""
    found = []
    for first in range(0, len(channels), batch):
        part = channels[first : first + batch]
        objective = Objective.stack([Channel(layer, channel) for channel in part])
        made = visualise(model, objective, Fourier(128, seeds=[0] * len(part)), schedule=schedule)
        flat = made.images.std(dim=(1, 2, 3)) < FLATTEST
        found += [channel for channel, bad in zip(part, (flat | (made.scores <= 0)).tolist(), strict=True) if bad]
        print(f"{layer}: {first + len(part)} of {len(channels)}, dead so far {found}", flush=True)
    return found


def main() -> None:
    made = measure.parser(__doc__)
    made.add_argument("--weights", default=str(REAL))
    made.add_argument("--layers", nargs="+", default=["features.12", "features.9", "features.5"])
    made.add_argument("--every", type=int, default=1, help="take every so many channels")
    made.add_argument("--plain-every", type=int, default=8, help="the same for the loop without the rescue")
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--precision", default="float32")
    options = made.parse_args()
    if not Path(options.weights).is_file():
        raise SystemExit(f"no weights {options.weights}: this needs real ones, --weights FILE")
    model = load("squeezenet1_0", options.weights)
    for layer in options.layers:
        count = model.summary.channels(layer)
        for rescue, every in ((True, options.every), (False, options.plain_every)):
            channels = range(0, count, every)
            schedule = Schedule(rescue=rescue, precision=options.precision)
            found = dead(model, layer, channels, schedule, options.batch)
            how = "default" if rescue else "plain loop, no rescue"
            result = f"{len(found)} of {len(channels)} dead, {len(found) / len(channels):.2%} {found[:8] or ''}".strip()
            name = f"dead images, {layer}, 128 px, 128 steps, {options.precision}, {how}"
            measure.report(name, result, "under 1 %" if rescue else "-", options.record)


if __name__ == "__main__":
    main()
