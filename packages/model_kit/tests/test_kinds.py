"""Booleans, dates and datetimes through every door: JSON, CSV, JSON Lines, Parquet, DataFrame."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.batch.csv_files import csv_table
from model_kit.batch.rows import Answers, Format
from model_kit.batch.tables import reading, writing
from model_kit.records.encoding import FEW, Encoder, FeatureMaker
from model_kit.records.fast_lane import FastLane
from model_kit.records.features import Derivation, default_derive, default_layout
from model_kit.records.generation import generate_rows, golden_row
from model_kit.records.row_warnings import Contradiction, RowWarnings
from model_kit.records.text import parse_cell, parse_value
from model_kit.records.validation import Validator
from model_kit.scoring.explanation import Explainer
from model_kit.scoring.frames import make_prediction
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, InputSpec, Learned, Target, fit_spec
from model_kit.testing import SPEC_OF_RIDES
from model_kit.training.reference import reference

from bookings import BOOKING, BOOKING_FIELDS, SPEC_OF_BOOKINGS, Bookings
from strategies import any_json, any_records

VALIDATE, ENCODE, FAST_LANE = Validator(SPEC_OF_BOOKINGS), Encoder(SPEC_OF_BOOKINGS), FastLane(SPEC_OF_BOOKINGS)
FIELDS = {field.name: field for field in BOOKING_FIELDS}
MOMENTS = [
    "2024-02-29",
    "2024-02-30",
    "2024-02-29T13:45:00",
    "2024-02-29 13:45",
    "2024-02-29T13:45+01:00",
    "0001-01-01",
]


def errors(**changes: Any) -> dict[str, list[str]]:
    return VALIDATE([BOOKING | changes]).errors.get(0, {})


# JSON


@pytest.mark.parametrize(
    ("sent", "value"), [(True, True), (1, True), (1.0, True), (False, False), (0, False), (-0.0, False)]
)
def test_boolean_is_true_or_false_or_one_or_zero(sent: Any, value: bool) -> None:
    (row,) = VALIDATE([BOOKING | {"breakfast": sent}]).rows
    assert row["breakfast"] is value


@pytest.mark.parametrize("sent", [2, -1, 0.5, "true", "yes", "1", "", [], {}, float("nan"), 10**400])
def test_anything_else_is_no_boolean(sent: Any) -> None:
    assert errors(breakfast=sent) == {"breakfast": ["Not a valid boolean; expected true or false."]}


def test_dates_are_validated_to_their_canonical_text() -> None:
    sent = BOOKING | {"booked": "2024-05-01 18:30", "paid": "2024-06-01 18:00+02:00"}
    assert VALIDATE([sent]).rows == [BOOKING]


@pytest.mark.parametrize(
    "sent", ["01/07/2024", "2024-07-01T00:00:00", "2024-06-31", "N/A", 20240701, True, ["2024-07-01"]]
)
def test_date_that_is_not_iso_is_refused_and_the_format_named(sent: Any) -> None:
    assert errors(arrival=sent) == {"arrival": ["Not a valid date; expected YYYY-MM-DD, in files also DD/MM/YYYY."]}


def test_time_zones_are_said() -> None:
    with_zone = "YYYY-MM-DDThh:mm:ss with Z or an offset such as +01:00"
    assert errors(paid="2024-06-01T16:00:00") == {"paid": [f"The time zone is missing; expected {with_zone}."]}
    assert errors(paid="soon") == {"paid": [f"Not a valid datetime; expected {with_zone}."]}
    without = "YYYY-MM-DDThh:mm:ss, in files also DD/MM/YYYY hh:mm"
    assert errors(booked="2024-05-01T18:30:00Z") == {"booked": [f"A time zone is not permitted; expected {without}."]}


def test_required_date_must_be_there() -> None:
    assert errors(arrival=None) == {"arrival": ["Field may not be null."]}
    assert VALIDATE([{"nights": 1}]).errors[0] == {"arrival": ["Missing data for required field."]}


# The fast lane


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        any_records(SPEC_OF_BOOKINGS)
        | st.dictionaries(st.sampled_from(SPEC_OF_BOOKINGS.names), st.sampled_from(MOMENTS) | any_json()).map(
            lambda changes: BOOKING | changes
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_fast_lane_accepts_what_is_valid_with_the_same_numbers(records: list[Any], raw: bool) -> None:
    texts = [msgspec.Raw(json.dumps(record).encode()) for record in records] if raw else records
    accepted = FAST_LANE(texts)
    assert sorted([*accepted.positions, *accepted.declined]) == list(range(len(records)))
    validated = VALIDATE([records[position] for position in accepted.positions])
    assert validated.errors == {}
    assert accepted.encoded.tobytes() == ENCODE(validated.rows).tobytes()


def test_fast_lane_takes_every_valid_spelling() -> None:
    spellings: list[dict[str, Any]] = [
        {"breakfast": 0, "booked": "2024-05-01 18:30", "paid": "2024-06-01T18:00:00.5+02:00"},
        {"breakfast": None, "booked": None, "paid": None, "left": None},
        {"breakfast": 1.0, "arrival": "0001-01-01", "left": "9999-12-31"},
    ]
    records = [BOOKING | changes for changes in spellings]
    for sent in (records, [msgspec.Raw(json.dumps(record).encode()) for record in records]):
        accepted = FAST_LANE(sent)
        assert accepted.positions == [0, 1, 2]
        assert accepted.encoded.tobytes() == ENCODE(VALIDATE(records).rows).tobytes()


# Encoding and features


def test_encoded_are_zero_and_one_and_days() -> None:
    encoded = ENCODE(VALIDATE([BOOKING, {"nights": 1, "arrival": "1970-01-02", "breakfast": 0}]).rows)
    assert encoded[0].tolist() == [2, 1, 19905, 19844 + 18.5 / 24, 19875 + 16 / 24, 19907, 18.5, 1]
    assert encoded[1, :3].tolist() == [1, 0, 1]
    assert np.isnan(encoded[1, 3:]).all()


def test_features_of_a_date_are_its_parts() -> None:
    layout = default_layout(SPEC_OF_BOOKINGS)
    maker = FeatureMaker(SPEC_OF_BOOKINGS)
    features = dict(zip(layout.names, maker([BOOKING])[0].tolist(), strict=True))
    assert [features[f"arrival {part}"] for part in ("year", "month", "day of week", "days since first")] == [
        2024,
        7,
        1,
        182,
    ]
    assert [features[f"booked {part}"] for part in ("year", "month", "day of week", "hour")] == [2024, 5, 3, 18]
    assert features["booked days since first"] == np.float32(19844 + 18.5 / 24 - 19600.25)
    assert (features["breakfast"], features["nights"], features["room"]) == (1, 2, 1)
    assert "arrival" not in features
    assert "arrival hour" not in features


def test_layout_says_how_the_parts_are_to_be_treated() -> None:
    layout = default_layout(SPEC_OF_BOOKINGS)
    named = {kind: [layout.names[position] for position in getattr(layout, kind)] for kind in ("ordered", "nominal")}
    assert named["nominal"] == ["room"]
    assert named["ordered"][:2] == ["arrival month", "arrival day of week"]
    assert "breakfast" in [layout.names[position] for position in layout.numeric]
    assert sorted([*layout.numeric, *layout.ordered, *layout.nominal]) == list(range(len(layout.names)))


def test_spec_without_dates_has_its_fields_as_features() -> None:
    assert default_layout(SPEC_OF_RIDES).names == SPEC_OF_RIDES.names
    encoded = np.ones((2, 4))
    assert default_derive(SPEC_OF_RIDES)(encoded) is encoded


@given(st.lists(st.datetimes() | st.none(), min_size=1, max_size=FEW + 1))
def test_parts_are_those_of_the_calendar_in_either_form(moments: list[datetime | None]) -> None:
    field = Field("at", "datetime", "")
    spec = InputSpec((field,), {"at": Learned(0.0, None, 100.25, 200.0)}, Target("y"))
    derive = default_derive(spec)
    assert isinstance(derive, Derivation)
    encoded = Encoder(spec)([{"at": None if moment is None else moment.isoformat()} for moment in moments])
    rows = derive.rows(encoded)
    assert np.array([derive.row(row) for row in encoded.tolist()]).tobytes() == rows.tobytes()
    for moment, parts, (days,) in zip(moments, rows.tolist(), encoded.tolist(), strict=True):
        if moment is None:
            assert np.isnan(parts).all()
        else:
            assert parts == [moment.year, moment.month, moment.isoweekday(), days - 100.25, moment.hour]


# Learning, generation, drift


def test_dates_learn_median_range_and_bins_and_booleans_their_mode() -> None:
    rows: list[dict[str, Any]] = [
        {"arrival": f"2024-01-{day:02d}", "nights": 1, "breakfast": day < 20} for day in range(1, 32)
    ]
    learned = fit_spec(BOOKING_FIELDS, Target("y"), rows, n_bins=4).learned
    assert learned["arrival"] == Learned(0.0, "2024-01-16", 19723.0, 19753.0, (19730.0, 19738.0, 19746.0))
    assert learned["breakfast"] == Learned(0.0, True, codes={"false": 0, "true": 1})
    assert learned["booked"] == Learned(1.0, None)
    assert golden_row(fit_spec(BOOKING_FIELDS, Target("y"), rows)) == {
        "nights": 1,
        "breakfast": True,
        "arrival": "2024-01-16",
    }


def test_boolean_whose_absence_is_information_may_have_no_typical_value() -> None:
    field = Field("x", "boolean", "", null_means="not asked")
    rows: list[dict[str, Any]] = [{"x": True}, {"x": None}, {"x": None}]
    assert fit_spec([field], Target("y"), rows).learned["x"] == Learned(1 - 1 / 3, None, codes={"true": 1})


def test_spec_with_every_kind_survives_its_json() -> None:
    assert InputSpec.from_json(SPEC_OF_BOOKINGS.to_json()) == SPEC_OF_BOOKINGS
    fields = {field["name"]: field for field in json.loads(SPEC_OF_BOOKINGS.to_json())["fields"]}
    assert (fields["arrival"]["format"], fields["paid"]["time_zone"]) == ("%d/%m/%Y", True)
    assert not {"format", "time_zone"} & set(fields["left"])


def test_generated_rows_of_every_kind_are_valid_and_vary() -> None:
    rows = generate_rows(SPEC_OF_BOOKINGS, 1000, seed=1, nulls=0.2, unseen=0.2, extremes=0.3)
    validated = VALIDATE(rows)
    assert validated.errors == {}
    assert validated.rows == rows
    assert {row["breakfast"] for row in rows} == {True, False, None}
    arrivals = [row["arrival"] for row in rows]
    assert {"2024-01-01", "2024-12-31", "2014-01-03", "2034-12-29"} <= set(arrivals)
    assert len(set(arrivals)) > 150
    plain = generate_rows(SPEC_OF_BOOKINGS, 300, seed=2)
    assert all("2024-01-01" <= row["arrival"] <= "2024-12-31" for row in plain)
    assert all(row["paid"] is None or row["paid"].endswith("Z") for row in plain)


def test_drift_reference_counts_dates_by_bin_and_booleans_by_value() -> None:
    rows: list[dict[str, Any]] = [
        {"nights": 1, "arrival": f"2024-0{1 + n % 8}-01", "breakfast": n % 4 == 0} for n in range(80)
    ]
    spec = fit_spec(BOOKING_FIELDS, Target("y"), rows, n_bins=2)
    found = reference(spec, rows)["fields"]
    assert found["breakfast"] == {"missing": 0, "levels": {"false": 60, "true": 20}, "other": 0}
    assert found["arrival"] == {"missing": 0, "edges": [19814.0], "counts": [40, 40]}


# Warnings


def said(record: dict[str, Any], contradictions: tuple[Contradiction, ...] = ()) -> list[tuple[str, str]]:
    return [(each["code"], each["message"]) for each in RowWarnings(SPEC_OF_BOOKINGS, contradictions)(record)]


def test_usual_row_has_no_warning_however_it_is_spelled() -> None:
    assert said(BOOKING | {"breakfast": 1, "booked": "2024-05-01 18:30", "paid": "2024-06-01 18:00+02:00"}) == []


def test_dates_outside_training_are_told_in_iso() -> None:
    assert said(BOOKING | {"arrival": "2031-05-01", "paid": "2020-01-01 00:30+01:00"}) == [
        ("out_of_range", "arrival 2031-05-01 is after what training saw (2024-01-01 to 2024-12-31)"),
        (
            "out_of_range",
            "paid 2019-12-31T23:30:00Z is before what training saw (2023-09-10T18:00:00Z to 2024-12-30T12:00:00Z)",
        ),
    ]


def test_boolean_that_training_never_saw_and_missing_values_are_told() -> None:
    learned = {
        **SPEC_OF_BOOKINGS.learned,
        "breakfast": Learned(0.0, True, codes={"true": 1}),
        "left": Learned(1.0, None),
    }
    look = RowWarnings(InputSpec(BOOKING_FIELDS, learned, SPEC_OF_BOOKINGS.target))
    found = [(each["code"], each["message"]) for each in look(BOOKING | {"breakfast": 0, "booked": None, "paid": None})]
    assert found == [
        ("unseen_level", "breakfast false did not occur in training"),
        ("imputed", "booked was not given"),
        ("out_of_range", "left 2024-07-03 is new: training saw no value of it"),
    ]


def test_contradictions_see_canonical_values() -> None:
    seen = {}

    def find(row: Any) -> None:
        seen.update(row)

    said(BOOKING | {"breakfast": 1.0, "paid": "2024-06-01 18:00+02:00"}, (Contradiction("x", ("paid",), find),))
    assert seen == BOOKING
    assert seen["breakfast"] is True


# Text and tables


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "yes", "YES", "1", " 1 ", "1.0"])
def test_files_write_true_in_many_ways(text: str) -> None:
    assert VALIDATE([BOOKING | {"breakfast": parse_cell(FIELDS["breakfast"], text)}]).rows[0]["breakfast"] is True


@pytest.mark.parametrize("text", ["false", "FALSE", "no", "No", "0", "0.0"])
def test_files_write_false_in_many_ways(text: str) -> None:
    assert VALIDATE([BOOKING | {"breakfast": parse_cell(FIELDS["breakfast"], text)}]).rows[0]["breakfast"] is False


@pytest.mark.parametrize("text", ["maybe", "2", "t", "on"])
def test_other_texts_are_no_boolean(text: str) -> None:
    assert errors(breakfast=parse_cell(FIELDS["breakfast"], text))


@pytest.mark.parametrize("name", ["breakfast", "arrival", "booked"])
@pytest.mark.parametrize("text", ["", "NA", "  "])
def test_blank_is_no_value_of_any_kind(name: str, text: str) -> None:
    assert parse_cell(FIELDS[name], text) is None


def test_text_that_does_not_match_is_left_for_the_validator() -> None:
    assert parse_cell(FIELDS["arrival"], "07/31/2024") == "07/31/2024"
    assert parse_cell(FIELDS["arrival"], " 31/07/2024 ") == "2024-07-31"
    assert parse_cell(FIELDS["left"], "31/07/2024") == "31/07/2024"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("arrival", date(2024, 7, 1), "2024-07-01"),
        ("arrival", datetime(2024, 7, 1), "2024-07-01"),  # noqa: DTZ001
        ("arrival", datetime(2024, 7, 1, 12), "2024-07-01T12:00:00"),  # noqa: DTZ001
        ("booked", date(2024, 7, 1), "2024-07-01T00:00:00"),
        ("booked", datetime(2024, 7, 1, 12, 30), "2024-07-01T12:30:00"),  # noqa: DTZ001
        ("paid", datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2024-07-01T12:00:00+02:00"),
        ("breakfast", False, False),
        ("breakfast", "no", False),
        ("nights", 3, 3),
    ],
)
def test_python_values_become_json(name: str, value: Any, expected: Any) -> None:
    assert parse_value(FIELDS[name], value) == expected


HEADER = "nights,breakfast,arrival,booked,paid,left,area,room,note"
LINES = [
    "2,yes,01/07/2024,01/05/2024 18:30,2024-06-01T16:00:00Z,2024-07-03,18.5,double,a",
    "2,TRUE,1/7/2024,2024-05-01 18:30,2024-06-01 18:00:00+02:00,2024-07-03,18.5,double,b",
    "2,1.0,2024-07-01,01/05/2024 18:30,,NA,18.5,double,c",
    "2,perhaps,07/31/2024,01/05/2024,2024-06-01,2024-07-03,18.5,double,d",
]


def test_csv_file_is_read_with_the_formats_of_its_fields() -> None:
    rows = [entry.record for entry in csv_table("\n".join([HEADER, *LINES, ""]).encode(), SPEC_OF_BOOKINGS).entries]
    validated = VALIDATE(rows)
    assert validated.rows == [BOOKING, BOOKING, BOOKING | {"paid": None, "left": None}]
    assert set(validated.errors) == {3}
    assert set(validated.errors[3]) == {"breakfast", "arrival", "booked", "paid"}


def test_cells_are_encoded_as_the_validator_and_the_encoder_have_them() -> None:
    table = csv_table("\n".join([HEADER, *LINES, ""]).encode(), SPEC_OF_BOOKINGS)
    (batch,) = [table.parse(block) for block in table.blocks()]
    for _ in range(2):
        encoded, certain = batch.encode()
        assert certain.tolist() == [True, True, True, False]
        records = [batch.entry(row).record for row in range(batch.n_rows)]
        assert encoded[certain].tobytes() == ENCODE(VALIDATE(records).rows).tobytes()


def write(path: Path, columns: dict[str, Any]) -> str:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), path)
    return str(path)


def records_of(path: str, as_format: Format | None = None) -> list[Any]:
    with reading(path, SPEC_OF_BOOKINGS, as_format) as table:
        return [entry.record for entry in table.entries]


def test_parquet_file_has_dates_booleans_or_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    zoned = arrow.array([datetime(2024, 6, 1, 16, tzinfo=UTC), None], arrow.timestamp("ns", "Europe/Paris"))
    path = write(
        tmp_path / "typed.parquet",
        {
            "nights": [2, 2],
            "breakfast": [True, None],
            "arrival": arrow.array([datetime(2024, 7, 1), datetime(2024, 7, 1)], arrow.timestamp("us")),  # noqa: DTZ001
            "booked": arrow.array([datetime(2024, 5, 1, 18, 30), None], arrow.timestamp("ms")),  # noqa: DTZ001
            "paid": zoned,
            "left": arrow.array([date(2024, 7, 3), None], arrow.date32()),
            "area": [18.5, 18.5],
            "room": ["double", "double"],
        },
    )
    nothing = {"breakfast": None, "booked": None, "paid": None, "left": None}
    assert VALIDATE(records_of(path)).rows == [BOOKING, BOOKING | nothing]
    text = {"nights": ["2"], "breakfast": ["yes"], "arrival": ["01/07/2024"], "booked": ["01/05/2024 18:30"]}
    text |= {"paid": ["2024-06-01T16:00:00Z"], "left": ["2024-07-03"], "area": ["18.5"], "room": ["double"]}
    assert VALIDATE(records_of(write(tmp_path / "text.parquet", text))).rows == [BOOKING]


def test_json_lines_hold_json_values(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [BOOKING, BOOKING | {"breakfast": 1, "booked": "2024-05-01 18:30"}, BOOKING | {"arrival": "01/07/2024"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    validated = VALIDATE(records_of(str(path)))
    assert validated.rows == [BOOKING, BOOKING]
    assert list(validated.errors[2]) == ["arrival"]


def test_csv_keeps_its_text_and_json_lines_made_of_it_have_json_values(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("\n".join([HEADER, *LINES[:1]]) + "\n")
    for name in ("out.csv", "out.jsonl"):
        with reading(str(source), SPEC_OF_BOOKINGS) as table:
            as_format: Format = "csv" if name.endswith("csv") else "jsonl"
            with writing(str(tmp_path / name), table, as_format, {"prediction": "number", "error": "text"}) as file:
                (batch,) = [table.parse(block) for block in table.blocks()]
                file.write(file.render(batch, Answers(np.array([1.5]), {}, np.empty(0), [])))
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == f"{LINES[0]},1.5,"
    priced = {"prediction": 1.5, "error": None}
    assert json.loads((tmp_path / "out.jsonl").read_text()) == BOOKING | {"note": "a"} | priced


def predict(data: Any) -> Any:
    return make_prediction(Predictor(Bookings()), data)


def test_data_frame_has_timestamps_or_text() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({name: [value, value] for name, value in BOOKING.items()})
    expected = predict([BOOKING, BOOKING])
    assert expected["errors"] is None
    assert predict(frame) == expected
    typed = frame.assign(**{name: pandas.to_datetime(frame[name]) for name in ("arrival", "booked", "paid", "left")})
    assert predict(typed) == expected
    assert predict(typed.assign(arrival="01/07/2024", breakfast="yes")) == expected
    empty = {name: [pandas.NaT] * 2 for name in ("booked", "paid", "left")} | {"breakfast": [pandas.NA, None]}
    missing = dict.fromkeys(("booked", "paid", "left", "breakfast"))
    assert predict(typed.assign(**empty)) == predict([BOOKING | missing] * 2)


def test_records_may_hold_python_and_numpy_values() -> None:
    sent = BOOKING | {
        "breakfast": np.bool_(True),
        "arrival": date(2024, 7, 1),
        "booked": np.datetime64("2024-05-01T18:30", "ns"),
        "paid": datetime(2024, 6, 1, 16, tzinfo=UTC),
        "left": np.datetime64("2024-07-03"),
    }
    assert predict(sent) == predict(BOOKING)


def test_date_is_one_player_of_an_explanation_and_is_shown_as_sent() -> None:
    explainer = Explainer(Bookings())
    assert ("arrival",) in explainer.players
    sent = BOOKING | {"arrival": "2024-07-11", "breakfast": 0}
    (row,) = ENCODE(VALIDATE([sent]).rows)
    explanation = explainer.explain(row, float(Bookings().score(row[np.newaxis])[0]), sent, 5)
    assert explanation is not None
    assert [(one.field, one.value, one.effect) for one in explanation.contributions] == [
        ("arrival", "2024-07-11", 10.0),
        ("breakfast", 0, -1.0),
    ]
