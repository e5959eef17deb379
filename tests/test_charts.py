"""Curves, bars and heat maps of numbers."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import Row, assert_prints_well, run, watched, words
from stored import record

from interpret_runs.runner import bars, curves, pivot
from interpret_runs.runner.figure_essentials import read_figure
from interpret_runs.runner.intervals import interval_of_mean
from interpret_runs.runner.store import Store

DRAW = {bars: bars.bars, curves: curves.curves, pivot: pivot.pivot}


def drawn(module: ModuleType, runs: list[Row], root: Path, /, **settings: Any) -> Any:
    """The page of a chart, which is written too."""
    with watched(module) as kept:
        DRAW[module](pd.DataFrame(runs), root, root / "chart.png", **settings)
    return kept[0]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two methods on two layers, three seeds each; one run failed and one has no number."""
    found = [
        run(tmp_path, f"{method}-{layer}-{seed}", attribution=method, layer=layer, seed=seed, score=score + seed)
        for method, layer, score in [("b", "late", 1.0), ("b", "early", 2.0), ("a_long_name", "late", 10.0)]
        for seed in (0, 1, 2)
    ]
    found[0] = {**found[0], "score": None}
    return [*found, run(tmp_path, "x", "failed", attribution="a_long_name", layer="early")]


# --- intervals --------------------------------------------------------------------------------------------------


def test_an_interval_holds_the_mean_shrinks_with_more_values_and_is_none_of_one():
    draw = np.random.default_rng(1)
    few, many = draw.normal(size=8), draw.normal(size=800)
    widths = []
    for values in (few, many):
        low, high = interval_of_mean(values)
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    assert np.isnan(interval_of_mean(np.array([3.0]))).all()
    assert interval_of_mean(np.full(5, 2.0)) == (2.0, 2.0)


def test_95_of_100_intervals_hold_the_true_mean():
    draw = np.random.default_rng(0)
    ends = [interval_of_mean(draw.normal(size=40)) for _ in range(300)]
    assert 0.90 < np.mean([low < 0 < high for low, high in ends]) < 0.98


# --- bars -------------------------------------------------------------------------------------------------------


def lengths(figure: Any) -> list[float]:
    return [bar.get_width() for bar in figure.axes[0].patches]


def test_a_bar_is_the_mean_of_its_runs_with_its_interval(rows, tmp_path):
    figure = drawn(bars, rows, tmp_path)
    assert lengths(figure) == [pytest.approx((2 + 3 + 2 + 3 + 4) / 5), pytest.approx(11)]
    (whisker, _, _) = figure.axes[0].lines
    low, high = interval_of_mean(np.array([2.0, 3.0, 2.0, 3.0, 4.0]))
    assert list(whisker.get_xdata()) == [low, high]
    assert (
        "n = 3 to 5 runs a bar; whiskers: 95 % bootstrap interval of the mean; left out: 1 failed, 1 without a value"
        in (" ".join(" ".join(words(figure)).split()))
    )
    assert read_figure(tmp_path / "chart.png")["figure"] == "bars"
    assert sorted(read_figure(tmp_path / "chart.png")["runs"]) == sorted(row["run_id"] for row in rows)


def test_bars_are_sorted_and_split_where_asked(rows, tmp_path):
    figure = drawn(bars, rows, tmp_path, sort=True)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a long name", "b"]
    figure = drawn(bars, rows, tmp_path, within="layer", labels={"late": "Late layer"})
    assert lengths(figure) == [pytest.approx(2.5), pytest.approx(11), pytest.approx(3)]
    assert {"early", "Late layer", "failed"} <= set(words(figure))


# --- heat maps --------------------------------------------------------------------------------------------------


def test_a_cell_is_the_mean_of_its_runs_or_says_what_is_at_fault(rows, tmp_path):
    rows.append(run(tmp_path, "z", attribution="c", layer="late", score=-1e-9))
    figure = drawn(pivot, rows, tmp_path, rows="attribution", columns="layer")
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (3, 2)
    assert image[0].tolist() == [pytest.approx(3), pytest.approx(2.5)] and image[2, 1] == -1e-9
    assert image.mask.tolist() == [[False, False], [True, False], [True, False]]
    said = words(figure)
    assert {"3.00", "2.50", "11.0", "-1.00e-09", "failed", "–"} <= set(said)
    assert "score" in said, "the colour bar has a label"


def test_numbers_are_dark_on_light_cells_and_light_on_dark_ones(rows, tmp_path):
    figure = drawn(pivot, rows, tmp_path, rows="attribution", columns="layer")
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert colours["11.0"] == "black" and colours["2.50"] == "white"


# --- curves -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Runs of two kinds, one of which is shorter, with histories."""
    store = Store(tmp_path, "some")
    kept = []
    for kind, seed, steps in [("a", 0, 3), ("a", 1, 2), ("b", 0, 3)]:
        history = {"step": [1.0, 16.0, 32.0][:steps], "score": [seed + 0.0, seed + 2.0, seed + 4.0][:steps]}
        kept.append(record(f"{kind}{seed}", history=history))
    store.write_records([*kept, record("f", "failed"), record("n")])
    return store.root


RUNS = [
    {"run_id": name, "status": status, "kind": name[0], "score": 1.0}
    for name, status in [("a0", "ok"), ("a1", "ok"), ("b0", "ok"), ("f", "failed"), ("n", "ok")]
]


def test_a_line_is_the_mean_of_the_steps_that_all_its_runs_have(store):
    figure = drawn(curves, RUNS, store, by="kind")
    first, second = figure.axes[0].lines
    assert list(first.get_xdata()) == [1, 16] and list(first.get_ydata()) == [0.5, 2.5]
    assert list(second.get_xdata()) == [1, 16, 32] and list(second.get_ydata()) == [0, 2, 4]
    assert len(figure.axes[0].collections) == 1, "one run has no band"
    said = " ".join(" ".join(words(figure)).split())
    assert "n = 1 to 2 runs a line; bands: 95 % bootstrap interval of the mean; left out: 1 failed, 1 without" in said
    assert read_figure(store / "chart.png")["runs"] == ["a0", "a1", "b0"]


@pytest.mark.parametrize(("band", "ends"), [("range", (0, 1)), ("deviation", (0.5 - 0.5**0.5, 0.5 + 0.5**0.5))])
def test_a_band_is_what_it_is_called(band, ends, store):
    figure = drawn(curves, RUNS, store, by="kind", band=band)
    found = figure.axes[0].collections[0].get_paths()[0].vertices
    assert sorted(set(found[found[:, 0] == 1, 1].round(6))) == pytest.approx(ends, abs=1e-5)
    assert not drawn(curves, RUNS, store, by="kind", band=None).axes[0].collections


# --- all --------------------------------------------------------------------------------------------------------

LONG = "a label of many words that goes on for longer than a column is wide"


@pytest.mark.parametrize("width", ["icml.column", "nature.text"])
@pytest.mark.parametrize("module", DRAW, ids=lambda module: module.__name__.rpartition(".")[2])
def test_charts_print_well(module, width, store):
    rows = [
        {
            "run_id": f"{a}{seed}",
            "status": "ok",
            "attribution": a,
            "layer": f"$l_{seed}$",
            "score": 1e-5 * seed,
            "seed": 0,
        }
        for a in "ab"
        for seed in (0, 1)
    ]
    settings = {bars: {"within": "layer"}, curves: {"by": "attribution"}, pivot: {}}[module]
    labels = {"a": LONG.replace(" ", "_")[:30], "b": LONG[:25], "layer": "Layer", "score": LONG[:30]}
    figure = drawn(module, rows, store, width=width, labels=labels, formats=["png", "pdf", "svg"], **settings)
    assert_prints_well(figure)
    for suffix in ("png", "pdf", "svg"):
        assert read_figure(store / f"chart.{suffix}")["store"] == "some"
    document = (store / "chart.pdf").read_bytes()
    assert b"/CIDFontType2" in document and b"/Type3" not in document


@pytest.mark.parametrize(
    ("module", "settings", "error", "text"),
    [
        (bars, {"by": "atribution"}, LookupError, "figure.by: .*'atribution'; closest: attribution"),
        (bars, {"within": "layr"}, LookupError, "figure.within: .*'layr'; closest: layer"),
        (bars, {"value": "attribution"}, ValueError, "figure.value is 'attribution', which has no numbers.*score"),
        (bars, {"height": 0}, ValueError, "figure.height is 0; it is a number of inches"),
        (bars, {"filter": "seed > 9"}, ValueError, "selects none of 10 runs"),
        (pivot, {"rows": "layr"}, LookupError, "figure.rows: .*closest: layer"),
        (pivot, {"columns": "run_id", "width": 1.5}, ValueError, "no room for 10 columns of numbers"),
        (pivot, {"digits": 0}, ValueError, "figure.digits is 0"),
        (pivot, {"value": "scor"}, LookupError, "'scor'; closest: score"),
        (curves, {"by": "layr"}, LookupError, "figure.by: .*closest: layer"),
        (curves, {"band": "wide"}, ValueError, "figure.band is 'wide'; it must be interval, deviation, range or null"),
        (curves, {}, ValueError, "none of 10 runs has a history"),
    ],
)
def test_mistakes_name_what_is_wrong_and_the_next_step(module, settings, error, text, rows, tmp_path):
    with pytest.raises(error, match=text):
        drawn(module, rows, tmp_path, **settings)
    assert not (tmp_path / "chart.png").exists()


@pytest.mark.parametrize(("module", "setting"), [(bars, "by"), (pivot, "rows")])
def test_a_default_that_an_index_lacks_is_told_from_what_was_asked(module, setting, tmp_path):
    rows = [run(tmp_path, "a", parameterisation="fourier", layer="late")]
    said = f"figure.{setting} is 'attribution' by default, a column that no run here has; set figure.{setting}"
    with pytest.raises(LookupError, match=f"^{said} to another, such as parameterisation, layer"):
        drawn(module, rows, tmp_path)


def test_a_series_that_histories_lack_names_those_there_are(store):
    with pytest.raises(LookupError, match="figure.value is 'loss'; histories have: score"):
        drawn(curves, RUNS, store, value="loss")


def test_a_metric_of_which_no_run_has_a_number_is_refused(tmp_path):
    rows = [run(tmp_path, "a", attribution="a", score=float("nan"), other=2.0)]
    with pytest.raises(ValueError, match="'score', which has no numbers; those that have: .*other"):
        drawn(bars, rows, tmp_path)
