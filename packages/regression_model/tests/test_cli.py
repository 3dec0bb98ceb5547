"""The command ``regression-model`` on houses, with the declared fields and a graph of one weight."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_kit.cli.main import main
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, REFERENCE, SPEC, dump_json, write_bundle
from model_kit.spec import fit_spec
from model_kit.training import dataset
from onnx import TensorProto, helper, numpy_helper
from regression_model import DEFINITION, sample
from regression_model.derive import column_names
from regression_model.fields import FIELDS, TARGET

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log price = 5 + log(1 + living area), over the 79 fields as learned from the synthetic sample."""
    folder = tmp_path_factory.mktemp("houses") / "bundle"
    spec = fit_spec(FIELDS, TARGET, dataset.synthetic(DEFINITION).rows).with_offset(5.0)
    position = column_names().index("LogLiving")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["X", "position"], ["y"], axis=1)],
        "m",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(column_names())])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.array([position]), "position")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data = {"name": "synthetic sample", "sha256": "0" * 64, "rows": 1460, "synthetic": True}
    card: dict[str, Any] = {"model": "regression", "data": data, "evaluated": False, "metrics": None, "libraries": {}}
    card["run"] = {"git_commit": None, "trained_at": "2026-01-01T00:00:00+00:00"}
    files = {
        MODEL: model.SerializeToString(),
        SPEC: spec.to_json().encode(),
        CARD: dump_json(card),
        GOLDEN: dump_json({"row": {}, "prediction": 1.0}),
        REFERENCE: dump_json({}),
    }
    write_bundle(folder, files)
    return folder


def predict(source: Path, output: Path, bundle: Path) -> list[dict[str, str]]:
    """The rows of the output."""
    arguments = ["predict", str(source), "-o", str(output), "--strict", "--bundle", str(bundle)]
    assert main(arguments, program="regression-model") == 0
    return rows_of(output)


def test_predict_prices_the_synthetic_sample(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_bytes(sample.csv_bytes())
    rows = predict(tmp_path / "houses.csv", tmp_path / "priced.csv", bundle)
    assert len(rows) == 1460
    assert list(rows[0]) == [*sample.COLUMNS, "prediction", "error"]
    for row in rows:
        expected = np.exp(5.0) * (1 + float(row["GrLivArea"]))
        assert float(row["prediction"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(not (AMES / "test.csv").exists(), reason="the Kaggle files are not there (AMES_DATA)")
def test_predict_prices_every_row_of_the_real_test_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = predict(AMES / "test.csv", tmp_path / "priced.csv", bundle)
    assert capsys.readouterr().err.splitlines()[-1] == "1459 rows scored, 0 failed"
    originals = rows_of(AMES / "test.csv")
    assert len(rows) == 1459
    for row, original in zip(rows, originals, strict=True):
        assert float(row.pop("prediction")) > 0
        assert row.pop("error") == ""
        assert row == original
