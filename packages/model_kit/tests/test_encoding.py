from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from model_kit.records.encoding import FEW, Derivation, Encoded, Encoder, FeatureMaker
from model_kit.records.fast_lane import FastLane
from model_kit.records.validation import Validator
from model_kit.spec import InputSpec, Learned, Row
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES, TARGET, derive


def encode(rows: Sequence[Row]) -> Encoded:
    return FeatureMaker(SPEC_OF_RIDES, derive).encode(rows)


def test_numbers_stay_levels_become_codes_and_missing_is_nan() -> None:
    encoded = encode(
        [
            {"distance": 2.5, "passengers": 3, "zone": "B", "comfort": "1"},
            {"distance": 1, "passengers": None, "zone": None},
        ]
    )
    np.testing.assert_array_equal(encoded, [[2.5, 3, 2, 1], [1, np.nan, np.nan, np.nan]])
    assert encoded.dtype == np.float64


def test_level_never_seen_is_minus_one_whether_documented_or_not() -> None:
    assert encode([{"comfort": "3", "zone": "Q"}])[0, 2:].tolist() == [-1, -1]


def test_level_that_training_learned_with_blanks_is_found_without_them() -> None:
    learned = LEARNED | {"zone": Learned(0.0, "A", codes={" A": 1, "B ": 2, "B": 3})}
    spec = InputSpec(FIELDS, learned, TARGET)
    sent = [{"distance": 1, "zone": zone} for zone in ("A", " A", "B", "B ")]
    validated = Validator(spec)(sent).rows
    assert Encoder(spec)(validated)[:, 2].tolist() == [1, 1, 3, 3]
    assert FastLane(spec)(sent).encoded[:, 2].tolist() == [1, 1, 3, 3]


def test_numbers_beyond_all_reason_are_taken_as_the_largest() -> None:
    assert encode([{"distance": 10**300, "passengers": -1e300}])[0, :2].tolist() == [1e12, -1e12]


def test_no_rows_make_an_empty_matrix() -> None:
    assert encode([]).shape == (0, 4)


def test_features_are_float32_and_independent_of_their_neighbours() -> None:
    features = FeatureMaker(SPEC_OF_RIDES, derive)
    rows: list[Row] = [{"distance": 2.5, "zone": "B"}, {"distance": 7, "zone": "A", "comfort": "2"}]
    both = features(rows)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both, np.vstack([features(rows[:1]), features(rows[1:])]))


def _derive_row(row: Sequence[float]) -> list[float]:
    distance, passengers, zone, comfort = row
    # Marked, to be told from the form for many rows.
    return [distance, 1e300 if passengers == 8 else -1.0, zone, comfort]


def test_a_few_rows_take_the_form_for_single_rows_and_many_do_not() -> None:
    quick = FeatureMaker(SPEC_OF_RIDES, Derivation(rows=derive, row=_derive_row))
    rows: list[Row] = [{"distance": number, "passengers": 2, "zone": "B", "comfort": "1"} for number in range(FEW + 1)]
    for n_rows in (1, FEW):
        found = quick(rows[:n_rows])
        assert found.dtype == np.float32
        assert found.tolist() == [[number, -1, 2, 1] for number in range(n_rows)]
    np.testing.assert_array_equal(quick(rows), FeatureMaker(SPEC_OF_RIDES, derive)(rows))
    assert quick([]).shape == (0, 4)


def test_what_is_too_large_for_float32_is_infinite_in_either_form() -> None:
    quick = FeatureMaker(SPEC_OF_RIDES, Derivation(rows=derive, row=_derive_row))
    assert quick([{"distance": 1, "passengers": 8}])[0, 1] == np.inf


def test_features_are_one_row_after_the_other_in_memory_whatever_derive_returns() -> None:
    features = FeatureMaker(SPEC_OF_RIDES, lambda encoded: np.asfortranarray(derive(encoded)))
    assert features([{"distance": 1}, {"distance": 2}]).flags.c_contiguous
