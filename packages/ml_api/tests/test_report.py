"""Live errors from made outcomes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from model_kit.scoring.assessment import score
from model_kit.spec import Target
from numpy import array

from logged import add
from ml_api.app import create_app
from ml_api.cli.main import main
from ml_api.moments import moment
from ml_api.prediction_log.database import Database
from ml_api.prediction_log.report import as_html, as_text, report, wilson
from ml_api.settings import LogSettings, Settings


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(LogSettings(f"sqlite:///{tmp_path}/log.db"))
    database.migrate()
    return database


def interval(low: float, high: float) -> str:
    return json.dumps({"interval": [low, high], "level": 0.9})


def test_errors_of_numbers_are_those_of_the_evaluation(database: Database) -> None:
    predicted, true = [10.0, 20.0, 30.0, 40.0], [12.0, 19.0, 30.0, 50.0]
    for number, (prediction, outcome) in enumerate(zip(predicted, true, strict=True)):
        add(database, number, prediction, outcome, detail=interval(prediction - 2, prediction + 2))
    add(database, 5, 1.0, detail=interval(0, 2))
    add(database, 6, None, errors='{"a": ["b"]}')
    (found,) = report(database, None)["versions"]
    scores = score(array(true), array(predicted), Target("fare", "EUR", "identity"))
    assert (found["predictions"], found["errors"], found["outcomes"]) == (5, 1, 4)
    assert found["mae"] == scores.mae
    assert found["rmse"] == pytest.approx(scores.rmse)
    assert found["bias"] == pytest.approx(scores.bias)
    assert (found["ranged"], found["coverage"], found["level"]) == (4, 0.75, 0.9)
    assert found["coverage_low"] < 0.75 < found["coverage_high"]


def test_errors_of_classes(database: Database) -> None:
    rows = [(True, 0.9, [True], True), (True, 0.6, [False, True], False), (False, 0.2, [False], True)]
    for number, (predicted, probability, plausible, outcome) in enumerate(rows):
        probabilities = {"false": 1 - probability, "true": probability}
        detail = {"class": predicted, "probabilities": probabilities, "set": plausible, "level": 0.9}
        add(database, number, None, outcome, detail=json.dumps(detail))
    (found,) = report(database, None)["versions"]
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.2)) / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.64) / 3)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["mae"] is found["rmse"] is None


def test_versions_and_models_are_told_apart(database: Database) -> None:
    add(database, 1, 1.0, 2.0)
    add(database, 2, 1.0, 4.0, version="2")
    add(database, 3, 1.0, 6.0, model="n")
    found = [(one["model"], one["version"], one["mae"]) for one in report(database, None)["versions"]]
    assert found == [("m", "1", 1.0), ("m", "2", 3.0), ("n", "1", 5.0)]
    assert [one["model"] for one in report(database, None, "n")["versions"]] == ["n"]


def test_groups_are_the_worst_first(database: Database) -> None:
    for number, (zone, error) in enumerate([("A", 1), ("B", 3), ("B", 5), (None, 2)]):
        add(database, number, 10.0, 10.0 + error, inputs=json.dumps({"zone": zone, "n": number}))
    (found,) = report(database, None, by=["zone"])["versions"]
    assert [(group["value"], group["mae"]) for group in found["by"]["zone"]] == [("B", 4.0), (None, 2.0), ("A", 1.0)]


def test_window_is_of_predictions(database: Database) -> None:
    add(database, 1, 1.0, 2.0, days=8)
    add(database, 2, 1.0, 4.0, days=6)
    document = report(database, moment("7d"))
    assert [(one["predictions"], one["mae"]) for one in document["versions"]] == [(1, 3.0)]
    assert document["since"].endswith("Z")


def test_moments() -> None:
    assert moment("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    assert moment("2026-11-01T12:00:00+02:00") == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert abs(moment("90m") - (datetime.now(UTC) - timedelta(minutes=90))) < timedelta(minutes=1)
    with pytest.raises(ValueError):
        moment("a week")


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(90, 100, 0.826, 0.945), (0, 10, 0, 0.278), (10, 10, 0.722, 1)])
def test_interval_of_a_coverage(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-3)


def test_text_and_html_have_the_same_figures(database: Database) -> None:
    for number in range(30):
        add(database, number, 10.0, 10.0 + number % 3, detail=interval(8, 11), inputs='{"zone": "<A>"}')
    add(database, 30, 20.0, 21.0, version="2")
    document = report(database, None, by=["zone"])
    text, html = as_text(document), as_html(document)
    lines = [line.split() for line in text.splitlines()]
    assert ["m", "1", "30", "0", "30", "1", "1.291", "-1", "66.7%", "(48.8%", "to", "80.8%)", "of", "90%"] in lines
    assert ["m", "2", "1", "0", "1", "*", "1", "1", "-1"] in lines
    assert text.endswith("* fewer than 20 outcomes")
    assert "<td>66.7% (48.8% to 80.8%) of 90%</td>" in html
    assert "&lt;A&gt;" in html
    assert "<A>" not in html
    assert "<script" not in html


def test_model_that_the_log_does_not_have_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database, 1, 10.0, 1e308)
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    for command in ("report", "shadow-report"):
        assert main([command, "--model", "n"]) == 1
        assert capsys.readouterr().err == ("ml-api: --model n: the log has no prediction of it; it has those of: m\n")
    # JSON has no infinity.
    assert main(["report", "--json"]) == 0
    assert '"rmse": null' in capsys.readouterr().out


def test_empty_log_says_so(database: Database) -> None:
    document = report(database, None)
    assert "No prediction is in the log." in as_text(document)
    assert "No prediction is in the log." in as_html(document)


def test_command(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database, 1, 1.0, 2.0, inputs='{"zone": "A"}')
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    page = tmp_path / "report.html"
    assert main(["report", "--since", "7d", "--by", "zone", "--json", "--html", str(page)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["versions"]
    assert (found["mae"], found["by"]["zone"][0]["value"]) == (1.0, "A")
    assert "<h1>Live errors</h1>" in page.read_text()
    assert main(["report"]) == 0
    assert capsys.readouterr().out.startswith("Predictions from the beginning to 20")
    assert main(["report", "--by", "zoen"]) == 1
    assert "--by zoen: no record in the log has this field" in capsys.readouterr().err


def test_page_for_operators(database: Database) -> None:
    add(database, 1, 1.0, 2.0, inputs='{"zone": "A"}')
    add(database, 2, 1.0, 2.0, days=8, version="old")
    client = create_app(Settings(prediction_log=database.settings), {}).test_client()
    response = client.get("/report?by=zone")
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    text = response.get_data(as_text=True)
    assert "<h2>m 1 by zone</h2>" in text
    assert "old" not in text
    assert "old" in client.get("/report?since=9d").get_data(as_text=True)
    assert "No prediction" in client.get("/report?model=n").get_data(as_text=True)
    for query in ("since=week", "since=999999d", "x=1", "by=a&by=b"):
        assert client.get(f"/report?{query}").status_code == 400
    assert create_app(Settings(), {}).test_client().get("/report").status_code == 404
