"""Whole sweeps that are killed, doubled, starved and damaged: what is done is done once, and whole."""

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from command_line import NO_SHEET, QUICK, Said, apart, here, ids, records, said, store
from disks import fill, remount, small_disk
from PIL import Image
from trouble import DIARY, OPTION

from interpret_runs import load_index
from interpret_runs.runner.store import Record, Store
from interpret_runs.runner.verification import verify

TWO = ("compute.device=cpu", "compute.per_device=2")
TINY = ("-m", *QUICK, "layer=early", NO_SHEET)
# What a process and those that it starts have in their environment.
MARK = "ENDURANCE_MARK"


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder to work in is new, and so is what the test's processes are known by; none is left in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))  # images tell the state of the code, which may be edited now
    yield f"{MARK}={tmp_path}"
    assert processes(f"{MARK}={tmp_path}") == []


def processes(mark: str) -> list[int]:
    """Live processes, other than this one, whose environment has `mark`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if marked and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def until(happens: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def require_whole(name: str = "default") -> dict[str, Record]:
    """The records of a store by run id, after a look at every file that they and the index name."""
    found = {record["run_id"]: record for record in records(name)}
    assert len(found) == len(records(name)), "a run was executed twice"
    for record in found.values():
        assert record["status"] == "ok" and record["artefacts"]
        for artefact in record["artefacts"].values():
            content = (store(name).root / artefact["path"]).read_bytes()
            assert len(content) == artefact["bytes"]
            assert sha256(content).hexdigest()[:16] == artefact["sha256"]
    if found:
        table = load_index(store(name).root)
        assert set(table.run_id) == set(found) and len(table) == len(found)
        assert all(Path(path).name == "image.png" for path in table.image)
    return found


class Killer:
    """Starts a sweep and kills it at a random moment: by the clock, or when so many of its runs are done.

    `kills` times in all, spread over the sweep, so that the last one still has work to stop.
    """

    def __init__(self, folder: Path, runs: int, kills: int) -> None:
        self.folder, self.runs, self.kills = folder, runs, kills
        self.drawn = random.Random(f"{runs} {kills}")

    def strike(self, number: int, *command: str) -> None:
        seen = store()
        enough = max(len(seen.finished()) + 1, round(0.9 * self.runs * (number + self.drawn.random()) / self.kills))
        # Planning, loading and the first batches take about so long; the rest is for the count to end.
        patience = self.drawn.uniform(0, 5) if number % 3 == 2 else 60
        driver = apart(self.folder, *command)
        deadline = time.monotonic() + patience
        until(lambda: len(seen.finished()) >= enough or time.monotonic() >= deadline, 70)
        time.sleep(self.drawn.uniform(0, 0.1))  # somewhere in a batch
        driver.send_signal(signal.SIGKILL)
        assert said(driver).status == -signal.SIGKILL, "it was killed on the way"


@pytest.mark.parametrize(("runs", "kills"), [(32, 2), pytest.param(200, 20, marks=pytest.mark.slow)])
def test_a_sweep_whose_driver_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path, mark, runs, kills):
    command = (*TINY, *TWO, "objective.channel=range(0,8)", f"seed=range(0,{runs // 8})")
    assert said(apart(tmp_path, *command, "compute.batch_size=4", "name=undisturbed")).status == 0
    undisturbed = require_whole("undisturbed")
    killer = Killer(tmp_path, runs, kills)
    done: dict[str, Record] = {}
    for number in range(kills):
        killer.strike(number, *command, f"compute.batch_size={4 if number < kills // 2 else 3}")
        until(lambda: processes(mark) == [], 10)
        before, done = done, require_whole()
        assert before.items() <= done.items(), "what was finished stays as it was"
    assert len(done) < runs
    last = said(apart(tmp_path, *command, "compute.batch_size=3"))
    assert last.status == 0 and f"{len(done)} already done" in last.out
    done = require_whole()
    assert set(done) == set(undisturbed) and len(done) == runs
    equal = {name for name in done if done[name]["batch"] == undisturbed[name]["batch"]}
    assert 0 < len(equal) < runs
    for name, record in done.items():
        if name in equal:
            assert record["artefacts"] == undisturbed[name]["artefacts"]
            assert record["score"] == undisturbed[name]["score"]
        assert record["score"] == pytest.approx(undisturbed[name]["score"], rel=0.15, abs=1e-6)
    assert list(verify(store())) == [] and not list((store().root / "claims").iterdir())


def shows(done: Said, runs: int) -> None:
    """That a sweep ended well with `runs` of its own in its table, an index, and a figure that can be looked at."""
    assert done.status == 0, done
    assert re.search(rf"^ \w+ early channel +{runs} +0 ", done.out, re.MULTILINE), done.out
    assert "index: outputs/default/index.csv" in done.out
    figure = re.search(r"figure: (\S+\.png)", done.out)
    assert figure is not None, done.out
    with Image.open(figure[1]) as sheet:
        sheet.load()


def test_two_equal_sweeps_started_together_share_the_work(tmp_path):
    command = (
        "-m",
        *QUICK,
        "layer=early",
        "compute.batch_size=2",
        "compute.device=cpu",
        "objective.channel=range(0,30)",
    )
    for ended in [said(driver) for driver in [apart(tmp_path, *command) for _ in range(2)]]:
        shows(ended, 30)
    assert len(require_whole()) == 30
    assert here(*command).status == 0 and len(records()) == 30


def test_of_two_overlapping_sweeps_the_second_starts_midway(tmp_path):
    """Each run notes when it begins."""
    common = ("-m", *OPTION, "layer=early", "task.seconds=0.2", "compute.batch_size=2", "compute.device=cpu")
    diary = {DIARY: str(tmp_path / "diary")}
    first = apart(tmp_path, *common, "objective.channel=range(0,40)", environment=diary)
    until(lambda: len(store().finished()) >= 2)
    second = apart(tmp_path, *common, "objective.channel=range(8,48)", environment=diary)
    for driver in (first, second):
        shows(said(driver), 40)
    begun = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert Counter(words[2] for words in begun) == Counter(map(str, range(48)))
    assert len({words[0] for words in begun}) == 2, "both had their part of the work"
    assert len(records()) == 48 == len(load_index("outputs/default"))


def test_a_full_disk_stops_a_sweep_cleanly_and_with_room_it_goes_on(tmp_path, mark):
    with small_disk(tmp_path / "disk", 512) as disk:
        command = (*TINY, *TWO, f"outputs={disk}", "objective.channel=range(0,16)", "seed=range(0,8)")
        stopped = here(*command, "compute.batch_size=4")
        where = rf"cannot write to {disk}/default: no space left on device"
        assert re.fullmatch(f"{where}; what is done is kept, and the same command does the rest", stopped.error)
        assert processes(mark) == []
        kept = Store(disk, "default")
        done = len(kept.finished())
        assert 0 < done < 128 and list(verify(kept)) == [] and kept.damage() == (0, 0)
        assert not [path for path in disk.rglob(".*") if path.is_file()], "nothing half written takes up room"
        assert len(load_index(kept.root)) == done
        remount(disk, "size=64m")
        whole = here("task=verify", f"outputs={disk}")
        assert whole.status == 0 and f"verified {done} runs" in whole.out
        again = here(*command, "compute.batch_size=4")
        assert again.status == 0 and f"{done} already done" in again.out
        lines = [line for file in kept.record_files() for line in file.read_text().splitlines()]
        assert Counter(json.loads(line)["run_id"] for line in lines) == Counter(ids(*command[1:]))
        assert len(load_index(kept.root)) == 128 and list(verify(kept)) == []


def test_a_disk_that_is_full_when_all_is_done_is_one_line_too(tmp_path):
    """The index cannot be written; it comes back with room for it."""
    with small_disk(tmp_path / "disk", 4096) as disk:
        command = (*TINY, f"outputs={disk}", "objective.channel=0,1")
        assert here(*command).status == 0
        index = disk / "default/index.csv"
        index.unlink()
        filler = fill(disk)
        assert "no space left on device; what is done is kept" in here(*command).error
        filler.unlink()
        assert here(*command).status == 0 and index.exists()


def test_a_store_that_cannot_be_written_is_one_line_and_what_is_in_it_stays(tmp_path, mark):
    with small_disk(tmp_path / "disk", 4096) as disk:
        command = (*TINY, f"outputs={disk}", "objective.channel=range(0,2)")
        assert here(*command).status == 0
        remount(disk, "ro")
        more = here(*command, *TWO, "seed=0,1")
        assert f"cannot write to {disk}/default" in more.error and "set outputs=" in more.error
        assert processes(mark) == []
        assert here("task=verify", f"outputs={disk}").status == 0
        assert "every run has its result" in here(*command).out
        remount(disk, "rw")
        assert here(*command, "seed=0,1").status == 0 and len(load_index(disk / "default")) == 4


def test_a_store_may_be_anywhere(tmp_path):
    place = "Größe, ж 画像 and 'quotes' 50%_{a}[b]$HOME~"
    quoted = place.replace("'", "\\'")
    command = (*TINY, *TWO, f"outputs='{quoted}'", f"name='{quoted}'", "objective.channel=range(0,4)")
    done = here(*command, "compute.batch_size=1")
    assert done.status == 0, done
    assert len(load_index(tmp_path / place / place)) == 4
    assert {path.name for path in tmp_path.iterdir()} == {place}
    assert "every run has its result" in here(*command).out


def test_a_cut_record_and_a_spoilt_image_are_told_set_aside_and_run_again():
    command = (*TINY, "objective.channel=range(0,8)", "compute.batch_size=4")
    assert here(*command).status == 0
    made = {record["run_id"]: record for record in records()}
    file = store().record_files()[0]
    first, second, *others = file.read_bytes().splitlines()
    cut = json.loads(second)["run_id"]
    file.write_bytes(b"\n".join([first, second[: len(second) // 2], *others]) + b"\n")
    spoilt = json.loads(first)["run_id"]
    image = store().root / made[spoilt]["artefacts"]["image"]["path"]
    image.write_bytes(b"junk")
    again = here(*command, *TWO)
    assert again.status == 0
    assert "6 already done" in again.out and "2 to do in 1 batch" in again.out
    assert "1 damaged line of records (set aside in damaged/)" in again.out
    assert "1 run whose files are not what their records say" in again.out
    assert second[: len(second) // 2] in (store().damaged_folder / file.name).read_bytes()
    assert Counter(record["run_id"] for record in records()) == Counter([*made, spoilt])
    assert cut in store().finished() and list(verify(store())) == []
    assert len(load_index("outputs/default")) == 8
