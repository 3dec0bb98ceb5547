"""Why a row is predicted what it is: what each field adds to the prediction of a typical record.

The contributions are Shapley values of the game in which a player switches its fields from the typical record's values
to the row's (Shapley 1953; with one background row: Lundberg and Lee 2017, "A unified approach to interpreting model
predictions"). They are taken on the estimator's own scale, where they add up. Few players: every coalition is scored,
which is exact. More: permutations, each with its reverse, which leaves nothing to chance in interactions of two
(Mitchell et al. 2022, "Sampling permutations for Shapley value estimation").
Whatever scores encoded rows can be explained; nothing is asked of it but scores.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import CannotExplainError
from model_kit.records.encoding import Encoded, Encoder
from model_kit.spec import InputSpec, Row

#: Coalitions that are scored for one row. `make bench-explain` on rows of the real test data (15 to 31 players), long
#: run of 2,000 pairs: a mean L1 error of 1.0 % with 10 pairs and .7 % with 20; a coalition costs 5 to 10 µs.
EVALUATIONS = 400
#: Pairs of orders at least, however many players. Rows of four fields alone, which differ from the typical house in 56
#: players: 2.6 % with 6 pairs, 2.3 % with 8, in 6 ms.
MIN_PAIRS = 8
#: Players up to whom all coalitions are no more than that.
MAX_EXACT = EVALUATIONS.bit_length() - 1
#: Any will do; with this one the same row has the same explanation everywhere and always.
SEED = 20240


class Explainable(Protocol):
    """The part of a :class:`~model_kit.scoring.protocol.Model` that explaining uses."""

    @property
    def spec(self) -> InputSpec:
        """The fitted table of fields."""

    @property
    def golden(self) -> Mapping[str, Any]:
        """``row``: the typical record that rows are compared with."""

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,)."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a row is compared with.

    Attributes:
        name: in words ("typical house").
        prediction: in the target's unit.
    """

    name: str
    prediction: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one field, or a group that is switched as one, adds to the prediction.

    Attributes:
        field: its name; of a group the first that is declared.
        value: what was sent; ``None`` where nothing was.
        together: the other fields of the group -> what was sent; ``None`` for a single field.
        effect: on the estimator's scale.
        percent: 100 (exp(effect) - 1); ``None`` where the estimator's scale is no logarithm, or beyond all floats.
        amount: share of the difference between prediction and baseline, in the target's unit.
    """

    field: str
    value: Any
    together: dict[str, Any] | None
    effect: float
    percent: float | None
    amount: float


@dataclass(frozen=True, slots=True)
class Rest:
    """All other contributions as one.

    Attributes:
        fields: how many they are; a group counts as one, and a field that is as in the baseline is none.
        effect, percent, amount: as in :class:`Contribution`; whatever the others leave, so that all add up.
    """

    fields: int
    effect: float
    percent: float | None
    amount: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row's prediction, taken apart.

    On the estimator's scale baseline and effects sum to the prediction; in its unit baseline and amounts do.

    Attributes:
        baseline: what the row is compared with.
        contributions: the strongest by absolute effect, strongest first; at equal strength in the order of the fields.
        rest: all others.
    """

    baseline: Baseline
    contributions: tuple[Contribution, ...]
    rest: Rest


#: What coalitions are worth, shape (n_coalitions,); they have a row each, with True for each player that is a member.
Worth: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Game:
    """A game in coalitional form.

    Attributes:
        n_players: how many; there are no values of none.
        start, end: worth of no player and of all.
        worth: of any others.
    """

    n_players: int
    start: float
    end: float
    worth: Worth


def enumerate_coalitions(game: Game) -> NDArray[np.float64]:
    """Shapley values, shape (n_players,), exactly: of all 2 ** n_players coalitions."""
    n = game.n_players
    every = np.arange(2**n)
    members = (every[:, np.newaxis] >> np.arange(n)) & 1 == 1
    worth = np.empty(len(every))
    worth[0], worth[-1] = game.start, game.end
    if n > 1:
        worth[1:-1] = game.worth(members[1:-1])
    size = members.sum(axis=1)
    weight = np.array([1 / (n * math.comb(n - 1, before)) for before in range(n)])
    values = np.empty(n)
    for player in range(n):
        without = every[~members[:, player]]
        values[player] = (weight[size[without]] * (worth[without | 1 << player] - worth[without])).sum()
    return values


def sample_orders(game: Game, keys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimates of the Shapley values, shape (n_players,); they have the sum of the exact ones.

    Args:
        game: of at least 2 players.
        keys: shape (n_pairs, n_players): each row is an order in which the players join, and its reverse another.
    """
    n = game.n_players
    order = keys.argsort(axis=1)
    rank = np.concatenate([order, order[:, ::-1]]).argsort(axis=1)
    members = rank[:, np.newaxis] < np.arange(1, n)[:, np.newaxis]
    worth = game.worth(members.reshape(-1, n)).reshape(len(rank), n - 1)
    gain = np.diff(worth, axis=1, prepend=game.start, append=game.end)
    values: NDArray[np.float64] = np.take_along_axis(gain, rank, axis=1).mean(axis=0)
    return values


def n_pairs(n_players: int) -> int:
    """How many pairs of orders are sampled: as many as ``EVALUATIONS`` allow, but at least ``MIN_PAIRS``."""
    return max(MIN_PAIRS, EVALUATIONS // (2 * (n_players - 1)))


class Explainer:
    """Explains predictions of ``model``; built once per model. The same row has the same explanation to the bit.

    Attributes:
        players: names of the fields that are switched as one: the groups that the spec keeps together, and each other
            field on its own; in the order of the fields.
        baseline: the typical record's name and prediction.
        score: the model's.

    Raises:
        CannotExplainError: the typical record has no finite prediction on the estimator's scale.
    """

    def __init__(self, model: Explainable) -> None:
        spec = model.spec
        self.score = model.score
        self._is_log = spec.target.scale == "log"
        groups = {group[0]: group for group in spec.together}
        followers = {name for group in spec.together for name in group[1:]}
        self.players = tuple(groups.get(name, (name,)) for name in spec.names if name not in followers)
        number = {name: player for player, names in enumerate(self.players) for name in names}
        self._player_of = np.array([number[name] for name in spec.names])
        self._typical = Encoder(spec)([model.golden["row"]])[0]
        self.baseline = Baseline(f"typical {spec.target.subject}", float(self.score(self._typical[np.newaxis])[0]))
        self._start = self._on_scale(self.baseline.prediction)
        if not math.isfinite(self._start):
            raise CannotExplainError("the typical record has no finite prediction to compare with")
        # Python's generator, whose numbers are the same in every version.
        draw = random.Random(SEED).random  # noqa: S311 - nobody gains by knowing the orders
        self._keys = np.array([[draw() for _ in self.players] for _ in range(n_pairs(MAX_EXACT + 1))])

    def effects(self, row: Encoded, prediction: float) -> NDArray[np.float64] | None:
        """What each of :attr:`players` adds, on the estimator's scale; NaN for one whose fields are as in the baseline.

        Their sum is that of the prediction less that of the baseline, but for rounding. A coalition that the model
        gives no finite score is taken to be as far on the way from baseline to prediction as it has players.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.

        Returns:
            Shape (n_players,); ``None`` if the prediction, or what is made of it, is no finite number on that scale.
        """
        found = np.full(len(self.players), np.nan)
        present, game = self.game(row, prediction)
        if not math.isfinite(game.end):
            return None
        if game.n_players:
            with np.errstate(over="ignore", invalid="ignore"):
                if game.n_players <= MAX_EXACT:
                    found[present] = enumerate_coalitions(game)
                else:
                    found[present] = sample_orders(game, self._keys[: n_pairs(game.n_players), present])
        return found if np.isfinite(found[present]).all() else None

    def game(self, row: Encoded, prediction: float) -> tuple[NDArray[np.intp], Game]:
        """The game that explains a row: which of :attr:`players` are in it, as a field of theirs differs, and the game.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.
        """
        end = self._on_scale(prediction)
        differs = (row != self._typical) & ~(np.isnan(row) & np.isnan(self._typical))
        present = np.unique(self._player_of[differs])
        return present, Game(len(present), self._start, end, self._worth(row, present, end))

    def explain(self, row: Encoded, prediction: float, sent: Row, n: int) -> Explanation | None:
        """The ``n`` strongest contributions to one prediction, and the rest.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.
            sent: the record as it was sent.
            n: how many contributions at most.

        Returns:
            ``None`` as for :meth:`effects`.
        """
        effects = self.effects(row, prediction)
        if effects is None:
            return None
        present = np.flatnonzero(~np.isnan(effects))
        strongest = present[np.argsort(-np.abs(effects[present]), kind="stable")]
        difference = prediction - self.baseline.prediction
        slope = self._unit_per_effect(prediction)
        contributions = tuple(
            self._contribution(self.players[player], float(effects[player]), slope, sent) for player in strongest[:n]
        )
        effect = self._on_scale(prediction) - self._start - math.fsum(one.effect for one in contributions)
        amount = difference - math.fsum(one.amount for one in contributions)
        rest = Rest(len(strongest) - len(contributions), effect, self._percent(effect), amount)
        if not all(map(math.isfinite, (amount, *(one.amount for one in contributions)))):
            return None
        return Explanation(self.baseline, contributions, rest)

    def _contribution(self, names: tuple[str, ...], effect: float, slope: float, sent: Row) -> Contribution:
        first, *others = names
        together = {name: sent.get(name) for name in others} or None
        return Contribution(first, sent.get(first), together, effect, self._percent(effect), effect * slope)

    def _worth(self, row: Encoded, present: NDArray[np.intp], end: float) -> Worth:
        columns = np.flatnonzero(np.isin(self._player_of, present))
        owners = np.searchsorted(present, self._player_of[columns])

        def worth(members: NDArray[np.bool_]) -> NDArray[np.float64]:
            encoded = np.repeat(self._typical[np.newaxis], len(members), axis=0)
            encoded[:, columns] = np.where(members[:, owners], row[columns], encoded[:, columns])
            scores = self.score(encoded)
            if self._is_log:
                with np.errstate(divide="ignore", invalid="ignore"):
                    scores = np.log(scores)
            way = self._start + members.mean(axis=1) * (end - self._start)
            return np.where(np.isfinite(scores), scores, way)

        return worth

    def _on_scale(self, prediction: float) -> float:
        if not self._is_log:
            return prediction
        return math.log(prediction) if 0 < prediction < math.inf else math.nan

    def _percent(self, effect: float) -> float | None:
        if not self._is_log:
            return None
        try:
            return 100 * math.expm1(effect)
        except OverflowError:
            return None

    def _unit_per_effect(self, prediction: float) -> float:
        """The logarithmic mean of prediction and baseline: what an effect of 1 is in the target's unit."""
        start = self.baseline.prediction
        if not self._is_log:
            return 1.0
        if prediction == start:
            return start
        growth = (prediction - start) / start
        # Near each other the difference of their logarithms has few digits left.
        distance = math.log1p(growth) if abs(growth) < 0.5 else math.log(prediction) - math.log(start)
        return (prediction - start) / distance
