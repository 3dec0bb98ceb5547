"""A text means the same, whatever door it comes through."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_kit.cli.main import main
from model_kit.records.encoding import Encoder
from model_kit.records.fast_lane import FastLane
from model_kit.records.text import parse_cell, parse_number
from model_kit.records.validation import Validator, in_words
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.frames import make_prediction
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Prediction, Predictor
from model_kit.spec import Field
from model_kit.testing import FIELDS, GOLDEN_ROW, SPEC_OF_RIDES

from text_cases import TEXT_CASES, TextCase

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS

Record: TypeAlias = dict[str, Any]
RECORDS: list[Record] = [GOLDEN_ROW | {case.field: case.text} for case in TEXT_CASES]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("856", 856),
        (" 856 ", 856),
        ("-3", -3),
        ("+3", 3),
        ("856.0", 856.0),
        ("3.75", 3.75),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("9" * 20, 1e20),
        # No finite number: left for the validator.
        ("nan", "nan"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("1_000", "1_000"),
        ("1,000", "1,000"),
        ("٣", "٣"),
        ("0x1F", "0x1F"),
        ("big", "big"),
    ],
)
def test_only_finite_numbers_become_numbers(text: str, number: float | str) -> None:
    parsed = parse_number(text)
    assert parsed == number
    assert type(parsed) is type(number)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
@pytest.mark.parametrize("text", ["", "NA", " ", " NA "])
def test_empty_and_na_are_null_for_every_kind(field: Field, text: str) -> None:
    assert parse_cell(field, text) is None


@pytest.mark.parametrize("level", ["None", "nan", "null", "N/A", "-", "1Story", "a", "20.0"])
def test_level_of_a_category_is_kept_as_it_is(level: str) -> None:
    assert parse_cell(ZONE, level) == level


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, SPEC_OF_RIDES.names)
        writer.writeheader()
        writer.writerows(RECORDS)


def write_parquet(path: Path) -> None:
    texts = [{name: str(value) for name, value in record.items()} for record in RECORDS]
    pq.write_table(pa.Table.from_pylist(texts), path)


def write_json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))


def expected(predict: Predictor, *, typed: bool) -> list[tuple[Prediction | None, str]]:
    """Fare and error of every case, by a record that has the value instead of its text."""
    found: list[tuple[Prediction | None, str]] = []
    for case in TEXT_CASES:
        if error := case.error_of(typed=typed):
            found.append((None, f"{case.field}: {error}"))
        else:
            found.append((predict([GOLDEN_ROW | {case.field: case.value}]).predictions[0], ""))
    return found


@pytest.mark.parametrize(
    ("write", "suffix", "typed"),
    [(write_csv, "csv", False), (write_parquet, "parquet", False), (write_json_lines, "jsonl", True)],
)
def test_texts_in_files(
    write: Callable[[Path], None], suffix: str, tmp_path: Path, installed: ModelDefinition, *, typed: bool
) -> None:
    source, target = tmp_path / f"in.{suffix}", tmp_path / "out.jsonl"
    write(source)
    assert main(["predict", str(source), "-o", str(target), "--model", "rides"]) == 0
    answers = map(json.loads, target.read_text().splitlines())
    rows = [(answer["prediction"], answer["error"] or "") for answer in answers]
    assert rows == expected(Predictor(installed.load()), typed=typed)


@pytest.mark.parametrize("typed", [False, True])
def test_texts_in_a_data_frame_and_in_records(model: BundleModel, *, typed: bool) -> None:
    predict = Predictor(model)
    result = make_prediction(predict, RECORDS if typed else pd.DataFrame(RECORDS).astype(str))
    errors = result["errors"] or {}
    found = [(fare, in_words(errors.get(row, {}))) for row, fare in enumerate(result["predictions"])]
    assert found == expected(predict, typed=typed)


@pytest.mark.parametrize("case", TEXT_CASES, ids=lambda case: f"{case.field} {case.text!r}")
def test_text_in_json_is_the_same_in_both_lanes(case: TextCase) -> None:
    record = GOLDEN_ROW | {case.field: case.text}
    validated = Validator(SPEC_OF_RIDES)([record])
    error = case.error_of(typed=True)
    assert validated.errors == ({0: {case.field: [error]}} if error else {})
    value = case.value if case.value is None or case.field != "comfort" else str(case.value)
    assert validated.rows == ([] if error else [GOLDEN_ROW | {case.field: value}])
    for sent in (record, msgspec.Raw(json.dumps(record).encode())):
        accepted = FastLane(SPEC_OF_RIDES)([sent])
        assert not (accepted.positions and error)
        if accepted.positions:
            np.testing.assert_array_equal(accepted.encoded, Encoder(SPEC_OF_RIDES)(validated.rows))
        else:
            # What a program writes often must not need the slow lane.
            assert error or case.text not in ("", "NA", "B", "2", "N/A")
