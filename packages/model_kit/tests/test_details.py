"""What is added beside predictions, as columns: in blocks the very bytes that rows give."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.batch.details import iter_details
from model_kit.batch.rows import InputRow
from model_kit.errors import IntervalError
from model_kit.scoring.bundle import SPEC, write_bundle
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import NO_DETAILS, DetailOptions
from model_kit.spec import Target
from model_kit.testing import GOLDEN_PREDICTION, SPEC_OF_RIDES, TARGET, load_rides, ride_files, write_ride_bundle

INTERVALS = {"rows": 100, "levels": [0.5, 0.9, 0.95], "edges": [15.0], "widths": [[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]]}
ALL = DetailOptions(0.9, 2, warnings=True)
FAR = {"distance": 40.0, "passengers": 1, "zone": "B", "comfort": 2}
FAR_FARE = float(np.exp(2.5 + 40 / 8 + 1 / 16 - 1 / 4 + 2 / 32))


def entry(record: object, fault: str = "") -> InputRow:
    return InputRow({}, 1, record, fault)


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("rides") / "bundle"
    write_ride_bundle(folder, intervals=INTERVALS)
    return Predictor(load_rides(folder))


def test_nothing_asked_for_is_prediction_and_error(predict: Predictor) -> None:
    assert NO_DETAILS.columns(TARGET) == {}
    assert list(iter_details(predict, [entry(FAR), entry({})])) == [
        (pytest.approx(FAR_FARE), None),
        (None, "distance: Missing data for required field.; zone: Missing data for required field."),
    ]


def test_columns_are_named_and_in_order() -> None:
    assert ALL.columns(TARGET) == {
        "prediction_low": "number",
        "prediction_high": "number",
        "explain_baseline": "number",
        "explain_1_field": "text",
        "explain_1_value": "text",
        "explain_1_percent": "number",
        "explain_1_amount": "number",
        "explain_2_field": "text",
        "explain_2_value": "text",
        "explain_2_percent": "number",
        "explain_2_amount": "number",
        "explain_rest_percent": "number",
        "explain_rest_amount": "number",
        "warnings": "text",
    }
    assert "explain_1_percent" not in ALL.columns(Target("x", "C", "identity"))


def test_cells_are_the_range_the_reasons_and_the_warnings(predict: Predictor) -> None:
    names = ("prediction", "error", *ALL.columns(TARGET))
    [cells] = iter_details(predict, [entry(FAR)], ALL)
    found: dict[str, Any] = dict(zip(names, cells, strict=True))
    assert found["prediction"] == pytest.approx(FAR_FARE)
    assert found["prediction_low"] == pytest.approx(FAR_FARE * np.exp(-0.4))
    assert found["prediction_high"] == pytest.approx(FAR_FARE * np.exp(0.4))
    assert found["explain_baseline"] == pytest.approx(GOLDEN_PREDICTION)
    assert (found["explain_1_field"], found["explain_1_value"]) == ("distance", "40")
    assert found["explain_1_percent"] == pytest.approx(100 * np.expm1((40 - 3.5) / 8))
    assert (found["explain_2_field"], found["explain_2_value"]) == ("zone", "B")
    assert found["explain_2_percent"] == pytest.approx(100 * np.expm1(-1 / 4))
    assert found["explain_rest_percent"] == pytest.approx(0, abs=1e-6)
    amounts = found["explain_1_amount"] + found["explain_2_amount"] + found["explain_rest_amount"]
    assert found["explain_baseline"] + amounts == pytest.approx(found["prediction"])
    assert found["warnings"] == "out_of_range: distance 40 is above what training saw (0.4 to 32)"


def test_several_warnings_stand_in_one_cell(predict: Predictor) -> None:
    [(*_, text)] = iter_details(predict, [entry({"distance": 40, "zone": "C"})], DetailOptions(warnings=True))
    assert isinstance(text, str)
    assert [part.partition(":")[0] for part in text.split(" | ")] == ["out_of_range", "imputed", "unseen_level"]


def test_row_like_the_typical_one_has_no_reasons_and_no_warnings(predict: Predictor) -> None:
    typical = {"distance": 3.5, "passengers": 1, "zone": "A", "comfort": "2"}
    [cells] = iter_details(predict, [entry(typical)], DetailOptions(None, 1, warnings=True))
    assert cells[2] == pytest.approx(GOLDEN_PREDICTION)
    assert cells[3:] == (None, None, None, None, 0.0, 0.0, None)


def test_row_without_a_prediction_has_nothing_else_either(predict: Predictor) -> None:
    width = len(ALL.columns(TARGET))
    faulty = [entry({"distance": "far", "zone": "A"}), entry(FAR, fault="torn")]
    assert list(iter_details(predict, faulty, ALL)) == [
        (None, "distance: Not a valid number.", *(None,) * width),
        (None, "torn", *(None,) * width),
    ]


def test_value_of_a_group_names_the_others(tmp_path: Path) -> None:
    spec = replace(SPEC_OF_RIDES, together=(("distance", "passengers", "comfort"),))
    write_bundle(tmp_path / "bundle", ride_files() | {SPEC: spec.to_json().encode()})
    predict = Predictor(load_rides(tmp_path / "bundle"))
    [cells] = iter_details(predict, [entry({"distance": 8.0, "zone": "A", "passengers": 2})], DetailOptions(explain=1))
    assert cells[3:5] == ("distance", "8 (passengers 2, comfort not given)")


def test_model_without_intervals_says_so(tmp_path: Path) -> None:
    write_ride_bundle(tmp_path / "bundle")
    with pytest.raises(IntervalError, match="no calibrated intervals"):
        list(iter_details(Predictor(load_rides(tmp_path / "bundle")), [], DetailOptions(0.9)))


@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), (";", "\r\n")])
def test_file_has_the_details_of_each_row(
    predict: Predictor, price_csv: Callable[..., tuple[bytes, int, int]], delimiter: str, end: str
) -> None:
    rows = [
        ["8", "1", "A", "2", "one"],
        ["far", "", "B", "NA", ""],
        ["40", "NA", "C", "", 'a "quoted" one'],
        ["8", "1"],
    ]
    records: list[dict[str, Any]] = [
        {"distance": 8, "passengers": 1, "zone": "A", "comfort": 2},
        {"distance": "far", "zone": "B"},
    ]
    records.append({"distance": 40, "passengers": None, "zone": "C", "comfort": None})
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([["distance", "passengers", "zone", "comfort", "note"], *rows])
    output, *counts = price_csv(predict, text.getvalue().encode(), ALL)
    assert counts == [2, 2]
    lines = list(csv.reader(io.StringIO(output.decode(), newline=""), delimiter=delimiter))[1:]
    entries = [*(entry(record) for record in records), entry({}, "2 cells where the header has 5")]
    for line, row, cells in zip(lines, rows, iter_details(predict, entries, ALL), strict=True):
        assert line[:5] == [*row, *[""] * (5 - len(row))]
        assert line[5:] == ["" if cell is None else str(cell) for cell in cells]
