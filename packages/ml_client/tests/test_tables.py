# ruff: noqa: DTZ001 - fields without time zones
from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ml_client.errors import DataError
from ml_client.tables import arrow, open_source, spans
from ml_client.values import encode

pl = pytest.importorskip("polars")

KINDS = {"day": "date"}
COLUMNS: dict[str, list[Any]] = {
    "whole": [1, 2, None],
    "float": [0.5, float("nan"), None],
    "text": ["a", None, "é"],
    "level": ["x", None, "x"],
    "flag": [True, None, False],
    "day": [datetime(2024, 2, 3), None, datetime(2024, 2, 4)],
}
ROWS = [
    {"whole": 1, "float": 0.5, "text": "a", "level": "x", "flag": True, "day": "2024-02-03"},
    {"whole": 2, "float": None, "text": None, "level": None, "flag": None, "day": None},
    {"whole": None, "float": None, "text": "é", "level": "x", "flag": False, "day": "2024-02-04"},
]


def pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame(COLUMNS, index=[7, 7, 8])
    return frame.astype({"whole": "Int64", "level": "category", "flag": "boolean"})


def polars_frame() -> Any:
    return pl.DataFrame(COLUMNS).with_columns(pl.col("level").cast(pl.Categorical))


def arrow_table() -> Any:
    return pa.table({name: pa.array(values, from_pandas=False) for name, values in COLUMNS.items()})


@pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_table])
def test_every_kind_of_table_is_the_same_rows(make: Any) -> None:
    (block,) = open_source(make()).blocks(lambda: 10)
    assert json.loads(encode(block.records(KINDS))) == ROWS
    table = block.arrow()
    assert table.column_names == list(COLUMNS)
    assert [column.null_count for column in table.columns] == [1, 2, 1, 1, 1, 1]
    assert arrow.decode(arrow.encode(table, None)).to_pylist()[0]["day"] == datetime(2024, 2, 3)


def test_strange_columns_of_pandas_are_the_values_that_they_mean() -> None:
    frame = pd.DataFrame(
        {
            1: np.array([1.0, np.inf], dtype="float32"),
            "decimal": [Decimal("1.50"), Decimal("NaN")],
            "mixed": [1, "a"],
            "date": [date(2024, 2, 3), pd.NaT],
            "codes": pd.Categorical([3, None]),
            "zone": pd.to_datetime(pd.Series(["2024-02-03T04:00:00Z", None])),
            "nothing": [None, np.nan],
        }
    )
    (block,) = open_source(frame).blocks(lambda: 10)
    text = encode(block.records({})).decode()
    assert text == (
        '[{"1":1.0,"decimal":1.50,"mixed":1,"date":"2024-02-03","codes":3,"zone":"2024-02-03T04:00:00+00:00",'
        '"nothing":null},{"1":1e999,"decimal":null,"mixed":"a","date":null,"codes":null,"zone":null,"nothing":null}]'
    )
    assert block.arrow() is None, "Arrow holds no column of mixed types"
    table = open_source(frame.drop(columns="mixed")).blocks(lambda: 10).__next__().arrow()
    assert str(table.schema.field("decimal").type) == "double"
    assert table.column("decimal").to_pylist() == [1.5, None]
    assert table.column("1").to_pylist() == [1.0, float("inf")]


def test_two_columns_that_are_the_same_as_text_are_refused() -> None:
    with pytest.raises(DataError, match="two columns have the name '1'"):
        open_source(pd.DataFrame([[1, 2]], columns=pd.Index([1, "1"], dtype=object)))
    with pytest.raises(DataError, match="two columns have the name 'a'"):
        open_source(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))


@pytest.mark.parametrize("data", ["text", b"bytes", 3, None, np.zeros((2, 3)), pd.Series([1]), pl.Series([1])])
def test_what_is_no_data_is_refused(data: Any) -> None:
    with pytest.raises(DataError, match="data must be a DataFrame"):
        open_source(data)


@pytest.mark.parametrize(
    ("n_rows", "size", "expected"),
    [
        (0, 4, [(0, 0)]),
        (4, 4, [(0, 4)]),
        (5, 4, [(0, 3), (3, 5)]),
        (9, 4, [(0, 3), (3, 6), (6, 9)]),
        (2, 0, [(0, 1), (1, 2)]),
    ],
)
def test_rows_are_cut_evenly(n_rows: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert list(spans(n_rows, lambda: size)) == expected


def test_nested_columns_are_no_arrow_for_the_server_and_nested_values_in_json() -> None:
    (block,) = open_source(pa.table({"a": [[1], None]})).blocks(lambda: 10)
    assert block.arrow() is None
    assert block.records({}) == [{"a": [1]}, {"a": None}]


def test_neither_pandas_nor_polars_nor_pyarrow_is_imported_for_records() -> None:
    code = (
        "import sys, ml_client\nfrom ml_client.tables import open_source\n"
        "open_source([{'a': 1}])\n"
        "print({'pandas', 'polars', 'pyarrow', 'tqdm', 'model_kit', 'ml_api'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout == "set()\n"
