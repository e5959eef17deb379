from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision.models import SqueezeNet1_0_Weights, get_model_weights
from torchvision.transforms.functional import normalize

from interpret_runs.images import (
    FADED,
    SHAPES_ITEMS,
    File,
    Folder,
    Picture,
    Shapes,
    preprocess,
    to_pil,
    to_tensor,
)
from interpret_runs.models import Preprocessing, load
from interpret_runs.shapes import CLASSES, draw

IMAGENET = Preprocessing((224, 224), 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def chelsea() -> Image.Image:
    return Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]


def random_image(*size: int) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(0))


# --- tensors and pictures ---------------------------------------------------------------------------------------


def test_a_photograph_survives_the_round_trip(chelsea: Image.Image) -> None:
    tensor = to_tensor(chelsea)
    assert tensor.shape == (3, chelsea.height, chelsea.width)
    assert tensor.dtype == torch.float32 and tensor.min() >= 0 and tensor.max() <= 1
    assert to_pil(tensor).tobytes() == chelsea.tobytes()


def test_pictures_are_rounded_not_cut_off() -> None:
    image = random_image(9, 7)
    assert (to_tensor(to_pil(image)) - image).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(to_tensor(to_pil(image + 2)), torch.ones(3, 9, 7))


@pytest.mark.parametrize("image", [torch.zeros(1, 3, 4, 4), torch.zeros(5, 4, 3), torch.full((3, 4, 4), torch.nan)])
def test_what_is_no_image_is_refused(image: Tensor) -> None:
    with pytest.raises(ValueError, match="image"):
        to_pil(image)


def test_opacity_is_a_fourth_channel() -> None:
    image = torch.cat([random_image(5, 6), torch.linspace(0, 1, 30).view(1, 5, 6)])
    picture = to_pil(image)
    assert picture.mode == "RGBA" and picture.convert("RGB").tobytes() == to_pil(image[:3]).tobytes()
    assert list(picture.getchannel("A").tobytes()) == [round(255 * place / 29) for place in range(30)]


# --- preprocessing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [None, (0, 0, 200, 299), (0, 0, 257, 256), (0, 0, 31, 90)])
def test_preprocessing_is_torchvisions(chelsea: Image.Image, box: tuple[int, int, int, int] | None) -> None:
    photo = chelsea.crop(box) if box else chelsea
    image = preprocess(photo, IMAGENET)
    assert image.shape == (3, 224, 224) and image.min() >= 0 and image.max() <= 1
    expected = SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()(photo)
    torch.testing.assert_close(normalize(image, IMAGENET.mean, IMAGENET.std), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["efficientnet_b0", "swin_t"])
def test_the_weights_own_interpolation_is_kept(chelsea: Image.Image, name: str) -> None:
    preprocessing = load(name, device="meta").preprocessing
    assert preprocessing.interpolation == "bicubic"
    expected = get_model_weights(name).DEFAULT.transforms()(chelsea)
    image = normalize(preprocess(chelsea, preprocessing), preprocessing.mean, preprocessing.std)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (300, 300)])
def test_the_photograph_covers_any_crop(size: tuple[int, int]) -> None:
    white = Image.new("RGB", (50, 40), "white")
    assert torch.equal(preprocess(white, Preprocessing(size, 64)), torch.ones(3, *size))


# --- image sets -------------------------------------------------------------------------------------------------


def test_file_and_folder_read_the_same_picture(tmp_path: Path, chelsea: Image.Image) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    chelsea.save(tmp_path / "chelsea.png")
    pictures = [
        image_set(IMAGENET)
        for image_set in (
            File(str(tmp_path / "chelsea.png")),
            Folder(str(tmp_path), 1),
            Folder(str(tmp_path), "chelsea.png"),
        )
    ]
    for picture in pictures:
        assert isinstance(picture, Picture)
        assert (picture.name, picture.label, picture.mask) == ("chelsea.png", None, None)
        assert torch.equal(picture.pixels, preprocess(chelsea, IMAGENET))


def test_shapes_come_as_drawn_at_their_own_size() -> None:
    picture, drawn = Shapes(5)(Preprocessing((64, 64), 64)), draw(5)
    assert torch.equal(picture.pixels, drawn.image)
    assert picture.mask is not None and torch.equal(picture.mask, drawn.mask)
    assert picture.label == CLASSES[drawn.label]


@pytest.mark.parametrize("size", [(224, 224), (48, 96)])
def test_shapes_and_their_masks_grow_together(size: tuple[int, int]) -> None:
    picture, drawn = Shapes(5, "train")(Preprocessing(size, min(size))), draw(5, "train")
    assert picture.pixels.shape == (3, *size) and picture.pixels.min() >= 0 and picture.pixels.max() <= 1
    assert picture.mask is not None and picture.mask.dtype == torch.bool and picture.mask.shape == size
    assert float(picture.mask.float().mean()) == pytest.approx(float(drawn.mask.float().mean()), abs=0.01)
    torch.testing.assert_close(picture.pixels.mean((1, 2)), drawn.image.mean((1, 2)), rtol=0, atol=0.01)


# --- labels, masks, and the whole photograph --------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path, chelsea: Image.Image) -> Path:
    """Photographs in two classes; the mask of the cat is where it is bright."""
    for place, name in enumerate(("cat/a.png", "dog/b.png")):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        chelsea.rotate(180 * place).save(tmp_path / "pets" / name)
    bright(chelsea).save(tmp_path / "pets/cat/a.mask.png")
    return tmp_path / "pets"


def bright(photo: Image.Image) -> Image.Image:
    """Black and white blocks of 8 pixels, so that resizing to the nearest pixel keeps most of them."""
    small = photo.convert("L").resize((photo.width // 8, photo.height // 8))
    return small.point(lambda level: 255 * (level > 127)).resize(photo.size, Image.Resampling.NEAREST)


def test_a_folder_gives_labels_and_masks(pets: Path) -> None:
    for one in (Folder(str(pets)), Folder(str(pets)).items()[0], File(str(pets / "cat/a.png"), "cat")):
        picture = one(IMAGENET)
        assert picture.label == "cat" and picture.mask is not None and picture.mask.shape == (224, 224)
        assert 0 < picture.mask.float().mean() < 1
    other = Folder(str(pets), "dog/b.png")(IMAGENET)
    assert (other.name, other.label, other.mask) == ("dog/b.png", "dog", None)


@pytest.mark.parametrize("preprocessing", [IMAGENET, Preprocessing((64, 96), 40), Preprocessing((300, 451), 300)])
def test_a_mask_goes_the_way_of_its_photograph(pets: Path, chelsea: Image.Image, preprocessing: Preprocessing) -> None:
    """A photograph that is its own mask: both agree but at the edges, which the photograph's resizing blurs."""
    bright(chelsea).save(pets / "cat/a.png")
    picture = File(str(pets / "cat/a.png"))(preprocessing)
    assert picture.mask is not None
    assert ((picture.pixels[0] > 0.5) == picture.mask).float().mean() > 0.97
    assert torch.equal(picture.mask, to_tensor(mask_of(chelsea, preprocessing))[0] > 0.5)


def mask_of(chelsea: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    nearest = replace(preprocessing, interpolation="nearest")
    return to_pil(preprocess(bright(chelsea), nearest))


def test_a_mask_is_turned_as_its_photograph_is(tmp_path: Path, chelsea: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    bright(chelsea).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "mask.png", exif=exif)
    chelsea.save(tmp_path / "a.png")
    bright(chelsea).save(tmp_path / "a.mask.png")
    one, other = File(str(tmp_path / "a.png"))(IMAGENET), File(str(tmp_path / "a.png"), mask=str(tmp_path / "mask.png"))
    assert one.mask is not None and torch.equal(one.mask, other(IMAGENET).mask)  # type: ignore[arg-type]


def test_a_mask_of_another_size_names_both_sizes(pets: Path, chelsea: Image.Image) -> None:
    bright(chelsea).resize((45, 30)).save(pets / "cat/a.mask.png")
    with pytest.raises(ValueError, match=r"has 30x45 pixels, but its image has 300x451"):
        Folder(str(pets))(IMAGENET)
    assert Folder(str(pets), 1)(IMAGENET).mask is None


@pytest.mark.parametrize("size", [(224, 224), (64, 128), (400, 400)])
def test_the_crop_lies_in_the_whole_photograph(pets: Path, chelsea: Image.Image, size: tuple[int, int]) -> None:
    picture = File(str(pets / "cat/a.png"))(Preprocessing(size, 256))
    assert picture.whole is not None
    assert picture.whole.width / picture.whole.height == pytest.approx(chelsea.width / chelsea.height, rel=0.01)
    (top, left), (height, width) = picture.corner, size
    part = picture.whole.crop((left, top, left + width, top + height))
    assert torch.equal(to_tensor(part), picture.pixels)
    red = to_tensor(picture.in_whole(Image.new("RGB", (width, height), "red")))
    assert torch.equal(red[:, top : top + height, left : left + width].mean((1, 2)), torch.tensor([1.0, 0, 0]))
    outside = torch.ones(red.shape[1:], dtype=torch.bool)
    outside[top : top + height, left : left + width] = False
    whole = to_tensor(picture.whole)
    assert (red >= whole)[:, outside].all(), "what was not seen is faded"
    torch.testing.assert_close(1 - red[:, outside], (1 - FADED) * (1 - whole[:, outside]), atol=1 / 255, rtol=0)


def test_what_is_drawn_must_be_as_large_as_what_was_seen(pets: Path) -> None:
    with pytest.raises(ValueError, match="5x4 pixels, not the 224x224 seen"):
        File(str(pets / "cat/a.png"))(IMAGENET).in_whole(Image.new("RGB", (4, 5)))


def test_a_drawn_image_is_its_own_whole() -> None:
    drawn = Image.new("RGB", (64, 64), "blue")
    assert Shapes(3)(Preprocessing((64, 64), 64)).in_whole(drawn).tobytes() == drawn.tobytes()


def test_labels_are_matched_with_those_of_a_network() -> None:
    summary = load("shapes", device="meta").summary
    picture = Picture(torch.zeros(3, 4, 4), "a")
    assert picture.class_index(summary) is None
    for index, label in enumerate(CLASSES):
        for spelling in (label, label.upper().replace(" ", "_"), str(index)):
            assert replace(picture, label=spelling).class_index(summary) == index
    with pytest.raises(LookupError, match="no class 'tabby' in shapes; closest"):
        replace(picture, label="tabby").class_index(summary)
    with pytest.raises(LookupError, match="class 99 is out of range: shapes has classes 0 to 11"):
        replace(picture, label="99").class_index(summary)


def test_image_sets_name_themselves() -> None:
    assert repr(Shapes(3)) == "Shapes(item=3, split='test')"
    assert Shapes(3) == Shapes(3) != Shapes(4)


def test_a_folders_items_are_its_images_in_order(tmp_path: Path) -> None:
    for place, name in enumerate(["b.png", "a.png", "c.png"]):
        to_pil(torch.full((3, 8, 8), place / 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    items, preprocessing = Folder(str(tmp_path), "c.png").items(), Preprocessing((8, 8), 8)
    assert len(items) == 3
    for place, item in enumerate(items):
        picture, same = item(preprocessing), Folder(str(tmp_path), place)(preprocessing)
        assert picture.name == same.name and torch.equal(picture.pixels, same.pixels)


def test_a_files_one_item_is_itself() -> None:
    assert File("a.png").items() == [File("a.png")]


def test_the_items_of_the_shapes_are_of_their_split() -> None:
    items = Shapes(7, "train").items()
    assert items[5] == Shapes(5, "train") and len(items) == SHAPES_ITEMS


def test_what_holds_no_images_has_no_items(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no image in folder"):
        Folder(str(tmp_path)).items()


def test_the_size_of_an_image_is_that_of_its_file(tmp_path: Path) -> None:
    to_pil(random_image(5, 9)).save(tmp_path / "a.png")
    assert File(str(tmp_path / "a.png")).size() == Folder(str(tmp_path)).size() == (5, 9)
    assert Shapes(3).size() == draw(3).mask.shape
