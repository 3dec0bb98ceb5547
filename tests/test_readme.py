"""README tells the truth: its requests are sent, and answered as it says."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ml_client.cli.main import main as ml_client_command

from pages import name_of, pages
from project import ROOT
from service import Service, request

README = (ROOT / "README.md").read_text("utf-8")
#: Training on another processor may end in other last digits.
CLOSE = 1e-3
LARGEST_PAGE = 60_000


@pytest.fixture(scope="module")
def service(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), houses, WEB_CONCURRENCY="1")
    yield running
    running.stop()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def asked() -> tuple[str, Any]:
    """The path and the records of the curl command."""
    (command,) = [block for block in blocks("sh") if block.startswith("curl")]
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:1] + words[2:5] == ["curl", "-H", "Content-Type: application/json", "-d"]
    return words[1].removeprefix("http://127.0.0.1:5000"), json.loads(words[5])


def told() -> tuple[Any, Any]:
    """The answer, and the shortened one with everything."""
    plain, rich = map(json.loads, blocks("json"))
    return plain, rich


def send(service: Service, path: str, records: Any) -> Any:
    (answer,) = service.send(request(json.dumps(records).encode(), path=path))
    assert answer.status == 200
    return answer.json


def test_request_is_answered_as_it_says(service: Service) -> None:
    path, records = asked()
    expected, _ = told()
    found = send(service, path, records)
    assert list(found) == list(expected)
    assert found["predictions"] == [pytest.approx(expected["predictions"][0], rel=CLOSE), None]
    assert found["errors"] == expected["errors"]
    assert re.fullmatch(r"0\.1\.0\+[0-9a-f]{12}", expected["version"])


def test_answer_with_reasons_is_as_it_says(service: Service) -> None:
    path, records = asked()
    plain, expected = told()
    (query,) = re.findall(r"with `\?(interval\S+)`, which", README)
    # The model that the tests have was not cross-validated: it has no ranges.
    found = send(service, f"{path}?{query.removeprefix('interval=0.9&')}", records[:1])
    assert list(expected) == ["predictions", "errors", "version", "intervals", "explanations", "warnings"]
    assert [name for name in expected if name != "intervals"] == list(found)
    assert expected["predictions"] == plain["predictions"][:1]
    assert expected["version"] == plain["version"]
    ((low, high),) = expected["intervals"]
    assert low < expected["predictions"][0] < high
    (explained,), (shown,) = found["explanations"], expected["explanations"]
    assert shown["baseline"]["name"] == explained["baseline"]["name"]
    assert shown["baseline"]["prediction"] == pytest.approx(explained["baseline"]["prediction"], rel=CLOSE)
    assert shown["rest"]["fields"] == explained["rest"]["fields"]
    for short, whole in zip(shown["contributions"], explained["contributions"], strict=True):
        assert (short["field"], short["value"]) == (whole["field"], whole["value"])
        assert short["percent"] == pytest.approx(whole["percent"], abs=0.1)
        assert short["amount"] == pytest.approx(whole["amount"], rel=0.01)
    amounts = [each["amount"] for each in (*shown["contributions"], shown["rest"])]
    assert shown["baseline"]["prediction"] + sum(amounts) == pytest.approx(expected["predictions"][0], abs=0.05)
    (warning,) = expected["warnings"][0]
    assert warning | {"fields": [warning["field"]]} in found["warnings"][0]


def test_tables_are_sent_as_the_readme_of_the_api_says(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "packages/ml_api/README.md").read_text("utf-8")
    (command,) = re.findall(r"```sh\n(curl .*?text/csv.*?)```", text, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (sample,) = service.send(request(None, method="GET", path="/v1/models/regression/sample?n=3&seed=1"))
    records = sample.json
    pd.DataFrame(records).to_csv("houses.csv", index=False)
    expected = send(service, "/v1/predict/regression", records)["predictions"]
    here = service.url.removeprefix("http://")
    answer = subprocess.run(["sh", "-c", command.replace("localhost:5000", here)], check=True, capture_output=True)
    lines = [*csv.DictReader(answer.stdout.decode().splitlines())]
    assert [(float(line["prediction"]), line["error"]) for line in lines] == [(price, "") for price in expected]
    exec(program.replace("localhost:5000", here), {})
    assert f"{expected[0]:.1f}"[:6] in capsys.readouterr().out


def test_page_of_the_model_is_as_light_as_it_says(service: Service) -> None:
    assert f"Under {LARGEST_PAGE // 1000} kB" in README
    gzip = "Accept-Encoding: gzip"
    (page,) = service.send(request(None, gzip, method="GET", path="/"))
    total = len(page.body)
    assert page.headers["content-encoding"] == "gzip"
    (plain,) = service.send(request(None, method="GET", path="/"))
    (digest,) = set(re.findall(r"assets/([0-9a-f]+)/", plain.body.decode()))
    for path in (ROOT / "packages/ml_api/ml_api/views/static/site").iterdir():
        (asset,) = service.send(request(None, gzip, method="GET", path=f"/assets/{digest}/{path.name}"))
        assert asset.status == 200
        total += len(asset.body)
    assert 20_000 < total < LARGEST_PAGE


def test_examples_of_the_client_run_and_say_what_they_say(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "packages/ml_client/README.md").read_text("utf-8").replace("http://127.0.0.1:5000", service.url)
    names: dict[str, Any] = {}
    first, rich, coroutine = (found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(first, names)
    assert "OverallQual: Field may not be null." in capsys.readouterr().out
    predictions = names["result"].predictions
    assert predictions.index.tolist() == ["first", "second", "third"]
    assert predictions.isna().tolist() == [False, False, True]
    # With one that is missing, the column of whole numbers is one of floats.
    assert send(service, "/v1/predict/regression", names["houses"].iloc[:1].to_dict("records"))["predictions"] == [
        pytest.approx(predictions.iloc[0])
    ]
    exec(rich, names)
    explained, *rows = capsys.readouterr().out.splitlines()
    assert explained.split(" ")[0] in names["record"]
    assert len(rows) == 22
    exec(coroutine, names)
    assert capsys.readouterr().out == f"{names['result'].version}\n"

    (command,) = (line for line in re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL))
    names["houses"].to_csv(tmp_path / "houses.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert ml_client_command(shlex.split(command)[1:]) == 0
    with (tmp_path / "priced.csv").open(newline="") as file:
        priced = list(csv.DictReader(file))
    assert [row["prediction"] != "" for row in priced] == [True, True, False]


@pytest.mark.parametrize("name", [name_of(page) for page in pages()])
def test_every_target_and_every_link_is_there(name: str) -> None:
    text, makefile = (ROOT / name).read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:`|^ *)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        page = (ROOT / name).parent / link if link else ROOT / name
        assert page.exists(), link
        if anchor:
            headings = re.findall("^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor
