"""Settings of the documentation site: ``sphinx-build -W docs build/site`` after ``pip install -e '.[docs]'``."""

import re

from interpret_runs import __version__

project = "interpret-runs"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

nb_execution_mode = "off"  # tests/test_tutorials.py runs them
myst_heading_anchors = 3  # so that a link to a heading that is not there is a warning

default_role = "code"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the signatures have them


def _plain(_app: object, what: str, _name: str, _found: object, _options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: stars and bars outside of these mean nothing."""
    if what in ("attribute", "property"):
        lines.insert(0, "")  # else napoleon takes what stands before a colon for a type
    lines[:] = [re.sub(r"(`+[^`]*`+)|([*|])", lambda found: found[1] or f"\\{found[2]}", line) for line in lines]


def setup(app: object) -> None:
    app.connect("autodoc-process-docstring", _plain, priority=400)  # type: ignore[attr-defined]  # before napoleon's 500
