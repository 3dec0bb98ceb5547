from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides
from werkzeug.test import TestResponse

from ml_api.app import create_app
from ml_api.settings import Settings
from ml_api.views import responses
from text_cases import TEXT_CASES

URL = "/v1/predict/rides"

# By hand: exp(2.5 + distance/8 + passengers/16 - [zone is B]/4 + comfort/32).
GOLDEN = 21.380942759123343  # exp(3.0625)
NEAR = {"distance": 0, "zone": "A"}  # exp(2.5625): one passenger and comfort 0 are imputed
NEAR_FARE = 12.968197316969134
FAR = {"distance": 8.0, "passengers": 2.0, "zone": "B", "comfort": 1}  # exp(3.40625)
FAR_FARE = 30.151962130172098


def post(client: FlaskClient, records: Any, url: str = URL) -> TestResponse:
    return client.post(url, data=json.dumps(records), content_type="application/json")


def exactly(*values: float | None) -> list[Any]:
    """Equal but for the last digits, which belong to the exp of the machine."""
    return [None if value is None else pytest.approx(value, rel=1e-14) for value in values]


def test_golden_values(client: FlaskClient) -> None:
    response = post(client, [GOLDEN_ROW, NEAR, FAR])
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.get_json() == {
        "predictions": exactly(GOLDEN, NEAR_FARE, FAR_FARE),
        "errors": None,
        "version": "1.2.3",
    }
    assert list(response.get_json()) == ["predictions", "errors", "version"]


def test_single_record_answers_as_one_element(client: FlaskClient) -> None:
    assert post(client, GOLDEN_ROW).get_json() == {"predictions": exactly(GOLDEN), "errors": None, "version": "1.2.3"}


def test_no_record_is_no_error(client: FlaskClient) -> None:
    response = post(client, [])
    assert (response.status_code, response.data) == (200, b'{"predictions":[],"errors":null,"version":"1.2.3"}')


@pytest.mark.parametrize("body", [{}, [{}]])
def test_empty_record_lacks_the_required_fields(client: FlaskClient, body: Any) -> None:
    response = post(client, body)
    assert response.status_code == 422
    assert response.content_type == "application/json"
    missing = ["Missing data for required field."]
    assert response.get_json() == {
        "predictions": [None],
        "errors": {"0": {"distance": missing, "zone": missing}},
        "version": "1.2.3",
    }


def test_mixed_rows_keep_their_places(client: FlaskClient) -> None:
    response = post(client, [NEAR, {"distance": "far", "zone": "A"}, None, FAR, [], {**NEAR, "passengers": 2.5}])
    assert response.status_code == 200
    assert response.get_json() == {
        "predictions": exactly(NEAR_FARE, None, None, FAR_FARE, None, None),
        "errors": {
            "1": {"distance": ["Not a valid number."]},
            "2": {"_schema": ["Invalid input type."]},
            "4": {"_schema": ["Invalid input type."]},
            "5": {"passengers": ["Not a valid integer."]},
        },
        "version": "1.2.3",
    }


def test_unprocessable_when_rows_were_sent_and_none_was_scored(client: FlaskClient) -> None:
    response = post(client, [1, "a"])
    assert response.status_code == 422
    assert response.get_json()["predictions"] == [None, None]


def test_unknown_level_is_scored_not_refused(client: FlaskClient) -> None:
    response = post(client, [{**NEAR, "zone": "Z"}, {**NEAR, "comfort": "9"}])
    assert response.get_json() == {"predictions": exactly(NEAR_FARE, NEAR_FARE), "errors": None, "version": "1.2.3"}


def test_unknown_fields_are_ignored_and_optional_ones_imputed(client: FlaskClient) -> None:
    record = {**NEAR, "Id": 7, "nested": {"a": [1]}, "passengers": None, "comfort": None}
    assert post(client, record).get_json()["predictions"] == exactly(NEAR_FARE)


@pytest.mark.parametrize(
    ("field", "literal", "said"),
    [
        ("distance", '"3.5"', "Not a valid number."),
        ("distance", "true", "Not a valid number."),
        ("distance", "[]", "Not a valid number."),
        ("distance", "null", "Field may not be null."),
        ("distance", "-0.5", "Must be greater than or equal to 0."),
        ("distance", "1e400", "Special numeric values (nan or infinity) are not permitted."),
        ("distance", "9" * 5000, "Number too large."),
        ("distance", "1" + "0" * 400, "Number too large."),
        ("passengers", "9", "Must be greater than or equal to 1 and less than or equal to 8."),
        ("passengers", "true", "Not a valid integer."),
        ("passengers", '"2"', "Not a valid integer."),
        ("zone", "1", "Not a valid string."),
        ("zone", "9" * 5000, "Not a valid string."),
        ("comfort", "1.5", "Not a valid string or whole number."),
        ("comfort", "9" * 5000, "Not a valid string or whole number."),
        ("comfort", "1e400", "Not a valid string or whole number."),
    ],
    ids=range(16),
)
def test_wrong_value_is_an_error_of_its_row(client: FlaskClient, field: str, literal: str, said: str) -> None:
    body = json.dumps([{**NEAR, field: "here"}, NEAR]).replace('"here"', literal)
    response = client.post(URL, data=body, content_type="application/json")
    assert response.status_code == 200
    assert response.get_json() == {
        "predictions": exactly(None, NEAR_FARE),
        "errors": {"0": {field: [said]}},
        "version": "1.2.3",
    }


def test_unknown_model_names_those_installed(client: FlaskClient) -> None:
    response = post(client, [NEAR], "/v1/predict/boats")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.get_json()["detail"] == "There is no model of that name; installed: rides."


def test_broken_model_says_to_come_back(bundle: Path) -> None:
    models = {"gone": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)}
    client = create_app(Settings(), models).test_client()
    response = post(client, [NEAR], "/v1/predict/gone")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "30"
    assert response.content_type == "application/problem+json"
    assert response.get_json()["detail"].startswith("Model gone cannot answer: manifest.json: cannot be read")
    assert post(client, [NEAR]).status_code == 200


def test_limits_are_settings(bundle: Path) -> None:
    app = create_app(Settings(max_rows=2, max_body_bytes=200), {"rides": lambda: load_rides(bundle)})
    client = app.test_client()
    assert post(client, [NEAR] * 2).status_code == 200
    assert post(client, [NEAR] * 3).get_json()["detail"] == "The body has 3 records; at most 2 are taken at a time."
    response = post(client, [{**NEAR, "note": "x" * 200}])
    assert (response.status_code, response.get_json()["title"]) == (413, "Request Entity Too Large")
    assert response.get_json()["detail"] == "The body is longer than the 200 bytes that are taken."


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_other_methods_are_not_allowed(client: FlaskClient, method: str) -> None:
    response = client.open(URL, method=method)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert response.content_type == "application/problem+json"


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.none())
RECORDS = st.lists(
    VALUES
    | st.fixed_dictionaries(
        {},
        optional={
            "distance": st.floats(0, 50) | VALUES,
            "passengers": st.integers(1, 8) | VALUES,
            "zone": st.sampled_from("ABC") | VALUES,
            "comfort": st.sampled_from(["1", 2, 9.0]) | VALUES,
            "other": VALUES,
        },
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_one_answer_for_each_record_whatever_is_sent(client: FlaskClient, records: list[Any]) -> None:
    body = json.dumps(records).replace("Infinity", "1e999")
    response = client.post(URL, data=body, content_type="application/json")
    answer = response.get_json()
    errors = answer["errors"] or {}
    assert len(answer["predictions"]) == len(records)
    assert {index for index, value in enumerate(answer["predictions"]) if value is None} == {int(key) for key in errors}
    assert all(value is None or math.isfinite(value) for value in answer["predictions"])
    assert response.status_code == (422 if records and len(errors) == len(records) else 200)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_no_body_is_an_error_of_the_server(client: FlaskClient, body: bytes) -> None:
    assert client.post(URL, data=body, content_type="application/json").status_code in (200, 400, 422)


# Unusual columns

UNUSUAL = GOLDEN_ROW | {"zone": "a", "distance": 99}


@pytest.mark.parametrize("parameters", ["", "?warnings=true"])
def test_columns_with_values_never_seen_are_named_in_a_header_and_counted_in_the_log(
    client: FlaskClient, log: list[dict[str, Any]], parameters: str
) -> None:
    response = post(client, [GOLDEN_ROW, UNUSUAL, UNUSUAL | {"distance": 1}, {}], URL + parameters)
    assert response.headers["X-Prediction-Warnings"] == "distance, zone"
    assert log[-1]["unusual"] == {"distance": 1, "zone": 2}
    assert "99" not in json.dumps(log[-1]["unusual"])


@pytest.mark.parametrize("records", [GOLDEN_ROW, [], [{"distance": 8, "zone": "A"}] * 10, [{}]])
def test_usual_records_have_no_such_header(client: FlaskClient, log: list[dict[str, Any]], records: Any) -> None:
    assert "X-Prediction-Warnings" not in post(client, records).headers
    assert "unusual" not in log[-1]


def test_missing_values_are_unusual_where_many_records_have_none(client: FlaskClient) -> None:
    rows = [GOLDEN_ROW] * 9 + [{"distance": 8, "zone": "A", "comfort": "2"}] * 11
    assert post(client, rows[1:]).headers.get("X-Prediction-Warnings") is None
    assert post(client, rows).headers["X-Prediction-Warnings"] == "passengers"


def test_records_in_chunks_are_summed_up_together(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    post(client, [GOLDEN_ROW | {"zone": "Q"}] * 2500)
    assert log[-1]["unusual"] == {"zone": 2500}


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=50, unique=True))
def test_any_name_of_a_column_can_stand_in_the_header(names: list[str]) -> None:
    text = responses.describe_unusual(names)
    assert len(text) <= responses.MAX_HEADER + len(", +50")
    found = text.split(", ")
    more = int(found.pop()) if found[-1].startswith("+") else 0
    assert [unquote(one, errors="surrogatepass") for one in found] == names[: len(names) - more]
    assert re.fullmatch(r"[A-Za-z0-9%_.~+, -]+", text)


def test_texts_over_http_mean_what_they_mean_in_files(client: FlaskClient) -> None:
    body = post(client, [GOLDEN_ROW | {case.field: case.text} for case in TEXT_CASES]).get_json()
    for position, case in enumerate(TEXT_CASES):
        error = case.error_of(typed=True)
        assert (body["errors"].get(str(position)) or {}) == ({case.field: [error]} if error else {}), case
        if not error:
            [fare] = post(client, GOLDEN_ROW | {case.field: case.value}).get_json()["predictions"]
            assert body["predictions"][position] == pytest.approx(fare, rel=1e-12), case


def misspelt(sent: str = "Passenger") -> dict[str, Any]:
    return {name: value for name, value in GOLDEN_ROW.items() if name != "passengers"} | {sent: 1}


@pytest.mark.parametrize("sent", ["Passenger", "PASSENGERS", "pass engers", "passegners"])
@pytest.mark.parametrize("beside", [{}, {"distance": "far"}], ids=["scored", "refused"])
def test_field_that_is_lost_for_its_spelling_is_named(
    client: FlaskClient, log: list[dict[str, Any]], sent: str, beside: dict[str, Any]
) -> None:
    response = post(client, [GOLDEN_ROW, misspelt(sent) | beside])
    assert response.headers["X-Prediction-Warnings"] == "passengers"
    assert log[-1]["unusual"] == {"passengers": 1}
    assert sent not in json.dumps(log)


@pytest.mark.parametrize("beside", [{"Id": 7}, {"Passenger": 1}, {"remarks": "x" * 200}, {"p" * 200: 1}])
def test_names_that_take_no_fields_place_are_nobodys_business(client: FlaskClient, beside: dict[str, Any]) -> None:
    response = post(client, [GOLDEN_ROW | beside])
    assert response.get_json()["predictions"] == [GOLDEN_PREDICTION]
    assert "X-Prediction-Warnings" not in response.headers


def test_misspelt_fields_are_looked_for_in_the_first_records_of_each_thousand(
    client: FlaskClient, log: list[dict[str, Any]]
) -> None:
    # Passengers are missing in more records than in training, which has the larger count.
    post(client, [misspelt()] * 2500)
    assert log[-1]["unusual"] == {"passengers": 2500}
    post(client, [misspelt(), *[GOLDEN_ROW] * 1499, *[misspelt()] * 2])
    assert log[-1]["unusual"] == {"passengers": 1}
