"""Explains a prediction by the effect of each field, compared with the prediction of a typical record.

The contributions are Shapley values of the game in which a player switches its fields from the typical record's values
to the row's (Shapley 1953; with one background row: Lundberg and Lee 2017, "A unified approach to interpreting model
predictions"). They are computed on the estimator's scale, where they add up; of a class, on its log-odds. With few
players every coalition is scored, which is exact. With more, permutations are sampled, each with its reverse, which is
exact for interactions of two players (Mitchell et al. 2022, "Sampling permutations for Shapley value estimation").
Any model that scores encoded rows can be explained.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import CannotExplainError
from model_kit.records.encoding import Encoded, Encoder
from model_kit.scoring.classes import log_odds
from model_kit.scoring.protocol import Explainable
from model_kit.spec import Row

#: Coalitions that are scored for one row. `make bench-explain` on the Ames test data (15 to 31 players), compared with
#: 2,000 pairs: a mean L1 error of 1.0 % with 10 pairs and .7 % with 20; a coalition takes 5 to 10 µs.
EVALUATIONS = 400
#: Minimum number of pairs of permutations. On rows of the Ames data reduced to four fields, with 56 players: 2.6 % with
#: 6 pairs, 2.3 % with 8, in 6 ms.
MIN_PAIRS = 8
#: Maximum number of players for which all coalitions are scored.
MAX_EXACT = EVALUATIONS.bit_length() - 1
#: Words of a text that are told, at most.
MOST_WORDS = 20
#: Log-odds that differ by no more are taken for equal: their difference has too few digits to be divided by.
CLOSE = 1e-9
#: Fixed, so that the same row always has the same explanation.
SEED = 20240


@dataclass(frozen=True, slots=True)
class Baseline:
    """The record that a row is compared with: the typical one, or another.

    Attributes:
        name: for display, "typical" and the target's subject ("typical record"); of texts ", without words".
        prediction: in the target's unit; of a class, its probability.
    """

    name: str
    prediction: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """The effect of one field, or of a group that is switched together, on the prediction.

    Attributes:
        field: name of the field, or of the first in the group.
        value: value that was sent; ``None`` if there was none.
        together: the group's other fields -> values that were sent; ``None`` for a single field.
        effect: Shapley value on the estimator's scale.
        percent: 100 (exp(effect) - 1); ``None`` but on the log scale, or if it overflows.
        amount: part of the difference between prediction and baseline, in the target's unit or in probability.
    """

    field: str
    value: Any
    together: dict[str, Any] | None
    effect: float
    percent: float | None
    amount: float


@dataclass(frozen=True, slots=True)
class Word:
    """What a word of a text, or an n-gram, adds to the score.

    Attributes:
        text: the word, as the model has it: lowercase, for instance.
        effect: on the estimator's scale; of a class on its log-odds, before calibration.
    """

    text: str
    effect: float


@dataclass(frozen=True, slots=True)
class TextContribution(Contribution):
    """The effect of a text.

    Attributes:
        words: those with the strongest effects, strongest first.
    """

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """The sum of all other contributions.

    Attributes:
        fields: number of contributions; a group counts as one, a field with the baseline's value as none.
        effect, percent, amount: as in :class:`Contribution`; computed as the remainder, so that all add up.
    """

    fields: int
    effect: float
    percent: float | None
    amount: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one row's prediction.

    Baseline and effects add up to the prediction on the estimator's scale, baseline and amounts in the target's unit.

    Attributes:
        baseline: the typical record.
        contributions: the strongest by absolute effect, strongest first; ties in the order of the fields.
        rest: the sum of all others.
    """

    baseline: Baseline
    contributions: tuple[Contribution, ...]
    rest: Rest


#: Value function of a game: members, shape (n_coalitions, n_players) -> values, shape (n_coalitions,).
ValueFunction: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Game:
    """A cooperative game.

    Attributes:
        n_players: number of players; without any there are no Shapley values.
        start, end: values of the empty coalition and of the grand coalition.
        worth: value function of all other coalitions.
    """

    n_players: int
    start: float
    end: float
    worth: ValueFunction


def enumerate_coalitions(game: Game) -> NDArray[np.float64]:
    """Compute exact Shapley values, shape (n_players,), from all 2 ** n_players coalitions."""
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
    """Estimate the Shapley values, shape (n_players,), by sampling permutations; their sum is exact.

    Args:
        game: a game with at least 2 players.
        keys: shape (n_pairs, n_players): sorting a row gives a permutation, which is used with its reverse.
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
    """Return the number of pairs of permutations: as many as ``EVALUATIONS`` allow, but at least ``MIN_PAIRS``."""
    return max(MIN_PAIRS, EVALUATIONS // (2 * (n_players - 1)))


class Explainer:
    """Explains predictions of ``model``; created once per model. The same row always has the same explanation.

    Of a class, the predictions are its probabilities; an explainer is about one class.

    Args:
        model: the model.
        position: of the class, in the target's classes; without meaning for a number.

    Attributes:
        players: names of the fields that are switched together: the spec's groups, and each other field on its own; in
            the order of the fields.
        baseline: the typical record's name and prediction.

    Raises:
        CannotExplainError: the typical record has no finite prediction on the estimator's scale.
    """

    def __init__(self, model: Explainable, position: int = 0) -> None:
        spec = model.spec
        self._model, self._position, self._is_class = model, position, spec.target.is_class
        self._is_log = spec.target.scale == "log"
        self._texts = spec.texts
        self._output = _output(model, position)
        groups = {group[0]: group for group in spec.together}
        followers = {name for group in spec.together for name in group[1:]}
        self.players = tuple(groups.get(name, (name,)) for name in spec.names if name not in followers)
        number = {name: player for player, names in enumerate(self.players) for name in names}
        columns = [
            *spec.names,
            *(name for name, behind in spec.text_columns.items() for _ in range(behind.stop - behind.start)),
        ]
        self._player_of = np.array([number[name] for name in columns])
        # The commonest words say something too, and a text is compared with none.
        wordless = {field.name: None for field in spec.fields if field.kind == "text"}
        self._typical = Encoder(spec)([model.golden["row"] | wordless])[0]
        name = f"typical {spec.target.subject}{', without words' if wordless else ''}"
        self.baseline = Baseline(name, float(self.score(self._typical[np.newaxis])[0]))
        self._start = self._on_scale(self.baseline.prediction)
        if not math.isfinite(self._start):
            raise CannotExplainError("the typical record has no finite prediction to compare with")
        # Python's generator gives the same numbers in every version.
        draw = random.Random(SEED).random  # noqa: S311 - the permutations need not be secret
        self._keys = np.array([[draw() for _ in self.players] for _ in range(n_pairs(MAX_EXACT + 1))])

    def against(self, row: Encoded, prediction: float, name: str) -> Explainer:
        """Return an explainer that compares with another record instead of the typical one.

        Args:
            row: that record, encoded, shape (n_fields,).
            prediction: of it, in the target's unit; of a class, its probability.
            name: of it, for display.
        """
        other = copy(self)
        other.baseline = Baseline(name, prediction)
        other._typical, other._start = row, self._on_scale(prediction)  # noqa: SLF001
        return other

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """The model's predictions; of a class, its probabilities; shape (n_rows,)."""
        scores = self._model.score(encoded)
        return scores[:, self._position] if self._is_class else scores

    def effects(self, row: Encoded, prediction: float) -> NDArray[np.float64] | None:
        """Compute the effects of :attr:`players` on the estimator's scale; NaN for one with the baseline's values.

        They add up to the difference between prediction and baseline, except for rounding. The score of a coalition
        that is not finite is replaced by interpolation between baseline and prediction, by the number of its players.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.

        Returns:
            Shape (n_players,); ``None`` if the prediction or an effect is not finite on that scale.
        """
        found = np.full(len(self.players), np.nan)
        present, game = self.game(row, prediction)
        if not (math.isfinite(game.start) and math.isfinite(game.end)):
            return None
        if game.n_players:
            with np.errstate(over="ignore", invalid="ignore"):
                if game.n_players <= MAX_EXACT:
                    found[present] = enumerate_coalitions(game)
                else:
                    found[present] = sample_orders(game, self._keys[: n_pairs(game.n_players), present])
        return found if np.isfinite(found[present]).all() else None

    def game(self, row: Encoded, prediction: float) -> tuple[NDArray[np.intp], Game]:
        """Create the game that explains a row; its players are those of :attr:`players` whose fields differ.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.

        Returns:
            Positions of its players in :attr:`players`, and the game.
        """
        end = self._on_scale(prediction)
        differs = (row != self._typical) & ~(np.isnan(row) & np.isnan(self._typical))
        present = np.unique(self._player_of[differs])
        return present, Game(len(present), self._start, end, self._worth(row, present, end))

    def explain(self, row: Encoded, prediction: float, sent: Row, n: int) -> Explanation | None:
        """Explain a prediction by its ``n`` strongest contributions and the rest.

        Args:
            row: encoded, shape (n_fields,).
            prediction: of this row, in the target's unit.
            sent: the record that was sent.
            n: maximum number of contributions.

        Returns:
            ``None`` if the prediction, an effect or an amount is not finite.
        """
        effects = self.effects(row, prediction)
        if effects is None:
            return None
        present = np.flatnonzero(~np.isnan(effects))
        strongest = present[np.argsort(-np.abs(effects[present]), kind="stable")]
        difference = prediction - self.baseline.prediction
        slope = self._unit_per_effect(prediction)
        contributions = []
        for player in strongest[:n]:
            (first, *others), effect = self.players[player], float(effects[player])
            together = {name: sent.get(name) for name in others} or None
            percent = self._percent(effect)
            found = Contribution(first, sent.get(first), together, effect, percent, effect * slope)
            contributions.append(self._with_words(found) if first in self._texts else found)
        effect = self._on_scale(prediction) - self._start - math.fsum(one.effect for one in contributions)
        amount = difference - math.fsum(one.amount for one in contributions)
        rest = Rest(len(strongest) - len(contributions), effect, self._percent(effect), amount)
        if not all(map(math.isfinite, (amount, *(one.amount for one in contributions)))):
            return None
        return Explanation(self.baseline, tuple(contributions), rest)

    def _with_words(self, found: Contribution) -> TextContribution:
        """A text's contribution with its words, which speak for or against the class that is explained."""
        column, sign = self._output
        words = self._texts[found.field].words(str(found.value or ""), column)
        strongest = sorted(words, key=lambda word: (-abs(words[word]), word))[:MOST_WORDS]
        listed = tuple(Word(word, sign * words[word]) for word in strongest if words[word])
        facts = (found.field, found.value, found.together, found.effect, found.percent, found.amount)
        return TextContribution(*facts, listed)

    def _worth(self, row: Encoded, present: NDArray[np.intp], end: float) -> ValueFunction:
        columns = np.flatnonzero(np.isin(self._player_of, present))
        owners = np.searchsorted(present, self._player_of[columns])

        def worth(members: NDArray[np.bool_]) -> NDArray[np.float64]:
            encoded = np.repeat(self._typical[np.newaxis], len(members), axis=0)
            encoded[:, columns] = np.where(members[:, owners], row[columns], encoded[:, columns])
            scores = self.score(encoded)
            if self._is_class:
                scores = log_odds(scores)
            elif self._is_log:
                with np.errstate(divide="ignore", invalid="ignore"):
                    scores = np.log(scores)
            way = self._start + members.mean(axis=1) * (end - self._start)
            return np.where(np.isfinite(scores), scores, way)

        return worth

    def _on_scale(self, prediction: float) -> float:
        if self._is_class:
            return float(log_odds(np.array(prediction)))
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
        """Return what an effect of 1 is in the target's unit.

        On the log scale it is the logarithmic mean of prediction and baseline; of a class, the slope of the
        probability between both.
        """
        start = self.baseline.prediction
        if self._is_class:
            distance = self._on_scale(prediction) - self._start
            return (prediction - start) / distance if abs(distance) > CLOSE else start * (1 - start)
        if not self._is_log:
            return 1.0
        if prediction == start:
            return start
        growth = (prediction - start) / start
        # If they are close, the difference of their logarithms loses digits.
        distance = math.log1p(growth) if abs(growth) < 0.5 else math.log(prediction) - math.log(start)
        return (prediction - start) / distance


def _output(model: Explainable, position: int) -> tuple[int, float]:
    """The column of a text's function that is about the class at a position, and its sign."""
    target = model.spec.target
    runtime = (getattr(model, "card", None) or {}).get("runtime") or {}
    learned = list(runtime.get("classes") or range(len(target.classes)))
    if len(learned) <= 2:
        return 0, 1.0 if not learned or learned[-1] == position else -1.0
    return learned.index(position) if position in learned else 0, 1.0
