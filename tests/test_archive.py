"""A store in one file, and what it takes to reproduce it elsewhere."""

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import NO_SHEET, PROJECT, QUICK, Said, apart, here, records, said, store
from PIL import Image

from interpret_runs.runner.agreement import BYTES, VALUES

NETWORK = """from torch import nn


def make():
    return nn.Sequential(nn.Conv2d(3, {}, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
OWN = ("model=custom", "model.factory=packed_net:make", "model.input_size=16", "layer.path='0'", "objective.channel=3")
EXPLAIN = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=1", "metrics=none", NO_SHEET)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("packed_net", None)


@pytest.fixture
def three(folder: Path) -> None:
    """A sweep of one batch."""
    assert here("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=range(0,3)").status == 0


@pytest.fixture
def pictures(folder: Path) -> Path:
    """The maps of a folder of two pictures."""
    Path("pictures").mkdir()
    for name, colour in (("a", "red"), ("b", "teal")):
        Image.new("RGB", (70, 64), colour).save(f"pictures/{name}.png")
    assert here("-m", *EXPLAIN, "images=folder", "images.path=pictures", "images.item=all").status == 0
    return Path("pictures")


@pytest.fixture
def elsewhere(folder: Path) -> Path:
    (folder / "other").mkdir()
    return folder / "other"


def export(*more: str) -> Said:
    return here("task=export", "task.archive=paper.zip", *more)


def reproduce(source: object, *more: str) -> Said:
    return here("task=reproduce", f"task.source={source}", *more)


def names(archive: str = "paper.zip") -> set[str]:
    with zipfile.ZipFile(archive) as packed:
        return set(packed.namelist())


def test_an_archive_is_reproduced_elsewhere_with_the_files_that_its_runs_read(pictures, elsewhere, monkeypatch):
    out = export().out
    assert "paper.zip: 2 runs, " in out and "left out" not in out and "task=reproduce task.source=paper.zip" in out
    parts = {name.partition("/")[0] for name in names()}
    assert parts >= {"records", "runs", "configs", "inputs", "inputs.json", "index.csv", "reproduce.sh", "README.txt"}
    shutil.move("paper.zip", elsewhere)
    shutil.rmtree("outputs")
    shutil.rmtree("pictures")
    monkeypatch.chdir(elsewhere)
    shutil.unpack_archive("paper.zip", "paper")
    for source in ("paper.zip", "paper", next(Path("paper/runs").iterdir()).parent.parent):
        done = reproduce(source)
        assert done.status == 0 and done.out.count(BYTES) == 2, "the maps; pictures tell of other paths"
        assert done.out.count(VALUES) == 4


def test_an_archive_says_in_its_index_what_is_in_it(three):
    assert here(*QUICK, "layer=late", "objective.channel=5").status == 0
    said = export("task.select='`objective.channel` == 1'")
    assert (
        "paper.zip: 3 runs (2 of them only because they were executed together with one that is selected)" in said.out
    )
    with zipfile.ZipFile("paper.zip") as packed, packed.open("index.csv") as rows:
        table = pd.read_csv(rows)
    assert sorted(table["objective.channel"]) == [0, 1, 2]
    whole = pd.read_csv("outputs/default/index.csv")
    pd.testing.assert_frame_equal(table, whole[whole.run_id.isin(table.run_id)].reset_index(drop=True))


def test_the_network_of_an_archive_comes_with_its_source(folder, elsewhere):
    """In processes of their own: this one has imported the module."""
    Path("packed_net.py").write_text(NETWORK.format(4))
    assert said(apart(folder, *OWN, *QUICK)).status == 0
    assert said(apart(folder, "task=export", "task.archive=other/paper.zip")).status == 0
    Path("packed_net.py").unlink()
    done = said(apart(elsewhere, "task=reproduce", "task.source=paper.zip"))
    assert done.status == 0 and done.out.count(BYTES) == 1, done.err
    assert "another content" not in done.out
    (elsewhere / "packed_net.py").write_text(NETWORK.format(40))
    assert said(apart(elsewhere, "task=reproduce", "task.source=paper.zip")).out.count(BYTES) == 1, (
        "its own comes first"
    )


def test_a_network_that_was_edited_is_another_run_and_the_source_of_the_old_one_is_left_out(folder):
    Path("packed_net.py").write_text(NETWORK.format(4))
    assert here(*OWN, *QUICK).status == 0
    assert "already done" in here(*OWN, *QUICK).out
    Path("packed_net.py").write_text(NETWORK.format(1000))
    assert "already done" not in here(*OWN, *QUICK).out
    old, new = records()
    assert old["run_id"] != new["run_id"] and old["score"] != new["score"]
    assert old["digests"]["model.factory"] != new["digests"]["model.factory"]
    left = "left out: model.factory=packed_net:make (packed_net.py has changed since), read by 1 run"
    assert left in export().out and "inputs/code/packed_net.py" in names()
    with zipfile.ZipFile("paper.zip") as packed:
        assert left in packed.read("README.txt").decode()
    done = said(apart(folder, "task=reproduce", "task.source=paper.zip"))  # where the old network is not loaded
    assert "model.factory has another content than then" in done.out
    assert done.status == 1 and "1 of 2 not reproduced" in done.out


def test_weights_that_are_left_out_are_told_and_asked_for(folder):
    Path("packed_net.py").write_text(NETWORK.format(4))
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).state_dict(), "net.pth")
    assert here(*OWN, *QUICK, "model.weights=net.pth").status == 0
    assert "left out: model.weights=net.pth (task.weights=true packs it), read by 1 run" in export().out
    whole = here("task=export", "task.archive=whole.zip", "task.weights=true")
    assert "left out" not in whole.out
    Path("net.pth").unlink()
    error = reproduce("paper.zip").error
    assert error.startswith("model.weights=net.pth: no such file (run ")
    assert error.endswith(
        "put it there, or take an archive that holds it: task=export, for weights with task.weights=true"
    )
    assert reproduce("whole.zip").status == 0
    error = here("task=export", "task.archive=more.zip", "task.weights=true").error
    assert f"run {records()[0]['run_id']}: model.weights=net.pth: no such file; put it back, or leave out" in error


def test_a_picture_that_is_gone_is_told_with_its_run_and_key(pictures):
    (pictures / "b.png").unlink()
    assert export().error.startswith(f"run {records()[1]['run_id']}: image 1 is out of range: folder 'pictures'")
    assert here(*EXPLAIN, "images=file", "images.path=pictures/a.png", "name=one").status == 0
    (pictures / "a.png").unlink()
    error = export("name=one").error
    assert error.startswith(f"run {records('one')[0]['run_id']}: images.path=pictures/a.png: no such file; put it back")
    assert not Path("paper.zip").exists()


def test_a_whole_set_of_pictures_is_left_out(pictures):
    found = ("task=examples", "images=folder", "images.path=pictures", "layer=early", "task.k=1", "name=found")
    assert here(*found).status == 0
    assert "left out: task.data.path=pictures (a whole set of pictures), read by 1 run" in export("name=found").out


def test_the_script_of_an_archive_takes_what_is_installed(three, folder):
    assert export().status == 0
    place = folder / "a (paper), v=2"
    shutil.unpack_archive("paper.zip", place)
    script = place / "reproduce.sh"
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    programs = folder / "bin"
    programs.mkdir()
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin"}
    bare = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert bare.returncode == 1 and bare.stderr.count("\n") == 1
    assert bare.stderr.startswith("error: interpret-runs is not installed; in a checkout of it: pip install -e .")
    (programs / "interpret-runs").write_text(f'#!/bin/sh\nexec {sys.executable} {PROJECT / "run.py"} "$@"\n')
    (programs / "interpret-runs").chmod(0o755)
    done = subprocess.run([script, "task.alone=true"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "of 3 runs" in done.stdout, done.stderr


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_an_archive_with_damaged_bytes_is_not_a_whole_one(place, three):
    assert export().status == 0
    content = bytearray(Path("paper.zip").read_bytes())
    start = int(len(content) * place)
    content[start : start + 200] = bytes(200)
    Path("paper.zip").write_bytes(content)
    assert "paper.zip is not a whole archive (" in reproduce("paper.zip").error


def test_inputs_that_are_damaged_are_one_line(three, folder):
    assert export().status == 0
    shutil.unpack_archive("paper.zip", "paper")
    Path("paper/inputs.json").write_text("[")
    assert "inputs.json is damaged" in reproduce("paper").error


def test_mistakes_of_an_export_are_one_line(three):
    Path("there.zip").touch()
    for setting, says in (
        ("task.archive=there.zip", "there.zip exists; remove it"),
        ("task.archive=paper.tar", "it is the name of a .zip file"),
        ("name=defualt", "no store 'defualt' in outputs; closest: default"),
        ("task.select='scor > 1'", "task.select: name 'scor' is not defined; columns like it: score"),
        ("task.select='score > 1e9'", "selects no run"),
    ):
        more = [] if setting.startswith("task.archive") else ["task.archive=new.zip"]
        assert says in here("task=export", setting, *more).error
    assert (
        "task.archive is not set" in here("task=export").error
        and "task.source is not set" in here("task=reproduce").error
    )
    for file in store().record_files():
        file.write_text("junk\n")
    assert "no record in " in here("task=export", "task.archive=new.zip").error
