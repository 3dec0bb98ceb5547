"""Probabilities of classes, and the class that is predicted; needs numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import Target

#: What a runtime's raw output is: a number on the estimator's scale, log-odds or probabilities of classes.
Output: TypeAlias = Literal["value", "log_odds", "probability"]
#: Shape (n_rows, n_classes), each row sums to 1.
Probabilities: TypeAlias = NDArray[np.float64]

#: Log-odds stay within this: a probability is then never 0 or 1, and its logarithm finite.
MOST_LOG_ODDS: Final = 34.0
#: A probability of about 0.5 that is less than the threshold by no more than this is not below it: float32 rounds 0.7
#: down. Nearer to 0 and 1 it is less, as differences are there.
TIE: Final = 1e-6


def scores_of(classifier: Any) -> tuple[Callable[[Any], Any], Output]:
    """The function that gives a fitted classifier's scores, and what they are.

    One that gives nothing but classes, such as a majority of votes, has the probability 1 for its choice; calibration
    then makes of that how often it is right.
    """
    if hasattr(classifier, "predict_proba"):
        return classifier.predict_proba, "probability"
    if hasattr(classifier, "decision_function"):
        return classifier.decision_function, "log_odds"

    def chosen(inputs: Any) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (np.asarray(classifier.predict(inputs))[:, None] == classifier.classes_) * 1.0
        return found

    return chosen, "probability"


def to_probabilities(
    raw: NDArray[np.floating[Any]], output: Output, n_classes: int, learned: Sequence[int] | None = None
) -> Probabilities:
    """Probabilities of the classes from a runtime's output, in float64.

    Args:
        raw: shape (n_rows, n_outputs): for two classes one column, about the second; else a column for each class.
        output: what the columns are; log-odds of more than two classes are scores whose softmax is the probabilities.
        n_classes: how many classes there are.
        learned: positions of the classes that the estimator knows, in its order; by default all, in theirs. A class
            that it does not know has the probability 0.

    Returns:
        Shape (n_rows, n_classes), rows sum to 1; NaN where a score is not finite.
    """
    scores = raw.astype(np.float64)
    if scores.shape[1] == 1:
        # A sum of float32 may be beyond 0 or 1 by its last digit.
        second = sigmoid(scores[:, 0]) if output == "log_odds" else np.clip(scores[:, 0], 0, 1)
        known = two_classes(second)
    else:
        if output == "log_odds":
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        known = np.maximum(scores, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            known = known / known.sum(axis=1, keepdims=True)
    if learned is None:
        return known
    found = np.zeros((len(known), n_classes))
    found[:, learned] = known
    return found


def two_classes(second: NDArray[np.float64]) -> Probabilities:
    """Probabilities of both classes from those of the second, shape (n_rows,)."""
    found = np.empty((len(second), 2))
    np.subtract(1, second, out=found[:, 0])
    found[:, 1] = second
    return found


# For a row np.clip takes as long as everything else together.
def _bounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(np.maximum(scores, -MOST_LOG_ODDS), MOST_LOG_ODDS)


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of log-odds of any shape."""
    return np.asarray(1 / (1 + np.exp(-_bounded(scores))))


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of probabilities of any shape, within :data:`MOST_LOG_ODDS`."""
    with np.errstate(divide="ignore"):
        found = np.log(probabilities) - np.log1p(-probabilities)
    return _bounded(np.asarray(found))


def lowest_positive(target: Target) -> float:
    """The lowest probability of the positive one of two classes from which on it is predicted."""
    return target.threshold - TIE * 4 * target.threshold * (1 - target.threshold)


def decide(probabilities: Probabilities, target: Target) -> NDArray[np.intp]:
    """Positions of the predicted classes, shape (n_rows,): by the threshold for two classes, else the most probable."""
    if len(target.classes) == 2:
        positive = target.positive_position
        return np.where(probabilities[:, positive] >= lowest_positive(target), positive, 1 - positive)
    return np.asarray(probabilities.argmax(axis=1))
