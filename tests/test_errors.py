"""A user's mistake is one line that says what to do; nothing is written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command_line import NO_SHEET, QUICK, apart, here, said, tree
from PIL import Image
from safetensors.torch import save_file

from interpret_runs import memory
from interpret_runs.models import load

ATTRIBUTE = ("task=attribute", "attribution=saliency", "objective=logit", "objective.target=top1")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with files that are wrong in every way; no test writes anything."""
    folder = tmp_path_factory.mktemp("errors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _fill()
        yield folder


def _fill() -> None:
    state = load("shapes").network.state_dict()
    save_file(state, "right.safetensors")
    Path("corrupt.safetensors").write_bytes(Path("right.safetensors").read_bytes()[:1000])
    Path("corrupt.pth").write_bytes(b"\x80\x02not a pickle")
    save_file({**state, "head.weight": torch.zeros(3, 3)}, "shape.safetensors")
    save_file({"other.weight": torch.zeros(3)}, "other.safetensors")
    torch.save({"a": object}, "unsafe.pth")
    Image.new("RGB", (8, 8), "red").save("right.png")
    Path("cut.png").write_bytes(Path("right.png").read_bytes()[:40])
    Path("text.png").write_text("this is not an image")
    Path("empty.png").touch()
    Path("empty").mkdir()
    Path("labels.txt").write_text("cat\ndog\n")


MISTAKES = [
    # what there is to choose
    (("objective=chanel",), "no option 'chanel' in group 'objective'; closest: channel"),
    (("parameterisation=fourrier",), "closest: fourier"),
    (("objectiv=channel",), "no key or group 'objectiv'; closest: objective"),
    (("objective.chanel=3",), "no key or group 'objective.chanel'; closest: objective.channel"),
    (("task.step=3",), "no key or group 'task.step'; closest: task.steps"),
    (("objective=logit", "objective.channel=3"), "no key or group 'objective.channel'; closest: objective.target"),
    (("~objective.weight",), "no key or group 'objective.weight'"),
    (("experiment=quickstart",), "add it with +experiment=OPTION"),
    (("+experiment=nothing",), "no option 'nothing' in group 'experiment'; closest: "),
    (("channel",), "cannot read 'channel'"),
    (("objective.target='striped",), "cannot read"),
    (("name=${nothing}",), "nothing"),
    # what the network has
    (("layer.path=features.99",), "no layer 'features.99' in shapes; closest: features"),
    (("objective.channel=128",), "channel 128 is out of range: layer 'features.20' has channels 0 to 127"),
    (("objective.channel=-1",), "channel -1 is out of range"),
    (("objective.channel=some",), "channel 'some' is not a whole number"),
    (("objective=neuron", "objective.row=99", "objective.column=0"), "row 99 is out of range"),
    (("objective=direction", "objective.direction=[1,2]"), "direction has 2 numbers, but layer 'features.20' has 128"),
    (("objective=direction",), "objective.direction is not set"),
    (("objective=logit", "objective.target=12"), "class 12 is out of range: shapes has classes 0 to 11"),
    (("objective=logit", "objective.target=plane_disc"), "no class 'plane_disc' in shapes; closest: plain disc"),
    (("objective=logit", "objective.target=top1"), "objective.target=top1 or label needs an image"),
    (("objective=sum",), "a sum needs terms; add one with +objective@objective.terms.a=channel"),
    (("objective=sum", "+objective@objective.terms.a=l2", "objective.weights.b=1"), "weight 'b' has no term; terms: a"),
    # models and weights
    (("model=custom", "model.factory=nowhere:net"), "cannot import model.factory 'nowhere:net'"),
    (("model=custom", "model.factory=torch.nn:Lineer"), "no function 'Lineer' in torch.nn; closest: Linear"),
    (("model=custom", "model.factory=builtins:dict"), "'builtins:dict' returned dict, not a torch.nn.Module"),
    (("model=custom",), "model.factory is not set"),
    (("model=torchvision", "model.name=vgg12"), "no model 'vgg12'; closest: vgg1"),
    (("model=resnet18", "model.weights=IMAGENET"), "no weights 'IMAGENET' for resnet18; it has IMAGENET1K_V1"),
    (("model.weights=IMAGENET1K_V1",), "no weights 'IMAGENET1K_V1' for shapes; it has DEFAULT, null or a file"),
    (("model.weights=missing.safetensors",), "model.weights=missing.safetensors: no such file"),
    (("model.weights=empty/",), "model.weights=empty/ is a folder, not a file"),
    (("model.weights=corrupt.safetensors",), "corrupt.safetensors cannot be read as weights"),
    (("model.weights=corrupt.pth",), "corrupt.pth cannot be read as weights"),
    (("model.weights=unsafe.pth",), "unsafe.pth cannot be read as weights"),
    (("model.weights=shape.safetensors",), "not of this network: 'head.weight' is [3, 3], not [12, 128]"),
    (("model.weights=other.safetensors",), "other.safetensors is not of this network"),
    (("model=resnet18", "model.weights=right.safetensors"), "right.safetensors is not of this network"),
    (("model.labels=labels.txt",), "2 labels for the 12 classes of shapes"),
    (("model.labels=missing.txt",), "model.labels=missing.txt: no such file"),
    (("model.mean=[1]",), "model.mean has 1 numbers; it needs three"),
    (("model.layers.late=nowhere",), "no layer 'nowhere'"),
    # images
    ((*ATTRIBUTE, "images=file"), "images.path is not set"),
    ((*ATTRIBUTE, "images=file", "images.path=missing.png"), "images.path=missing.png: no such file"),
    ((*ATTRIBUTE, "images=file", "images.path=cut.png"), "'cut.png' is not an image"),
    ((*ATTRIBUTE, "images=file", "images.path=empty.png"), "'empty.png' is not an image: the file is empty"),
    ((*ATTRIBUTE, "images=file", "images.path=text.png"), "'text.png' is not an image: its content is of no known"),
    ((*ATTRIBUTE, "images=file", "images.path=empty"), "images.path=empty is a folder"),
    ((*ATTRIBUTE, "images=folder", "images.path=empty"), "no image in folder 'empty'"),
    ((*ATTRIBUTE, "images=folder", "images.path=missing"), "no folder 'missing'"),
    ((*ATTRIBUTE, "images=folder", "images.path=right.png"), "is a file, not a folder"),
    ((*ATTRIBUTE, "images=folder", "images.path=.", "images.item=9"), "image 9 is out of range"),
    ((*ATTRIBUTE, "images=folder", "images.path=.", "images.item=rihgt.png"), "closest: right.png"),
    ((*ATTRIBUTE, "images.item=-1"), "images.item is -1"),
    ((*ATTRIBUTE, "images.split=dev"), "dev"),
    # attribution
    (("task=attribute", "attribution=grad_cam", "attribution.layer=features.20", "layer=early"), "not upstream of"),
    (("task=attribute", "attribution=grad_cam", "attribution.layer=nowhere"), "no layer 'nowhere'"),
    ((*ATTRIBUTE, "attribution=integrated_gradients", "attribution.steps=0"), "attribution.steps is 0"),
    ((*ATTRIBUTE, "attribution=integrated_gradients", "attribution.baseline=grey"), "it is black, white, mean, blur,"),
    # numbers
    (("task.steps=0",), "task.steps is 0; it must be a whole number from 1 on"),
    (("task.steps=-3",), "task.steps is -3"),
    (("task.steps=2.5",), "task.steps is 2.5"),
    (("task.steps=many",), "task.steps is 'many'"),
    (("task.snapshots=[9]",), "snapshot at step 9; steps are 1 to 2"),
    (("task.snapshots=3",), "task.snapshots is 3; it is a list of steps"),
    (("parameterisation.size=0",), "size [0, 0] is not a positive number of pixels"),
    (("parameterisation.size=-8",), "size [-8, -8] is not a positive number of pixels"),
    (("parameterisation.size=[8]",), "size [8] is not a positive number of pixels"),
    (("parameterisation.size=8.5",), "size 8.5 is not a positive number of pixels"),
    (("parameterisation.size=big",), "size 'big' is not a positive number of pixels"),
    (("parameterisation.images=0",), "parameterisation.images is 0; it must be a whole number from 1 on"),
    (("transform.size=0",), "size"),
    (("transform.scale=[1,0]",), "transform.scale is [1, 0]"),
    (("optimizer.lr=nan",), "optimizer: Invalid learning rate: nan"),
    (("optimizer.lr=-1",), "optimizer: Invalid learning rate: -1"),
    (("optimizer.lr=fast",), "optimizer"),
    (("+optimizer.speed=3",), "optimizer"),
    (("seed=null",), "seed is None; it is a whole number"),
    (("seed=1.5",), "seed is 1.5; it is a whole number"),
    # machine
    (("compute.device=tpu",), "no device 'tpu'"),
    (("compute.device=cpu:7",), "no device"),
    (("compute.precision=float16",), "compute.precision is 'float16'; it is float32 or bfloat16"),
    (("compute.batch_size=0",), "compute.batch_size is 0; it is auto or a whole number from 1 on"),
    (("compute.per_device=foo",), "compute.per_device is 'foo'; it is a number of worker processes, or 0"),
    (("compute.time_limit=soon",), "compute.time_limit is 'soon'; it is seconds above 0, or null"),
    (("-m", "seed=0,1", "compute.time_limit=-3"), "compute.time_limit is -3; it is seconds above 0, or null"),
    (("outputs=right.png",), "cannot write to right.png/default"),
    (("outputs=/proc/nothing",), "cannot write to /proc/nothing/default"),
    (("name=a/b",), "name='a/b' is not the name of a folder"),
    (("name=''",), "name='' is not the name of a folder"),
    # sweeps
    (("-m", "seed=range(0,0)"), "seed=range(0,0) has no values"),
    (("-m", "seed=interval(0,1)"), "an interval has no end of values"),
    (("-m", "name=a,b"), "name cannot be swept: it is not part of what a run is"),
    (("-m", "compute.device=cpu,cuda"), "compute.device cannot be swept"),
    (("-m", "objective.channel=1,999"), "channel 999 is out of range"),
    (("-m", "objective=channel,chanel"), "no option 'chanel' in group 'objective'; closest: channel"),
    (("-m", "seed=1,2", "task.steps=0"), "task.steps is 0"),
    (("-m", "seed=1,2", "compute.device=tpu"), "no device 'tpu'"),
    (("-m", "seed=1,2", "outputs=right.png"), "cannot write to right.png/default"),
    (("-m", "seed=1,2", "sweep.rerun=some"), "sweep.rerun is 'some'; it is one of failed, stale, none, all"),
    (("-m", "seed=1,2", "sweep.grids=[3]"), "sweep.grids holds 3; it is a list of maps"),
    (("-m", "sweep.zip=[{seed: range(0,3)}]"), "with functions in quotes: sweep.zip=[{seed: 'range(0,4)'}]"),
    (("-m", "sweep.exclude={seed: 3}"), "sweep.exclude is a list of maps, each of keys to values"),
    (("-m", "sweep.zip=[{seed: [1,2], layer: [early]}]"), "seed has 2, layer has 1"),
    (("-m", "seed=1,2", "sweep.exclude=[{sed: 1}]"), "sweep.exclude: no key or group 'sed'; closest: seed"),
    (("-m", "seed=1,2", "sweep.exclude=[{seed: [1,2]}]"), "sweep.exclude leaves no run: {seed: [1, 2]} removes 2"),
    (("-m", "objective=logit,neuron", "objective.chanel=3"), "no key or group 'objective.chanel'; closest: "),
    (("-m", "layer.path=features.2,features.99"), "no layer 'features.99'"),
    (("-m", "model.weights=corrupt.safetensors", "seed=1,2"), "corrupt.safetensors cannot be read as weights"),
    (("seed=1,2",), "seed"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "says"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_writes_nothing(folder, arguments, says):
    quick = () if any("size" in one or "steps" in one for one in arguments) else QUICK
    if "task=attribute" in arguments:
        quick = ()
    elif not any("task.steps" in one for one in arguments):
        quick = tuple({*quick, "task.steps=2"})
    before = tree(folder)
    line = here(*arguments, *quick).error  # a flag comes first
    assert says in line
    assert len(line) < 400
    assert tree(folder) == before


def test_a_size_beyond_memory_names_the_largest_that_fits(folder, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 64 * 2**20)
    before = tree(folder)
    line = here("parameterisation.size=4096", "task.steps=2").error
    assert "4096x4096 need about" in line and "the largest size that fits is" in line
    largest = line.rpartition(" is ")[2].partition("x")[0]
    assert tree(folder) == before
    assert here(f"parameterisation.size={largest}", "task.steps=1", "sweep.dry_run=true").status == 0


def test_a_gigantic_size_is_refused_on_this_machine_too():
    assert "the largest size that fits is" in here("parameterisation.size=1000000", "task.steps=2").error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_says_what_is(device):
    assert (
        f"no device '{device}' on this machine; here there are: cpu" in here(*QUICK, f"compute.device={device}").error
    )


def test_a_whole_folder_with_one_damaged_image_is_no_mistake_but_a_failed_run(tmp_path):
    done = here("-m", *ATTRIBUTE, "images=folder", "images.path=.", "images.item=all", NO_SHEET, f"outputs={tmp_path}")
    assert done.status == 1 and done.err == ""
    assert "3 failed" in done.out


def test_the_trace_comes_where_it_is_asked_for(folder):
    wished = apart(folder, "objective.channel=999", environment={"HYDRA_FULL_ERROR": "1"})
    done = said(wished)
    assert done.status != 0
    assert "Traceback" in done.err and "channel 999 is out of range" in done.err


def test_a_process_of_its_own_says_the_same(folder):
    """What the tests above call in this process is what a shell sees."""
    done = said(apart(folder, "objective=chanel"))
    assert done.status == 1
    assert "no option 'chanel' in group 'objective'; closest: channel" in done.error


def test_an_unknown_flag_is_answered_with_the_usage():
    done = here("--nothing")
    assert done.status == 2 and "unrecognized arguments: --nothing" in done.err
