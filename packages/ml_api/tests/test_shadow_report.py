"""What a shadow predicts beside what was answered, and which is better."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from logged import add
from ml_api.cli.main import main
from ml_api.prediction_log.database import Database, SqlSink
from ml_api.prediction_log.report import wilson
from ml_api.prediction_log.retention import delete_person, purge
from ml_api.prediction_log.schema import predictions, shadow_predictions
from ml_api.prediction_log.shadow_report import PairedDifference, as_html, as_text, shadow_report, student_t
from ml_api.settings import LogSettings


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(LogSettings(f"sqlite:///{tmp_path}/log.db"))
    database.migrate()
    return database


def identity(database: Database, number: int) -> str:
    """The prediction id of a row that ``add`` has made."""
    ids = predictions.c.prediction_id
    with database.begin() as connection:
        return str(connection.scalars(select(ids).where(ids.endswith(f"{number:020x}"))).one())


def shadow(database: Database, number: int, prediction: float | None, **changes: Any) -> None:
    """Add what the shadow predicted for a row."""
    row = {"prediction_id": identity(database, number), "row": 0, "version": "2", "prediction": prediction}
    row |= {"detail": None, "errors": None} | changes
    SqlSink(database, database.insert_shadow).write([row])


def n_shadows(database: Database) -> int:
    with database.begin() as connection:
        return connection.scalar(select(func.count()).select_from(shadow_predictions)) or 0


def compared(database: Database, **options: Any) -> dict[str, Any]:
    (found,) = shadow_report(database, None, **options)["comparisons"]
    found_: dict[str, Any] = found
    return found_


def detail(label: Any, probabilities: dict[str, float]) -> str:
    return json.dumps({"class": label, "probabilities": probabilities})


def test_agreement_and_differences(database: Database) -> None:
    for number, own in enumerate((100.0, 100.9, 98.0, 150.0)):
        add(database, number, 100.0)
        shadow(database, number, own)
    add(database, 4, 100.0)
    shadow(database, 4, None, errors='{"zone": ["?"]}')
    add(database, 5, None, errors='{"zone": ["?"]}')
    shadow(database, 5, 1.0)
    found = compared(database)
    assert (found["rows"], found["agreeing"], found["agreement"]) == (4, 2, 0.5)
    assert (found["agreement_low"], found["agreement_high"]) == pytest.approx(wilson(2, 4))
    assert (found["served_only"], found["candidate_only"], found["neither"]) == (1, 1, 0)
    assert found["mean_difference"] == pytest.approx((0.009 - 0.02 + 0.5) / 4)
    assert found["differences"] == pytest.approx({"0.5": 0.02, "0.9": 0.5, "0.99": 0.5})
    assert compared(database, tolerance=0.02)["agreeing"] == 3


def test_an_answer_of_zero_differs_without_end(database: Database) -> None:
    add(database, 1, 0.0)
    shadow(database, 1, 1.0)
    found = compared(database)
    assert (found["agreeing"], found["differences"]["0.5"], found["mean_difference"]) == (0, None, None)
    assert "50%: infinite" in as_text(shadow_report(database, None))


def test_classes_that_differ_are_paired(database: Database) -> None:
    for number, label in enumerate(("yes", "no", "no")):
        add(database, number, None, detail=detail("yes", {"no": 0.2, "yes": 0.8}))
        share = 0.9 if label == "no" else 0.1
        shadow(database, number, None, detail=detail(label, {"no": share, "yes": 1 - share}))
    found = compared(database)
    assert (found["is_class"], found["rows"], found["agreeing"]) == (True, 3, 1)
    assert found["disagreements"] == [{"served": "yes", "candidate": "no", "rows": 2}]
    assert found["differences"]["0.5"] == pytest.approx(0.7)


def test_the_groups_that_differ_are_named_and_others_not(database: Database) -> None:
    for number in range(300):
        zone, area = "AB"[number % 2], number * 7919 % 300
        add(database, number, 100.0, inputs=json.dumps({"zone": zone, "area": area, "noise": number % 3}))
        shadow(database, number, 200.0 if zone == "B" and number % 4 == 1 else 100.0)
    groups = compared(database)["groups"]
    assert [(group["field"], group["group"], group["rows"], group["differing"]) for group in groups] == [
        ("zone", "B", 150, 0.5)
    ]
    assert groups[0]["overall"] == 0.25


def test_no_group_is_named_where_all_agree(database: Database) -> None:
    for number in range(90):
        add(database, number, 100.0, inputs=json.dumps({"zone": "AB"[number % 2], "area": number % 63}))
        shadow(database, number, 100.0)
    assert compared(database)["groups"] == []


def test_quarters_of_a_number_are_groups(database: Database) -> None:
    for number in range(200):
        add(database, number, 100.0, inputs=json.dumps({"area": number}))
        shadow(database, number, 200.0 if number >= 150 else 100.0)
    (group,) = compared(database)["groups"]
    assert (group["field"], group["group"], group["differing"]) == ("area", "150 to 199", 1.0)


@pytest.mark.parametrize(("shift", "verdict"), [(0.5, "worse"), (-0.5, "better"), (0.0, "not yet known")])
def test_verdict_with_outcomes(database: Database, shift: float, verdict: str) -> None:
    generator = random.Random(1)
    for number in range(60):
        add(database, number, 101.0, 100.0)
        shadow(database, number, 101.0 + shift + generator.gauss(0, 0.2))
    (absolute, logarithmic) = compared(database)["losses"]
    assert (absolute["loss"], absolute["rows"], absolute["requests"]) == ("absolute error", 60, 60)
    assert absolute["verdict"] == verdict
    assert absolute["difference"] == pytest.approx(shift, abs=0.1)
    assert absolute["low"] < absolute["difference"] < absolute["high"]
    assert (logarithmic["loss"], logarithmic["verdict"]) == ("squared log error", verdict)
    assert (absolute["requests_needed"] is None) == (verdict != "not yet known")


def test_logarithms_are_compared_only_of_positive_numbers(database: Database) -> None:
    for number, value in enumerate((1.0, -1.0)):
        add(database, number, value, value)
        shadow(database, number, value)
    assert [loss["loss"] for loss in compared(database)["losses"]] == ["absolute error"]


def test_log_loss_of_classes(database: Database) -> None:
    for number in range(40):
        add(database, number, None, "yes", detail=detail("yes", {"no": 0.4, "yes": 0.6}))
        shadow(database, number, None, detail=detail("yes", {"no": 0.2, "yes": 0.8}))
    (loss,) = compared(database)["losses"]
    assert (loss["loss"], loss["verdict"]) == ("log loss", "better")
    assert (loss["served"], loss["candidate"]) == pytest.approx((-math.log(0.6), -math.log(0.8)))


def test_few_requests_are_no_verdict(database: Database) -> None:
    for number in range(29):
        add(database, number, 101.0, 100.0)
        shadow(database, number, 105.0)
    (loss, _) = compared(database)["losses"]
    assert (loss["verdict"], loss["requests_needed"]) == ("not yet known", 30)


def test_interval_counts_requests_and_not_rows() -> None:
    """A hundred copies of ten rows are worth ten."""
    differences = [0.1 * number - 0.3 for number in range(10)]
    single, copied = PairedDifference("loss"), PairedDifference("loss")
    for number, value in enumerate(differences):
        single.add(str(number), 0.0, value)
        for _ in range(100):
            copied.add(str(number), 0.0, value)
    one, other = single.made(), copied.made()
    assert (other["rows"], other["requests"]) == (1000, 10)
    assert (other["low"], other["high"]) == pytest.approx((one["low"], one["high"]))
    # Of independent rows, Student's interval of the mean.
    mean = sum(differences) / 10
    deviation = math.sqrt(sum((value - mean) ** 2 for value in differences) / 9)
    assert one["high"] - one["low"] == pytest.approx(2 * 2.262157 * deviation / math.sqrt(10), rel=1e-3)


def test_interval_covers_as_often_as_it_says() -> None:
    generator, covered = random.Random(7), 0
    for _ in range(1000):
        difference = PairedDifference("loss")
        for number in range(40):
            shared = generator.gauss(0, 1)
            for _ in range(generator.randrange(1, 4)):
                difference.add(str(number), 0.0, 0.2 + shared + generator.gauss(0, 0.5))
        found = difference.made()
        covered += found["low"] < 0.2 < found["high"]
    assert 0.93 < covered / 1000 < 0.97


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (4, 2.776), (9, 2.262), (29, 2.045), (1000, 1.962)])
def test_quantile_of_student(freedom: int, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, rel=2e-3)


def test_rows_are_inserted_once_and_go_with_their_prediction(database: Database) -> None:
    for number, days in ((1, 0.0), (2, 10.0), (3, 0.0)):
        add(database, number, 1.0, days=days, inference_id=f"person {number}")
        shadow(database, number, 1.0)
        shadow(database, number, 9.0)  # what is there stays
    assert n_shadows(database) == 3
    assert compared(database)["agreeing"] == 3
    row = {"prediction_id": "0" * 32, "row": 0, "version": "2", "prediction": 1.0, "detail": None, "errors": None}
    SqlSink(database, database.insert_shadow).write([row])  # its prediction was deleted meanwhile
    assert n_shadows(database) == 3
    assert purge(database, 5) == 1
    assert n_shadows(database) == 2
    assert delete_person(database, inference_id="person 3") == 1
    assert n_shadows(database) == 1


def test_command(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    assert main(["shadow-report"]) == 0
    assert "No prediction of a shadow is in the log" in capsys.readouterr().out
    for number in range(40):
        add(database, number, 100.0, 100.0, inputs='{"zone": "<A>"}')
        shadow(database, number, 100.0 + number % 2 * 5)
    page = tmp_path / "report.html"
    assert main(["shadow-report", "--since", "7d", "--model", "m", "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert "m: 1 answered, 2 is the shadow" in text
    assert "50.0% (35.2% to 64.8%)" in text
    assert "worse" in text
    assert "<h1>Shadows</h1>" in page.read_text()
    assert main(["shadow-report", "--json", "--tolerance", "0.1"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["agreement"] == 1.0
    assert as_html(shadow_report(database, None, "n")).count("No prediction of a shadow") == 1
    with pytest.raises(SystemExit):
        main(["shadow-report", "--tolerance", "2"])
    assert "2 is not from 0 to 1" in capsys.readouterr().err
