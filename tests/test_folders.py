import os
import time
from pathlib import Path

import pytest
from PIL import Image

from interpret_runs import folders
from interpret_runs.folders import Listing, listing, single
from interpret_runs.photographs import SUFFIXES


def put(*files: Path) -> None:
    """An image at each place."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(file, format="PNG")


def names(found: Listing) -> list[str]:
    return [one.name for one in found.photographs]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    put(folder / "b.png", folder / "a.JPG", folder / "c.webp", folder / ".hidden.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / "folder.png").mkdir()
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    folder = tmp_path / "classes"
    put(folder / "dog/2.png", folder / "cat/1.png", folder / "cat/old/0.png", folder / ".git/3.png")
    (folder / "readme.txt").write_text("two classes")
    return folder


# --- which images -----------------------------------------------------------------------------------------------


def test_a_folder_lists_its_images_sorted(flat: Path) -> None:
    assert names(listing(flat)) == ["a.JPG", "b.png", "c.webp"]
    assert all(one.path == flat / one.name and one.path.suffix.lower() in SUFFIXES for one in listing(flat).photographs)
    assert listing(str(flat)).photographs == listing(flat).photographs


def test_place_and_name_find_the_same_image(flat: Path, classes: Path) -> None:
    for found in (listing(flat), listing(classes)):
        for place, one in enumerate(found.photographs):
            assert found.find(place) == found.find(one.name) == one


@pytest.mark.parametrize(("item", "words"), [(3, "images 0 to 2"), (-1, "images 0 to 2"), ("b.jpg", "closest: b.png")])
def test_a_missing_item_names_its_neighbours(flat: Path, item: int | str, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        listing(flat).find(item)


def test_folders_that_hold_no_images(flat: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder .*images.path=DIR"):
        listing(flat / "nowhere")
    with pytest.raises(NotADirectoryError, match="images=file"):
        listing(flat / "b.png")
    for recursive in (None, True, False):
        with pytest.raises(LookupError, match="no image in folder"):
            listing(flat / "folder.png", recursive)


def test_sub_folders_are_classes_where_the_folder_holds_no_image_of_its_own(classes: Path) -> None:
    found = listing(classes)
    assert {one.name: one.label for one in found.photographs} == {
        "cat/1.png": "cat",
        "cat/old/0.png": "cat",
        "dog/2.png": "dog",
    }
    assert names(found) == sorted(names(found)) and listing(classes, True) == found
    with pytest.raises(LookupError, match="no image in folder"):
        listing(classes, False)


def test_sub_folders_beside_images_count_when_asked_for(classes: Path) -> None:
    put(classes / "own.png")
    for recursive in (None, False):
        assert names(listing(classes, recursive)) == ["own.png"]
    found = listing(classes, True)
    assert names(found) == ["cat/1.png", "cat/old/0.png", "dog/2.png", "own.png"]
    assert found.find("own.png").label is None


def test_what_recursive_may_be(flat: Path) -> None:
    with pytest.raises(ValueError, match="images.recursive is 'yes'; it must be true, false or null"):
        listing(flat, "yes")  # type: ignore[arg-type]


def test_links_that_go_in_a_circle_end(classes: Path, tmp_path: Path) -> None:
    (classes / "cat" / "again").symlink_to(classes, target_is_directory=True)
    put(tmp_path / "elsewhere" / "4.png")
    (classes / "fox").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(listing(classes)) == ["cat/1.png", "cat/old/0.png", "dog/2.png", "fox/4.png"]


# --- labels from a table ----------------------------------------------------------------------------------------


def table(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    file = folder.parent / "labels.csv"
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file


def test_a_table_names_the_labels(flat: Path) -> None:
    lines = ("who,label,file", 'me,"tabby, cat",b.png', "you,Möwe,a.JPG", "you,,c.webp")
    for encoding in ("utf-8", "utf-8-sig"):
        found = listing(flat, labels=table(flat, *lines, encoding=encoding)).photographs
        assert [one.label for one in found] == ["Möwe", "tabby, cat", None]


def test_a_table_overrules_sub_folders(classes: Path) -> None:
    labels = table(classes, "file,label", "cat/1.png,lynx", "cat/old/0.png,", "dog/2.png,dog")
    assert [one.label for one in listing(classes, labels=labels).photographs] == ["lynx", None, "dog"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,label", "a.JPG,x", "b.jpg,y"), r"labels\.csv line 3: no image 'b.jpg' in folder .*closest: b.png"),
        (("file,label", "a.JPG,x", "b.png,y"), r"no line for 'c.webp'; it names 2 of 3 images"),
        (("file,class", "a.JPG,x"), r"no column 'label'; its first line names file, class"),
        (("name,label", "a.JPG,x"), r"no column 'file'; its first line names name, label"),
        (("", ""), r"no column 'file'; its first line names none"),
        (("file,label", "a.JPG,x", "a.JPG,y"), r"line 3: 'a.JPG' is 'x' and 'y'; keep one"),
        (("file,label", "a.JPG"), r"no line for 'b.png'"),
    ],
)
def test_a_wrong_table_is_one_clear_line(flat: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises((LookupError, ValueError), match=words) as raised:
        listing(flat, labels=table(flat, *lines))
    assert "\n" not in str(raised.value)


def test_what_is_no_table(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file .*images.labels=FILE"):
        listing(flat, labels=tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
        listing(flat, labels=table(flat, "file,label", "Möwe.png,x", encoding="latin-1"))


# --- masks ------------------------------------------------------------------------------------------------------


def test_a_mask_beside_an_image_is_no_image(flat: Path) -> None:
    put(flat / "b.mask.png", flat / "alone.mask.png")
    found = listing(flat)
    assert names(found) == ["a.JPG", "alone.mask.png", "b.png", "c.webp"]
    assert {one.name: one.mask for one in found.photographs if one.mask} == {"b.png": flat / "b.mask.png"}


def test_a_file_alone_finds_what_its_folder_finds(flat: Path) -> None:
    put(flat / "b.mask.png")
    for one in listing(flat).photographs:
        assert single(one.path) == one
    put(flat / "other.png")
    assert single(flat / "b.png", 7, flat / "other.png") == folders.Photograph(
        "b.png", flat / "b.png", "7", flat / "other.png"
    )


@pytest.mark.parametrize("inside", [False, True])
def test_masks_of_a_folder_are_named_like_the_images(classes: Path, tmp_path: Path, inside: bool) -> None:
    masks = (classes if inside else tmp_path) / "masks"
    put(masks / "cat/1.gif", masks / "dog/9.png", classes / "dog/2.mask.png")
    found = listing(classes, masks=masks)
    assert {one.name: one.mask for one in found.photographs} == {
        "cat/1.png": masks / "cat/1.gif",
        "cat/old/0.png": None,
        "dog/2.png": classes / "dog/2.mask.png",
    }


def test_wrong_folders_of_masks_are_one_clear_line(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="images.masks=DIR"):
        listing(flat, masks=tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="give the folder of the masks"):
        listing(flat, masks=flat / "b.png")
    with pytest.raises(ValueError, match="the folder of the images; masks have one of their own"):
        listing(flat, masks=flat)
    put(tmp_path / "masks/d.png")
    with pytest.raises(LookupError, match="no mask for any image in folder .*; the mask of 'a.JPG' is named a.png"):
        listing(flat, masks=tmp_path / "masks")


def test_two_masks_of_one_image_are_refused(flat: Path, tmp_path: Path) -> None:
    put(tmp_path / "masks/b.png", tmp_path / "masks/b.gif")
    with pytest.raises(ValueError, match="are masks of one image; keep one"):
        listing(flat, masks=tmp_path / "masks")
    put(flat / "b.mask.png", flat / "b.mask.gif")
    for look in (lambda: listing(flat), lambda: single(flat / "b.png")):
        with pytest.raises(ValueError, match="are masks of one image; keep one"):
            look()


# --- what is remembered -----------------------------------------------------------------------------------------


def aged(*paths: Path) -> None:
    """As if last written an hour ago."""
    for path in paths:
        os.utime(path, (time.time() - 3600,) * 2)


def test_a_folder_is_read_once_while_it_does_not_change(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = table(classes, "file,label", "cat/1.png,a", "cat/old/0.png,b", "dog/2.png,c")
    aged(classes, labels, *(path for path in classes.rglob("*") if path.is_dir()))
    first, read = listing(classes, labels=labels), folders._read
    monkeypatch.setattr(folders, "_read", lambda *_: pytest.fail("read again"))
    assert listing(classes, labels=labels) is first
    monkeypatch.setattr(folders, "_read", read)
    labels.write_text(labels.read_text().replace("c\n", "d\n"))
    assert listing(classes, labels=labels).find("dog/2.png").label == "d"
    labels.unlink()
    put(classes / "cat/old/9.png")
    assert "cat/old/9.png" in names(listing(classes))


def test_a_folder_that_was_just_written_is_read_again(flat: Path) -> None:
    for place in range(5):
        put(flat / f"z{place}.png")
        assert f"z{place}.png" in names(listing(flat))
