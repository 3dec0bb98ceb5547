from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit.errors import CannotExplainError
from model_kit.records.encoding import Encoder
from model_kit.scoring.explanation import (
    EVALUATIONS,
    MAX_EXACT,
    MIN_PAIRS,
    Baseline,
    Contribution,
    Explainer,
    Explanation,
    Game,
    Rest,
    enumerate_coalitions,
    n_pairs,
    sample_orders,
)
from model_kit.scoring.model import BundleModel
from model_kit.spec import Field, InputSpec, Target, fit_spec
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor

Matrix = NDArray[Any]


@dataclass
class Fields:
    """A model of numbers ``x0``, ``x1``, ..., all 0 in the typical record, with a score of its own."""

    spec: InputSpec
    score: Callable[[Matrix], Matrix]
    golden: Mapping[str, Any]


def fields(n: int, score: Callable[[Matrix], Matrix], scale: Any = "identity", **more: Any) -> Fields:
    names = [f"x{number}" for number in range(n)]
    declared = tuple(Field(name, "number", name) for name in names)
    spec = fit_spec(declared, Target("y", "EUR", scale, subject="thing"), [dict.fromkeys(names, 0.0)], **more)
    return Fields(spec, score, {"row": dict.fromkeys(names, 0.0)})


def explain(
    model: Any, row: Sequence[float] | Matrix, n: int = 50, sent: Mapping[str, Any] | None = None
) -> Explanation | None:
    encoded = np.array(row, float)
    record = dict(zip(model.spec.names, row, strict=True)) if sent is None else sent
    return Explainer(model).explain(encoded, float(model.score(encoded[np.newaxis])[0]), record, n)


def by_definition(score: Callable[[Matrix], Matrix], row: Matrix) -> Matrix:
    """The mean over all orders of what each column adds; the others are 0."""
    n = len(row)
    values = np.zeros(n)
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        steps = np.zeros((n + 1, n))
        for position, column in enumerate(order, start=1):
            steps[position:, column] = row[column]
        values[list(order)] += np.diff(score(steps))
    return values / len(orders)


@pytest.fixture(scope="module")
def trees() -> Callable[[int], Callable[[Matrix], Matrix]]:
    """Boosted trees of depth 4 over ``n`` columns in which every field interacts with others, on the log scale."""

    def train(n: int) -> Callable[[Matrix], Matrix]:
        random = np.random.default_rng(3)
        x = random.normal(size=(500, n))
        y = x[:, 0] * x[:, 1] + np.where(x[:, 2] > 0, x[:, 3], -x[:, 4]) * x[:, 1] + 0.3 * x.sum(axis=1)
        fitted = GradientBoostingRegressor(n_estimators=60, max_depth=4, random_state=0).fit(x, y)
        return lambda encoded: np.asarray(fitted.predict(encoded))

    return train


def of_worth(worth: Callable[[Matrix], Matrix], n: int) -> Game:
    ends = worth(np.array([[False] * n, [True] * n]))
    return Game(n, float(ends[0]), float(ends[1]), worth)


def test_glove_game() -> None:
    """One has a left glove, two have a right one, a pair is worth 1: 2/3, 1/6, 1/6 (Shapley's own kind of example)."""
    game = of_worth(lambda members: (members[:, 0] & members[:, 1:].any(axis=1)).astype(float), 3)
    np.testing.assert_allclose(enumerate_coalitions(game), [2 / 3, 1 / 6, 1 / 6], rtol=1e-14)


def test_only_player_has_it_all() -> None:
    def never(_: Matrix) -> Matrix:
        raise AssertionError("nothing lies between no player and all")

    np.testing.assert_array_equal(enumerate_coalitions(Game(1, 2.0, 5.0, never)), [3.0])


@given(st.lists(st.floats(-10, 10), min_size=11, max_size=11), st.integers(0, 2**32 - 1))
def test_one_order_and_its_reverse_are_exact_where_only_pairs_interact(weights: list[float], seed: int) -> None:
    n = 4
    pairs = list(itertools.combinations(range(n), 2))

    def worth(members: Matrix) -> Matrix:
        alone = members @ np.array(weights[:n])
        both = sum(w * (members[:, i] & members[:, j]) for w, (i, j) in zip(weights[n:-1], pairs, strict=True))
        total: Matrix = weights[-1] + alone + both
        return total

    game = of_worth(worth, n)
    keys = np.random.default_rng(seed).random((1, n))
    np.testing.assert_allclose(sample_orders(game, keys), enumerate_coalitions(game), atol=1e-12)


def test_values_of_interacting_trees_are_those_of_the_definition(trees: Any) -> None:
    score = trees(6)
    row = np.random.default_rng(8).normal(size=6)
    expected = by_definition(score, row)
    assert np.abs(expected).min() > 0.01
    found = explain(fields(6, score), row)
    assert found is not None
    effects = {one.field: one.effect for one in found.contributions}
    for number, value in enumerate(expected):
        assert effects[f"x{number}"] == pytest.approx(value, abs=1e-12), f"x{number}"


def test_values_of_interacting_trees_are_those_of_shap(trees: Any) -> None:
    shap = pytest.importorskip("shap", reason="shap is installed for Python 3.12 and later")
    score = trees(8)
    row = np.random.default_rng(9).normal(size=8)
    exact = shap.explainers.Exact(score, shap.maskers.Independent(np.zeros((1, 8))))
    expected = exact(row[np.newaxis])
    found = Explainer(fields(8, score)).effects(row, float(score(row[np.newaxis])[0]))
    assert found is not None
    np.testing.assert_allclose(found, expected.values[0], atol=1e-12)


def test_orders_come_close_to_all_coalitions(trees: Any) -> None:
    """15 players of a model in which interactions of three and four matter: 14 pairs of orders, 32,768 coalitions."""
    n = 15
    score = trees(n)
    errors = []
    for seed in range(5):
        row = np.random.default_rng(seed).normal(size=n)

        def worth(members: Matrix, row: Matrix = row) -> Matrix:
            return np.asarray(score(np.where(members, row, 0.0)))

        game = of_worth(worth, n)
        exact = enumerate_coalitions(game)
        found = Explainer(fields(n, score)).effects(row, game.end)
        assert found is not None
        assert found.sum() == pytest.approx(game.end - game.start, abs=1e-12)
        errors.append(np.abs(found - exact).sum() / np.abs(exact).sum())
    assert 0 < np.mean(errors) < 0.05


def test_effects_are_exact_where_fields_do_not_interact(model: BundleModel) -> None:
    """log fare = 2.5 + distance / 8 + passengers / 16 - [zone is "B"] / 4 + (code of comfort) / 32."""
    sent: dict[str, Any] = {"distance": 11.5, "passengers": 3, "zone": "B", "comfort": "2"}
    row = Encoder(model.spec)([sent])[0]
    found = Explainer(model).explain(row, float(model.predict([sent])[0]), sent, 2)
    assert found is not None
    assert found.baseline.name == "typical record"
    assert found.baseline.prediction == pytest.approx(GOLDEN_PREDICTION)
    assert [(one.field, one.value, one.together) for one in found.contributions] == [
        ("distance", 11.5, None),
        ("zone", "B", None),
    ]
    assert [one.effect for one in found.contributions] == pytest.approx([1.0, -0.25])
    assert [one.percent for one in found.contributions] == pytest.approx([171.8281828459045, -22.11992169285951])
    assert found.rest.fields == 1
    assert found.rest.effect == pytest.approx(0.125)
    assert found.rest.percent == pytest.approx(13.314845306682632)
    # An effect of 1 is worth the logarithmic mean of both fares.
    slope = GOLDEN_PREDICTION * math.expm1(0.875) / 0.875
    assert [one.amount for one in found.contributions] == pytest.approx([slope, -slope / 4])
    assert found.rest.amount == pytest.approx(slope / 8)


def test_record_like_the_baseline_has_no_contribution(model: BundleModel) -> None:
    row = Encoder(model.spec)([GOLDEN_ROW])[0]
    found = Explainer(model).explain(row, float(model.score(row[np.newaxis])[0]), GOLDEN_ROW, 5)
    assert found is not None
    assert found.contributions == ()
    assert found.rest == Rest(0, 0.0, 0.0, 0.0)


def test_field_that_changes_nothing_has_an_effect_of_nothing(model: BundleModel) -> None:
    sent = {**GOLDEN_ROW, "passengers": None}  # imputed with the typical value
    row = Encoder(model.spec)([sent])[0]
    found = Explainer(model).explain(row, float(model.predict([sent])[0]), sent, 5)
    assert found is not None
    (only,) = found.contributions
    assert (only.field, only.value, only.effect, only.percent, only.amount) == ("passengers", None, 0.0, 0.0, 0.0)


def test_identity_scale_has_amounts_and_no_percent() -> None:
    found = explain(fields(3, lambda x: 10 + x @ [1.0, -20.0, 3.0]), [2.0, 1.0, 1.0], n=2)
    assert found is not None
    assert found.baseline == Baseline("typical thing", 10.0)
    assert [(one.field, one.effect, one.percent, one.amount) for one in found.contributions] == [
        ("x1", -20.0, None, -20.0),
        ("x2", 3.0, None, 3.0),
    ]
    assert found.rest == Rest(1, 2.0, None, 2.0)


def test_strongest_come_first_and_equals_in_the_order_of_the_fields() -> None:
    found = explain(fields(4, lambda x: x @ [1.0, -1.0, 3.0, 1.0]), [1, 1, 1, 1])
    assert found is not None
    assert [one.field for one in found.contributions] == ["x2", "x0", "x1", "x3"]


def test_fields_of_a_group_are_switched_as_one() -> None:
    """x1 is worth something only beside x3, its total: alone either would be nonsense."""

    def score(x: Matrix) -> Matrix:
        assert ((x[:, 1] == 0) == (x[:, 3] == 0)).all()
        return np.asarray(x[:, 0] + 5 * x[:, 1] * x[:, 3] + x[:, 2])

    model = fields(4, score, together=(("x3", "x1"),))
    assert Explainer(model).players == (("x0",), ("x2",), ("x3", "x1"))
    sent = {"x0": 1.0, "x2": 0, "x3": 2, "x1": 3}
    found = explain(model, [1, 3, 0, 2], sent=sent)
    assert found is not None
    group, single = found.contributions
    assert (group.field, group.value, group.together, group.effect) == ("x3", 2, {"x1": 3}, 30.0)
    assert (single.field, single.together, single.effect) == ("x0", None, 1.0)


def test_group_differs_if_one_of_its_fields_does() -> None:
    model = fields(3, lambda x: x @ [1.0, 2.0, 4.0], together=(("x0", "x1"),))
    found = explain(model, [0, 1, 0], sent={"x1": 1})
    assert found is not None
    (only,) = found.contributions
    assert (only.field, only.value, only.together, only.effect) == ("x0", None, {"x1": 1}, 2.0)
    assert found.rest.fields == 0


def test_missing_value_is_like_a_missing_value() -> None:
    model = fields(2, lambda x: np.where(np.isnan(x), 7.0, x).sum(axis=1))
    model.golden = {"row": {"x1": 0.0}}
    found = explain(model, [np.nan, np.nan], sent={})
    assert found is not None
    assert [(one.field, one.value, one.effect) for one in found.contributions] == [("x1", None, 7.0)]


def test_model_is_asked_once_for_each_row_and_no_more_than_allowed(trees: Any) -> None:
    asked: list[int] = []
    score = trees(40)

    def counting(encoded: Matrix) -> Matrix:
        asked.append(len(encoded))
        return np.asarray(score(encoded))

    explainer = Explainer(fields(40, counting))
    asked.clear()
    row = np.zeros(40)
    counts = {}
    for n in range(41):
        row[:n] = 1.0
        assert explainer.effects(row, 1.0) is not None
        counts[n], asked[:] = list(asked), []
    assert counts[0] == counts[1] == []
    assert counts[2] == [2]
    assert counts[MAX_EXACT] == [2**MAX_EXACT - 2]
    for n in range(MAX_EXACT + 1, 41):
        assert counts[n] == [2 * (n - 1) * n_pairs(n)]
        assert sum(counts[n]) <= max(EVALUATIONS, 2 * MIN_PAIRS * (n - 1))
    assert 2**MAX_EXACT <= EVALUATIONS < 2 ** (MAX_EXACT + 1)


def test_same_row_has_the_same_explanation_to_the_bit(trees: Any) -> None:
    score = trees(30)
    row = np.random.default_rng(1).normal(size=30)
    prediction = float(score(row[np.newaxis])[0])
    one = Explainer(fields(30, score))
    other = Explainer(fields(30, score))
    other.effects(-row, prediction)
    first, second = one.effects(row, prediction), other.effects(row, prediction)
    assert first is not None
    assert second is not None
    assert first.tobytes() == second.tobytes()


def test_orders_are_the_same_in_every_version() -> None:
    keys = Explainer(fields(30, lambda x: x[:, 0]))._keys
    assert keys.shape == (n_pairs(MAX_EXACT + 1), 30)
    assert keys[0, :3].tolist() == [0.6316603086593645, 0.47641145683684816, 0.8172843011378103]


def test_coalition_without_a_finite_score_is_part_of_the_way() -> None:
    """1 + 1 is nothing that the model can score; then each has half of what both add."""

    found = explain(fields(2, lambda x: np.where((x != 0).sum(1) == 1, np.nan, 1 + 3 * x.prod(1))), [1, 2])
    assert found is not None
    assert [one.effect for one in found.contributions] == [3.0, 3.0]


def test_coalition_whose_score_has_no_logarithm_is_part_of_the_way() -> None:
    bad = iter([-1.0, 0.0])
    worse = lambda x: np.array([next(bad) if (row != 0).sum() == 1 else math.exp(row.sum()) for row in x])  # noqa: E731
    found = explain(fields(2, worse, "log"), [1.0, 3.0])
    assert found is not None
    assert [one.effect for one in found.contributions] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("n", [6, 20])
def test_scores_that_are_no_numbers_never_spoil_the_sum(n: int, trees: Any) -> None:
    score = trees(n)
    spoiled = np.random.default_rng(2)

    def sometimes(encoded: Matrix) -> Matrix:
        scores = np.asarray(score(encoded))
        return scores if len(scores) == 1 else np.where(spoiled.random(len(scores)) < 0.3, np.nan, scores)

    row = np.random.default_rng(4).normal(size=n)
    found = explain(fields(n, sometimes), row, n=n)
    assert found is not None
    total = found.baseline.prediction + sum(one.effect for one in found.contributions)
    assert total == pytest.approx(float(score(row[np.newaxis])[0]))


@pytest.mark.parametrize(("scale", "value"), [("log", 0.0), ("log", -1.0), ("log", np.inf), ("identity", np.nan)])
def test_without_a_typical_prediction_nothing_can_be_explained(scale: str, value: float) -> None:
    with pytest.raises(CannotExplainError, match="the typical record has no finite prediction"):
        Explainer(fields(2, lambda x: np.full(len(x), value), scale))


def test_prediction_that_has_no_logarithm_is_not_explained() -> None:
    assert explain(fields(1, lambda x: np.where(x[:, 0] == 0, 1.0, 0.0), "log"), [1]) is None


def test_what_is_beyond_all_floats_is_not_explained() -> None:
    assert explain(fields(2, lambda x: 1e308 * (1 - 2 * x[:, 0]), "identity"), [1, 0]) is None


def test_percent_beyond_all_floats_is_left_out() -> None:
    def score(x: Matrix) -> Matrix:
        return np.exp(np.where(x[:, 0] == 0, -400.0, 400.0))

    found = explain(fields(1, score, "log"), [1])
    assert found is not None
    assert found.contributions[0].effect == pytest.approx(800)
    assert found.contributions[0].percent is None


LOGS = st.floats(-700, 700)


@given(st.lists(LOGS, min_size=8, max_size=8), st.integers(1, 4))
def test_everything_adds_up_whatever_the_model_says(logs: list[float], n: int) -> None:
    """A score of its own for each coalition of three."""

    def score(x: Matrix) -> Matrix:
        return np.asarray(np.exp(np.array(logs)[(x != 0) @ [1, 2, 4]]))

    found = explain(fields(3, score, "log"), [1, 1, 1], n)
    if found is None:
        return  # amounts may be beyond all floats
    parts: list[Contribution | Rest] = [*found.contributions, found.rest]
    assert len(found.contributions) == min(n, 3)
    assert found.rest.fields == 3 - len(found.contributions)
    scale = max(1.0, *map(abs, logs))
    assert math.log(found.baseline.prediction) + sum(one.effect for one in parts) == pytest.approx(
        logs[7], abs=1e-12 * scale
    )
    largest = max(abs(one.amount) for one in parts)
    total = found.baseline.prediction + sum(one.amount for one in parts)
    assert total == pytest.approx(math.exp(logs[7]), abs=1e-9 * largest, rel=1e-9)
    for one in parts:
        if one.percent is not None:
            assert one.percent == pytest.approx(100 * math.expm1(one.effect))


@given(LOGS, st.floats(-1e-6, 1e-6))
def test_amounts_near_the_baseline_keep_their_digits(log: float, step: float) -> None:
    """One field adds all there is."""
    model = fields(1, lambda x: np.exp(log) * np.where(x[:, 0] == 0, 1.0, 1 + step), "log")
    found = explain(model, [1])
    assert found is not None
    prediction = math.exp(log) * (1 + step)
    assert found.contributions[0].amount == pytest.approx(
        prediction - found.baseline.prediction, abs=1e-9 * found.baseline.prediction
    )


def test_spec_without_a_subject_speaks_of_a_record(model: BundleModel) -> None:
    model.spec = replace(model.spec, target=replace(model.spec.target, subject="ride"))
    assert Explainer(model).baseline.name == "typical ride"
