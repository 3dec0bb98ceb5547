"""Rows that are scored fall into the cells in which training counted them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import BundleError
from model_kit.records.encoding import Encoder
from model_kit.scoring.bundle import REFERENCE, write_bundle
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.reference import OTHER, PREDICTION, PROBABILITY, Reference, load_reference
from model_kit.spec import Field, InputSpec, Learned, Row, Target, fit_spec
from model_kit.testing import GOLDEN_ROW, REFERENCE_OF_RIDES, load_rides, ride_files, write_ride_bundle
from model_kit.training.reference import reference

#: A field of every kind.
FIELDS = (
    Field("area", "number", ""),
    Field("rooms", "integer", ""),
    Field("zone", "category", ""),
    Field("new", "boolean", ""),
    Field("day", "date", ""),
    Field("sold", "datetime", ""),
    Field("words", "text", ""),
)
PLAIN = Target("y")


def rows_of_all_kinds(n: int = 400) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    texts = ["one", "one two", "one two three", "a b c d e f"]
    return [
        {
            "area": round(float(random.normal(50, 20)), 1),
            "rooms": int(random.integers(1, 6)),
            "zone": str(random.choice(["a", "b", "c", "rare"], p=[0.5, 0.3, 0.19, 0.01])),
            "new": bool(random.random() < 0.3),
            "day": f"2024-0{random.integers(1, 10)}-11",
            "sold": f"2024-0{random.integers(1, 10)}-11T0{random.integers(0, 10)}:30:00",
            "words": str(random.choice(texts)),
        }
        | ({"area": None, "zone": None} if random.random() < 0.1 else {})
        for _ in range(n)
    ]


def counted(spec: InputSpec, document: dict[str, Any], rows: Sequence[Row], scores: Any = None) -> dict[str, list[int]]:
    encoded = Encoder(spec)(rows)
    scores = np.zeros(len(rows)) if scores is None else np.asarray(scores, np.float64)
    found = Reference(document, spec).count(encoded, scores)
    return {name: counts.tolist() for name, counts in found.items()}


def test_rows_of_training_have_the_counts_of_the_reference_in_every_kind_of_field() -> None:
    rows = rows_of_all_kinds()
    spec = fit_spec(FIELDS, PLAIN, rows)
    document = reference(spec, rows)
    found = counted(spec, document, rows)
    for name, entry in document["fields"].items():
        cells = entry["counts"] if "counts" in entry else [*entry["levels"].values(), entry["other"]]
        missing, unknown, *own = found[name]
        assert unknown == 0, name
        assert missing == sum(row[name] is None for row in rows), name
        if "counts" in entry:
            assert own == cells, name
        else:
            # Rare levels are in the last cell, of which the reference tells nothing if they are fewer than ten.
            assert own[:-1] == cells[:-1], name
    assert set(found) == {field.name for field in FIELDS}


def test_values_that_training_never_saw_are_counted_apart() -> None:
    rows = rows_of_all_kinds()
    spec = fit_spec(FIELDS, PLAIN, rows)
    document = reference(spec, rows)
    new: dict[str, Any] = {
        "area": 1e9,
        "rooms": 6,
        "zone": "new",
        "day": "2030-01-01",
        "sold": "1999-01-01T00:00:00",
        "words": "!",
    }
    found = counted(spec, document, [new, new | {"area": -1e15}])
    assert {name: counts[:2] for name, counts in found.items()} == {
        "area": [0, 2],
        "rooms": [0, 2],
        "zone": [0, 2],
        "new": [2, 0],
        "day": [0, 2],
        "sold": [0, 2],
        "words": [0, 2],
    }


def test_boolean_that_training_never_saw_is_unknown() -> None:
    rows = [{"new": True}] * 20
    spec = fit_spec(FIELDS[3:4], PLAIN, rows)
    assert counted(spec, reference(spec, rows), [{"new": False}, {"new": True}, {}]) == {"new": [1, 1, 1, 0]}


def test_number_of_a_client_that_keeps_float32_falls_into_the_same_cell() -> None:
    rows = [{"area": value} for value in [0.1] * 20 + [0.2] * 20 + [0.3] * 20]
    spec = fit_spec(FIELDS[:1], PLAIN, rows)
    document = reference(spec, rows)
    sent = [{"area": float(np.float32(value))} for value in (0.1, 0.2, 0.3, 0.3)]
    assert counted(spec, document, sent) == {"area": [0, 0, 1, 1, 2]}


def test_levels_that_share_a_code_share_a_cell() -> None:
    spec = InputSpec(FIELDS[2:3], {"zone": Learned(0, "a", codes={"a": 1, "b": 0, "c": 0})}, PLAIN)
    document = {"rows": 100, "fields": {"zone": {"missing": 0, "levels": {"a": 60, "b": 30}, "other": 10}}}
    (zone,) = Reference(document, spec).distributions
    assert (zone.labels, zone.counts) == (("a", OTHER), (60, 40))
    assert counted(spec, document, [{"zone": zone} for zone in "abcd"]) == {"zone": [0, 1, 1, 2]}


def test_unknown_levels_are_expected_as_often_as_training_had_rare_ones() -> None:
    rows: list[Row] = [{"zone": zone} for zone in ["a"] * 90 + [f"rare {number}" for number in range(10)]]
    spec = fit_spec(FIELDS[2:3], PLAIN, rows)
    (zone,) = Reference(reference(spec, rows), spec).distributions
    assert zone.unknown == 11 / 100


def test_predictions_are_counted_unless_they_are_not_finite() -> None:
    spec = fit_spec(FIELDS[:1], PLAIN, [{"area": 1.0}] * 20)
    entry = {"edges": [10.0], "counts": [10, 20]}
    document = {"rows": 30, "fields": {"area": {"missing": 0, "edges": [], "counts": [20]}}, "prediction": entry}
    found = counted(spec, document, [{"area": 1.0}] * 4, [10.0, 10.1, -5.0, np.nan])
    assert found == {"area": [0, 0, 4], PREDICTION: [0, 0, 2, 1]}


def test_classes_and_their_probabilities_are_counted() -> None:
    target = Target("left", kind="class", classes=("no", "yes", "maybe"))
    spec = fit_spec(FIELDS[:1], target, [{"area": 1.0}] * 20)
    document = {
        "rows": 40,
        "fields": {"area": {"missing": 0, "edges": [], "counts": [20]}},
        # In the order of names, as in the file.
        "prediction": {"levels": {"no": 10, "yes": 20}, "other": 10},
        "probability": {"edges": [0.5], "counts": [10, 30]},
    }
    scores = [[0.4, 0.3, 0.3], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]]
    found = counted(spec, document, [{"area": 1.0}] * 3, scores)
    assert (found[PREDICTION], found[PROBABILITY]) == ([0, 0, 1, 1, 1], [0, 0, 1, 2])


def test_model_of_an_older_kit_has_no_reference_of_predictions(tmp_path: Path) -> None:
    document = {key: value for key, value in REFERENCE_OF_RIDES.items() if key != "prediction"}
    write_ride_bundle(tmp_path / "rides", reference=document)
    found = load_reference(load_rides(tmp_path / "rides"))
    assert found is not None
    assert [one.name for one in found.distributions] == ["distance", "passengers", "zone", "comfort"]


def test_model_without_a_reference_has_none(tmp_path: Path) -> None:
    write_ride_bundle(tmp_path / "rides")
    assert load_reference(load_rides(tmp_path / "rides")) is None
    assert load_reference(object()) is None


def test_reference_that_is_no_json_is_an_error_only_where_it_is_asked_for(tmp_path: Path) -> None:
    write_bundle(tmp_path / "rides", ride_files() | {REFERENCE: b"{"})
    model = load_rides(tmp_path / "rides")
    model.check()
    with pytest.raises(BundleError, match=r"reference\.json"):
        load_reference(model)


def test_predictor_shows_what_it_scores(tmp_path: Path) -> None:
    write_ride_bundle(tmp_path / "rides")
    predictor = Predictor(load_rides(tmp_path / "rides"))
    seen: list[tuple[Any, Any]] = []
    predictor.observe = lambda encoded, scores: seen.append((encoded, scores))
    answer = predictor([GOLDEN_ROW, {"distance": "x"}, GOLDEN_ROW | {"distance": 8.0}])
    ((encoded, scores),) = seen
    assert sorted(encoded[:, 0].tolist()) == [3.5, 8.0]
    assert sorted(scores.tolist()) == sorted(value for value in answer.predictions if value is not None)
    predictor([{"distance": "x"}])
    assert len(seen) == 1
