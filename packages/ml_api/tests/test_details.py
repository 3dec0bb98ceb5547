"""Intervals, explanations and warnings beside predictions, by query parameters."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_kit.scoring.intervals import LEVELS_REASON
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, SPEC_OF_RIDES, load_rides
from werkzeug.test import TestResponse

from ml_api.app import API, create_app
from ml_api.settings import Settings
from ml_api.views.schemas import PredictionSchema
from strategies import any_json, any_records

URL = "/v1/predict/rides"
#: Every field differs from the golden row: distance + 8 km (an effect of 1), passengers + 2 (1/8), zone B (-1/4), and
#: comfort 2 -> none (-2/32).
FAR: dict[str, Any] = {"distance": 11.5, "passengers": 3, "zone": "B", "Id": 7}
EVERYTHING = "interval=0.9&explain=4&warnings=true"


def post(client: FlaskClient, query: str, records: Any) -> TestResponse:
    return client.post(f"{URL}?{query}", data=json.dumps(records), content_type="application/json")


def refused(response: TestResponse) -> str:
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    return str(response.get_json()["detail"])


def test_everything_at_once(client: FlaskClient) -> None:
    response = post(client, EVERYTHING, [FAR, {}, GOLDEN_ROW])
    answer = response.get_json()
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert list(answer) == ["predictions", "errors", "version", "intervals", "explanations", "warnings"]
    assert PredictionSchema().validate(answer) == {}
    assert list(answer) == list(PredictionSchema().fields)
    for name in ("intervals", "explanations", "warnings"):
        assert [value is None for value in answer[name]] == [False, True, False]


def test_interval_is_the_calibrated_one(client: FlaskClient) -> None:
    """Below 20 the width at .9 is .18, above .09; between levels it is between."""
    answer = post(client, "interval=0.9", [GOLDEN_ROW, {}, {"distance": 0, "zone": "A"}]).get_json()
    assert set(answer) == {"predictions", "errors", "version", "intervals"}
    dear, _, cheap = answer["predictions"]
    assert answer["intervals"] == [
        pytest.approx([dear * math.exp(-0.09), dear * math.exp(0.09)]),
        None,
        pytest.approx([cheap * math.exp(-0.18), cheap * math.exp(0.18)]),
    ]
    (between,) = post(client, "interval=.925", GOLDEN_ROW).get_json()["intervals"]
    assert between == pytest.approx([dear * math.exp(-0.095), dear * math.exp(0.095)])


def test_explanation_is_complete(client: FlaskClient) -> None:
    answer = post(client, "explain=2", [{}, FAR]).get_json()
    assert set(answer) == {"predictions", "errors", "version", "explanations"}
    none, found = answer["explanations"]
    assert none is None
    assert list(found) == ["baseline", "contributions", "rest"]
    assert found["baseline"] == {"name": "typical record", "prediction": pytest.approx(GOLDEN_PREDICTION)}
    slope = (answer["predictions"][1] - GOLDEN_PREDICTION) / 0.8125
    assert found["contributions"] == [
        {
            "field": "distance",
            "value": 11.5,
            "together": None,
            "effect": pytest.approx(1),
            "percent": pytest.approx(100 * math.expm1(1)),
            "amount": pytest.approx(slope),
        },
        {
            "field": "zone",
            "value": "B",
            "together": None,
            "effect": pytest.approx(-0.25),
            "percent": pytest.approx(100 * math.expm1(-0.25)),
            "amount": pytest.approx(-slope / 4),
        },
    ]
    assert found["rest"] == {
        "fields": 2,
        "effect": pytest.approx(1 / 16),
        "percent": pytest.approx(100 * math.expm1(1 / 16)),
        "amount": pytest.approx(slope / 16),
    }


def test_explanation_compares_with_the_first_record_where_asked(client: FlaskClient) -> None:
    answer = post(client, "explain=4&against=first", [FAR, GOLDEN_ROW, FAR, {}]).get_json()
    far, typical, *_ = answer["predictions"]
    itself, back, same, none = answer["explanations"]
    assert none is None
    assert itself["contributions"] == same["contributions"] == []
    assert back["baseline"] == {"name": "first record", "prediction": far}
    (against_typical,) = post(client, "explain=4&against=typical", [FAR]).get_json()["explanations"]
    effects = {one["field"]: -one["effect"] for one in against_typical["contributions"]}
    assert {one["field"]: one["effect"] for one in back["contributions"]} == pytest.approx(effects)
    assert {one["field"]: one["value"] for one in back["contributions"]}["distance"] == GOLDEN_ROW["distance"]
    assert far + sum(one["amount"] for one in back["contributions"]) == pytest.approx(typical)
    assert post(client, "explain=4&against=first", [{}, FAR]).get_json()["explanations"] == [None, None]
    # What a form sends that has the default of each parameter.
    assert post(client, "against=typical", [FAR]).status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("explain=2&against=last", "The query parameter against must be typical or first."),
        ("against=first", "The query parameter against says what is explained; it needs explain."),
    ],
)
def test_what_is_compared_with_is_checked(client: FlaskClient, query: str, said: str) -> None:
    assert refused(post(client, query, [GOLDEN_ROW])) == said


def test_warnings_say_what_a_record_was_scored_with(client: FlaskClient) -> None:
    odd = {"distance": 99, "zone": "Z", "comfort": "2"}
    answer = post(client, "warnings=true", [GOLDEN_ROW, odd, 3]).get_json()
    assert set(answer) == {"predictions", "errors", "version", "warnings"}
    none, some, null = answer["warnings"]
    assert (none, null) == ([], None)
    assert [(one["code"], one["field"], one["fields"]) for one in some] == [
        ("out_of_range", "distance", ["distance"]),
        ("imputed", "passengers", ["passengers"]),
        ("unseen_level", "zone", ["zone"]),
    ]
    assert all(one["message"].startswith(one["field"]) for one in some)


@pytest.mark.parametrize("query", ["", "&", "warnings=false"])
@pytest.mark.parametrize("records", [GOLDEN_ROW, [GOLDEN_ROW, {}, 3], [{}], []])
def test_asking_for_nothing_is_answered_byte_for_byte_as_ever(client: FlaskClient, query: str, records: Any) -> None:
    plain = client.post(URL, data=json.dumps(records), content_type="application/json")
    asked = post(client, query, records)
    assert (asked.status_code, asked.data) == (plain.status_code, plain.data)


def test_details_of_nothing(client: FlaskClient) -> None:
    response = post(client, EVERYTHING, [])
    assert response.status_code == 200
    answer = response.get_json()
    assert (answer["intervals"], answer["explanations"], answer["warnings"]) == ([], [], [])
    response = post(client, EVERYTHING, [{}, 3])
    assert response.status_code == 422
    answer = response.get_json()
    assert answer["intervals"] == answer["explanations"] == answer["warnings"] == [None, None]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("colour=red", "There is no query parameter 'colour'; it takes interval, explain, against, warnings, echo."),
        (
            "explain=5&Explain=5",
            "There is no query parameter 'Explain'; it takes interval, explain, against, warnings, echo.",
        ),
        (
            f"{'x' * 100}=1",
            f"There is no query parameter '{'x' * 60}...'; it takes interval, explain, against, warnings, echo.",
        ),
        ("explain=1&explain=2", "The query parameter explain is given 2 times; it can be given once."),
        ("warnings=true&warnings=true", "The query parameter warnings is given 2 times; it can be given once."),
        ("interval=0.8&interval=0.9", "The query parameter interval is given 2 times; it can be given once."),
    ],
)
def test_unknown_and_repeated_parameters_are_named(client: FlaskClient, query: str, said: str) -> None:
    assert refused(post(client, query, [GOLDEN_ROW])) == said


@pytest.mark.parametrize(
    "text", ["", "0.49", "0.951", "1", "0", "nan", "1e-1", "9e-1", "0,9", "90", "-0.9", "٠.٩", " .9"]
)
def test_malformed_interval_is_refused(client: FlaskClient, text: str) -> None:
    said = f"The query parameter interval must be a decimal number from 0.5 to 0.95; {LEVELS_REASON}."
    assert refused(post(client, f"interval={text}", [GOLDEN_ROW])) == said


@pytest.mark.parametrize("text", ["", "0", "51", "-1", "1.0", "1e1", "five", "true", "٣", "9" * 5000])
def test_malformed_count_is_refused(client: FlaskClient, text: str) -> None:
    said = "The query parameter explain must be a whole number from 1 to 50."
    assert refused(post(client, f"explain={text}", [GOLDEN_ROW])) == said


@pytest.mark.parametrize("text", ["", "1", "yes", "True", "TRUE", "null"])
def test_malformed_flag_is_refused(client: FlaskClient, text: str) -> None:
    said = "The query parameter warnings must be true or false."
    assert refused(post(client, f"warnings={text}", [GOLDEN_ROW])) == said


@pytest.mark.parametrize("query", ["interval=0.5", "interval=0.95", "interval=.70", "explain=1", "explain=050"])
def test_bounds_and_spellings_that_are_taken(client: FlaskClient, query: str) -> None:
    assert post(client, query, [GOLDEN_ROW]).status_code == 200


def test_parameters_are_refused_before_the_body_is_read(client: FlaskClient) -> None:
    response = client.post(f"{URL}?why=1", data="no JSON", content_type="application/json")
    assert refused(response).startswith("There is no query parameter 'why'")


def test_model_without_intervals_says_so(tmp_path: Path) -> None:
    from model_kit.testing import write_ride_bundle

    write_ride_bundle(tmp_path / "rides")
    client = create_app(Settings(), {"rides": lambda: load_rides(tmp_path / "rides")}).test_client()
    said = refused(post(client, "interval=0.9", []))
    assert said.startswith("This model has no calibrated intervals")
    assert said.endswith(".")
    assert post(client, "explain=3&warnings=true", [FAR]).status_code == 200
    operation = client.get("/openapi.json").get_json()["paths"][URL]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["explain", "against", "warnings", "echo"]
    shown = operation["responses"]["400"]["content"]["application/problem+json"]["examples"]["uncalibrated"]
    assert shown["value"]["detail"] == said


def test_model_without_a_typical_prediction_says_so(bundle: Path) -> None:
    model = load_rides(bundle)
    score = model.score
    app = create_app(Settings(), {"rides": lambda: model})
    model.score = lambda encoded: score(encoded) * 0  # type: ignore[method-assign]
    said = "The typical record has no finite prediction to compare with."
    assert refused(post(app.test_client(), "explain=3", [FAR])) == said
    assert "detailed" not in json.dumps(app.test_client().get("/openapi.json").get_json()["paths"][URL])


@pytest.mark.parametrize(("rows", "status"), [(3, 200), (4, 413)])
def test_no_more_records_are_explained_than_the_setting_says(bundle: Path, rows: int, status: int) -> None:
    app = create_app(Settings(max_explained=3), {"rides": lambda: load_rides(bundle)})
    response = post(app.test_client(), "explain=1", [GOLDEN_ROW] * rows)
    assert response.status_code == status
    if status == 413:
        detail = "The body has 4 records; at most 3 are explained at a time (MAX_EXPLAINED)."
        assert response.get_json()["detail"] == detail
    assert post(app.test_client(), "interval=0.9&warnings=true", [GOLDEN_ROW] * rows).status_code == 200


def test_request_is_logged_as_any_other_and_nothing_that_was_sent(client: FlaskClient, log: list[Any]) -> None:
    post(client, EVERYTHING, [FAR | {"zone": "secret zone"}, {}])
    (line,) = [line for line in log if line["message"] == "request"]
    assert (line["model"], line["rows"], line["errors"], line["fast"]) == ("rides", 2, 1, 1)
    assert "secret" not in json.dumps(log)


RECORDS = st.lists(any_records(SPEC_OF_RIDES) | any_json(), max_size=8)
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(RECORDS, st.sampled_from([0.5, 0.61, 0.9, 0.95]), st.integers(1, 50))
def test_details_keep_predictions_and_their_places_whatever_is_sent(
    app: API, records: list[Any], level: float, n: int
) -> None:
    client = app.test_client()
    body = json.dumps(records).replace("Infinity", "1e999")
    plain = client.post(URL, data=body, content_type="application/json")
    detailed = client.post(
        f"{URL}?interval={level}&explain={n}&warnings=true", data=body, content_type="application/json"
    )
    assert detailed.status_code == plain.status_code
    if plain.status_code not in (200, 422):
        return
    expected, answer = plain.get_json(), detailed.get_json()
    assert {name: answer[name] for name in expected} == expected
    for name in ("intervals", "explanations", "warnings"):
        assert len(answer[name]) == len(records)
        assert [value is None for value in answer[name]] == [value is None for value in answer["predictions"]]
    for record, prediction, interval, explained in zip(
        records, answer["predictions"], answer["intervals"], answer["explanations"], strict=True
    ):
        if prediction is None:
            continue
        low, high = interval
        assert low <= prediction <= high
        parts = [*explained["contributions"], explained["rest"]]
        effects = math.fsum(one["effect"] for one in parts)
        assert math.log(explained["baseline"]["prediction"]) + effects == pytest.approx(math.log(prediction))
        amounts = [one["amount"] for one in parts]
        total = explained["baseline"]["prediction"] + math.fsum(amounts)
        assert total == pytest.approx(prediction, abs=1e-9 * max(map(abs, amounts)))
        assert len(explained["contributions"]) <= n
        for one in explained["contributions"]:
            assert one["value"] == record.get(one["field"])


@PROPERTY
@given(st.lists(any_records(SPEC_OF_RIDES), min_size=2, max_size=6), st.randoms())
def test_details_of_a_record_do_not_depend_on_its_neighbours(app: API, records: list[Any], random: Any) -> None:
    client = app.test_client()
    order = list(range(len(records)))
    random.shuffle(order)
    bodies = [json.dumps(some).replace("Infinity", "1e999") for some in (records, [records[one] for one in order])]
    first, second = (client.post(f"{URL}?{EVERYTHING}", data=body, content_type="application/json") for body in bodies)
    if first.status_code not in (200, 422):
        return
    for name in ("predictions", "intervals", "explanations", "warnings"):
        assert [first.get_json()[name][one] for one in order] == second.get_json()[name]


def test_numbers_of_any_size_are_repeated_as_sent(client: FlaskClient) -> None:
    sent = {"distance": 10**30, "passengers": 2.0, "zone": "\ud800", "comfort": 2}
    answer = post(client, "explain=4", [sent]).get_json()
    values = {one["field"]: one["value"] for one in answer["explanations"][0]["contributions"]}
    assert values == {"distance": 10**30, "passengers": 2, "zone": "\ud800"}
