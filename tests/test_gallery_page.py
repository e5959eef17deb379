"""The gallery in a browser, opened from disk."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from urllib.parse import quote

import pytest
import torch
from chromium import Page, page, program
from PIL import Image
from stored import record

from interpret_runs.png import png_bytes
from interpret_runs.rendering import Rendering
from interpret_runs.runner.gallery import write_gallery
from interpret_runs.runner.store import Store

pytestmark = pytest.mark.skipif(program() is None, reason="needs Chromium: apt-get install chromium")

HOSTILE = "<script>window.intruded = 1</script><img src=x onerror='window.intruded = 1'>\"'"
CHANNELS, LAYERS, STEPS = 30, ("early", "late"), (4, 16)
RUNS = CHANNELS * len(LAYERS) + 2  # and one that failed, and an attribution
COLOURS = {4: (255, 0, 0), 16: (0, 255, 0), None: (0, 0, 255)}

# What tests ask of a page: its runs in order, the run that a card shows, the card of a run, the box of a filter; and to
# give an input a value as a person would.
READING = """
  window.ordered = () => {
    const state = address.fromText(location.hash.slice(1));
    const passed = table.pass(state.filters, state.words);
    return table.order(state.sort, state.down).filter((row) => !passed.fails[row]);
  };
  window.idOf = (card) => table.id(ordered()[card.dataset.place]);
  window.cardOf = (id) => [...document.querySelectorAll('.card')].find((card) => idOf(card) === id);
  window.facetOf = (name) => [...document.querySelectorAll('.facet')].find((facet) =>
    facet.querySelector('summary span').textContent === name);
  window.box = (name, value) => [...facetOf(name).querySelectorAll('label')].find((label) =>
    label.children[1].textContent === value).querySelector('input');
  window.give = (input, value, event) => {
    input.value = value;
    input.dispatchEvent(new Event(event, { bubbles: true }));
  };
  window.centre = (image) => {
    const { x, y, width, height } = image.getBoundingClientRect();
    return { x: scrollX + x + width / 2, y: scrollY + y + height / 2, width: 2, height: 2, scale: 1 };
  };
"""
FOCUSED = "table.id(ordered()[document.activeElement.dataset.place])"
SCORES = "table.named.get('score').numbers"


def png(colour: tuple[int, int, int]) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (48, 48), colour).save(stream, "PNG")
    return stream.getvalue()


def run_id(layer: str, channel: int) -> str:
    return f"{layer}{channel:03d}"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Visualisations with snapshots of two layers, a failed run, and an attribution; with a label like code."""
    store = Store(tmp_path_factory.mktemp("with 100%, a # and a ?") / "outputs", "some")
    pictures = {step: png(colour) for step, colour in COLOURS.items()}
    records = []
    for layer in LAYERS:
        for channel in range(CHANNELS):
            name = run_id(layer, channel)
            files = {"image" if step is None else f"snapshot-{step:04d}": png for step, png in pictures.items()}
            kept = {key: store.write_artefact(name, f"{key}.png", content) for key, content in files.items()}
            config = {"objective": {"channel": channel, "layer": f"features.{layer}"}, "task": {"steps": 32}}
            unit = HOSTILE if channel == 7 else f"channel {channel}"
            score = (channel * 7 % CHANNELS) + 0.25
            choices = {"layer": layer, "objective": "channel"}
            at = f"2026-01-01T00:00:{channel:02d}+00:00"
            records.append(
                record(name, unit=unit, score=score, artefacts=kept, config=config, choices=choices, finished=at)
            )
    error = f"no layer 'x'; {HOSTILE}"
    records.append(record("broken", "failed", error=error, score=None, choices={"layer": "late"}))
    values, look = torch.linspace(-1, 1, 56 * 56).reshape(56, 56), Rendering(opacity=0.6)
    drawn = {"heat_map": look.heat_map(values), "overlay": look.overlay(torch.rand(3, 56, 56), values)}
    kept = {key: store.write_artefact("map", f"{key}.png", png_bytes(picture, {})) for key, picture in drawn.items()}
    config = {"rendering": {"opacity": 0.6}, "attribution": {"samples": 8}}
    choices = {"layer": "late", "attribution": "smooth_grad"}
    records.append(record("map", task="attribute", unit="cat", artefacts=kept, config=config, choices=choices))
    store.write_records(records)
    return "file://" + quote(str(write_gallery(store)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with page() as made:
        made.call("Page.addScriptToEvaluateOnNewDocument", source=READING)
        yield made


@pytest.fixture
def gallery(browser: Page, address: str) -> Iterator[Page]:
    """The gallery as it is opened first; afterwards nothing was complained of, and nothing was asked of any host."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.size(1280, 800)
    browser.open(address)
    yield browser
    assert browser.complaints == []
    assert browser.requests and {request.partition(":")[0] for request in browser.requests} <= {"file", "data", "about"}
    assert browser.see("window.intruded") is None, "text from the index has run as code"


def count(gallery: Page) -> str:
    return str(gallery.see("document.getElementById('count').textContent"))


def shown(gallery: Page) -> list[str]:
    """Run ids of the cards in the page, in order."""
    found = gallery.see("[...document.querySelectorAll('.card')].map((card) => [card.dataset.place, idOf(card)])")
    return [name for _, name in sorted(found, key=lambda pair: int(pair[0]))]


def type_into(gallery: Page, words: str) -> None:
    gallery.press("/")
    gallery.see("document.execCommand('selectAll')")
    gallery.call("Input.insertText", text=words)


def colour_of(gallery: Page, selector: str) -> list[int]:
    """The colour of the picture there; pages from disk may not read pixels, so a screenshot tells."""
    gallery.wait(f"document.querySelector({json.dumps(selector)})?.naturalWidth > 0")
    image = f"document.querySelector({json.dumps(selector)})"
    gallery.see(f"{image}.decode()")
    gallery.see("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    place = gallery.see(f"centre({image})")
    data = gallery.call("Page.captureScreenshot", format="png", clip=place)["data"]
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        return list(picture.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]


def test_it_opens_from_disk_with_every_run(gallery):
    assert count(gallery) == f"{RUNS} runs"
    assert gallery.see("document.title") == "some · gallery"
    gallery.wait("[...document.querySelectorAll('.card img')].every((image) => image.naturalWidth > 0)")
    drawn = gallery.see("document.querySelectorAll('.card').length")
    assert 0 < drawn < RUNS, "only what is in view is in the page"


def test_filters_add_up_and_tell_how_many_there_would_be(gallery):
    gallery.see("box('layer', 'early').click()")
    assert count(gallery) == f"{CHANNELS} of {RUNS} runs"
    assert {name[:5] for name in shown(gallery)} == {"early"}
    gallery.see("box('layer', 'late').click()")
    assert count(gallery) == f"{RUNS} runs"
    gallery.see("box('layer', 'early').click()")
    assert count(gallery) == f"{CHANNELS + 2} of {RUNS} runs"
    gallery.see("box('status', 'failed').click()")
    assert shown(gallery) == ["broken"]
    # In its own facet a filter hides nothing: with the other value ticked there would be so many.
    told = gallery.see("box('layer', 'early').closest('label').querySelector('.count').textContent")
    assert told == "0"
    gallery.see("[...document.querySelectorAll('.chip')].find((chip) => chip.textContent.includes('status')).click()")
    assert count(gallery) == f"{CHANNELS + 2} of {RUNS} runs"


def test_a_range_bounds_numbers_and_leaves_out_those_without(gallery):
    gallery.see("facetOf('objective.channel').open = true")
    gallery.wait("facetOf('objective.channel').querySelector('input')")
    gallery.see("give(facetOf('objective.channel').querySelector('input'), 25, 'change')")
    assert count(gallery) == f"10 of {RUNS} runs"
    assert "objective.channel ≥ 25" in gallery.see("document.getElementById('chips').textContent")


def test_search_finds_every_word_anywhere_and_escape_ends_it(gallery):
    type_into(gallery, "LATE channel=12")
    assert shown(gallery) == [run_id("late", 12)]
    type_into(gallery, "window.intruded")
    assert count(gallery) == f"3 of {RUNS} runs"
    type_into(gallery, "nothing like it")
    assert gallery.see("document.getElementById('none').checkVisibility()")
    gallery.press("Escape")
    assert count(gallery) == f"{RUNS} runs"


def test_sorting_goes_by_any_column_and_both_ways(gallery):
    gallery.see("give(document.getElementById('sort'), 'score', 'change')")
    best = gallery.see(f"{SCORES}[ordered()[0]]")
    assert best == CHANNELS - 1 + 0.25
    assert gallery.see("table.id(ordered().at(-1))") == "broken", "what has no value is last"
    gallery.see("document.activeElement.blur()")
    gallery.press("s")
    assert gallery.see(f"{SCORES}[ordered()[0]]") == 0.25
    assert gallery.see("table.id(ordered().at(-1))") == "broken"


def test_a_link_brings_back_what_was_shown(gallery, address):
    gallery.see("box('layer', 'early').click()")
    type_into(gallery, "channel 1")
    gallery.see("give(document.getElementById('sort'), 'score', 'change')")
    gallery.see(
        "document.querySelectorAll('.card .tick')[0].click(); document.querySelectorAll('.card .tick')[1].click()"
    )
    gallery.see("document.getElementById('compare').click()")
    said, order, link = count(gallery), shown(gallery), gallery.see("location.href")
    title = gallery.see("document.getElementById('several-title').textContent")
    assert link.startswith(address + "#")
    gallery.open(link)
    assert (count(gallery), shown(gallery)) == (said, order)
    assert gallery.see("document.getElementById('several').open")
    assert gallery.see("document.getElementById('several-title').textContent") == title == "Comparison of 2 runs"
    assert gallery.see("document.getElementById('words').value") == "channel 1"


def test_a_link_to_what_is_not_there_shows_what_is(gallery, address):
    gallery.open(f"{address}#is.nothing=1&is.layer=never&in.score=a~b&sort=gone&runs=x,y&open=compare&no=layer&%%%=1")
    assert count(gallery) == f"{RUNS} runs"
    assert not gallery.see("document.querySelector('dialog[open]')")


def test_a_comparison_marks_what_differs_and_holds_six_at_most(gallery):
    gallery.see("document.querySelectorAll('.card .tick').values().take(7).forEach((tick) => tick.click())")
    assert gallery.see("document.querySelectorAll('[aria-selected=true]').length") == 6
    assert "6 runs at most" in gallery.see("document.getElementById('said').textContent")
    gallery.see("document.getElementById('unchoose').click()")
    for layer in LAYERS:
        gallery.see(f"cardOf('{run_id(layer, 0)}').querySelector('.tick').click()")
    gallery.see("document.activeElement.blur()")
    gallery.press("c")
    marked = gallery.see("[...document.querySelectorAll('#several .differs th')].map((head) => head.textContent)")
    assert marked == ["layer (differs)", "layer.path (differs)", "objective.layer (differs)"]
    assert gallery.see("[...document.querySelectorAll('#several mark')].map((mark) => mark.textContent)")[:2] == [
        "early",
        "late",
    ]
    steps = "[...document.querySelectorAll('#several .equal th')].find((head) => head.textContent === 'task.steps')"
    assert not gallery.see(f"{steps}?.checkVisibility()")
    gallery.see("document.querySelector('#several .all input').click()")
    assert gallery.see("[...document.querySelectorAll('#several .equal')].every((line) => line.checkVisibility())")
    gallery.press("Escape")
    gallery.wait("!document.getElementById('several').open && !location.hash.includes('open')")


def test_the_step_slider_goes_through_the_snapshots(gallery):
    gallery.see(f"cardOf('{run_id('early', 3)}').click()")
    assert colour_of(gallery, "#one .stage img") == list(COLOURS[None])
    for place, step in enumerate(STEPS):
        gallery.see(f"give(document.querySelector('#one .steps input'), {place}, 'input')")
        assert gallery.see("document.querySelector('#one output').textContent") == str(step)
        assert f"at step {step}" in gallery.see("document.querySelector('#one .stage img').alt")
        assert colour_of(gallery, "#one .stage img") == list(COLOURS[step])
    gallery.see("document.activeElement.blur()")
    gallery.press("ArrowRight")
    assert f"at step {STEPS[-1]}" in gallery.see("document.querySelector('#one .stage img').alt"), "the next run too"


def test_the_opacity_slider_fades_the_map_over_the_photograph(gallery, address):
    gallery.open(f"{address}#open=map")
    gallery.wait("document.querySelector('.layered .map')?.naturalWidth > 0")
    assert gallery.see("getComputedStyle(document.querySelector('.layered .map')).opacity") == "0.6"
    gallery.see("give(document.querySelector('#one .opacity'), 0, 'input')")
    assert gallery.see("getComputedStyle(document.querySelector('.layered .map')).opacity") == "0"
    photo, layer = (
        gallery.see(
            f"(() => {{ const r = document.querySelector('.layered img{part}').getBoundingClientRect();"
            "return [r.x, r.y, r.width, r.height].map(Math.round); })()"
        )  # fmt: skip
        for part in ("", ".map")
    )
    assert photo == layer, "the map lies where it was made"


def test_everything_goes_by_keyboard(gallery):
    gallery.press("/")
    assert gallery.see("document.activeElement.id") == "words"
    gallery.press("Escape")
    order = gallery.see("ordered().map(table.id)")
    across = int(gallery.see("document.getElementById('runs').getAttribute('aria-colcount')"))
    gallery.press("ArrowRight", "ArrowDown")
    assert gallery.see(FOCUSED) == order[1 + across]
    gallery.press("ArrowLeft", "ArrowUp")
    assert gallery.see(FOCUSED) == order[0]
    gallery.press("End")
    assert gallery.see(FOCUSED) == order[across - 1]
    for _ in range(30):
        gallery.press("PageDown")
    assert gallery.see(FOCUSED) == order[-1], "what was not in the page before is, and has the focus"
    assert gallery.see(
        "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.activeElement.getBoundingClientRect())"
    )
    ring = gallery.see(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert ring == "solid3px", "the focus is seen"
    gallery.press("Enter")
    gallery.wait("document.getElementById('one').open")
    gallery.press("ArrowLeft")
    assert gallery.see("new URLSearchParams(location.hash.slice(1)).get('open')") == order[-2]
    gallery.press("Escape")
    gallery.wait("!document.getElementById('one').open")
    gallery.wait(f"{FOCUSED} === '{order[-2]}'")  # what was open has the focus
    gallery.press(" ", "ArrowLeft", "x", "c")
    gallery.wait("document.getElementById('several').open")
    assert gallery.see("document.getElementById('several-title').textContent") == "Comparison of 2 runs"


def test_the_command_of_a_run_is_copied(gallery):
    gallery.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    gallery.see(f"cardOf('{run_id('early', 2)}').click()")
    command = gallery.see("document.querySelector('#one code').textContent")
    assert command.startswith("python run.py ")
    assert command.endswith(f"name=some \"batch.ids=['{run_id('early', 2)}']\"")
    gallery.see("document.querySelector('#one .command button').click()")
    gallery.wait("document.querySelector('#one .command button').textContent === 'Copied'")


def test_a_failed_run_says_why(gallery, address):
    gallery.open(f"{address}#is.status=failed")
    assert "Failed. no layer 'x'" in gallery.see("document.querySelector('.card.failed').textContent")
    gallery.see("document.querySelector('.card').click()")
    assert HOSTILE in gallery.see("document.querySelector('#one .right .reason').textContent")
    assert gallery.see("[...document.querySelectorAll('#one .files a')].map((link) => link.getAttribute('href'))") == [
        "../logs/broken.log"
    ]


def test_colours_follow_the_system_until_they_are_switched(gallery):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = gallery.see(paper)
    gallery.size(1280, 800, dark=True)
    dark = gallery.see(paper)
    assert light != dark
    gallery.see("document.getElementById('theme').click()")
    assert gallery.see(paper) == light
    gallery.see("document.getElementById('theme').click()")
    gallery.size(1280, 800)
    assert gallery.see(paper) == dark
    gallery.see("document.getElementById('theme').click()")
    assert gallery.see(paper) == light and gallery.see("document.documentElement.dataset.theme") == "light"
    gallery.see("document.getElementById('theme').click()")
    assert gallery.see("document.documentElement.dataset.theme") is None


def test_narrow_screens_scroll_in_one_direction_only(gallery, address):
    for where in ("", f"#open={run_id('early', 1)}", f"#runs={run_id('early', 1)},{run_id('late', 2)}&open=compare"):
        gallery.size(400, 800)
        gallery.open(address + where)
        # Chromium's emulation of a telephone lays a page out once more after it is loaded.
        gallery.wait("document.documentElement.scrollWidth <= 400")
        assert gallery.see("[...document.querySelectorAll('dialog[open]')].every((one) => one.scrollWidth <= 400)")
    gallery.open(address)
    assert not gallery.see("document.getElementById('facets').checkVisibility()")
    gallery.see("document.getElementById('filters').click()")
    assert gallery.see("document.getElementById('facets').checkVisibility()")
    assert gallery.see("document.getElementById('filters').getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("where", ["", f"#open={run_id('early', 1)}", f"#runs={run_id('early', 1)},map&open=compare"])
def test_everything_that_can_be_used_has_a_name_for_screen_readers(gallery, address, where):
    gallery.open(address + where)
    gallery.call("Accessibility.enable")
    nodes = gallery.call("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in (
        "button",
        "checkbox",
        "radio",
        "slider",
        "searchbox",
        "combobox",
        "gridcell",
        "image",
        "dialog",
        "link",
    ):
        assert all(roles.get(role, [])), f"a {role} has no name"
    if not where:
        assert {"grid", "row", "gridcell", "searchbox", "complementary", "main"} <= roles.keys()
        assert gallery.see("document.getElementById('count').getAttribute('aria-live')") == "polite"


def test_the_page_may_ask_no_host_for_anything(gallery):
    refused = gallery.see("""new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
        const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';
    })""")
    assert refused == "img-src"
    gallery.wait("true")
    assert all("Content Security Policy" in complaint for complaint in gallery.complaints)
    gallery.complaints.clear()
    gallery.requests.remove("http://127.0.0.1:9/x.png")  # asked for, and refused before it left
