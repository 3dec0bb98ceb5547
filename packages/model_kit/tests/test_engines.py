"""Predictions of tables in parts, as engines hand them out."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from model_kit import engines
from model_kit.engines import TablePredictor, iter_predicted, load_predictor, predict
from model_kit.errors import BundleError, DataError, IntervalError
from model_kit.scoring.bundle import read_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import DetailOptions
from model_kit.testing import GOLDEN_PREDICTION, load_rides, write_ride_bundle

RIDES: dict[str, list[Any]] = {
    "distance": [3.5, -1.0, None, 8.0],
    "passengers": [1, 2, 3, None],
    "zone": ["A", "A", "B", " B "],
    "comfort": ["2", "2", "1", None],
    "Id": [10, 11, 12, 13],
}
INTERVALS = {"rows": 100, "levels": [0.5, 0.9, 0.95], "edges": [40.0], "widths": [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]}


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    """Each test loads its model."""
    engines._load.cache_clear()
    engines._table_predictor.cache_clear()


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The model of rides, with ranges."""
    folder = tmp_path_factory.mktemp("ranged") / "bundle"
    write_ride_bundle(folder, intervals=INTERVALS)
    return Predictor(load_rides(folder))


def alone(predictor: Predictor, **options: Any) -> Any:
    """What the predictor says of the same rows as records, one at a time."""
    names = ("distance", "passengers", "zone", "comfort")
    records = [dict(zip(names, row, strict=True)) for row in zip(*(RIDES[name] for name in names), strict=True)]
    return predictor.detailed(records, **options)


def test_every_row_has_its_prediction_and_range_or_the_reason(ranged: Predictor) -> None:
    batch = pa.RecordBatch.from_pydict(RIDES)
    found = TablePredictor(ranged, DetailOptions(interval=0.9), "model_")(batch)
    assert found.schema.names[:5] == batch.schema.names
    assert found.column("Id").to_pylist() == RIDES["Id"]
    expected = alone(ranged, interval=0.9)
    predictions = found.column("model_prediction").to_pylist()
    assert predictions == [one and pytest.approx(one, rel=1e-12) for one in expected.predictions]
    ranges = zip(*(found.column(f"model_prediction_{end}").to_pylist() for end in ("low", "high")), strict=True)
    assert list(ranges) == [pytest.approx(one) if one else (None, None) for one in expected.intervals]
    errors = found.column("model_error").to_pylist()
    assert [error and error.partition(":")[0] for error in errors] == [None, "distance", "distance", None]


def test_parts_have_the_rows_of_the_whole_in_order(ranged: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pa.RecordBatch.from_pydict({name: values * 5 for name, values in RIDES.items()})
    expected = TablePredictor(ranged)(whole)
    monkeypatch.setattr(engines, "CHUNK", 3)
    assert TablePredictor(ranged)(whole).equals(expected)
    parts = [whole.slice(start, 7) for start in range(0, 20, 7)]
    assert pa.Table.from_batches(map(TablePredictor(ranged), parts)).equals(pa.Table.from_batches([expected]))
    assert TablePredictor(ranged)(whole.slice(0, 0)).num_rows == 0


def test_tables_and_frames_keep_their_type_index_and_columns(installed: ModelDefinition) -> None:
    table = predict(pa.table(RIDES), "rides")
    assert isinstance(table, pa.Table)
    assert table["prediction"][0].as_py() == pytest.approx(GOLDEN_PREDICTION, rel=1e-9)
    assert predict(table.select(list(RIDES)).to_batches()[0], "rides").equals(table.to_batches()[0])
    for index in (["w", "x", "y", "z"], [7, 7, 7, 1]):
        frame = pd.DataFrame(RIDES, index)
        found = predict(frame, "rides")
        assert found.index.tolist() == index
        assert found.columns.tolist() == [*RIDES, "prediction", "error"]
        np.testing.assert_array_equal(found["prediction"].to_numpy(), table["prediction"].to_numpy())
        assert [pd.isna(error) for error in found["error"]] == [True, False, False, True]
    empty = predict(pd.DataFrame(RIDES).head(0), "rides")
    assert empty["prediction"].dtype == "float64"
    assert len(empty) == 0


def test_columns_of_values_of_several_types_are_read_as_cells(ranged: Predictor) -> None:
    frame = pd.DataFrame(RIDES).astype(object)
    frame["distance"] = pd.Series(["3.5", Decimal(-1), float("nan"), 8], dtype=object)
    frame["comfort"] = pd.Series([2, "2.0", 1.0, date(2024, 1, 1)], dtype=object)
    found = TablePredictor(ranged).predicted_frame(frame)
    expected = alone(ranged).predictions
    assert found["prediction"].tolist()[0] == pytest.approx(expected[0], rel=1e-12)
    assert found["prediction"].tolist()[3] == pytest.approx(expected[3], rel=1e-12)
    assert found["error"].tolist()[1].startswith("distance: ")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["Distance", "zone"], "lacks the required columns distance (there is 'Distance')"),
        (["distance", "zone", "error"], "has a column error already"),
        (["distance", "zone", "zone"], "more than once: zone"),
    ],
)
def test_tables_that_cannot_be_predicted_say_why(ranged: Predictor, columns: list[str], words: str) -> None:
    with pytest.raises(DataError) as error:
        TablePredictor(ranged).check_columns(columns)
    assert words in str(error.value)


def test_what_the_model_has_not_is_told_before_a_row_is_read(installed: ModelDefinition) -> None:
    with pytest.raises(IntervalError, match="no calibrated intervals"):
        predict(pa.table(RIDES), "rides", interval=0.9)
    with pytest.raises(DataError, match="fare is a number: probabilities are for classes"):
        predict(pa.table(RIDES), "rides", probabilities=True)


def test_a_process_loads_its_model_once_and_refuses_another_artefact(installed: ModelDefinition, site: Path) -> None:
    artifact = read_bundle(site / "installed_rides/bundle").artifact_sha256
    assert load_predictor("rides", artifact) is load_predictor("rides")
    batch = pa.RecordBatch.from_pydict(RIDES)
    (found,) = iter_predicted(iter([batch]), "rides", artifact, DetailOptions(), "")
    assert found.column("prediction")[0].as_py() == pytest.approx(GOLDEN_PREDICTION, rel=1e-9)
    with pytest.raises(BundleError, match=f"artefact {artifact[:12]}, and 000000000000 is meant"):
        iter_predicted(iter([batch]), "rides", "0" * 64, DetailOptions(), "")
