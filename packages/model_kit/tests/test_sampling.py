"""Sample records: as training had them, and without contradictions."""

from __future__ import annotations

from typing import Any

from model_kit.records.identities import Identity, Sum
from model_kit.records.row_warnings import Contradiction
from model_kit.scoring.sampling import Consistency, sample_records
from model_kit.spec import Field, InputSpec, Learned, Row, Target
from model_kit.testing import GOLDEN_ROW, REFERENCE_OF_RIDES, SPEC_OF_RIDES


class Stub:
    """What sample records need of a model."""

    def __init__(self, spec: InputSpec = SPEC_OF_RIDES, golden: Row = GOLDEN_ROW, **more: Any) -> None:
        self.spec, self.golden = spec, {"row": golden, "prediction": 0.0}
        for name, value in more.items():
            setattr(self, name, value)

    def score(self, encoded: Any) -> Any:
        raise NotImplementedError


def test_fields_are_drawn_as_often_as_training_had_them() -> None:
    rows = sample_records(Stub(reference=REFERENCE_OF_RIDES), 2000, seed=1)
    assert 0.77 < sum(row["zone"] == "A" for row in rows) / 2000 < 0.83
    assert 0.07 < sum(row["passengers"] is None for row in rows) / 2000 < 0.13
    assert 0.47 < sum(row["distance"] <= 3.5 for row in rows) / 2000 < 0.53
    # Few are extreme.
    assert sum(row["distance"] > 20 for row in rows) < 200
    assert {row["passengers"] for row in rows} == {None, 1, 2, 3, 4}
    assert all(isinstance(row["passengers"], int | None) for row in rows)


def test_model_without_reference_has_samples_by_its_bins() -> None:
    rows = sample_records(Stub(), 500, seed=1)
    assert 0.4 < sum(row["zone"] == "A" for row in rows) / 500 < 0.6
    assert {row["comfort"] for row in rows} == {None, "1", "2"}


def test_number_that_hardly_any_row_has_is_as_in_the_others() -> None:
    spec = InputSpec(
        (Field("pool", "number", "", minimum=0),), {"pool": Learned(0, 0.0, 0.0, 800.0, (0.0,))}, Target("y")
    )
    reference = {"fields": {"pool": {"missing": 0, "edges": [], "counts": [1000]}}}
    assert {row["pool"] for row in sample_records(Stub(spec, {"pool": 0.0}, reference=reference), 50, seed=1)} == {0.0}


def test_contradiction_that_is_left_becomes_typical() -> None:
    def far(row: Row) -> str | None:
        return "too far" if float(row["distance"] or 0) > 5 and row["zone"] == "A" else None

    stub = Stub(contradictions=(Contradiction("far", ("distance", "zone"), far),))
    rows = sample_records(stub, 300, seed=1)
    assert [row for row in rows if far(row)] == []
    assert any(row["distance"] > 5 for row in rows)
    assert Consistency(stub)({**GOLDEN_ROW, "distance": 9.0, "passengers": 3})["passengers"] == 3


def test_record_that_cannot_be_mended_is_the_typical_one() -> None:
    # Of two fields one at a time contradicts the other's typical value.
    either = Contradiction("a", ("passengers",), lambda row: "a" if row["zone"] == "B" else None)
    assert Consistency(Stub(contradictions=(either,)))({**GOLDEN_ROW, "zone": "B", "distance": 9.0}) == GOLDEN_ROW


def test_identity_that_only_hold_beyond_a_bound_leaves_its_fields_typical() -> None:
    fields = (
        Field("total", "integer", ""),
        Field("small", "integer", "", maximum=3),
        Field("rest", "integer", "", maximum=4),
    )
    learned = {"total": Learned(0, 5, 0, 90, (5.0,)), "small": Learned(0, 2, 0, 3), "rest": Learned(0, 3, 0, 4)}
    golden = {"total": 5, "small": 2, "rest": 3}
    identity: Identity = Sum("s", "total", ("small", "rest"))
    stub = Stub(InputSpec(fields, learned, Target("y")), golden, identities=(identity,))
    assert Consistency(stub).hold({"total": 80, "small": 1, "rest": 1}) == golden
    assert Consistency(stub).hold({"total": 6, "small": 1, "rest": 1}) == {"total": 6, "small": 3, "rest": 3}
    rows = sample_records(stub, 100, seed=1)
    assert all(row["total"] == row["small"] + row["rest"] for row in rows)
