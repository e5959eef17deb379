"""What does not fit together is one line that says what to do, and writes nothing; in a sweep it is a failed row."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import NO_SHEET, QUICK, here, tree
from PIL import Image
from safetensors.torch import save_file

from interpret_runs import load_index

# Takes images of 16 x 16 only, as a vision transformer takes those of its own size.
FIXED = """
from torch import nn


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(128, 5)

    def forward(self, images):
        assert images.shape[2:] == (16, 16), f"Wrong image height! Expected 16 but got {images.shape[2]}!"
        return self.head(self.patches(images).relu().flatten(1))
"""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with files that are wrong in every way; no test writes anything in it."""
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        _fill()
        yield folder


def _fill() -> None:
    Path("fixed_size.py").write_text(FIXED)
    Image.new("L", (9, 6), "white").save("mask.png")
    Path("text.png").write_text("this is not an image")
    Path("notes.txt").write_text("this is no array")
    for name in ("empty", "damaged", "mixed"):
        Path(name).mkdir()
    Path("damaged/a.png").write_text("this is not an image")
    Path("damaged/b.png").touch()
    Path("mixed/b.png").write_text("this is not an image")
    for name, colour in (("a", "red"), ("c", "blue")):
        Image.new("RGB", (20, 16), colour).save(f"mixed/{name}.png")
    np.save("flat.npy", np.ones((3, 4)))
    save_file(import_module("fixed_size").Fixed().state_dict(), "fixed.safetensors")
    save_file({"weight": torch.zeros(3)}, "weights.safetensors")
    save_file({"colour": torch.eye(3), "magnitude": torch.ones(2, 8, 5)}, "two.safetensors")
    Path("cut.safetensors").write_bytes(Path("two.safetensors").read_bytes()[:20])


def total(*names: str) -> tuple[str, ...]:
    terms = (f"+objective@objective.terms.{key}={name}" for key, name in zip("abc", names, strict=False))
    return "objective=sum", *terms


def chain(*names: str) -> tuple[str, ...]:
    parts = (f"+transform@transform.parts.{key}={name}" for key, name in zip("abc", names, strict=False))
    return "transform=chain", *parts


def statistics(file: str) -> tuple[str]:
    return (f"parameterisation.statistics={file}",)


FIXED_SIZE = ("model=custom", "model.factory=fixed_size:Fixed", "model.weights=fixed.safetensors",
              "model.input_size=16", "layer.path=patches")  # fmt: skip
EMPTY, DAMAGED = ("images=folder", "images.path=empty"), ("images=folder", "images.path=damaged")
IMAGE = "parameterisation=image"
TOP = ("objective=logit", "objective.target=top1")
RANDOM_CROP = "transform.transforms=[{_target_: torchvision.transforms.v2.RandomCrop, size: 4}]"
SUFFIXES = "images end in .bmp"
MAKES_ONE = "task=statistics makes such a file"

MISTAKES = [
    (("objective.channel=1,2",), "objective.channel=1,2 is a sweep: add -m", "objective.channel=[1,2]"),
    (("transform=none,standard",), "is a sweep", "add -m"),
    (("transform=[none,standard]",), "would mix several options", "-m and transform=a,b"),
    (("task.data=abc",), "task.data is 'abc'", "task.data='${images}'"),
    (("objective=direction", "objective.direction=5"), "direction is 5", "a list of numbers"),
    (("parameterisation.decay=abc",), "parameterisation.decay is 'abc'", "a number from 0 on"),
    (("parameterisation.decay=-1",), "parameterisation.decay is -1", "a number from 0 on"),
    (("task.animation=gif", "task.frames=100000", "task.steps=100000", "parameterisation.size=2048"),
     "task.frames=100000 of 2048x2048 need about", "frames fit"),
    # attributions
    (("task=attribute", "objective=logit", "attribution.layer=pool"), "layer 'pool' has no feature maps to draw on",
     "the nearest layer that serves: 'features"),
    (("task=attribute", "objective=logit", "attribution.layer=logits"), "has no feature maps", "that serves"),
    (("task=attribute", "layer=early", "attribution.layer=features.20"), "is not upstream of", "that serves"),
    (("task=attribute", "objective=logit", "objective.target=12"), "class 12 is out of range", "0 to 11"),
    (("task=attribute", "objective=logit", "attribution=attention_rollout"), "none", "take another attribution"),
    (("task=attribute", "objective=logit", "attribution=integrated_gradients", "attribution.baseline=dataset"),
     "dataset", "attribution.data='${images}'"),
    (("task=attribute", "objective=logit", "attribution=occlusion", "attribution.window=8", "attribution.stride=9"),
     "attribution.stride is 9", "8"),
    (("task=attribute", "objective=logit", "metrics=faithfulness", "metrics.insertion.steps=0"),
     "metrics.insertion.steps is 0", "from 1 on"),
    (("task=attribute", "objective=logit", "rendering.opacity=2"), "opacity", "0 to 1"),
    (("task=attribute", "objective=logit", "metrics=fats"), "no option 'fats' in group 'metrics'", "fast"),
    (("task=layers", "model=torchvision"), "model.name is not set", "model.name=..."),
    # sizes that conflict
    (("parameterisation.size=[0,5]",), "size [0, 5]", "[height, width]"),
    (("transform.size=4",), "shapes refuses images of 4x4", "transform.size=64 shows it images of its own size"),
    (("transform=v2", RANDOM_CROP), "shapes refuses images", "transform.size=64"),
    ((*FIXED_SIZE, "transform.size=24"), "refuses images of 24x24: Wrong image height", "transform.size=16"),
    ((*FIXED_SIZE, *chain("standard", "noise"), "transform.size=24"), "refuses images of 24x24", "transform.size=16"),
    ((*FIXED_SIZE, *chain("standard", "noise"), "transform.parts.b.size=24"),
     "transform.size is [16, 16], but the last part makes [24, 24]", "leave the part's size null"),
    (("task=dream", *FIXED_SIZE, "transform.size=24"), "refuses images of 24x24", "transform.size=16"),
    ((*chain("standard", "noise"), "transform.size=16", "transform.parts.b.size=24"),
     "transform.size is [16, 16], but the last part makes [24, 24]", "leave the part's size null"),
    ((IMAGE, "parameterisation.mask=mask.png"), "mask is 6x9 pixels high and wide, the image 16x16",
     "parameterisation.size=[6,9]"),
    ((IMAGE, "parameterisation.mask=text.png"), "'text.png' is not an image", "no known image format"),
    ((IMAGE, "parameterisation.mask=missing.png"), "parameterisation.mask=missing.png", "no such file"),
    (("task.render_size=32",), "task.render_size needs images without a size", "parameterisation=cppn"),
    (("parameterisation=cppn", "task.render_size=0"), "task.render_size: size [0, 0]", "[height, width]"),
    (("task.tile=1",), "task.tile is 1", "from 8 on, or null for the whole image"),
    (("task=dream", "task.longest=0"), "task.longest is 0", "a whole number from 1 on"),
    (("task=statistics", "task.size=0"), "task.size: size [0, 0]", "[height, width]"),
    (("objective=border", "objective.width=8"), "objective.width is 8; a border of 16x16", "a width of 1 to 7"),
    # objectives
    ((*total("channel", "channel"), "objective.terms.b.layer=features.99"), "no layer 'features.99'", "task=layers"),
    ((*total("channel", "diversity"), "objective.terms.b.layer=nowhere"), "no layer 'nowhere'", "task=layers"),
    (("objective=deep_dream", "objective.paths=[early,nowhere]"), "no layer 'nowhere'", "task=layers"),
    (("objective=deep_dream", "objective.paths=[]"), "objective.paths names no layer", "objective.paths=[early,late]"),
    (("objective=contrast", "objective.against=cat"), "no class 'cat'", "an index, 0 to 11"),
    (("objective=contrast", "objective.against=99"), "class 99 is out of range", "0 to 11"),
    (total("channel", "diversity"), "diversity compares the images of a run", "parameterisation.images=4"),
    (("objective=interpolation",), "interpolation compares the images of a run", "parameterisation.images=4"),
    (("task=examples", "objective=diversity"), "task=examples looks at one", "take another objective"),
    (("task=dream", "objective=interpolation"), "task=dream changes one", "take another objective"),
    (("task=attribute", "objective=alignment"), "task=attribute explains one", "take another objective"),
    (("objective=diversity", "parameterisation.images=2", "task.data=${images}"), "one at a time", "task.data=null"),
    (("objective=product", "objective@objective.right=transparency"), "transparency needs", "parameterisation=rgba"),
    (("objective=negative", "objective.of=null"), "objective.of is None", "objective@objective.of=channel"),
    (("objective=negative", "objective@objective.of=nothing"), "no option 'nothing'", "closest: neuron"),
    (("objective=product", "objective.left=3"), "objective.left is 3", "objective@objective.left=channel"),
    ((*total("channel"), "objective.terms.a=null"), "terms.a is None", "objective@objective.terms.a=channel"),
    (("objective=sum", "objective.terms=3"), "objective.terms is 3", "+objective@objective.terms.a=channel"),
    ((*total("channel", "blur"), "objective.weights.b=[1,x]"), "weight [1, 'x']", "for the start and the end"),
    (TOP, "objective.target=top1 or label needs an image", "name a class, or use task=attribute"),
    (("task=examples", *TOP), "objective.target=top1 or label differs from image to image", "name a class, or all"),
    (("task=dream", *TOP), "objective.target=top1 or label is not known before the dream", "name a class"),
    (("task=dream", "objective=caricature"), "not transparency or pictures", "task=visualise"),
    (("task.tile=8", "objective=caricature"), "task.tile suits objectives that look at parts", "task.tile=null"),
    (("task.tile=8", "parameterisation=rgba", "objective=transparency"), "not transparency", "task.tile=null"),
    # files of statistics
    (statistics("missing.safetensors"), "parameterisation.statistics=missing.safetensors", "no such file"),
    (statistics("flat.npy"), "flat.npy cannot be read as image statistics: its spectrum is [3, 4]", MAKES_ONE),
    (statistics("two.safetensors"), "its spectrum is [2, 8, 5]; it must be (3, h, w // 2 + 1)", MAKES_ONE),
    (statistics("notes.txt"), "it must end in .safetensors or .npy", MAKES_ONE),
    (statistics("weights.safetensors"), "it holds weight, not colour and magnitude", MAKES_ONE),
    (statistics("cut.safetensors"), "cut.safetensors cannot be read as image statistics", MAKES_ONE),
    # sets of images
    *[((f"task={task}", *EMPTY), "no image in folder 'empty'", SUFFIXES)
      for task in ("examples", "statistics", "dream", "attribute")],
    ((IMAGE, *EMPTY), "no image in folder 'empty'", SUFFIXES),
    (("task.data=${images}", *EMPTY), "no image in folder 'empty'", SUFFIXES),
    *[((*which, *DAMAGED), "none of the 2 images can be read", "'damaged/a.png' is not an image")
      for which in (("task=examples",), ("task=statistics",), ("task.data=${images}",))],
    *[((which, *DAMAGED), "'damaged/a.png' is not an image", "no known image format")
      for which in ("task=dream", IMAGE, "objective=style")],
    *[((which, "images=folder"), "images.path is not set", "images.path=...")
      for which in ("task=examples", "task=dream", IMAGE, "objective=style")],
    # outputs
    (("task.animation=webm",), "task.animation is 'webm'", "gif or mp4, or null"),
    (("task.animation=gif", "task.frames=1"), "task.frames is 1", "at least 2"),
    (("task.attempts=0",), "task.attempts is 0", "a whole number from 1 on"),
    (("parameterisation.images=two",), "parameterisation.images is 'two'", "a whole number from 1 on"),
    (("task.stop=-1",), "task.stop is -1", "a share from 0 to below 1, as 0.01, or null for never"),
    (("task.importance=maybe",), "task.importance is 'maybe'", "true or false"),
    (("task=examples", "task.k=0"), "task.k is 0", "a whole number from 1 on"),
    (("task=examples", "task.images_at_once=x"), "task.images_at_once is 'x'", "a whole number from 1 on"),
    # optimisers and schedules
    (("optimizer._target_=torch.optim.LBFGS",), "optimizer: LBFGS mixes the runs of a batch", "optimizer=adam"),
    (("optimizer._target_=torch.optim.Adafactor",), "optimizer: Adafactor mixes the runs", "optimizer=adam"),
    (("task=dream", "optimizer._target_=torch.optim.LBFGS"), "optimizer: LBFGS mixes the runs", "optimizer=adam"),
    (("task=dream", "optimizer.lr=nan"), "optimizer: Invalid learning rate: nan", ""),
    (("optimizer._target_=torch.optim.Adom",), "cannot find _target_ 'torch.optim.Adom'", "torch.optim: Adam"),
    (("optimizer._target_=nowhere.Adam",), "cannot find _target_ 'nowhere.Adam'", "give a class as"),
    (("lr_scheduler._target_=torch.optim.lr_scheduler.StepLr",), "lr_scheduler.StepLr'", "lr_scheduler: StepLR"),
    (("lr_scheduler=cosin",), "no option 'cosin' in group 'lr_scheduler'", "closest: cosine"),
    (("lr_scheduler=step", "lr_scheduler.step_size=0"), "lr_scheduler: integer", "take lr_scheduler=constant"),
    (("lr_scheduler=step", "lr_scheduler.step_size=1", "lr_scheduler.gamma=x"), "lr_scheduler: ", "check its settings"),
    (("lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, _partial_: true, factor: 0.5, "
      "total_iters: null}",), "lr_scheduler: ", "take lr_scheduler=constant"),
    # options of new groups, and their numbers
    (("objective=diverse",), "no option 'diverse' in group 'objective'", "closest: diversity"),
    (("task=dreem",), "no option 'dreem' in group 'task'", "closest: dream"),
    (("transform=chain",), "a chain needs parts", "+transform@transform.parts.a=standard"),
    (("transform=crops", "transform.views=0"), "transform.views is 0", "a whole number from 1 on"),
    (("transform=crops", "transform.side=[2,1]"), "transform.side is [2, 1]", "both above 0 and at most 1"),
    (("transform=v2", "transform.transforms=[]"), "transform.transforms is empty", "take transform=none"),
    (("task=dream", "task.octaves=0"), "task.octaves is 0", "a whole number from 1 on"),
    (("task=dream", "task.scale=1"), "task.scale is 1", "above 1, and 8 at most"),
    (("task=dream", "task.space=wave"), "task.space is 'wave'", "fourier or pixel"),
    (("parameterisation=shared", "parameterisation.share=2"), "parameterisation.share is 2", "from 0 to 1"),
    # the figure of a sweep
    (("-m", "seed=1,2", "figure.sections={A: 'layer =='}"), "'A': 'layer ==' is no query", "as figure.sections={"),
    (("-m", "seed=1,2", "figure.sections=late"), "figure.sections is 'late'", "as figure.sections={"),
    (("-m", "seed=1,2", "figure.sections={Late: 3}"), "figure.sections is {'Late': 3}", "as figure.sections={"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "wrong", "next_step"), MISTAKES, ids=[" ".join(one) for one, *_ in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_to_do(folder, arguments, wrong, next_step):
    given = {line.partition("=")[0] for line in arguments}
    visualised = not any(line.startswith("task=") for line in arguments)
    quick = [line for line in QUICK if visualised and line.partition("=")[0] not in given]
    before = tree(folder)
    line = here(*arguments, *quick).error
    assert wrong in line and next_step in line
    assert len(line) < 500
    assert tree(folder) == before


def test_a_film_without_ffmpeg_is_refused_before_anything_is_drawn(folder, monkeypatch):
    before = tree(folder)
    monkeypatch.setenv("PATH", "")
    line = here(*QUICK, "task.animation=mp4").error
    assert line == "task.animation=mp4 needs ffmpeg, which is not on PATH; install it or take task.animation=gif"
    assert tree(folder) == before


def test_an_ffmpeg_that_fails_is_found_out_before_anything_is_drawn(folder, monkeypatch, tmp_path_factory):
    before = tree(folder)
    broken = tmp_path_factory.mktemp("bin") / "ffmpeg"
    broken.write_text("#!/bin/sh\necho Unknown encoder >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/usr/bin:/bin")
    line = here(*QUICK, "task.animation=mp4").error
    assert line == "ffmpeg failed: Unknown encoder; mend it or take task.animation=gif"
    assert tree(folder) == before


# --- one bad point in a sweep -------------------------------------------------------------------------------------

SWEEPS = [
    (("objective=diversity", "parameterisation.images=1,2"), "parameterisation.images", 1, "compares the images"),
    ((IMAGE, "parameterisation.size=16,[6,9]", "parameterisation.mask=mask.png"), "parameterisation.size", 16, "mask"),
    (("objective=transparency", "parameterisation=rgba,fourier"), "parameterisation", "fourier", "needs"),
    (("lr_scheduler=step", "lr_scheduler.step_size=0,1"), "lr_scheduler.step_size", 0, "integer modulo"),
    ((IMAGE, "images=folder", "images.path=mixed", "images.item=all"), "parameterisation.source.item", 1, "b.png"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "key", "bad", "reason"), SWEEPS, ids=[" ".join(one) for one, *_ in SWEEPS])
def test_one_bad_point_of_a_sweep_fails_alone(tmp_path, arguments, key, bad, reason):
    given = {line.partition("=")[0] for line in arguments}
    quick = [line for line in (*QUICK, "layer=early") if line.partition("=")[0] not in given]
    command = ("-m", *arguments, *quick, NO_SHEET, f"outputs={tmp_path}")
    swept = here(*command)
    assert swept.status == 1 and swept.err == "" and "1 failed (the same command runs them again)" in swept.out
    table = load_index(tmp_path / "default")
    assert len(table) >= 2
    for _, row in table.iterrows():
        failed = str(row[key]) in (str(bad), f"{float(bad)}" if isinstance(bad, int) else "")
        assert row.status == ("failed" if failed else "ok")
        assert (reason in str(row.error)) == failed
        assert failed or (tmp_path / "default" / row.image).is_file()
    assert f"{len(table) - 1} already done, 1 to do" in here(*command, "sweep.dry_run=true").out


def test_a_section_of_no_column_loses_no_result_and_is_corrected_by_the_next_command(tmp_path):
    command = ("-m", *QUICK, "objective.channel=1,2", f"outputs={tmp_path}")
    wrong = here(*command, "figure.sections={Early: \"layr == 'early'\"}")
    assert wrong.status == 0 and len(load_index(tmp_path / "default")) == 2
    assert "figure: none (figure.sections, 'Early': name 'layr' is not defined; columns like it: layer" in wrong.out
    right = here(*command, "figure.sections={Late: \"layer == 'late'\"}")
    assert right.status == 0 and "nothing to do: every run has its result" in right.out
    (figure,) = (tmp_path / "default" / "figures").glob("*.png")
    assert f"figure: {figure}" in right.out
    assert "figure" not in here(*command, "figure.sections={Late: \"layer == 'late'\"}").out


def test_a_dotted_column_is_named_as_it_was_written(tmp_path):
    command = ("-m", *QUICK, "objective.channel=1,2", f"outputs={tmp_path}")
    wrong = here(*command, "figure.sections={Few: '`objective.chanel` == 1'}")
    assert "name 'objective.chanel' is not defined; columns like it: objective.channel" in wrong.out
