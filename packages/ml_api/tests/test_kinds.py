"""Booleans, dates and datetimes over HTTP, in the document and on the page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.scoring.predictor import Predictor

from bookings import BOOKING, Bookings
from ml_api.app import create_app
from ml_api.models.examples import example_records
from ml_api.settings import Settings


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(Settings(), {"bookings": Bookings}).test_client()


def predict(client: FlaskClient, *records: Any, query: str = "") -> Any:
    return client.post(f"/v1/predict/bookings{query}", json=list(records)).get_json()


def page(client: FlaskClient, path: str = "/") -> str:
    return client.get(path).get_data(as_text=True)


def control(text: str, name: str) -> str:
    (found,) = re.findall(rf'<(?:input|select) [^>]*name="{name}"[^>]*>', text)
    return str(found)


def test_every_spelling_of_a_value_is_predicted_alike(client: FlaskClient) -> None:
    spelled = BOOKING | {"breakfast": 1, "booked": "2024-05-01 18:30", "paid": "2024-06-01 18:00:00+02:00"}
    answer = predict(client, BOOKING, spelled)
    assert answer["errors"] is None
    assert answer["predictions"] == [Bookings().golden["prediction"]] * 2


def test_value_that_does_not_fit_is_the_error_of_its_row(client: FlaskClient) -> None:
    wrong = {"breakfast": "yes", "arrival": "31/12/2024", "booked": "2024-05-01T18:30:00Z", "paid": "2024-06-01"}
    answer = predict(client, BOOKING | wrong, BOOKING)
    assert answer["predictions"][0] is None
    assert answer["errors"] == {
        "0": {
            "breakfast": ["Not a valid boolean; expected true or false."],
            "arrival": ["Not a valid date; expected YYYY-MM-DD, in files also DD/MM/YYYY."],
            "booked": ["A time zone is not permitted; expected YYYY-MM-DDThh:mm:ss, in files also DD/MM/YYYY hh:mm."],
            "paid": ["Not a valid datetime; expected YYYY-MM-DDThh:mm:ss with Z or an offset such as +01:00."],
        }
    }


def test_details_show_what_was_sent(client: FlaskClient) -> None:
    answer = predict(client, BOOKING | {"arrival": "2031-01-01"}, query="?explain=1&warnings=true")
    assert answer["explanations"][0]["contributions"][0]["value"] == "2031-01-01"
    assert answer["warnings"][0][0]["message"].startswith(
        "arrival 2031-01-01 is after what training saw (2024-01-01 to"
    )


def test_document_says_type_and_format(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    record = document["components"]["schemas"]["bookings.Record"]["properties"]
    assert (record["breakfast"]["type"], record["breakfast"]["examples"]) == (["boolean", "null"], [True])
    assert "format" not in record["breakfast"]
    assert (record["arrival"]["type"], record["arrival"]["format"]) == ("string", "date")
    assert (record["paid"]["type"], record["paid"]["format"]) == (["string", "null"], "date-time")
    assert record["booked"]["format"] == "date-time-local"
    assert record["arrival"]["x-training-range"] == ["2024-01-01", "2024-12-31"]
    assert record["arrival"]["description"] == (
        "Day of arrival. Date. ISO 8601: YYYY-MM-DD. Range in training: 2024-01-01 to 2024-12-31; values outside"
        " are scored too. Typical: `2024-07-01`. Required."
    )
    assert "with Z or an offset such as +01:00" in record["paid"]["description"]
    assert "It is converted to UTC." in record["paid"]["description"]
    assert "It has no time zone." in record["booked"]["description"]
    assert "Typical: `true`." in record["breakfast"]["description"]


def test_form_has_a_control_for_every_kind(client: FlaskClient) -> None:
    form = page(client)
    assert '<option value="">not known</option><option value="true" selected>yes</option>' in re.sub(
        r">\s+<", "><", form
    )
    assert 'data-kind="boolean"' in control(form, "breakfast")
    for name, parts in {
        "arrival": ('type="date"', 'value="2024-07-01"', 'data-format="%d/%m/%Y"', " required"),
        "left": ('type="date"', 'value="2024-07-03"', 'data-kind="date"'),
        "booked": ('type="datetime-local"', 'value="2024-05-01T18:30"', 'step="1"', 'data-kind="datetime"'),
        "paid": ('type="text"', 'value="2024-06-01T16:00:00Z"', 'placeholder="not paid yet"'),
    }.items():
        assert all(part in control(form, name) for part in parts), control(form, name)
    assert "data-format" not in control(form, "left")
    assert "2024-01-01 to 2024-12-31 in training" in form
    assert "2024-12-30T12:00:00Z in training, with Z or an offset such as +01:00" in form


def test_card_shows_the_range_of_dates(client: FlaskClient) -> None:
    assert "<td>2024-01-01 to 2024-12-31</td>" in page(client, "/card/bookings")


def test_records_to_start_from_change_dates_and_booleans() -> None:
    found = example_records(Predictor(Bookings()), ["arrival", "breakfast"])
    assert found["High end"] == {"arrival": "2024-10-04"}
    assert found["Low end"] == {"arrival": "2024-03-18", "breakfast": False}


def test_sample_is_valid(client: FlaskClient) -> None:
    links = client.get("/v1/models/bookings").get_json()["links"]
    sample = client.get(links["sample"]).get_json()
    assert predict(client, *(sample if isinstance(sample, list) else [sample]))["errors"] is None


def test_spec_of_the_model_is_told(client: FlaskClient) -> None:
    spec = client.get("/v1/models/bookings").get_json()["spec"]
    assert {field["name"]: field["kind"] for field in spec["fields"]}["paid"] == "datetime"
    assert json.dumps(spec)
