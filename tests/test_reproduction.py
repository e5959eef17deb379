"""From a picture, a figure, a record or an archive back to what made it."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from command_line import NO_SHEET, QUICK, Said, here, records, store
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interpret_runs.png import png_bytes, png_text, with_text
from interpret_runs.runner.agreement import BYTES, CLOSE, OTHER, VALUES, agreement
from interpret_runs.runner.members import members, told
from interpret_runs.runner.runs import Run

LEAVES = st.one_of(st.integers(0, 2), st.sampled_from(["a", "b"]), st.lists(st.integers(0, 1), max_size=2))
CONFIGS = st.fixed_dictionaries({"a": LEAVES, "b": st.fixed_dictionaries({"c": LEAVES, "d": LEAVES}), "e": LEAVES})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def three(folder: Path) -> list[Path]:
    """The pictures of a sweep of one batch."""
    assert here("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=range(0,3)").status == 0
    return [Path("outputs/default") / record["artefacts"]["image"]["path"] for record in records()]


def reproduce(source: object, *more: str) -> Said:
    return here("task=reproduce", f"task.source={source}", *more)


@given(st.lists(CONFIGS, min_size=1, max_size=4), st.data())
def test_a_batch_is_told_by_any_of_its_runs(configs, data):
    runs = [Run(f"{place}", config, {"file": f"{place % 2}"}) for place, config in enumerate(configs)]
    batch = json.loads(json.dumps(told(runs)))
    assert members(data.draw(st.sampled_from(runs)), batch) == runs


def test_what_is_equal_in_all_runs_of_a_batch_is_told_once():
    shared = {"long": list(range(1000))}
    assert len(json.dumps(told([Run(f"{unit}", {**shared, "unit": unit}) for unit in range(9)]))) < 200


def test_a_picture_that_was_moved_is_reproduced_byte_by_byte_with_its_batch(three, tmp_path):
    moved = tmp_path / "elsewhere.png"
    shutil.copy(three[1], moved)
    shutil.rmtree("outputs")
    done = reproduce(moved)
    assert done.status == 0 and done.out.count(BYTES) == 1
    assert "of 3 runs" in done.out, "the whole batch was executed"
    alone = reproduce(moved, "task.alone=true")
    assert alone.status == 0 and "of 1 run," in alone.out
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("kind", ["store", "run", "records"])
def test_a_store_a_run_and_a_file_of_records_are_reproduced(kind, three):
    source = {"store": store().root, "run": three[0].parent, "records": store().record_files()[0]}[kind]
    done = reproduce(source, "task.keep=again")
    assert done.status == 0 and done.out.count(BYTES) == (1 if kind == "run" else 3)
    assert len(list(Path("again/runs").iterdir())) == 3


def test_what_is_not_as_it_was_is_said_and_another_score_is_a_failure(three, monkeypatch):
    (file,) = store().record_files()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["versions"]["torch"], line["threads"], line["weights_digest"] = "1.0", 1, "0123"
    lines[2]["score"] = lines[2]["score"] * 2 + 1
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = reproduce(store().root)
    assert done.status == 1
    assert "torch: 1.0 then," in done.out and "weights digest: 0123 then," in done.out


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nothing.png", "task.source='nothing.png' does not exist; it is a PNG that interpret-runs wrote"),
        ("foreign.png", "foreign.png was not written by interpret-runs; task.source is a PNG"),
        ("photo.jpg", "photo.jpg was not written by interpret-runs"),
        ("text.png", "text.png was not written by interpret-runs"),
        ("odd.png", "odd.png says too little of its run"),
        ("half.zip", "half.zip is not a whole archive"),
        ("other.zip", "other.zip was not made by task=export"),
        ("empty", "empty is not the folder of a store or of a run in one"),
        ("junk.jsonl", "junk.jsonl holds no record"),
    ],
)
def test_what_cannot_be_reproduced_is_said_in_one_line(source, says, folder):
    picture = Image.new("RGB", (4, 4))
    picture.save("foreign.png")
    picture.save("photo.jpg")
    Path("text.png").write_text("no picture")
    Path("odd.png").write_bytes(png_bytes(picture, {"interpret-runs": '{"run_id": "1"}'}))
    Path("half.zip").write_bytes(b"PK\x03\x04 half")
    with zipfile.ZipFile("other.zip", "w") as packed:
        packed.writestr("a.txt", "a")
    Path("empty").mkdir()
    Path("junk.jsonl").write_text("junk\n")
    assert says in reproduce(source).error
    assert not (folder / "outputs").exists()


def test_files_agree_by_bytes_then_by_values():
    def picture(level: int, note: str) -> bytes:
        return png_bytes(Image.new("RGB", (16, 16), (level, 0, 0)), {"note": note})

    assert agreement(picture(1, "a"), picture(1, "a"), ".png").kind == BYTES
    assert agreement(picture(1, "a"), picture(1, "b"), ".png").kind == VALUES
    other = agreement(picture(1, "a"), picture(9, "a"), ".png")
    assert other.kind == CLOSE and other.largest == 8 and other.similarity is not None and other.similarity < 1
    assert agreement(b"a", b"b", ".txt").kind == OTHER


def test_a_picture_tells_its_score_and_fails_on_another(three):
    score = records()[1]["score"]
    told_of = json.loads(png_text(three[1])["interpret-runs.outcome"])
    assert told_of == {"score": score, "unit": "channel 1"}
    done = reproduce(three[1])
    assert done.status == 0 and done.out.count(f"{score:.4g}") == 2, "then and now"
    other = with_text(unscored(three[1]), {"interpret-runs.outcome": json.dumps({"score": 2 * score + 1})})
    Path("other.png").write_bytes(other)
    done = reproduce("other.png")
    assert done.status == 1 and VALUES in done.out
    assert "1 of 1 not reproduced: failed, or a score more than 15 % off" in done.out


def test_a_picture_that_does_not_tell_its_score_says_so(three):
    Path("old.png").write_bytes(unscored(three[1]))
    done = reproduce("old.png")
    assert done.status == 0 and "the score of then is not known: scores were not compared" in done.out


def unscored(picture: Path) -> bytes:
    """A picture as it was written before it told a score."""
    text = png_text(picture)
    del text["interpret-runs.outcome"]
    with Image.open(picture) as image:
        return png_bytes(image, text)


@pytest.mark.parametrize("target", ["top1", "label"])
def test_a_target_that_each_image_brings_is_asked_for_again(target, folder):
    explain = ("task=attribute", "attribution=saliency", "objective=logit", f"objective.target={target}")
    assert here("-m", *explain, "images.item=range(0,3)", "metrics=none", NO_SHEET).status == 0
    units = {record["unit"] for record in records()}
    assert target not in units and {record["unit_asked"] for record in records()} == {target}
    done = reproduce(store().root, "task.keep=again")
    assert done.status == 0 and done.out.count(BYTES) == 9, done.out
    assert all(unit in done.out for unit in units)


def test_a_run_that_is_executed_again_writes_the_same_bytes(folder):
    explain = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=top1", "metrics=none")
    assert here(*explain).status == 0
    assert here(f"batch.ids=['{records()[0]['run_id']}']").status == 0
    first, second = (record["artefacts"] for record in records())
    assert first == second


def test_a_picture_tells_its_batch_and_machine(three):
    essentials = json.loads(png_text(three[0])["interpret-runs"])
    assert len(essentials["batch"]["ids"]) == 3 and essentials["run_id"] in essentials["batch"]["ids"]
    channels, units = essentials["batch"]["differ"]
    assert channels == [["config", "objective", "channel"], [0, 1, 2]] and units[0] == ["unit"]
    assert essentials["threads"] >= 1 and essentials["device"] == "cpu"
