"""docs/own-model.md tells the truth: its commands are run, and print what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from project import ROOT

DOC = (ROOT / "docs/own-model.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder where the first commands of the document were run, and what they printed."""
    folder = tmp_path_factory.mktemp("own")
    write, make = re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)[0].strip().splitlines()
    python, *options = shlex.split(write)
    assert python == ".venv/bin/python"
    subprocess.run([sys.executable, *options], cwd=folder, check=True)
    words = shlex.split(make)
    assert words[:2] == ["make", "new-model"]
    given = dict(word.split("=") for word in words[2:])
    # What the target runs; `make -n` shows it.
    command = [str(BIN / "model-kit"), "new", given["NAME"], "--data", given["DATA"], "--target", given["TARGET"]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def masked(text: str) -> list[str]:
    """Lines without their last digits: another processor may find others, and blanks in their place."""
    return [re.sub(r"\d+\.\d+", "#", re.sub(r" +", " ", line)).strip() for line in text.strip().splitlines()]


def test_new_model_prints_what_the_document_says(made: tuple[Path, str]) -> None:
    told = masked(re.findall(r"\n```\n(.*?)```", DOC, re.DOTALL)[0])
    found = masked(made[1])
    assert found[: len(told)] == told
    assert any(line.startswith("R2 of target #") for line in found[len(told) :]), "and it is trained"


def test_readme_counts_files_and_lines_of_a_package(made: tuple[Path, str]) -> None:
    (promised,) = re.findall(r"(\d+) files, about (\d+) lines beside one line for each field", README)
    package = made[0] / "packages/diabetes_model"
    files = [path for path in package.rglob("*") if path.is_file() and not {"bundle", "__pycache__"} & set(path.parts)]
    assert len(files) == int(promised[0])
    lines = sum(len(path.read_text().splitlines()) for path in files) - 10
    assert lines <= int(promised[1]) * 1.2


def test_record_of_the_document_is_predicted(made: tuple[Path, str]) -> None:
    folder = made[0]
    source = folder / "packages/diabetes_model/src"
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "from diabetes_model import DEFINITION;"
        "print(DEFINITION.make_prediction(input_data=[{'bmi': 25.7, 's5': 4.6}])['errors'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert '\'[{"bmi": 25.7, "s5": 4.6}]\'' in DOC
