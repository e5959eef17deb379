"""Where the source of anyone's own network is, and the function that makes it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import python
from torch import nn

from interpret_runs.factory import imported, source_of

NETWORK = "from torch import nn\n\n\ndef make():\n    return nn.Linear(3, {})\n"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules of one's own."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_net.py", "own_package/inner.py", "own_space/deep/net.py", "own_whole/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(NETWORK.format(2))
    (tmp_path / "own_package" / "__init__.py").touch()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("factory", "file"),
    [
        ("own_net:make", "own_net.py"),
        ("own_net:misspelt", "own_net.py"),
        ("own_package.inner:make", "own_package/inner.py"),
        ("own_space.deep.net:make", "own_space/deep/net.py"),
        ("own_whole:make", "own_whole/__init__.py"),
    ],
)
def test_the_source_of_ones_own_module_is_found_without_importing_it(factory, file, own):
    assert source_of(factory) == own / file
    assert factory.partition(":")[0] not in sys.modules


@pytest.mark.parametrize(
    "factory",
    [None, "timm", "torch.nn:Linear", "json:loads", "builtins:dict", "__main__:make", "no_such:make", ":make"]
    + ["own_net.no_such:make", "own_package.no_such:make", ".own_net:make"],
)
def test_what_is_installed_or_missing_has_no_source_of_ones_own(factory):
    assert source_of(factory) is None


def test_looking_for_source_imports_no_torch(own):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from interpret_runs.factory import source_of\n"
        "assert source_of('own_net:make') and source_of('own_package.inner:make') and 'torch' not in sys.modules"
    )
    assert python(code, str(own)).status == 0


def test_a_module_that_was_edited_is_imported_anew(own):
    assert imported("own_net:make")().out_features == 2
    assert imported("own_net:make") is imported("own_net:make")
    (own / "own_net.py").write_text(NETWORK.format(1000))
    assert imported("own_net:make")().out_features == 1000


def test_what_is_installed_is_never_imported_anew():
    assert imported("torch.nn:Linear") is nn.Linear


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("own_nett:make", r"No module named 'own_nett'; .*in the current folder or on PYTHONPATH; closest: own_net\b"),
        ("own_package.iner:make", "; closest: own_package.inner$"),
        ("own_net.inner:make", "'own_net' is not a package; .*; closest: none$"),
        ("own_broken:make", "No module named 'no_such_thing'; .* on PYTHONPATH$"),
        ("own_net:mak", "no function 'mak' in own_net; closest: make"),
    ],
)
def test_a_factory_that_is_not_there_names_those_that_are(factory, says, own):
    (own / "own_broken.py").write_text("import no_such_thing\n")
    with pytest.raises(LookupError, match=says):
        imported(factory)
