"""The tutorial notebooks run from top to bottom, offline, and are kept without their outputs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import PROJECT

TUTORIALS = sorted((PROJECT / "docs" / "tutorials").glob("*.ipynb"))


def executed(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook as it stands once a kernel of its own has run it in `folder`; its first error is raised."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    resources = {"metadata": {"path": str(folder)}}
    return client(nbformat.read(notebook, 4), timeout=600, kernel_name="python3", resources=resources).execute()


def shown(notebook: Any, kind: str) -> int:
    """How many outputs have data of a kind."""
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    return sum(kind in one.get("data", {}) for one in outputs)


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_without_errors(notebook, tmp_path, monkeypatch):
    done = executed(notebook, tmp_path, monkeypatch)
    assert shown(done, "image/png") >= 5, "objects did not show themselves"
    said = "".join(one.text for cell in done.cells for one in cell.get("outputs", ()) if one.output_type == "stream")
    assert "warning" not in said.lower() and "\x1b" not in said, said


def test_an_error_in_a_tutorial_would_fail_the_test(tmp_path, monkeypatch):
    cells = json.loads(TUTORIALS[0].read_text(encoding="utf-8"))
    code = next(cell for cell in cells["cells"] if cell["cell_type"] == "code")
    broken = tmp_path / "broken.ipynb"
    broken.write_text(
        json.dumps({**cells, "cells": [{**code, "source": ["import interpret_runs\ninterpret_runs.gone"]}]})
    )
    with pytest.raises(Exception, match="has no attribute 'gone'"):
        executed(broken, tmp_path, monkeypatch)


def test_there_are_tutorials_for_both_tasks():
    assert [path.stem for path in TUTORIALS] == ["attribution_and_sweeps", "visualisation"]


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_kept_without_outputs_and_links_to_files_that_exist(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "strip the outputs before committing"
        for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
            assert "://" in link or (notebook.parent / link).exists(), link
