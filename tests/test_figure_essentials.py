import json
from pathlib import Path

import pytest
from PIL import Image

from interpret_runs.runner.figure_essentials import figure_essentials, read_figure
from interpret_runs.runner.print_style import FORMATS, new_figure, write_figure
from interpret_runs.runner.venue import WIDTHS, inches

RUNS = ["82b3b1eb845e2cb1", "(a) \\ run)", "naïve ∑", "quote ' \" end"]


def written(folder: Path, formats: tuple[str, ...] = FORMATS) -> Path:
    essentials = figure_essentials("grid", RUNS, folder, {"rows": "layer", "filter": "a == '(' and `b.c` == \\\\"})
    return write_figure(new_figure(2, 1), folder / "some.figure.png", formats, essentials, "A title")


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_a_figure_says_of_itself_is_read_from_each_format(suffix, tmp_path):
    written(tmp_path)
    moved = (tmp_path / f"some.figure.{suffix}").rename(tmp_path / f"elsewhere.{suffix.upper()}")
    found = read_figure(moved)
    assert found["figure"] == "grid" and found["store"] == tmp_path.name and found["runs"] == RUNS
    assert found["settings"] == {"rows": "layer", "filter": "a == '(' and `b.c` == \\\\"}


def test_equal_figures_are_equal_files(tmp_path):
    written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    written(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(before) == len(FORMATS)


def test_a_run_in_two_panels_is_said_once_and_settings_that_are_not_given_are_not_said():
    found = figure_essentials(
        "bars", ["a", "b", "a"], Path("outputs/some"), {"by": "layer", "within": None, "labels": {}}
    )
    assert found["runs"] == ["a", "b"] and found["settings"] == {"by": "layer"} and found["store"] == "some"


def foreign(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "photo.png":
        Image.new("RGB", (4, 4)).save(path)
    elif name == "plain.pdf" or name == "plain.svg":
        new_figure(1, 1).savefig(path)
    elif name == "other.pdf":
        new_figure(1, 1).savefig(path, metadata={"Keywords": json.dumps({"runs": "none"})})
    elif name == "cut.pdf":
        path.write_bytes(written(folder, ("pdf",)).read_bytes()[:300])
    elif name == "cut.png":
        path.write_bytes(written(folder, ("png",)).read_bytes()[:40])
    else:
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    "name",
    ["photo.png", "plain.pdf", "plain.svg", "other.pdf", "cut.pdf", "cut.png", "empty.png", "empty.pdf", "empty.svg"],
)
def test_a_file_that_is_no_figure_of_this_project_is_called_so(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name}' does not say which runs it shows"):
        read_figure(foreign(tmp_path, name))


def test_other_formats_and_no_file_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="ends in none of .png, .pdf, .svg"):
        read_figure(tmp_path / "paper.tex")
    with pytest.raises(FileNotFoundError):
        read_figure(tmp_path / "gone.png")


# --- formats and widths -----------------------------------------------------------------------------------------


def test_formats_are_files_beside_each_other_and_the_first_is_named(tmp_path):
    first = written(tmp_path, ("svg", "png", "svg"))
    assert first.name == "some.figure.svg"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".svg"]


@pytest.mark.parametrize(
    ("formats", "text"), [(["pgn"], "'pgn'; closest: png"), ("png", "it is a list"), (3, "a list")]
)
def test_formats_that_are_not_written_are_refused_before_anything_is(formats, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        write_figure(new_figure(1, 1), tmp_path / "a.png", formats, {})
    assert not list(tmp_path.iterdir())


def test_a_figure_is_as_wide_as_its_venue_prints(tmp_path):
    assert inches("icml.column") == 3.25 and inches(2) == 2.0
    for name, width in WIDTHS.items():
        assert inches(name) == width and 3 <= width <= 7.3
    for venue in ("icml", "cvpr"):  # two columns and a gap make the text
        assert 0 < WIDTHS[f"{venue}.text"] - 2 * WIDTHS[f"{venue}.column"] < 0.5


@pytest.mark.parametrize(
    ("width", "text"),
    [
        ("icml.colum", "closest: icml.column"),
        (0, "inches from 1 to 40"),
        (True, "inches"),
        (None, "inches"),
        ("x", "or"),
    ],
)
def test_widths_that_are_none_name_those_there_are(width, text):
    with pytest.raises(ValueError, match=f"figure.width is {width!r}.*{text}"):
        inches(width)
