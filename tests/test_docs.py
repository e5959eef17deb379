"""README and documentation: commands are planned or run, Python blocks run, links lead somewhere, the site builds."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import NO_SHEET, PROJECT, QUICK, here, planned
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pages import blocks, links
from PIL import Image

from interpret_runs import load, load_index, notebook
from interpret_runs.images import Shapes, to_pil
from interpret_runs.parameterisations import Fourier
from interpret_runs.runner import notebook as sweeps
from interpret_runs.schedule import Schedule
from interpret_runs.shapes_network import ShapesNetwork
from interpret_runs.visualisation import visualise

sys.path.append(str(PROJECT / "scripts"))
import make_gallery_pictures as gallery

DOCS = PROJECT / "docs"
# Of the pages that are not made from docstrings or a list of commands.
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PAGES.remove(gallery.PAGE)
# What stands for anything and is no command by itself, and commands that tests/test_conf.py reads.
STANDS_IN = ("...", "<name>", "OPTIONS", "--config-dir DIR", "--help")
# Commands that are composed, not planned, by what they contain, with where they are run instead.
COMPOSED = {
    "+experiment=search": "has no plan: what is tried next depends on what was found; tests/test_search.py",
    "task=reproduce": "tests/test_reproduction.py",
    "task=export": "tests/test_reproduction.py",
}
# What stands for a reader's own, where a file or folder of that name will not do.
STANDS_FOR = {"parameterisation.statistics=FILE": "parameterisation.statistics=statistics.safetensors"}
# Settings of a cluster, without which such a command is planned here; with them, tests/slurm runs it.
CLUSTER = ("hydra/launcher=slurm", "hydra.launcher.")
# Commands that need weights: planned with none.
DOWNLOADED = ("model=vgg11", "model=resnet50", "model=squeezenet1_0", "model=vit_b_16")
# Tasks over a store, which are done rather than planned.
OVER_A_STORE = ("status", "verify", "gallery", "figure", "sheet", "layers")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: a few photographs, a network, small stores."""
    folder = tmp_path_factory.mktemp("docs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _own_files(folder)
        _stores()
    finally:
        os.chdir(before)
    return folder


def _stores() -> None:
    """What the pages' sweeps leave behind, only smaller."""
    channels = (*QUICK, "objective.channel=5,12", "layer=middle,late")
    maps = ("task=attribute", "objective=logit", "objective.target=top1", "images.item=0,1")
    for name, *settings in (
        ("grid", *channels, "parameterisation=fourier,pixel"),
        ("quickstart", *channels, "parameterisation=fourier,pixel"),
        ("quickstart", *channels, "transform=none"),
        ("quickstart", *maps, "attribution=saliency,grad_cam"),
    ):
        done = here("-m", f"name={name}", NO_SHEET, *settings)
        assert done.status == 0, done.err
    for name in ("late", "NAME"):
        shutil.copytree("outputs/grid", f"outputs/{name}")
    said = here("task=statistics", "images=folder", "images.path=DIR", "name=statistics").out
    shutil.copy(said.splitlines()[-1], "statistics.safetensors")


def _own_files(folder: Path) -> None:
    photograph = to_pil(Shapes(3)(load("shapes").preprocessing).pixels)
    (folder / "DIR").mkdir()
    for name in ("photo.jpg", "dog.jpg", "DIR/a.jpg", "DIR/b.jpg"):
        photograph.save(folder / name)
    photograph.save(folder / "FILE", "PNG")
    Image.new("L", photograph.size, 255).save(folder / "MASK", "PNG")
    package = folder / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(
        "from interpret_runs.shapes_network import ShapesNetwork\n\n\ndef make_net():\n    return ShapesNetwork(2)\n"
    )
    torch.save(ShapesNetwork(2).state_dict(), folder / "net.pth")
    (folder / "labels.txt").write_text("cat\ndog\n")


@pytest.fixture
def desk(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `prepared` as the current folder, where nothing can be downloaded."""
    folder = tmp_path / "desk"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(torch.hub, "download_url_to_file", _refuse)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a command of the documentation downloads while it is planned")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_can_be_typed(page, desk, monkeypatch):
    _quick(monkeypatch)
    names: dict[str, Any] = {"network": load("shapes").network}
    for block in blocks(page):
        if block.file is not None:
            (desk / block.file).parent.mkdir(parents=True, exist_ok=True)
            (desk / block.file).write_text(block.text)
        elif block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)
        elif block.language == "python" and page.stem != "CONTRIBUTING":  # which shows a part of a module
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "":
            for command in block.commands:
                _typed(command)


def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks do what they say at 16 pixels and in two steps."""
    monkeypatch.setattr(
        notebook,
        "visualise",
        lambda model, objective: visualise(
            model, notebook.objective_of(objective, model.summary), Fourier(16), schedule=Schedule(2)
        ),
    )
    small = (*QUICK, "compute.per_device=0", NO_SHEET)
    monkeypatch.setattr(sweeps, "sweep", partial(_smaller, sweeps.sweep, small))


def _smaller(sweep: Any, more: tuple[str, ...], overrides: list[str]) -> Any:
    return sweep([*overrides, *more])


def _typed(command: tuple[str, ...]) -> None:
    """Do what a command says where that is quick; else plan it, or at least compose it."""
    text = " ".join(command)
    if any(part in text for part in STANDS_IN):
        return
    words = [STANDS_FOR.get(word, word) for word in command if not word.startswith(CLUSTER)]
    if any(word in DOWNLOADED for word in words):
        words = [*(word for word in words if not word.startswith("model.weights")), "model.weights=null"]
    if any(part in text for part in COMPOSED):
        if "search" in text and importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
            return
        done = here("--cfg", "job", *words)
    elif any(f"task={name}" in words for name in OVER_A_STORE):
        done = here(*words)
    elif "RUN_ID" in text:
        done = here(*(word.replace("RUN_ID", load_index("outputs/NAME")["run_id"][0]) for word in words))
    elif "--config-dir" in words or "model.factory=nets:make_net" in words:
        done = here(*words, *([NO_SHEET] if "-m" in words else []), *([] if "task=" in text else QUICK))
    elif _is_planned(words):
        return
    else:
        done = here(*(["-m"] if "-m" not in words and "+experiment=" not in text else []), *words, "sweep.dry_run=true")
    assert done.status == 0, f"{text}\n{done.err}"


def _is_planned(words: list[str]) -> bool:
    """Whether a plain grid is composed and closed by what the command line calls, in a fraction of its time."""
    if any(word.startswith(("+experiment=", "sweep.", "hydra", "--")) for word in words):
        return False
    try:
        return len(planned(*(word for word in words if word != "-m"))) > 0
    except (HydraException, OmegaConfBaseException, ValueError, LookupError, TypeError, OSError):
        return False  # the command line has the last word


@pytest.mark.parametrize("group", gallery.TABLES)
def test_the_gallery_shows_every_option_with_a_small_picture(group):
    told = gallery.TABLES[group][2]
    assert sorted(told) == sorted(path.stem for path in (PROJECT / "conf" / group).glob("*.yaml"))
    pictures = {path.stem for path in gallery.PICTURES.glob(f"{group}-*.webp")}
    assert pictures == {f"{group}-{option}" for option in gallery.shown(group)}


def test_the_pictures_are_small_and_show_something():
    sizes = {path.name: path.stat().st_size for path in gallery.PICTURES.iterdir()}
    assert max(sizes.values()) <= 12_500 and sum(sizes.values()) <= 1_000_000
    for name in sizes:
        with Image.open(gallery.PICTURES / name) as picture:
            low, high = picture.convert("L").getextrema()
        assert high - low > 20, f"{name} is of one colour"


def test_the_gallery_page_is_made_from_its_list_and_the_docstrings():
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page(), (
        "run: python scripts/make_gallery_pictures.py --text-only"
    )
    typed = [list(command) for block in blocks(gallery.PAGE) for command in block.commands]
    assert typed == [gallery.overrides(group, option) for group in gallery.TABLES for option in gallery.shown(group)]


@pytest.mark.parametrize(
    ("group", "option"),
    [
        (group, option)
        for group, table in gallery.TABLES.items()
        for option, asked in table[2].items()
        if asked is not None
    ],
)
def test_a_command_of_the_gallery_is_one_run_of_what_it_shows(group, option):
    (run,) = planned(*gallery.overrides(group, option))
    assert f"'{gallery.target(group, option)}'" in str(run.config[group])


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "CHANGELOG.md", gallery.PAGE], ids=lambda page: page.stem)
def test_links_of_a_page_lead_to_files(page):
    for link in links(page):
        assert (page.parent / link.partition("#")[0]).exists(), link


def test_commands_are_found_wherever_they_are_typed(tmp_path):
    (tmp_path / "page.md").write_text(
        "Say `python run.py a=1` or\n\n```\npip install x && python run.py -m 'b=c d' \\\n    e=2   # why\n"
        "interpret-runs f=3\n```\n\n```python\nprint('`python run.py no=1`')\n```\n"
    )
    found = [command for block in blocks(tmp_path / "page.md") if block.language == "" for command in block.commands]
    assert found == [("a=1",), ("-m", "b=c d", "e=2"), ("f=3",)]


def test_a_command_that_cannot_be_typed_would_fail(desk):
    with pytest.raises(AssertionError, match="no option 'watercolour'|watercolour"):
        _typed(("parameterisation=watercolour",))


def _sphinx(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder, warnings as errors."""
    missing = [name for name in ("sphinx", "myst_nb", "furo") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install '.[docs]'")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        str(site / "cache"),
        str(source),
        str(site),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_documentation_builds_without_warnings(tmp_path):
    done = _sphinx(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    objectives = (tmp_path / "reference" / "objectives.html").read_text()
    assert "interpret_runs.objectives.Channel" in objectives and "Mean activation of one channel" in objectives
    for page in tmp_path.rglob("*.html"):
        assert 'src="http' not in page.read_text(), f"{page.name} asks another host"


def test_a_link_that_leads_nowhere_would_fail_the_build(tmp_path):
    (tmp_path / "conf.py").write_text((DOCS / "conf.py").read_text())
    (tmp_path / "index.md").write_text("# A page\n\n[there](index.md#nowhere)\n")
    done = _sphinx(tmp_path, tmp_path / "site")
    assert done.returncode != 0 and "nowhere" in done.stderr
