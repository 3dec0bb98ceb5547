"""The form of a browser without JavaScript, and the pages that people see instead of problems."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from model_kit.records.validation import schema_for
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides

from ml_api.app import create_app
from ml_api.keys import new_key
from ml_api.settings import Settings
from ml_api.views import formatting, plain_words
from ml_api.views.form import read_form

if TYPE_CHECKING:
    from tests.conftest import Server

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TEXTS = {name: formatting.plain(value) for name, value in GOLDEN_ROW.items()}


def send(client: FlaskClient, texts: Mapping[str, str], **more: Any) -> Any:
    return client.post("/try/rides", data=texts, **more)


def text(response: Any) -> str:
    bare = re.sub(r"<script.*?</script>|<[^>]+>", " ", response.text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", bare))


def test_form_that_is_sent_is_answered_with_the_prediction(client: FlaskClient) -> None:
    response = send(client, TEXTS | {"distance": "10", "passengers": "", "Id": "7"})
    sent = {name: value for name, value in GOLDEN_ROW.items() if name != "passengers"} | {"distance": 10}
    url = "/v1/predict/rides?interval=0.9&explain=6&warnings=true"
    expected = client.post(url, json=sent).get_json()
    low, high = expected["intervals"][0]
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    found = text(response)
    assert f"Fare {formatting.amount(expected['predictions'][0], 'EUR')}" in found
    assert f"90 % range: {formatting.amount(low, 'EUR')} to {formatting.amount(high, 'EUR')}" in found
    assert f"Typical record {formatting.amount(GOLDEN_PREDICTION, 'EUR')} Length of the ride 10 +" in found
    assert 'name="distance" type="number"' in response.text
    assert re.search(r'name="distance"[^>]* value="10"', response.text)
    assert re.search(r'name="passengers"[^>]* value=""', response.text)
    # A script that comes later knows what was changed.
    assert '"typical": {"distance": "3.5", "passengers": "1"}' in response.text


def test_form_that_is_wrong_says_so_at_its_fields(client: FlaskClient) -> None:
    response = send(client, TEXTS | {"distance": "", "passengers": "9", "comfort": "<b>"})
    assert response.status_code == 422
    assert '<div class="field wrong" data-field="distance"' in response.text
    assert re.search(r'id="f0m"><span>Needed for a prediction\.</span>', response.text)
    assert re.search(r'id="f1m"><span>Must be from 1 to 8\.</span>', response.text)
    assert "Length of the ride: Needed for a prediction. People on board: Must be from 1 to 8." in text(response)
    assert "<b>" not in response.text


def test_form_warns_beside_the_prediction(client: FlaskClient) -> None:
    found = text(send(client, TEXTS | {"distance": "50", "comfort": "3"}))
    assert "Use with caution Length of the ride 50 is above what training saw (0.4 to 32)." in found
    assert "Class of the car" in found.partition("Use with caution")[2]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"", "application/x-www-form-urlencoded", 422),
        (b"\xff=%ff&distance=%00&=&&zone", "application/x-www-form-urlencoded", 422),
        (b"a=1&" * 200, "application/x-www-form-urlencoded", 400),
        (b"distance=" + b"1" * 1_000_001, "application/x-www-form-urlencoded", 413),
    ],
)
def test_other_bodies_are_refused(client: FlaskClient, body: bytes, content_type: str, status: int) -> None:
    response = client.post("/try/rides", data=body, content_type=content_type, headers=BROWSER)
    assert (response.status_code, response.content_type) == (status, "text/html; charset=utf-8")
    assert client.post("/try/trains", data=body, content_type=content_type).status_code == 404


def test_form_needs_a_key_to_predict(bundle: Path) -> None:
    keys = {scope: new_key(scope, (scope,)) for scope in ("read", "predict")}
    entries = " ".join(str(key) for _, key in keys.values())
    client = create_app(Settings(api_keys=entries), {"rides": lambda: load_rides(bundle)}).test_client()
    assert "needs the scopes read and predict" in text(client.get("/", auth=("me", keys["read"][0])))
    assert send(client, TEXTS, auth=("me", keys["predict"][0])).status_code == 200
    response = send(client, TEXTS, auth=("me", keys["read"][0]), headers=BROWSER)
    assert response.status_code == 403
    assert "The key read lacks the scope predict." in text(response)
    response = send(client, TEXTS, headers=BROWSER)
    assert (response.status_code, response.content_type) == (401, "text/html; charset=utf-8")
    assert 'Basic realm="ml_api", charset="UTF-8"' in response.headers.getlist("WWW-Authenticate")


def test_form_is_received_and_logged_like_other_predictions(server: Server) -> None:
    connection = server.connect()
    body = urlencode(TEXTS | {"distance": "12"})
    connection.request("POST", "/try/rides", body, {"Content-Type": "application/x-www-form-urlencoded"})
    response = connection.getresponse()
    page = response.read().decode()
    connection.close()
    line = server.line_of(response.headers["X-Request-ID"])
    assert (line["route"], line["status"], line["model"], line["rows"]) == ("/try/<model>", 200, "rides", 1)
    expected = server.predict(GOLDEN_ROW | {"distance": 12})[1]["predictions"][0]
    assert formatting.amount(expected, "EUR") in page


@pytest.mark.parametrize(
    ("path", "accept", "is_page"),
    [
        ("/nowhere", BROWSER["Accept"], True),
        ("/nowhere/at/all", BROWSER["Accept"], True),
        ("/try/trains", BROWSER["Accept"], True),
        ("/nowhere", "*/*", False),
        ("/nowhere", "application/json", False),
        ("/nowhere", "application/problem+json, text/html;q=0.5", False),
        ("/v1/models/trains", BROWSER["Accept"], False),
        ("/v1/nowhere", BROWSER["Accept"], False),
    ],
)
def test_people_get_a_page_where_nothing_is(client: FlaskClient, path: str, accept: str, *, is_page: bool) -> None:
    response = client.get(path, headers={"Accept": accept})
    assert response.status_code == 404
    assert ("Accept" in response.headers.get("Vary", "")) == (not path.startswith("/v1"))
    if not is_page:
        assert response.content_type == "application/problem+json"
        return
    assert "There is nothing here" in text(response)
    assert response.headers["X-Request-ID"] in text(response)
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    up = "../" * (path.count("/") - 1) or "./"
    assert f'href="{up}try/rides"' in response.text
    (style,) = re.findall(r'rel="stylesheet" href="(?:\.\.?/)+([^"]+)"', response.text)
    assert client.get(f"/{style}").status_code == 200


FIELDS = (
    Field("n", "number", "N", required=True, minimum=0),
    Field("i", "integer", "I", minimum=1, maximum=8),
    Field("b", "boolean", "B"),
    Field("c", "category", "C", numeric_codes=True),
    Field("s", "category", "S"),
    Field("d", "date", "D"),
    Field("t", "datetime", "T", time_zone=True),
    Field("w", "text", "W", max_length=3),
)
SPEC = InputSpec(FIELDS, {field.name: Learned(0.0, None) for field in FIELDS}, Target("y"))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, "Needed for a prediction."),
        ({"n": None}, "Needed for a prediction."),
        ({"n": -1}, "Must be 0 or more."),
        ({"n": "1,5"}, "Must be a number."),
        ({"i": 9}, "Must be from 1 to 8."),
        ({"i": 1.5}, "Must be a whole number."),
        ({"b": "x"}, "Must be yes or no."),
        ({"c": 1.5}, "Must be a whole number."),
        ({"s": 1}, "Must be a text."),
        ({"d": "1/2/2024"}, "Must be a date like YYYY-MM-DD."),
        ({"t": "2024-01-01T00:00"}, "The time zone is missing: write it like"),
        ({"w": "long"}, "Has more than 3 characters."),
    ],
)
def test_every_message_of_the_validator_is_in_words(record: dict[str, Any], expected: str) -> None:
    errors = schema_for(SPEC).validate({"n": 1} | record if record else {})
    (messages,) = errors.values()
    assert plain_words.fault(messages).startswith(expected)
    assert plain_words.fault(messages) not in messages


def test_warning_is_a_sentence_without_its_field() -> None:
    assert plain_words.warning("distance", "distance 50 is above it") == "50 is above it."
    assert plain_words.warning("distance", "too far?") == "Too far?"


def test_lines_of_a_text_are_those_of_the_api() -> None:
    assert read_form(b"w=a%0D%0Ab&n=1&n=2", SPEC) == dict.fromkeys(SPEC.names, "") | {"w": "a\nb", "n": "2"}


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (214876.5, "USD", "$214,876"),
        (-12.345, "EUR", "−€12.35"),
        (0.0031, "mm", "0.0031 mm"),
        (0.0, "", "0.00"),
        (1e22, "", "1e+22"),
    ],
)
def test_amounts_without_a_script(value: float, unit: str, expected: str) -> None:
    assert formatting.amount(value, unit) == expected
