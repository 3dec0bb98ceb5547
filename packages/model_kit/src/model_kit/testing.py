"""A tiny model of fixed weights, for the tests of whatever loads a bundle or asks a model.

It prices taxi rides: four fields of three kinds, a graph of three nodes, every prediction computable by hand::

    log fare = 2.5 + distance / 8 + passengers / 16 - [zone is "B"] / 4 + (code of comfort) / 32

where missing passengers count as their median, 1, and missing comfort as code 0. The weights are powers of two,
so that float32 arithmetic is exact wherever it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_kit.records.encoding import Encoded, Encoder
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, REFERENCE, SPEC, dump_json, write_bundle
from model_kit.scoring.definition import Estimator, Floors, ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, InputSpec, Learned, Level, Target, Value

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

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


class TextCase(NamedTuple):
    """A text in a record of rides, and how it is read.

    Attributes:
        field: name of the field.
        text: the text.
        value: what it is worth, as JSON has it.
        error: why it is refused; empty if it is not.
        typed_error: the same in JSON, where text is no number.
    """

    field: str
    text: str
    value: Value = None
    error: str = ""
    typed_error: str = ""

    def error_of(self, *, typed: bool) -> str:
        """The error in JSON (``typed``) or elsewhere."""
        return (typed and self.typed_error) or self.error


_NULL, _NUMBER = "Field may not be null.", "Not a valid number."
_CODE = "Not a valid string or whole number."
#: What every source of records is tried with: HTTP and JSON Lines (typed), CSV, Parquet and DataFrames.
TEXT_CASES = (
    *(TextCase("zone", text, error=_NULL) for text in ("", "  ", "NA", " NA ", "\t")),
    *(TextCase("zone", text, "B") for text in ("B", "B ", " B", "  B  ", "\u00a0B")),
    *(TextCase("zone", text, text) for text in ("b", "N/A", "NULL", "null", "-", "None", "nan", "na", "20.0")),
    *(TextCase("comfort", text) for text in ("", "  ", "NA", " NA ")),
    *(TextCase("comfort", text, "2") for text in ("2", "2.0", "02", " 2", "2 ", "+2", "2e0")),
    *(TextCase("comfort", text, "7") for text in ("7", "7.0", "007")),
    *(TextCase("comfort", text, text) for text in ("x", "N/A", "1 2")),
    *(TextCase("comfort", text, error=_CODE) for text in ("2.5", " 2.5 ", "-0.5", "9" * 17)),
    *(TextCase("passengers", text, typed_error="Not a valid integer.") for text in ("", " ", "NA", " NA ")),
    *(TextCase("passengers", text, 3, typed_error="Not a valid integer.") for text in ("3", " 3 ", "3.0", "03")),
    *(TextCase("passengers", text, error="Not a valid integer.") for text in ("3.5", "N/A", "three")),
    *(TextCase("distance", text, error=_NULL, typed_error=_NUMBER) for text in ("", "NA")),
    *(TextCase("distance", text, 9.5, typed_error=_NUMBER) for text in ("9.5", " 9.50 ", "95e-1")),
    *(TextCase("distance", text, error=_NUMBER) for text in ("9,5", "nan", "-", "far")),
)

#: A field of every kind; how files write dates is declared for one of each.
BOOKING_FIELDS = (
    Field("nights", "integer", "Nights booked", required=True, minimum=1),
    Field("breakfast", "boolean", "Breakfast is included"),
    Field("arrival", "date", "Day of arrival", required=True, format="%d/%m/%Y"),
    Field("booked", "datetime", "When the room was booked", format="%d/%m/%Y %H:%M"),
    Field("paid", "datetime", "When the room was paid", time_zone=True, null_means="not paid yet"),
    Field("left", "date", "Day of departure"),
    Field("area", "number", "Size of the room", unit="m2"),
    Field("room", "category", "Kind of room", levels=(Level("single", "For one"), Level("double", "For two"))),
)
SPEC_OF_BOOKINGS = InputSpec(
    BOOKING_FIELDS,
    {
        "nights": Learned(0.0, 2, 1, 14, (1.0, 2.0, 4.0)),
        "breakfast": Learned(0.1, True, codes={"false": 0, "true": 1}),
        "arrival": Learned(0.0, "2024-07-01", 19723.0, 20088.0, (19800.0, 19905.0, 20000.0)),
        "booked": Learned(0.1, "2024-05-01T18:30:00", 19600.25, 20080.5, (19700.5, 19900.0)),
        "paid": Learned(0.3, "2024-06-01T16:00:00Z", 19610.75, 20087.5, (19700.5, 19900.0)),
        "left": Learned(0.2, "2024-07-03", 19724.0, 20102.0, (19807.0, 19907.0, 20002.0)),
        "area": Learned(0.0, 18.5, 8.0, 60.0, (12.0, 18.5, 30.0)),
        "room": Learned(0.1, "double", codes={"double": 1, "single": 2}),
    },
    Target("price", "EUR", subject="booking"),
)
BOOKING: dict[str, Value] = {name: SPEC_OF_BOOKINGS.learned[name].typical for name in SPEC_OF_BOOKINGS.names}


class Bookings:
    """A model of bookings without a bundle: the price is the sum of what is encoded, missing values as 0."""

    version = "1.0.0"
    spec = SPEC_OF_BOOKINGS
    card: Mapping[str, Any] = {"data": {"name": "bookings by hand", "synthetic": True}, "evaluated": True}
    lineage: Mapping[str, Any] = {"version": version, "data": card["data"]}

    @property
    def golden(self) -> Mapping[str, Any]:
        """A typical booking."""
        return {"row": BOOKING, "prediction": float(self.score(Encoder(self.spec)([BOOKING]))[0])}

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Sums, shape (n_rows,)."""
        sums: NDArray[np.float64] = np.nan_to_num(encoded).sum(axis=1)
        return sums

    def check(self) -> None:
        """There is nothing to check."""


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
    weights = numpy_helper.from_array(np.array(WEIGHTS, np.float32).reshape(-1, 1), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weights"], ["y"])],
        "m",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(WEIGHTS)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def ride_files(**card: Any) -> dict[str, bytes]:
    """The files of the bundle, ``card`` overriding entries of its card."""
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
        REFERENCE: dump_json({"rows": 100, "fields": {}}),
    }


def write_ride_bundle(folder: Path, **card: Any) -> str:
    """Write the bundle of rides to ``folder``; returns its artefact's sha256."""
    return write_bundle(folder, ride_files(**card))


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


def any_json() -> SearchStrategy[Any]:
    """Whatever a JSON document can be once it is read: 1e400 is an infinity, and integers have any number of digits."""
    from hypothesis import strategies as st  # noqa: PLC0415 - tests of servers may do without

    huge = st.integers(1, 500).map(lambda digits: 10**digits)
    plain = st.none() | st.booleans() | st.integers() | huge | st.floats(allow_nan=False) | st.text(max_size=5)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )


def any_records(spec: InputSpec) -> SearchStrategy[dict[str, Any]]:
    """Records of known and unknown fields with any value: many are valid, many have one mistake, some have nothing."""
    from hypothesis import strategies as st  # noqa: PLC0415 - tests of servers may do without

    def plausible(field: Field) -> SearchStrategy[Any]:
        if field.kind == "category":
            levels = [*(spec.learned[field.name].codes or ()), *(level.value for level in field.levels), "never seen"]
            return st.sampled_from(levels)
        if field.kind == "boolean":
            return st.booleans() | st.sampled_from([0, 1, 0.0, 1.0])
        if field.kind == "date":
            return st.dates().map(str)
        if field.kind == "datetime":
            moments = st.datetimes(timezones=st.timezones() if field.time_zone else st.none())
            return st.builds(lambda moment, separator: moment.isoformat(separator), moments, st.sampled_from("T "))
        low, high = field.minimum, field.maximum
        if field.kind == "number":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        return st.integers(None if low is None else int(low), None if high is None else int(high))

    known = {field.name: plausible(field) for field in spec.fields}
    required = {name: known[name] for name in spec.required}
    optional = {name: st.none() | known[name] for name in spec.names if name not in required}
    valid = st.fixed_dictionaries(required, optional=optional)
    mistakes = st.dictionaries(st.sampled_from(spec.names) | st.text(max_size=8), any_json(), max_size=2)
    return st.builds(lambda record, changes: record | changes, valid, mistakes) | mistakes


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
    target = np.exp(random.normal(size=len(rows)))
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
