from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from model_kit.encoding import Encoded, FeatureMaker
from model_kit.spec import Row
from model_kit.testing import SPEC_OF_RIDES, derive


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


def test_spelling_of_null_is_missing_only_where_absence_is_information() -> None:
    encoded = encode([{"comfort": "NA", "zone": "NA"}])
    assert np.isnan(encoded[0, 3])
    assert encoded[0, 2] == -1


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
