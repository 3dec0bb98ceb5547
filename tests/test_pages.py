"""Every block of code on a page is run by a test that is named, or marked and linted: see tests/helpers/pages.py."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import reference
from ml_api.settings import Settings
from pages import CODE, SHELL, Block, blocks, name_of, pages
from project import ROOT

#: Page -> the test that runs each of its blocks which does not say otherwise.
RUN_BY = {
    "README.md": "tests/test_readme.py",
    "docs/own-model.md": "tests/test_own_model.py",
    "docs/retraining.md": "tests/test_retrain.py",
    "docs/protocols.md": "tests/test_protocols.py",
    "docs/tutorial/first-model.md": "tests/documentation/test_walkthroughs.py",
    "docs/how-to/migrate-from-flask.md": "tests/documentation/test_walkthroughs.py",
    "docs/how-to/migrate-from-bentoml.md": "tests/documentation/test_walkthroughs.py",
    "docs/how-to/migrate-from-mlflow.md": "tests/documentation/test_walkthroughs.py",
    "packages/ml_api/README.md": "tests/test_readme.py",
    "packages/ml_client/README.md": "tests/test_readme.py",
}
ADVICE = (
    "run it in a test and name that in RUN_BY of tests/test_pages.py, or mark the fence: ```sh run by FILE-OR-TARGET, "
    "or ```sh not run here"
)
#: What a snippet may do: it is part of a session, whose other parts set and use its variables.
SHELLCHECK = ["shellcheck", "--shell=bash", "--exclude=SC2034,SC2154,SC2164,SC2155", "--format=gcc"]
PAGES = {name_of(page): page for page in pages()}
#: A command that is indented instead of fenced, which no test would see.
INDENTED = re.compile(r"^    (?:\$ )?(?:make|curl|pip|docker|kubectl|python3?|ml-api|ml-client|model-kit|git|sh) ")
PARSERS: dict[str, Callable[[str], Any]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser(interpolation=None, strict=False).read_string(text),
}


def every_block() -> list[Block]:
    return [block for page in PAGES.values() for block in blocks(page) if block.language in CODE]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_is_run_by_a_named_test_or_marked(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for block in blocks(PAGES[name]):
        if block.language not in (*SHELL, "python") or block.is_only_linted:
            continue
        where = block.note.removeprefix("run by ") if block.note.startswith("run by ") else RUN_BY.get(name)
        assert where is not None, f"{block.place}: no test runs this block; {ADVICE}"
        if where.startswith("make "):
            assert re.search(rf"^{where.removeprefix('make ')}:", makefile, re.MULTILINE), f"{block.place}: {where}"
        else:
            assert (ROOT / where).is_file(), f"{block.place}: there is no {where}; {ADVICE}"
    if name in RUN_BY:
        assert re.search(rf"{re.escape(name)}|{re.escape(Path(name).name)}", (ROOT / RUN_BY[name]).read_text("utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_no_command_hides_in_an_indented_block(name: str) -> None:
    is_fenced = False
    for number, line in enumerate(PAGES[name].read_text("utf-8").splitlines(), 1):
        is_fenced ^= line.lstrip().startswith("```")
        assert is_fenced or not INDENTED.match(line), f"{name}:{number}: use a fence, ```sh; {ADVICE}"


def test_every_block_parses() -> None:
    for block in every_block():
        if block.language in PARSERS:
            try:
                PARSERS[block.language](block.text)
            except (ValueError, SyntaxError, yaml.YAMLError, configparser.Error) as error:
                pytest.fail(f"{block.place}: no {block.language}: {error}")


def test_every_command_is_sound_shell(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    places = {}
    for number, block in enumerate(block for block in every_block() if block.is_shell):
        (tmp_path / f"{number}.sh").write_text(block.text)
        places[f"{number}.sh"] = block.place
    done = subprocess.run([*SHELLCHECK, *places], cwd=tmp_path, capture_output=True, text=True, check=False)
    faults = [
        f"{places[name]}, line {rest}" for name, _, rest in (line.partition(":") for line in done.stdout.splitlines())
    ]
    assert not faults, "\n".join(faults)
    assert done.returncode == 0, done.stderr


def test_readme_is_short_and_begins_with_the_picture() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) < 120
    assert 'src="docs/images/page.png"' in lines[1]


def test_generated_settings_are_those_that_the_api_describes() -> None:
    """But for the two that model packages read."""
    described = set(
        re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", PAGES["packages/ml_api/README.md"].read_text(), re.MULTILINE)
    )
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)", reference.settings(), re.MULTILINE))
    assert set(rows) == described - {"MODEL_DIR", "MODEL_SHA256"}
    assert rows["PORT"].startswith("`5000` | a whole number from 1 to 65535 | TCP port to listen on")
    assert f"`{Settings.max_rows}` |" in rows["MAX_ROWS"]
    assert "one of true, false" in rows["PREDICTION_LOG_REQUIRED"]
    assert "name=PATH" in rows["SHADOW_MODELS"]


def test_generated_commands_and_operations_are_those_that_there_are() -> None:
    commands = reference.cli()
    assert {"`model-kit predict`", "`ml-api drift`", "`ml-client outcomes`"} <= set(
        re.findall(r"^### (.*)$", commands, re.MULTILINE)
    )
    assert "| `make site` |" in commands
    operations = re.findall(r"^### `([A-Z]+ \S+)`$", reference.http(), re.MULTILINE)
    assert len(operations) == len(set(operations)) > 20
    assert {"POST /v1/predict/<name>", "POST /v1/outcomes", "POST /invocations"} <= set(operations)


def test_generated_tables_tell_each_attribute() -> None:
    text = reference.spec()
    assert "| `minimum` | `float \\| None` | `None` | hard bounds, inclusive" in text
    assert "| `estimator` | `str \\| EstimatorFactory \\| Estimator` | required | a scikit-learn regressor" in text
    told = re.findall(r"^\| `(\w+)` \| .* \|  \|$", text, re.MULTILINE)
    assert told == [], "these have no word in their class's docstring"


def test_every_page_that_asks_for_what_is_generated_gets_it() -> None:
    asked = [found for page in PAGES.values() for found in re.findall(r"<!-- generated: (\w+) -->", page.read_text())]
    assert sorted(asked) == sorted(reference.PAGES)
