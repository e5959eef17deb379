"""The gallery of a store of many runs: writing it; opening, filtering, searching, sorting and scrolling in Chromium."""

import random
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import measure
import stores
from PIL import Image

from interpret_runs.runner.index import write_index
from interpret_runs.runner.store import Store

sys.path.append(str(measure.ROOT / "tests"))
from chromium import Page, page

PICTURES, SIZE = 256, 96
BARS = {"opens": "3 s", "filter": "200 ms", "range": "200 ms", "search": "200 ms", "sort": "200 ms", "frame": "-"}
READY = (
    "document.querySelector('.card') && [...document.querySelectorAll('.card img')].every((image) => image.complete)"
)
# From the click until what it changes is painted, in milliseconds.
PAINTED = """(async () => {
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await painted();
  const begun = performance.now();
  %s;
  await painted();
  return performance.now() - begun; })()"""
FILTER = "document.querySelector('.values input').click()"
RANGE = """(() => { const end = document.querySelector('.range input'); end.value = end.value ? '' : 100;
  end.dispatchEvent(new Event('change')); })()"""
SEARCH = """(() => { const words = document.getElementById('words'); words.value = words.value ? '' : 'channel 25';
  words.dispatchEvent(new Event('input')); })()"""
SORT = """(() => { const sort = document.getElementById('sort');
  sort.value = sort.value === 'score' ? 'seconds' : 'score';
  sort.dispatchEvent(new Event('change')); })()"""
# The longest of 60 frames in which the page scrolls by a screen each.
SCROLL = """(async () => { let longest = 0; let last = performance.now();
  for (let frame = 0; frame < 60; frame += 1) {
    scrollBy(0, innerHeight);
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now(); longest = Math.max(longest, now - last); last = now;
  }
  scrollTo(0, 0); return longest; })()"""


def main() -> None:
    options = measure.parser(__doc__)
    options.add_argument("--runs", type=int, default=10_000)
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        place = Path(folder) / "many"
        _fill(place, stores.real_record(Path(folder)), chosen.runs)
        write_index(Store(folder, place.name))  # as a sweep does
        written, again = (_write(place) for _ in range(2))
        kept = (place / "gallery" / "data.js").stat().st_size / 2**20
        times: dict[str, list[float]] = {name: [] for name in BARS}
        for _ in range(chosen.repeats):
            _measure(f"file://{place}/gallery/index.html", chosen.runs, times)
        what = f"gallery of {chosen.runs} runs"
        measure.report(
            f"{what}, written", f"{written:.3g} s, again {again:.3g} s, data.js {kept:.2g} MiB", "-", chosen.record
        )
        for name, found in times.items():
            unit = "s" if name == "opens" else "ms"
            label = "longest frame of a scroll" if name == "frame" else name
            measure.report(f"{what}, {label}", measure.spread(found, unit), BARS[name], chosen.record)


def _measure(address: str, runs: int, times: dict[str, list[float]]) -> None:
    """One opening in a browser of its own, and each answer twice: to set and to take back."""
    with page() as browser:
        browser.size(1280, 800)
        begun = perf_counter()
        browser.open(address)
        browser.wait(READY)
        times["opens"].append(perf_counter() - begun)
        if (said := browser.see("document.getElementById('count').textContent")) != f"{runs:,} runs":
            raise ValueError(f"the page says {said!r}")
        browser.see("document.querySelectorAll('.facet').forEach((facet) => (facet.open = true))")
        browser.wait("document.querySelector('.range input')")
        for name, action in (("filter", FILTER), ("range", RANGE), ("search", SEARCH), ("sort", SORT)):
            times[name] += [_painted(browser, action) for _ in range(2)]
        times["frame"].append(browser.see(SCROLL))
        if browser.complaints:
            raise ValueError(browser.complaints[0])


def _painted(browser: Page, action: str) -> float:
    return float(browser.see(PAINTED % action))


def _write(place: Path) -> float:
    return measure.command(
        str(measure.ROOT / "run.py"), "task=gallery", f"name={place.name}", f"outputs={place.parent}", cwd=place.parent
    )


def _fill(place: Path, template: dict[str, Any], runs: int) -> None:
    """Runs over units, layers, parameterisations and seeds, one in a hundred failed, with real pictures."""
    drawn = random.Random(0)
    pictures = [_picture(drawn) for _ in range(PICTURES)]
    for start, records in stores.batches(template, 0, runs, drawn, _vary):
        for record in records:
            for artefact in record["artefacts"].values():
                content = drawn.choice(pictures)
                file = place / artefact["path"]
                file.parent.mkdir(parents=True)
                file.write_bytes(content)
                artefact |= {"bytes": len(content), "sha256": sha256(content).hexdigest()[:16]}
        stores.write(place, f"host-{start:07d}-0.jsonl", records)


def _picture(drawn: random.Random) -> bytes:
    small = Image.frombytes("RGB", (12, 12), drawn.randbytes(12 * 12 * 3))
    stream = BytesIO()
    small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def _vary(record: dict[str, Any], number: int, drawn: random.Random) -> None:
    layer, kind = number // 512 % 5, ("fourier", "pixel", "cppn", "laplacian")[number // 2560 % 4]
    record |= {"seed": number // 10240, "seconds": drawn.random()}
    record["choices"] |= {"layer": f"layer{layer}", "parameterisation": kind}
    record["config"]["objective"] |= {"channel": number % 512, "layer": f"features.{layer}"}
    record["config"]["parameterisation"]["decay"] = drawn.choice([0.5, 1.0, 1.5])
    record["config"]["optimizer"]["lr"] = drawn.choice([0.01, 0.02, 0.05, 0.1])


if __name__ == "__main__":
    main()
