"""Visualisation and attribution in one line, of anyone's network."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import networks
import numpy as np
import pytest
import torch
import yaml
from command_line import PROJECT
from PIL import Image
from torch import nn

from interpret_runs import Schedule, attribute, read_map, visualise, wrap
from interpret_runs import progress_bar as bars
from interpret_runs.cams import GradCam
from interpret_runs.gradient_maps import Saliency, SmoothGrad
from interpret_runs.images import Picture, Shapes, to_pil, to_tensor
from interpret_runs.objectives import Channel, Contrast, Logit
from interpret_runs.parameterisations import Fourier
from interpret_runs.png import png_text
from interpret_runs.scoring import score
from interpret_runs.spellings import method_names, objective_of

SHORT = Schedule(steps=2)


@pytest.fixture
def network() -> nn.Module:
    """A network as its owner has it: in training mode but for one module, with gradients, one weight fixed."""
    made = networks.plain()
    made[1].eval()
    made[0].bias.requires_grad_(False)
    made(torch.rand(1, 3, 16, 16)).sum().backward()
    return made


def images(count: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))


def test_a_network_is_left_as_it_was_found(network):
    gradients = [None if one.grad is None else one.grad.clone() for one in network.parameters()]
    before = networks.state(network)[:2], networks.state(network)[3:]
    visualise(network, "2:3", Fourier(16), schedule=SHORT)
    attribute(network, "top1", images(), "grad_cam")
    with pytest.raises(LookupError):
        attribute(network, "top1", images(), "gradient_rollout")
    assert (networks.state(network)[:2], networks.state(network)[3:]) == before
    for one, gradient in zip(network.parameters(), gradients, strict=True):
        assert (one.grad is None) if gradient is None else torch.equal(one.grad, gradient)


def test_it_is_what_the_long_way_gives(network):
    model = wrap(network, input_size=16)
    found = attribute(network, Channel("2", 3), images(), Saliency())
    assert torch.equal(found.maps, Saliency()(model, Channel("2", 3), images()))
    assert torch.allclose(found.scores, score(model.eval(), Channel("2", 3), images()).detach())
    assert torch.equal(found.images, images())


def test_a_wrapped_network_is_normalised_and_labelled(network):
    network.eval()
    model = wrap(network, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 2), labels=list("abcde"), input_size=16)
    scaled = (images() - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.5, 2]).view(3, 1, 1)
    assert torch.allclose(model(images()), network(scaled))
    assert model.summary.label(2) == "c" and model.summary.name == "Sequential"
    assert torch.equal(wrap(network, input_size=16)(images()), network(images())), "unasked nothing is changed"
    assert wrap(networks.plain().double(), input_size=16).mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("spelling", "means"),
    [
        (2, Logit(2)),
        (np.int64(2), Logit(2)),
        ("dog", Logit(1)),
        ("2:3", Channel("2", 3)),
        ("late:7", Channel("3", 7)),
        ("top2", Logit("top2")),
        ("odd:1", Logit(4)),
        (Contrast("dog", 0), Contrast(1, 0)),
    ],
)
def test_spellings_of_objectives(spelling, means):
    model = wrap(networks.plain(), labels=["cat", "dog", "cow", "bee", "odd:1"], input_size=16)
    assert objective_of(spelling, model.summary) == means


def test_every_method_of_the_command_line_has_its_name():
    options = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["_target_"]
        for path in (PROJECT / "conf" / "attribution").glob("*.yaml")
    }
    names = {name: f"{kind.__module__}.{kind.__qualname__}" for name, kind in method_names().items()}
    assert options and options.items() <= names.items()


def test_a_named_method_takes_the_last_layer_that_serves(network):
    assert attribute(network, 1, images(), "grad_cam").method == GradCam("3")
    assert attribute(network, "0:2", images(), "grad_cam").method == GradCam("0")
    made = attribute(networks.ViT(), 1, images(1), "grad_cam").method
    assert made != GradCam("block"), "its output reaches the logits through the class token alone"


def test_images_of_all_kinds_are_the_same_images(network, tmp_path):
    model = wrap(network, input_size=16)
    photograph = to_pil(images(1)[0])
    photograph.save(tmp_path / "photograph.png")
    exact = to_tensor(photograph)
    kinds = (exact, exact[None], photograph, tmp_path / "photograph.png", str(tmp_path / "photograph.png"))
    found = [attribute(model, 1, kind, "saliency") for kind in (*kinds, Picture(exact, "own"))]
    assert all(torch.equal(one.maps, found[0].maps) for one in found)
    assert attribute(model, 1, Image.new("RGBA", (40, 30)), "saliency").images.shape == (1, 3, 16, 16)


def test_classes_that_each_image_brings():
    model = wrap(networks.plain(), labels=list("abcde"), input_size=16)
    with torch.no_grad():  # no class is the first of all images
        model.network[6].bias -= model(images(4)).mean(0)
    ranked = attribute(model, "top1", images(4), "saliency")
    top = model.eval()(images(4)).argmax(1)
    assert ranked.units == tuple("abcde"[index] for index in top.tolist())
    assert torch.allclose(ranked.scores, model(images(4)).amax(1))
    assert len(set(ranked.units)) > 1, "the images should not all be of one class"
    drawn = attribute(model, "top1", images(4), "grad_cam")
    last = attribute(model, "top1", images(4)[3], "grad_cam")
    assert torch.allclose(drawn.maps[3], last.maps[0], atol=1e-6)
    own = attribute(model, Contrast("label", "c"), Picture(images(1)[0], "one", "d"), "saliency")
    assert own.units == ("d rather than c",) and own.objective == Contrast(3, 2)
    assert "d rather than c" in repr(own) and "saliency of 1 image" in repr(own)


def test_many_images_are_explained_as_each_alone(network):
    told: list[int] = []
    many = attribute(network, "top1", images(19), SmoothGrad(samples=2, seed=3), progress=told.append)
    assert told == [8, 16, 19]
    alone = attribute(network, "top1", images(19)[17], SmoothGrad(samples=2, seed=3))
    assert torch.allclose(many.maps[17], alone.maps[0], atol=1e-6)


def test_an_explanation_is_a_map_that_one_can_calculate_with(network):
    found = attribute(network, 1, images(), "saliency")
    assert found.map().label == "saliency" and torch.equal(found.map("mine").values, found.maps)
    assert (2 * found.map() - found.map()).label == "2 * saliency - saliency"


def test_an_explanation_saves_and_shows_what_it_found(network, tmp_path):
    found = attribute(network, "2:3", images(2), "saliency")
    found.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{kind}-{place}.png" for kind in ("overlay", "heat_map") for place in (0, 1)),
        "map.npz",
    }
    assert torch.equal(read_map(folder / "map.npz").values, found.maps)
    text = png_text(folder / "overlay-1.png")
    assert text["method"] == "Saliency()" and text["objective"] == "Channel(layer='2', channel=3)"
    assert float(text["score"]) == float(found.scores[1])
    with Image.open(folder / "heat_map-0.png") as kept:
        assert kept.tobytes() == found.heat_maps()[0].tobytes()
    assert [len(one.panels()) for one in (found, attribute(network, 1, images(1), "saliency"))] == [2, 3]
    assert "image 1, Channel(layer=&#x27;2&#x27;, channel=3): " in found._repr_html_()


@pytest.mark.parametrize(
    ("mistake", "error", "says"),
    [
        (
            lambda net: attribute("resnet50", 1, images(), "saliency"),
            TypeError,
            "is str, not .*a network is loaded by its name",
        ),
        (lambda net: attribute(net.half(), 1, images(), "saliency"), TypeError, "torch.float16.*network.float()"),
        (lambda net: wrap(net, labels="cat"), TypeError, "a list with a name for each class"),
        (lambda net: wrap(net, labels=["cat"]), ValueError, "1 labels for the 5 classes"),
        (lambda net: wrap(net, mean=(0, 0)), ValueError, "mean has 2 numbers"),
        (lambda net: wrap(flat()), ValueError, r"refuses images of .*\[224, 224\].*wrap\(network, input_size=SIZE\)"),
        (lambda net: attribute(wrap(flat(), input_size=16), 1, images(1, 8), "saliency"), ValueError, "of 8x8.*16, 16"),
        (lambda net: attribute(net, 5, images(), "saliency"), LookupError, "classes 0 to 4"),
        (lambda net: attribute(net, "cat", images(), "saliency"), LookupError, "a channel is 'LAYER:CHANNEL'"),
        (lambda net: attribute(net, "22:1", images(), "saliency"), LookupError, "no layer '22'"),
        (lambda net: attribute(net, "2:99", images(), "saliency"), LookupError, "channels 0 to 7"),
        (lambda net: attribute(net, 1.5, images(), "saliency"), TypeError, "objective is float; give 'LAYER:CHANNEL'"),
        (lambda net: visualise(net, True), TypeError, "objective is bool"),
        (lambda net: visualise(net, "top1"), ValueError, "needs an image"),
        (lambda net: attribute(net, "label", images(), "saliency"), LookupError, "label of an image that has none"),
        (lambda net: attribute(net, 1, images(), "gradcam"), LookupError, "closest: grad_cam"),
        (lambda net: attribute(net, 1, images(), 3), TypeError, "method is int; give a name such as 'grad_cam'"),
        (lambda net: attribute(net, 1, images(), GradCam("9")), LookupError, "no layer '9'"),
        (lambda net: attribute(flat(), 1, images(), "grad_cam"), LookupError, "no layer of Sequential has channels"),
        (lambda net: attribute(net, 1, images().numpy(), "saliency"), TypeError, "Image.fromarray"),
        (lambda net: attribute(net, 1, images() * 2, "saliency"), ValueError, "images are RGB in .*not normalised"),
        (lambda net: attribute(net, 1, images() * torch.nan, "saliency"), ValueError, "from nan to nan"),
        (lambda net: attribute(net, 1, images().byte(), "saliency"), TypeError, "image / 255"),
        (lambda net: attribute(net, 1, images()[:, :1], "saliency"), ValueError, r"shape \(3, 1, 16, 16\)"),
        (lambda net: attribute(net, 1, images()[0, 0], "saliency"), ValueError, r"shape \(16, 16\)"),
        (lambda net: attribute(net, 1, "gone.jpg", "saliency"), OSError, "no image 'gone.jpg'"),
        (lambda net: attribute(broken(net), 1, images(), "saliency"), ValueError, "not finite"),
    ],
)
def test_mistakes_are_one_line(network, mistake, error, says):
    with pytest.raises(error, match=says) as caught:
        mistake(network)
    assert "\n" not in str(caught.value)


def broken(network: nn.Module) -> nn.Module:
    network[6].weight.data.fill_(torch.inf)
    return network


def test_no_bar_is_drawn_where_no_one_looks(network, capfd):
    visualise(network, "2:3", Fourier(16), schedule=SHORT)
    attribute(network, 1, images(), "saliency")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_has_a_bar_that_goes_when_it_is_over(network, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    visualise(network, "2:3", Fourier(16), schedule=SHORT)
    assert "visualising" in terminal.getvalue() and terminal.getvalue().endswith("\x1b[2K")
    before = terminal.getvalue()
    told: list[int] = []
    visualise(network, "2:3", Fourier(16), schedule=SHORT, progress=told.append)
    visualise(network, "2:3", Fourier(16), schedule=SHORT, progress=False)
    assert told == [1, 2] and terminal.getvalue() == before, "a bar although progress was given"


@pytest.fixture
def page(monkeypatch) -> list[str]:
    """What a notebook was asked to show, in order."""
    asked: list[str] = []

    def display(shown: str, display_id: bool) -> Any:
        asked.append(shown)
        return SimpleNamespace(update=asked.append)

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    monkeypatch.setattr(bars, "EVERY", 0)
    return asked


def test_a_notebook_has_a_bar_that_goes_when_it_is_over(network, page):
    visualise(network, "2:3", Fourier(16), schedule=SHORT)
    assert 'value="0" max="2"' in page[0] and "2 of 2" in page[2] and page[-1] == ""
    page.clear()
    attribute(network, 1, images(1), "saliency")
    assert "<progress ></progress> explaining" in page[0] and page[-1] == ""
    page.clear()
    with pytest.raises(ValueError, match="render_size"):
        visualise(network, "2:3", Fourier(16), schedule=SHORT, render_size=32)
    assert page[-1] == "", "the bar stays after an error"


def test_the_embedded_images_are_explained(tmp_path):
    found = attribute(wrap(networks.plain(), input_size=64), 1, Shapes(3), "saliency")
    assert found.pictures[0].label == "plain square" and found.maps.shape == (1, 64, 64)
