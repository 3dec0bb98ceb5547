"""The notebooks: what they show is what their code does, asked of the real server; and what runs them elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Generator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from model_kit.scoring.bundle import CARD, dump_json, read_bundle, write_bundle

import notebooks as command
from project import ROOT
from service import Service

PATHS = {path.stem: path for path in command.notebooks()}
LARGEST, LARGEST_PICTURE = 150_000, 35_000
#: Paths and addresses of the machine that executed them.
OF_A_MACHINE = re.compile(
    r"/(?:tmp|home|root|work|usr|opt|Users|private|var)\b|127\.0\.0\.1:\d+|0x[0-9a-f]{6,}|site-packages"
)
#: Ranges of the house-price model, as cross-validation on the sample, which takes minutes, calibrates them.
INTERVALS = {
    "rows": 1460,
    "levels": [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95],
    "edges": [118500.0, 146500.0, 188400.0, 250800.0],
    "widths": [
        [0.07634, 0.08584, 0.09589, 0.1058, 0.1149, 0.1261, 0.1442, 0.1614, 0.1916, 0.2238],
        [0.07425, 0.08315, 0.0946, 0.1055, 0.1179, 0.1311, 0.1486, 0.1604, 0.1867, 0.2172],
        [0.07998, 0.08665, 0.09297, 0.1063, 0.1196, 0.1303, 0.1426, 0.1561, 0.1759, 0.2095],
        [0.07128, 0.08106, 0.08976, 0.09875, 0.1084, 0.1215, 0.1322, 0.1489, 0.1733, 0.2195],
        [0.07396, 0.08196, 0.0926, 0.1046, 0.1161, 0.127, 0.1399, 0.1544, 0.1803, 0.2128],
    ],
}


def document(name: str) -> Any:
    return json.loads(PATHS[name].read_text("utf-8"))


@pytest.mark.parametrize("name", PATHS)
def test_committed_outputs_are_small_and_tell_nothing_of_a_machine(name: str) -> None:
    found = document(name)
    assert PATHS[name].stat().st_size < LARGEST
    assert found["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    cells = command.code_cells(found)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert any(cell["outputs"] for cell in cells)
    for cell in found["cells"]:
        assert cell["metadata"] == {}
        for output in cell.get("outputs", []):
            assert output["output_type"] in {"stream", "execute_result", "display_data"}
            assert output.get("name", "stdout") == "stdout"
            data = output.get("data", {})
            assert set(data) <= set(command.KEPT)
            assert len(b64decode(data.get("image/png", ""))) < LARGEST_PICTURE
            assert not OF_A_MACHINE.search("".join([*output.get("text", ""), *data.get("text/plain", "")]))


@pytest.fixture(scope="module")
def url(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of the house-price model, which has ranges."""
    folder = tmp_path_factory.mktemp("notebooks")
    files = dict(read_bundle(houses).files)
    files[CARD] = dump_json(json.loads(files[CARD]) | {"intervals": INTERVALS})
    write_bundle(folder / "bundle", files)
    running = Service(folder, folder / "bundle", WEB_CONCURRENCY="1")
    yield running.url
    running.stop()


@pytest.mark.parametrize("name", PATHS)
def test_code_shows_what_is_committed(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its cells in one process; `make notebooks` executes them in Jupyter."""
    variables = {"MPLBACKEND": "agg", "MPLCONFIGDIR": str(tmp_path / "matplotlib"), "TMPDIR": str(tmp_path)}
    if name == "ask_and_explain":
        variables["ML_API_URL"] = request.getfixturevalue("url")
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tests/helpers/notebook_cells.py", PATHS[name]],
        cwd=PATHS[name].parent,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [(command.squeezed(text), n_pictures) for text, n_pictures in json.loads(done.stdout)]
    assert command.differences(command.code_cells(document(name)), found) == []


def test_other_number_text_or_picture_is_told() -> None:
    cells = [
        {"id": "price", "outputs": [{"text": ["about 1,000.0  USD\n"]}]},
        {"id": "plot", "outputs": [{"data": {"image/png": "", "text/plain": ["<Figure>"]}}]},
    ]
    assert command.differences(cells, [("about 1,010.0 USD", 0), ("", 1)]) == []
    assert command.differences(cells, [("about 1,100.0 USD", 0), ("", 0)]) == [
        "cell price: 'about 1,100.0 USD' where there was 'about 1,000.0 USD'",
        "cell plot: 0 pictures where there were 1",
    ]
    assert len(command.differences(cells, [("about 1,000.0 EUR", 0), ("", 1)])) == 1


def test_written_outputs_are_those_of_the_executed_notebook_without_html() -> None:
    source = document("ask_and_explain")
    executed = deepcopy(source)
    (cell,) = (cell for cell in executed["cells"] if cell["id"] == "predict")
    cell["metadata"] = {"execution": {"iopub.execute_input": "2026-01-01"}}
    cell["outputs"][0]["data"] |= {"text/html": "<table>", "text/plain": ["new"]}
    written = command.tidied(executed, source)
    changed = [one["id"] for one, other in zip(written["cells"], source["cells"], strict=True) if one != other]
    assert changed == ["predict"]
    (cell,) = (cell for cell in written["cells"] if cell["id"] == "predict")
    assert (cell["metadata"], cell["outputs"][0]["data"]) == ({}, {"text/plain": ["new"]})
