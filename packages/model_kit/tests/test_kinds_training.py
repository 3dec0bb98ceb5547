"""A model of fields of every kind, from a training file with dates as days and months to predictions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.batch.evaluation import score
from model_kit.batch.tables import reading
from model_kit.errors import DataError
from model_kit.scoring.bundle import CARD, REFERENCE, read_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, InputSpec, Target
from model_kit.spec.dates import days_to_iso
from model_kit.training.dataset import parse
from model_kit.training.train import train
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

FIELDS = (
    Field("nights", "integer", "Nights booked", required=True, minimum=1),
    Field("breakfast", "boolean", "Breakfast is included"),
    Field("arrival", "date", "Day of arrival", required=True, format="%d/%m/%Y"),
    Field("booked", "datetime", "When the room was booked", format="%d/%m/%Y %H:%M"),
)
REFUSED = (
    "breakfast: Not a valid boolean; expected true or false.;"
    " arrival: Not a valid date; expected YYYY-MM-DD, in files also DD/MM/YYYY.;"
    " booked: Not a valid datetime; expected YYYY-MM-DDThh:mm:ss, in files also DD/MM/YYYY hh:mm."
)
SPELLINGS = ("yes", "no"), ("TRUE", "FALSE"), ("1", "0")


def price(nights: int, breakfast: bool, arrival: date, booked: datetime) -> float:
    return 100 + 50 * nights + 10 * breakfast + 4 * arrival.isoweekday() + 0.5 * booked.hour


def bookings(n_rows: int) -> bytes:
    lines = ["nights,breakfast,arrival,booked,price"]
    for number in range(n_rows):
        nights, breakfast = 1 + number % 7, number % 3 == 0
        arrival = date(2024, 1, 1) + timedelta(days=number * 11 % 360)
        booked = datetime(2023, 12, 1) + timedelta(hours=number * 29 % 700)  # noqa: DTZ001
        text = SPELLINGS[number % 3][0 if breakfast else 1]
        cells = [f"{nights}", text, f"{arrival:%d/%m/%Y}", f"{booked:%d/%m/%Y %H:%M}"]
        lines.append(",".join([*cells, f"{price(nights, breakfast, arrival, booked)}"]))
    return ("\n".join(lines) + "\n").encode()


def estimator(_: InputSpec) -> Any:
    return make_pipeline(SimpleImputer(), LinearRegression())


DEFINITION = ModelDefinition(
    "bookings", Target("price", "EUR", subject="booking"), FIELDS, estimator, package="model_kit.testing"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bookings") / "bundle"
    train(DEFINITION, parse(DEFINITION, bookings(300), "bookings.csv"), folder, cv=False)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> BundleModel:
    return BundleModel(read_bundle(folder), None, "1.0.0")


def test_parts_of_dates_are_learned(model: BundleModel) -> None:
    record = {"nights": 2, "breakfast": True, "arrival": "2024-02-29", "booked": "2023-12-24 18:30"}
    expected = price(2, True, date(2024, 2, 29), datetime(2023, 12, 24, 18, 30))  # noqa: DTZ001
    (predicted,) = Predictor(model)([record]).predictions
    assert predicted == pytest.approx(expected, abs=1e-2)
    absent = Predictor(model)([{"nights": 2, "arrival": "2024-02-29"}])
    assert absent.errors == {}
    assert np.isfinite(absent.scores).all()


def test_card_and_reference_are_about_fields(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert set(bundle.json(CARD)["importance"]) == {field.name for field in FIELDS}
    fields = bundle.json(REFERENCE)["fields"]
    assert fields["breakfast"] == {"missing": 0, "levels": {"false": 200, "true": 100}, "other": 0}
    assert sum(fields["arrival"]["counts"]) == 300


def test_explanation_of_a_trained_model_names_dates(model: BundleModel) -> None:
    record = {"nights": 7, "arrival": "2024-03-03"}
    (explanation,) = Predictor(model).detailed([record], explain=4).explanations or []
    assert explanation is not None
    assert {one.field for one in explanation.contributions} <= {field.name for field in FIELDS}
    assert ("arrival", "2024-03-03") in [(one.field, one.value) for one in explanation.contributions]


def test_file_is_answered_as_records_are_and_keeps_its_text(
    model: BundleModel, price_csv: Callable[..., tuple[bytes, int, int]]
) -> None:
    header, *lines = bookings(60).decode().splitlines()
    predictor = Predictor(model)
    wrong = "2,maybe,31/02/2024,24.12.2023,1"
    content = "".join(line + "\n" for line in [header, *lines, wrong]).encode()
    output, *counts = price_csv(predictor, content)
    _, *answered, refused = output.decode().splitlines()
    dataset = parse(DEFINITION, bookings(60), "bookings.csv")
    expected = predictor(dataset.rows).predictions
    assert answered == [f"{line},{value}," for line, value in zip(lines, expected, strict=True)]
    assert refused == f'{wrong},,"{REFUSED}"'
    assert counts == [60, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,no,31.12.2024,,100", "line 302, column arrival: Not a valid date; expected .*; found '31.12.2024'$"),
        ("2,maybe,31/12/2024,,100", "column breakfast: Not a valid boolean; expected true or false; found 'maybe'$"),
        ("2,no,,,100", "column arrival: Field may not be null; found nothing"),
    ],
)
def test_training_file_with_another_format_is_refused(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(DEFINITION, bookings(300) + line.encode() + b"\n", "bookings.csv")


def test_errors_by_date_are_told_by_the_bins_of_training(model: BundleModel, tmp_path: Path) -> None:
    path = tmp_path / "bookings.csv"
    path.write_bytes(bookings(200))
    with reading(str(path), model.spec) as table:
        by = score(table, DEFINITION, model, ["arrival", "breakfast"]).assess(model.spec).by
    edges = [days_to_iso(FIELDS[2], edge) for edge in model.spec.learned["arrival"].bins]
    names = [group.name for group in by["arrival"]]
    assert f"up to {edges[0]}" in names
    assert f"{edges[0]} to {edges[1]}" in names
    assert {group.name for group in by["breakfast"]} == {"true", "false"}
