"""Torchvision's sets, reading ahead, and sets of images as the runner plans and executes them."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import NO_SHEET, config_of, here, ids, planned, records, the_run
from PIL import Image
from torchvision.datasets import FakeData

from interpret_runs import folders, image_sets
from interpret_runs.image_sets import Torchvision, loaded
from interpret_runs.images import Folder, ImageSet, Picture, to_tensor
from interpret_runs.models import Preprocessing
from interpret_runs.runner.build import build

SMALL = Preprocessing((8, 8), 8)
FAKE = {"size": 5, "image_size": [3, 10, 12], "num_classes": 4}
ATTRIBUTE = ("task=attribute", "objective=logit", "objective.target=0", "attribution=saliency")
PLANNED_FAKE = (*ATTRIBUTE, "images=torchvision", "images.name=FakeData", "images.settings={size:5,image_size:[3,9,9]}")


def fake(item: int = 0, **settings: Any) -> Torchvision:
    return Torchvision("FakeData", "", item, {**FAKE, **settings})


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes of photographs, the first with a mask, and one damaged file."""
    for place, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        file = tmp_path / "classes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((20 + place, 16)).rotate(90 * place).save(file)
    Image.new("L", (20, 16), 255).save(tmp_path / "classes/cat/a.mask.png")
    (tmp_path / "classes/dog/d.png").write_text("no image")
    return tmp_path / "classes"


# --- torchvision ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [0, 4])
def test_an_image_of_torchvision_is_what_torchvision_gives(item: int) -> None:
    picture = fake(item)(Preprocessing((10, 12), 10))
    expected, _ = FakeData(**FAKE)[item]
    assert torch.equal(picture.pixels, to_tensor(expected))
    assert (picture.name, picture.label, picture.mask) == (f"FakeData {item}", None, None)
    assert fake(item).size() == (10, 12)


def test_a_set_is_opened_once_and_listed_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    image_sets._opened.cache_clear()
    made: list[Any] = []
    monkeypatch.setattr(FakeData, "__init__", counted(FakeData.__init__, made))
    items = fake(2).items()
    assert items == [fake(item) for item in range(5)]
    assert len({item(SMALL).name for item in items}) == 5 and len(made) == 1
    monkeypatch.setattr(FakeData, "__getitem__", lambda *_: pytest.fail("decoded"))
    assert len(fake().items()) == 5 and len(made) == 1
    image_sets._opened.cache_clear()


def counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        calls.append(given)
        return function(*given, **named)

    return called


def test_sets_are_equal_and_hashed_by_their_settings() -> None:
    assert fake() == fake() != fake(random_offset=1)
    assert len({fake(), fake(), fake(1)}) == 2


def test_an_image_does_not_depend_on_what_is_read_beside_it() -> None:
    state = torch.get_rng_state()
    alone = [item(SMALL).pixels for item in fake(size=40).items()]
    together = [future.result().pixels for future in loaded(fake(size=40).items(), SMALL, 8)]
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_classes_of_torchvision_are_labels(classes: Path) -> None:
    (classes / "dog/d.png").unlink()
    items = Torchvision("ImageFolder", str(classes)).items()
    assert [item(SMALL).label for item in items] == ["cat", "cat", "cat", "dog"]


@pytest.mark.parametrize(
    ("classes_are", "index", "label"),
    [(["a", "b"], 1, "b"), ([("a", "A"), ("b", "B")], 1, "b"), (["a"], "b", None), (None, 1, None)],
)
def test_labels_are_the_names_of_class_indices(
    monkeypatch: pytest.MonkeyPatch, classes_are: Any, index: Any, label: str | None
) -> None:
    monkeypatch.setattr(FakeData, "classes", classes_are, raising=False)
    monkeypatch.setattr(FakeData, "__getitem__", lambda *_: (Image.new("L", (9, 9)), index))
    assert fake()(SMALL).label == label


def test_a_class_that_the_set_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeData, "classes", ["a", "b"], raising=False)
    monkeypatch.setattr(FakeData, "__getitem__", lambda *_: (Image.new("L", (9, 9)), 2))
    with pytest.raises(LookupError, match="image 3 of FakeData is of class 2, but there are classes 0 to 1"):
        fake(3)(SMALL)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Torchvision("CIFAR"), "images.name is 'CIFAR'; torchvision has no such set, closest: .*CIFAR10"),
        (Torchvision("CIFAR10"), "CIFAR10 needs a folder for its files; give it: images.path=DIR"),
        (Torchvision("CIFAR10", "nowhere"), r"CIFAR10 is not in 'nowhere'; .*\+images.settings.download=true"),
        (Torchvision("ImageFolder", "nowhere"), "torchvision cannot open ImageFolder in 'nowhere': .*No such file"),
        (Torchvision("FakeData", "."), "FakeData has no folder, but images.path is '.'; leave it out"),
        (fake(sizes=3), "images.settings.sizes: FakeData takes no such setting; it takes size, image_size, num_cl"),
        (fake(transform=3), "images.settings.transform: FakeData takes no such setting"),
        (Torchvision("EMNIST", ".", 0, {"split": "x"}), "torchvision cannot open EMNIST in '.': .*'x'"),
        (fake(5), "images.item is 5; FakeData has images 0 to 4, or all"),
        (fake(-1), "images.item is -1; FakeData has images 0 to 4"),
        (Torchvision("FakeData", "", "all"), "images.item is 'all'; FakeData has images 0 to 999"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_set_is_one_clear_line(wrong: Torchvision, words: str) -> None:
    with pytest.raises((LookupError, ValueError, TypeError), match=words) as raised:
        wrong(SMALL)
    assert "\n" not in str(raised.value)


def test_settings_are_a_mapping() -> None:
    with pytest.raises(TypeError, match="images.settings is 'train'; it must be a mapping"):
        Torchvision("FakeData", settings="train")  # type: ignore[arg-type]


def test_what_torchvision_cannot_read_is_one_clear_line(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="image 4 of ImageFolder cannot be read: cannot identify image file"):
        Torchvision("ImageFolder", str(classes), 4)(SMALL)
    monkeypatch.setattr(FakeData, "__getitem__", lambda *_: (torch.zeros(3, 4, 4), 0))
    with pytest.raises(TypeError, match="images.name=FakeData gives a Tensor, not a Pillow image"):
        fake()(SMALL)


# --- reading ahead ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain(ImageSet):
    """A picture of one level; negative ones cannot be read."""

    level: int
    seen: Any

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        self.seen(self)
        if self.level < 0:
            raise ValueError(f"{self.level} is damaged")
        return Picture(torch.full((3, *preprocessing.size), float(self.level)), str(self.level))

    def items(self) -> list[ImageSet]:
        return [self]

    def size(self) -> tuple[int, int]:
        return 1, 1


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
def test_pictures_come_in_order_and_damage_stays_with_its_own(ahead: int) -> None:
    threads: list[Any] = []
    items = [Plain(level, lambda _: threads.append(threading.current_thread())) for level in (3, 1, -4, 1, 5)]
    found = list(loaded(items, SMALL, ahead))
    assert [future.result().name for place, future in enumerate(found) if place != 2] == ["3", "1", "1", "5"]
    with pytest.raises(ValueError, match="-4 is damaged"):
        found[2].result()
    assert len(threads) == 5 and threading.main_thread() not in threads


def test_no_more_is_read_than_was_asked_for_ahead() -> None:
    read: list[int] = []
    stream = loaded((Plain(level, lambda one: read.append(one.level)) for level in range(1000)), SMALL, 4)
    assert [future.result().name for future in islice(stream, 3)] == ["0", "1", "2"]
    stream.close()  # type: ignore[attr-defined]
    assert len(read) <= 3 + 4


def test_no_thread_outlives_a_consumer_that_fails() -> None:
    before = set(threading.enumerate())

    def use() -> None:
        for future in loaded((Plain(level, lambda _: None) for level in range(100)), SMALL, 4):
            raise RuntimeError(f"{future.result().name} is not wanted")

    with suppress(RuntimeError):
        use()
    assert set(threading.enumerate()) <= before


# --- planning ---------------------------------------------------------------------------------------------------


def test_the_option_builds_what_it_says() -> None:
    made = build(config_of("images=torchvision", "images.name=FakeData", "+images.settings.size=5")["images"])
    assert made == Torchvision("FakeData", "", 0, {"size": 5})


def test_all_images_of_torchvision_are_planned_without_decoding_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeData, "__getitem__", lambda *_: pytest.fail("decoded"))
    runs = planned(*PLANNED_FAKE, "images.item=all")
    assert [run.config["images"]["item"] for run in runs] == list(range(5)) and len({run.id for run in runs}) == 5
    assert [run.id for run in runs] == ids(*PLANNED_FAKE, "images.item=0,1,2,3,4")
    assert len({run.batch_key() for run in runs}) == 1


def test_a_set_of_torchvision_is_known_by_its_settings(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = (*ATTRIBUTE, "images=torchvision", "images.name=ImageFolder")
    monkeypatch.chdir(classes.parent)
    own = the_run(*folder, "images.path=classes").id
    assert own == the_run(*folder, f"images.path={classes}").id
    assert own != the_run(*folder, "images.path=classes", "images.item=1").id
    assert own != the_run(*folder, "images.path=classes", "+images.settings.allow_empty=true").id
    monkeypatch.setattr(image_sets, "_opened", lambda *_: range(9))
    stored = (*ATTRIBUTE, "images=torchvision", "images.name=CIFAR10", "images.path=classes")
    assert the_run(*stored).id == the_run(*stored, "+images.settings.download=true").id
    assert the_run(*stored).id != the_run(*stored, "+images.settings.train=false").id


def test_a_wrong_set_of_torchvision_is_said_while_planning() -> None:
    with pytest.raises(LookupError, match="FakeData has images 0 to 4"):
        the_run(*PLANNED_FAKE, "images.item=5")
    with pytest.raises(LookupError, match="torchvision has no such set"):
        the_run("task=examples", "images=torchvision", "images.name=CIFAR")
    assert the_run("task=examples", *PLANNED_FAKE[4:]).config["task"]["data"]["name"] == "FakeData"


def test_a_list_of_items_is_several_runs(classes: Path) -> None:
    folder = (*ATTRIBUTE, "images=folder", f"images.path={classes}")
    for start, some in (
        (folder, ["0", "dog/c.png"]),
        ((*ATTRIBUTE, "images=shapes"), ["3", "1"]),
        (PLANNED_FAKE, ["4"]),
    ):
        assert ids(*start, f"images.item=[{','.join(some)}]") == ids(*start, f"images.item={','.join(some)}")
    with pytest.raises(ValueError, match=r"images.item is \[\]"):
        planned(*folder, "images.item=[]")


def test_the_images_of_classes_are_planned_by_name(classes: Path) -> None:
    folder = (*ATTRIBUTE, "images=folder", f"images.path={classes}")
    assert ids(*folder, "images.item=all") == ids(*folder, "images.item=cat/a.png,cat/b.png,dog/c.png,dog/d.png")


def test_a_label_and_a_mask_make_another_run_of_the_same_file(classes: Path) -> None:
    file = (*ATTRIBUTE, "images=file", f"images.path={classes / 'cat/a.png'}")
    plain = (*ATTRIBUTE, "images=file", f"images.path={classes / 'cat/b.png'}")
    found = the_run(*ATTRIBUTE, "images=folder", f"images.path={classes}", "images.item=cat/a.png").id
    assert found == the_run(*file, "images.label=cat").id
    assert found == the_run(*file, "images.label=cat", f"images.mask={classes / 'cat/a.mask.png'}").id
    assert found != the_run(*file).id
    before = the_run(*file).id
    Image.new("L", (20, 16), 200).save(classes / "cat/a.mask.png")
    assert the_run(*file).id != before
    assert the_run(*plain).digests["images"] != the_run(*plain, "images.label=7").digests["images"]


def test_a_long_folder_is_planned_in_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(30):
        Image.new("L", (2, 2), place).save(tmp_path / f"{place}.png")
    reads: list[Any] = []
    monkeypatch.setattr(folders, "_read", counted(folders._read, reads))
    monkeypatch.setattr(folders, "SETTLED", -1)
    assert len(planned(*ATTRIBUTE, "images=folder", f"images.path={tmp_path}", "images.item=all")) == 30
    assert len(reads) == 1


def test_wrong_labels_and_masks_are_said_while_planning(classes: Path, tmp_path: Path) -> None:
    folder = (*ATTRIBUTE, "images=folder", f"images.path={classes}", "images.item=all")
    (tmp_path / "labels.csv").write_text("file,label\ncat/x.png,cat\n")
    with pytest.raises(LookupError, match="no image 'cat/x.png' in folder"):
        planned(*folder, f"images.labels={tmp_path / 'labels.csv'}")
    with pytest.raises(FileNotFoundError, match="images.masks=DIR"):
        planned(*folder, f"images.masks={tmp_path / 'nowhere'}")
    with pytest.raises(FileNotFoundError, match="images.mask=nowhere.png: no such file"):
        planned(*ATTRIBUTE, "images=file", f"images.path={classes / 'cat/a.png'}", "images.mask=nowhere.png")


# --- execution --------------------------------------------------------------------------------------------------


def test_a_damaged_image_fails_alone(classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (4, 4), 255).save(classes / "cat/b.mask.png")
    done = here("-m", *ATTRIBUTE, "images=folder", f"images.path={classes}", "images.item=all", NO_SHEET)
    assert done.status == 1
    found = {record["config"]["images"]["item"]: record for record in records()}
    assert [found[place]["status"] for place in range(4)] == ["ok", "failed", "ok", "failed"]
    assert "has 4x4 pixels, but its image has 16x21" in found[1]["error"]
    assert "is not an image" in found[3]["error"]
    assert [found[place]["metrics"]["picture_label"] for place in (0, 2)] == ["cat", "dog"]


def test_torchvisions_images_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("-m", *PLANNED_FAKE, "images.item=[0,3]", NO_SHEET)
    assert done.status == 0, done.err
    assert sorted(record["metrics"]["picture"] for record in records()) == ["FakeData 0", "FakeData 3"]


def test_a_set_of_classes_is_read_as_its_items_are(classes: Path) -> None:
    (classes / "dog/d.png").unlink()
    items = Folder(str(classes)).items()
    for place, future in enumerate(loaded(items, SMALL, 2)):
        one, other = future.result(), Folder(str(classes), place)(SMALL)
        assert torch.equal(one.pixels, other.pixels) and (one.label, one.mask is None) == (
            other.label,
            other.mask is None,
        )
        assert replace(one, name=other.name).name == other.name
