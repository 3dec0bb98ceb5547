"""A tiny model of fixed weights, for the tests of whatever loads a bundle or asks a model.

It prices taxi rides: four fields of three kinds, a graph of three nodes, every prediction computable by hand::

    log fare = 2.5 + distance / 8 + passengers / 16 - [zone is "B"] / 4 + (code of comfort) / 32

where missing passengers count as their median, 1, and missing comfort as code 0. The weights are powers of two,
so that float32 arithmetic is exact wherever it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser

from model_kit.records.encoding import Encoded
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, REFERENCE, SPEC, dump_json, write_bundle
from model_kit.scoring.definition import Estimator, Floors, ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, InputSpec, Learned, Level, Target, Value

#: Rows that a package's definition is tried with, and their seed.
N_CHECKED = 300
SEED = 20240

#: Stated as a model package does.
__version__ = "1.2.3"

FIELDS = (
    Field("distance", "number", "Length of the ride", unit="km", required=True, minimum=0, group="Ride"),
    Field("passengers", "integer", "People on board", minimum=1, maximum=8, group="Ride"),
    Field(
        "zone",
        "category",
        "Tariff zone",
        required=True,
        levels=(Level("A", "Centre"), Level("B", "Suburbs")),
        group="Ride",
    ),
    Field(
        "comfort",
        "category",
        "Class of the car",
        levels=(Level("1", "Basic"), Level("2", "Standard"), Level("3", "Luxury")),
        ordered=True,
        numeric_codes=True,
        null_means="not asked for",
        group="Car",
    ),
)
LEARNED = {
    "distance": Learned(0.0, 3.5, 0.4, 32.0, (1.0, 3.5, 8.0)),
    "passengers": Learned(0.1, 1, 1, 4, (1.0, 2.0)),
    "zone": Learned(0.0, "A", codes={"A": 1, "B": 2}),
    "comfort": Learned(0.2, "2", codes={"1": 1, "2": 2}),
}
TARGET = Target("fare", "EUR", "log", 2.5)
SPEC_OF_RIDES = InputSpec(FIELDS, LEARNED, TARGET)
WEIGHTS = (1 / 8, 1 / 16, -1 / 4, 1 / 32)
GOLDEN_ROW: dict[str, Value] = {"distance": 3.5, "passengers": 1, "zone": "A", "comfort": "2"}
GOLDEN_PREDICTION = float(np.exp(2.5 + 3.5 / 8 + 1 / 16 + 2 / 32))


def derive(encoded: Encoded) -> Encoded:
    """Median of missing passengers, indicator of zone B, 0 for missing or unseen comfort; shape (n_rows, 4)."""
    distance, passengers, zone, comfort = encoded.T
    return np.column_stack(
        [
            distance.clip(0, 100),
            np.where(np.isnan(passengers), 1.0, passengers),
            zone == 2,
            np.where(np.isnan(comfort), 0.0, comfort).clip(0),
        ]
    ).astype(np.float64)


def ride_graph() -> bytes:
    """The graph: one MatMul with ``WEIGHTS``, float32 input ``X`` of shape (n_rows, 4)."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        m (float[N, 4] X) => (float[N, 1] y) <float[4, 1] weights = {{{", ".join(map(str, WEIGHTS))}}}>
        {{ y = MatMul(X, weights) }}
    """)
    return bytes(model.SerializeToString())


#: What training would have counted in 2,000 rows of rides.
REFERENCE_OF_RIDES: dict[str, Any] = {
    "rows": 2000,
    "fields": {
        "distance": {"missing": 0, "edges": [1.0, 3.5, 8.0], "counts": [500, 500, 500, 500]},
        "passengers": {"missing": 200, "edges": [1.0, 2.0], "counts": [900, 500, 400]},
        "zone": {"missing": 0, "levels": {"A": 1600, "B": 400}, "other": 0},
        "comfort": {"missing": 400, "levels": {"1": 800, "2": 800}, "other": 0},
    },
    "prediction": {"edges": [40.0], "counts": [1500, 500]},
}


def ride_files(*, reference: Any = None, **card: Any) -> dict[str, bytes]:
    """The files of the bundle, ``card`` overriding entries of its card; by default the reference has no field."""
    facts: dict[str, Any] = {
        "format": 1,
        "model": "rides",
        "version": "1.2.3",
        "data": {"name": "rides by hand", "sha256": "0" * 64, "rows": 100, "synthetic": True},
        "evaluated": True,
        "metrics": {"r2": 0.9},
        "libraries": {"numpy": "2"},
        "run": {"trained_at": "2026-01-01T00:00:00+00:00", "git_commit": None},
    }
    return {
        MODEL: ride_graph(),
        SPEC: SPEC_OF_RIDES.to_json().encode(),
        CARD: dump_json(facts | card),
        GOLDEN: dump_json({"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION}),
        REFERENCE: dump_json(reference or {"rows": 100, "fields": {}}),
    }


def write_ride_bundle(folder: Path, *, reference: Any = None, **card: Any) -> str:
    """Write the bundle of rides to ``folder``; returns its artefact's sha256."""
    return write_bundle(folder, ride_files(reference=reference, **card))


def ride_definition(**changes: Any) -> ModelDefinition:
    """The model package of rides for the training harness, with a linear estimator; ``changes`` override it."""
    facts: dict[str, Any] = {
        "name": "rides",
        "fields": FIELDS,
        "target": TARGET,
        "derive": derive,
        "estimator": _linear_regression,
        "package": "model_kit.testing",
        "floors": Floors(r2=0.5, rmse=0.5),
    }
    return ModelDefinition(**(facts | changes))


def _linear_regression(_: InputSpec) -> Estimator:
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - tests of servers have no scikit-learn

    estimator: Estimator = LinearRegression()
    return estimator


def load_rides(folder: Path, version: str = "1.2.3") -> BundleModel:
    """Load the bundle of rides from ``folder``."""
    return BundleModel.load(folder, derive, version)


def check_definition(definition: ModelDefinition, folder: Path) -> None:
    """Hold a model package to its definition: it trains on generated rows, exports, loads, and predicts every row.

    A bundle that the package carries must load and score its golden row as recorded.

    Args:
        definition: the package's.
        folder: an empty one, for the bundle that is trained here.

    Raises:
        AssertionError: a generated row is refused, or has no prediction.
        ModelKitError: training, export or loading fails; the text says why.
    """
    from model_kit.training.dataset import Dataset  # noqa: PLC0415 - tests of servers have no scikit-learn
    from model_kit.training.train import train  # noqa: PLC0415

    rows = generate_rows(_made_up_spec(definition), N_CHECKED, seed=SEED, nulls=0.1, unseen=0.0, extremes=0.0)
    random = np.random.default_rng(SEED)
    n_classes = len(definition.target.classes)
    target = random.integers(n_classes, size=len(rows)) if n_classes else np.exp(random.normal(size=len(rows)))
    ids = tuple(str(number) for number in range(len(rows)))
    dataset = Dataset("generated rows", "0" * 64, True, ids, tuple(rows), target)
    train(definition, dataset, folder / "bundle", cv=False)
    model = definition.load_bundle(folder / "bundle")
    model.check()
    answer = Predictor(model)(rows)
    assert not answer.errors, answer.errors  # noqa: S101 - it is for tests
    assert all(prediction is not None for prediction in answer.predictions)  # noqa: S101
    if definition.bundle.is_dir():
        definition.load().check()


def _made_up_spec(definition: ModelDefinition) -> InputSpec:
    """A spec as fitting might have learned it, for a package without data."""
    learned: dict[str, Learned] = {}
    for field in definition.fields:
        levels = [level.value for level in field.levels] or ["1", "2", "3"]
        codes = {level: code for code, level in enumerate(levels, 1)} if field.kind == "category" else None
        learned[field.name] = Learned(0.0, None, codes=codes)
    return InputSpec(definition.fields, learned, definition.target)
