"""The command line from end to end, as a person meets it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import NO_SHEET, PROJECT, QUICK, apart, essentials, here, python, records, said, the_run, tree
from PIL import Image

from interpret_runs import load_index
from interpret_runs.png import png_text

# Runs a command and tells, as exit status, whether it imported torch.
WATCHED = """
import runpy, sys
script, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
sys.exit(3 if "torch" in sys.modules else 0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def package(folder: Path) -> Iterator[Path]:
    """Somebody's own network, its labels and its own options."""
    (folder / "code").mkdir()
    (folder / "code" / "nets.py").write_text(
        "from torch import nn\n"
        "def make_net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    (folder / "labels.txt").write_text("cat\ndog\nfish\n")
    (folder / "own" / "model").mkdir(parents=True)
    (folder / "own" / "model" / "mine.yaml").write_text(
        "defaults:\n  - custom\n  - _self_\nname: mine\nfactory: nets:make_net\nlabels: labels.txt\ninput_size: 16\n"
    )
    yield folder / "code"


def test_one_command_draws_one_picture_and_says_where(folder):
    done = here(*QUICK)
    assert done.status == 0 and done.err == ""
    path = done.out.splitlines()[-1]
    assert path == f"outputs/default/runs/{the_run(*QUICK).id}/image.png"
    with Image.open(path) as image:
        assert image.size == (16, 16)
    assert essentials(png_text(path))["run_id"] == the_run(*QUICK).id
    assert {one.partition("/")[0] for one in tree(folder)} == {"outputs"}
    assert len(load_index("outputs/default")) == 1


def test_the_same_run_again_prints_the_same_path(folder):
    first = here(*QUICK)
    before = tree(folder)
    again = here(*QUICK)
    assert again.status == 0
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    assert "already done; sweep.rerun=all runs it again" in again.out
    assert tree(folder) == before and len(records()) == 1
    assert here(*QUICK, "sweep.rerun=all").status == 0 and len(records()) == 2


def test_a_run_and_a_sweep_share_one_store():
    here(*QUICK, "layer=early", "objective.channel=1")
    done = here("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=0,1,2")
    assert "1 already done" in done.out
    assert len(load_index("outputs/default")) == 3


def test_name_and_outputs_say_where(folder):
    done = here(*QUICK, "layer=early", "name=mine", "outputs=some/where")
    assert done.out.splitlines()[-1].startswith("some/where/mine/runs/")
    assert {one for one in tree(folder) if "/" not in one} == {"some"}


def test_a_dry_run_of_one_run_writes_nothing(folder):
    done = here(*QUICK, "sweep.dry_run=true")
    assert done.status == 0 and "plan: 1 run, 1 to do in 1 batch " in done.out
    assert tree(folder) == set()


def test_an_attribution_says_what_the_network_says():
    done = here("task=attribute", "attribution=saliency", "objective=logit", "objective.target=top1", "images.item=3")
    assert done.status == 0
    (record,) = records()
    assert f"the network says {record['metrics']['predicted']}" in done.out
    assert done.out.splitlines()[-1].endswith("overlay.png")


def test_a_picture_smaller_than_the_network_takes_is_drawn_all_the_same():
    """The head refuses it, so there is nothing that the network says; the layer asked for does not."""
    done = here("layer=early", "task.steps=2", "parameterisation.size=4", "transform=none")
    assert (done.status, done.err) == (0, "")
    assert "the network says" not in done.out and Path(done.out.splitlines()[-1]).is_file()


def test_random_weights_are_warned_of_in_one_line():
    done = here(*QUICK, "layer=early", "model.weights=null", "model.seed=3")
    assert done.status == 0
    assert done.err == "warning: shapes has random weights (model.weights=null, model.seed=3)\n"


def test_layers_are_listed(folder):
    done = here("task=layers")
    assert done.status == 0 and tree(folder) == set()
    for alias in ("early", "middle", "late", "logits"):
        path = the_run(f"layer={alias}").config["objective"]["layer"] if alias != "logits" else "logits"
        assert any(path in line and alias in line for line in done.out.splitlines())
    assert "12 classes" in done.out


def test_a_value_that_stands_for_many_runs_asks_for_a_sweep(folder):
    assert here(*QUICK, "layer=early", "objective.channel=all").error == "this is 64 runs: add -m to sweep"
    assert tree(folder) == set()


def test_anyones_network_from_anyones_folder(folder, package):
    """A factory on PYTHONPATH and an option from --config-dir, in a process of its own."""
    command = ("--config-dir", "own", "model=mine", "objective=logit", "objective.target=fish", *QUICK)
    done = said(apart(folder, *command, environment={"PYTHONPATH": str(package)}))
    assert done.status == 0, done.err
    (record,) = records()
    assert record["unit"] == "fish" and record["config"]["model"]["name"] == "mine"
    assert record["choices"]["model"] == "mine"
    assert done.err == (
        "warning: mine has the weights that its factory gives it, random weights unless it loads some "
        "(model.weights=null, model.seed=0)\n"
    )


def test_a_factory_is_found_in_a_notebooks_process_too(package, monkeypatch):
    monkeypatch.syspath_prepend(package)
    done = here(
        "model=custom",
        "model.factory=nets:make_net",
        "model.input_size=16",
        *QUICK,
        "layer.path='1'",
        "objective.channel=3",
    )
    assert done.status == 0, done.err
    wrong = here("model=custom", "model.factory=nets:make_nets", *QUICK)
    assert "no function 'make_nets' in nets; closest: make_net" in wrong.error


def test_every_spelling_finds_the_run_that_is_done():
    here(*QUICK, "objective.channel=3")
    for other in (
        ("layer=late",),
        ("layer.path=features/20",),
        ("parameterisation.size=[16,16]",),
        ("compute.device=cpu",),
    ):
        assert "already done" in here(*QUICK, "objective.channel=3", *other).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--help",), "Groups (choose with group=option)"),
        (("--cfg", "job"), "objective:"),
        (("--cfg", "job", "--resolve"), "objective:"),
        (("--cfg", "hydra", "--package", "hydra.sweeper"), "GridSweeper"),
        (("--info", "defaults"), "objective/channel"),
        (("--info", "defaults-tree", "+experiment=quickstart"), "experiment: quickstart"),
        (("--info", "searchpath"), "pkg://interpret_runs.conf"),
        (("--info", "config"), "objective:"),
        (("--info", "plugins"), "GridSweeper"),
        (("--info", "all"), "GridSweeper"),
        (("-sc", "install=bash"), "hydra_bash_completion"),
        (("task.steps=2", "parameterisation.size=16", "sweep.dry_run=true"), "plan: 1 run,"),
        (("-m", "objective.channel=range(0,64)", "sweep.dry_run=true"), "plan: 64 runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_computes_nothing_imports_no_torch(arguments, says):
    the_run()  # makes the summary known, as a first command does
    done = python(WATCHED, str(PROJECT / "run.py"), *arguments)
    assert done.status == 0, done.err
    assert says in done.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("parameterisation=", {"parameterisation=fourier", "parameterisation=pixel"}),
        ("+experiment=quick", {"+experiment=quickstart"}),
        ("objective.c", {"objective.channel="}),
        ("sweep.", {"sweep.dry_run=", "sweep.zip.", "sweep.exclude."}),
    ],
)
def test_completion_imports_no_torch(monkeypatch, typed, offered):
    line = f"python run.py {typed}"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    done = python(WATCHED, str(PROJECT / "run.py"), "-sc", "query=bash")
    assert done.status == 0, done.err
    assert offered <= set(done.out.split())


def test_a_run_that_is_done_is_shown_without_torch():
    here(*QUICK)
    done = python(WATCHED, str(PROJECT / "run.py"), *QUICK)
    assert done.status == 0, done.err
    assert "already done" in done.out


def test_the_watch_for_torch_can_fail(folder):
    (folder / "script.py").write_text("import torch")
    assert python(WATCHED, str(folder / "script.py")).status == 3


def test_help_names_groups_and_examples():
    shown = here("--help").out
    for text in ("python run.py +experiment=quickstart", "parameterisation: ", "sweep.dry_run=true", "--hydra-help"):
        assert text in shown


def test_a_sweep_over_models_shows_a_table_of_each():
    done = here("-m", "task=layers", "model=shapes,squeezenet1_0", "seed=0,1")
    assert done.status == 0, done.err
    assert done.out.count("layers for") == 2 and "features.12.expand3x3" in done.out


def test_a_factory_is_found_in_the_folder_where_the_command_is_typed(folder):
    (folder / "mine.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    done = said(
        apart(folder, "model=custom", "model.factory=mine:make", "layer.path='1'", "objective.channel=3", *QUICK)
    )
    assert done.status == 0, done.err
