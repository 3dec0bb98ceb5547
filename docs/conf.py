"""Configuration of the documentation site: `make site`.

Its pages are the Markdown files of this repository, where they lie. Sphinx runs in an environment of its own
(requirements/site.txt) and imports the project from .venv, to read docstrings, settings, parsers and schemas.
"""

from __future__ import annotations

import re
import site
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Last, so that Sphinx's own packages come first; addsitedir reads where the project's packages are.
site.addsitedir(str(ROOT / f".venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"))
sys.path += [str(ROOT / "packages/ml_api"), str(ROOT / "scripts")]

from pygments.lexers.special import TextLexer  # noqa: E402

import reference  # noqa: E402

project = "Live predictions"
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**.md"]
include_patterns += ["packages/*/README.md", "packages/*/CHANGELOG.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "dist", "data", "packages/*/src", "packages/*/tests", "packages/ml_api/ml_api"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "Live predictions"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
html_title = "Live predictions"
html_copy_source = False
html_show_sphinx = False
# The front page of the folder leads to that of the docs.
html_additional_pages = {"index": "redirect.html"}
templates_path = ["templates"]

#: A picture in HTML, which Sphinx would not copy.
_PICTURE = re.compile(r'<img src="([^"]+)"[^>]* alt="([^"]+)">')
_GENERATED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def setup(app: Any) -> None:
    """Put what is generated in its place, and show drawings as their text."""
    app.connect("source-read", _generate)
    app.add_lexer("mermaid", TextLexer)


def _generate(_app: Any, _docname: str, source: list[str]) -> None:
    source[0] = _PICTURE.sub(r"![\2](\1)", re.sub(r"</?p>\n", "", source[0]))
    source[0] = _GENERATED.sub(lambda found: reference.PAGES[found[1]](), source[0])
