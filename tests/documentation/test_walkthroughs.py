"""The tutorial and the migrations are true: `make docs-commands` follows each in a copy of the project."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pages import blocks
from project import ROOT
from walkthrough import Clone, assert_shown

#: Page -> the environment that its old service has, beside the project's own.
WALKTHROUGHS = {
    "docs/tutorial/first-model.md": "",
    "docs/how-to/migrate-from-flask.md": "app",
    "docs/how-to/migrate-from-bentoml.md": "bentoml",
    "docs/how-to/migrate-from-mlflow.md": "mlflow",
}
TUTORIAL = ROOT / "docs/tutorial/first-model.md"
#: A tutorial's app has what the tests have: Flask, pandas, scikit-learn.
ENVIRONMENTS = {"app": Path(sys.executable).parent}
ENVIRONMENTS |= {name: ROOT / f"build/doors/{name}/bin" for name in ("bentoml", "mlflow")}


@pytest.mark.parametrize("name", WALKTHROUGHS)
def test_every_command_prints_what_the_page_shows(name: str, tmp_path: Path) -> None:
    page = blocks(ROOT / name)
    with Clone(tmp_path / "clone", ("packages/flats_model/",), ENVIRONMENTS) as clone:
        if WALKTHROUGHS[name]:
            # The table that the tutorial makes.
            (table,) = [block for block in blocks(TUTORIAL) if block.file == "flats.py"]
            (clone.root / "data").mkdir(exist_ok=True)
            clone.follow([table])
            clone.run(".venv/bin/python flats.py")
        printed = clone.follow(page)
    assert_shown(page, printed)
