"""Houses take the fast lane: those that the sample makes, and the real ones."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.records import json_text
from model_kit.records.encoding import Encoder
from model_kit.records.fast_lane import FastLane
from model_kit.records.validation import Validator
from model_kit.spec import fit_spec
from model_kit.training import dataset
from regression_model import DEFINITION, sample
from regression_model.fields import FIELDS, TARGET

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))


def as_they_are(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Records with null for a gap."""
    return [
        {str(name): None if value != value else value for name, value in record.items()}  # noqa: PLR0124 - NaN
        for record in table.to_dict("records")
    ]


def as_pandas_writes_them(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The same with every integer a float, as a column with a gap has it."""
    return as_they_are(table.astype(dict.fromkeys(table.select_dtypes("integer").columns, float)))


@pytest.mark.parametrize("records_of", [as_they_are, as_pandas_writes_them])
@pytest.mark.parametrize(
    "name",
    [
        "sample",
        pytest.param(
            "test.csv",
            marks=pytest.mark.skipif(
                not (AMES / "test.csv").exists(), reason="the Kaggle files are not there (AMES_DATA)"
            ),
        ),
    ],
)
def test_nearly_every_house_takes_it(name: str, records_of: Any) -> None:
    content = sample.csv_bytes() if name == "sample" else (AMES / name).read_bytes()
    training = dataset.synthetic(DEFINITION) if name == "sample" else dataset.load(DEFINITION, AMES / "train.csv")
    spec = fit_spec(FIELDS, TARGET, training.rows)
    records = records_of(pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=["NA"]))
    accepted = FastLane(spec)(json_text.split(json.dumps(records).encode()) or [])
    assert len(accepted.positions) >= 0.99 * len(records)
    validated = Validator(spec)([records[position] for position in accepted.positions])
    assert np.array_equal(accepted.encoded, Encoder(spec)(validated.rows), equal_nan=True)
