"""The library needs neither Hydra nor pandas; the runner needs torch only to execute."""

import ast
from pathlib import Path

import pytest
from command_line import PROJECT, python

LIBRARY = sorted(path.stem for path in (PROJECT / "interpret_runs").glob("*.py") if path.stem != "__init__")
FOREIGN = ("hydra", "omegaconf", "pandas")
EXECUTING = ("devices", "execute", "layout", "objects", "provenance", "tasks", "throughput")
RUNNER = sorted(path.stem for path in (PROJECT / "interpret_runs" / "runner").glob("*.py") if path.stem != "__init__")

# Imports each named module alone among its like, and prints the name with the foreign modules it brought.
IMPORTS = """
import sys
foreign, modules = sys.argv[1].split(","), sys.argv[2:]
for module in modules:
    for name in [name for name in sys.modules if name.partition(".")[0] == "interpret_runs"]:
        del sys.modules[name]
    __import__(module)
    print(module, *[name for name in foreign if name in sys.modules])
"""


def brought(modules: list[str], foreign: tuple[str, ...]) -> dict[str, list[str]]:
    """Which of `foreign` each module brings into a fresh interpreter (or one before it did)."""
    done = python(IMPORTS, ",".join(foreign), *modules)
    assert done.status == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    return {name: found for name, *found in rows}


def test_the_library_imports_neither_hydra_nor_pandas():
    modules = ["interpret_runs", *(f"interpret_runs.{name}" for name in LIBRARY)]
    assert brought(modules, FOREIGN) == {module: [] for module in modules}


def test_the_test_for_foreign_imports_can_fail():
    assert brought(["interpret_runs.runner.compose"], FOREIGN)["interpret_runs.runner.compose"] == [
        "hydra",
        "omegaconf",
    ]


def test_planning_imports_no_torch():
    modules = [f"interpret_runs.runner.{name}" for name in RUNNER if name not in EXECUTING]
    assert brought(modules, ("torch",)) == {module: [] for module in modules}


def test_the_test_for_torch_can_fail():
    assert brought(["interpret_runs.runner.devices"], ("torch",)) == {"interpret_runs.runner.devices": ["torch"]}


def test_importing_the_package_imports_nothing():
    assert brought(["interpret_runs"], ("torch", "numpy", "PIL", *FOREIGN)) == {"interpret_runs": []}


def imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {alias.name for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names}
    return names | {one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}


@pytest.mark.parametrize("module", LIBRARY)
def test_the_library_never_imports_the_runner(module):
    """Not even inside of a function."""
    names = imported(PROJECT / "interpret_runs" / f"{module}.py")
    assert not [name for name in names if name.startswith("interpret_runs.runner") or name.partition(".")[0] in FOREIGN]


def test_run_py_only_starts_the_app():
    assert imported(PROJECT / "run.py") == {"interpret_runs.runner.app"}


@pytest.mark.parametrize(
    "name",
    ["VisionModel", "AttributionMap", "read_map", "Schedule", "load", "load_index", "score", "visualise"],
)
def test_what_a_notebook_needs_is_exported(name):
    import interpret_runs

    assert name in interpret_runs.__all__
    assert getattr(interpret_runs, name).__name__ == name


def test_the_function_is_exported_whatever_was_imported_before():
    done = python("from interpret_runs import Schedule, visualise; print(callable(visualise))")
    assert done.out == "True\n"


def test_what_is_not_exported_is_an_attribute_error():
    import interpret_runs

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = interpret_runs.nothing
