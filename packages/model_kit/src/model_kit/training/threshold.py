"""The threshold of a classifier that decides by one of its own, read into the target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline

from model_kit.errors import DefinitionError
from model_kit.scoring.calibration import UNCALIBRATED, Calibration
from model_kit.spec import Target
from model_kit.training.evaluation import Fitted


def with_threshold(fitted: Fitted, calibration: Calibration = UNCALIBRATED) -> Target:
    """The target with the threshold that a fitted classifier decides by; as it is if the classifier has none.

    A calibration is an increasing function: what is at or above the threshold before it is at or above the calibrated
    threshold after it, so that the classes are those that the estimator predicts.

    Raises:
        DefinitionError: the target declares a threshold too, or the classifier's is not one of a probability.
    """
    target, classifier = fitted.spec.target, _decides(fitted.estimator)
    if classifier is None:  # that of a number too
        return target
    name = type(classifier).__name__
    if target.threshold != 0.5:
        raise DefinitionError(
            f"{name} has a threshold, and the target {target.name} declares {target.threshold}; declare one of the two"
        )
    threshold, positive = _threshold(classifier)
    if not 0 < threshold < 1:
        raise DefinitionError(f"{name}: a threshold of {threshold:.6g} predicts the same class of every row")
    learned = fitted.learned_classes or [0, 1]
    position = learned[1 if positive is None else classifier.classes_.tolist().index(positive)]
    probabilities = np.full((1, 2), 1 - threshold)
    probabilities[0, position] = threshold
    if target.positive is None:
        target = replace(target, positive=target.classes[position])
    found = float(calibration(probabilities)[0, target.positive_position])
    # Where a calibration is nearly flat, as it is beyond the rows that it has seen, the last digits tell rows apart.
    return replace(target, threshold=found)


def _decides(estimator: Any) -> Any:
    """The classifier at the end of an estimator if it decides by a threshold of its own, else ``None``."""
    while isinstance(estimator, Pipeline | BaseSearchCV):
        estimator = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator.best_estimator_
    return estimator if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV) else None


def _threshold(classifier: Any) -> tuple[float, Any]:
    """The probability from which on a class is predicted, and that class, ``None`` for the second.

    Raises:
        DefinitionError: it is a threshold of a decision function beside which there are probabilities.
    """
    has_probabilities = hasattr(classifier.estimator_, "predict_proba")
    is_probability = classifier.response_method != "decision_function" and has_probabilities
    if has_probabilities and not is_probability:
        raise DefinitionError(
            f"{type(classifier).__name__}: its threshold is one of decision_function, and probabilities are served; "
            'give it response_method="predict_proba"'
        )
    if isinstance(classifier, TunedThresholdClassifierCV):
        # What its own predict does; no public attribute has it.
        threshold, positive = classifier.best_threshold_, classifier._curve_scorer._get_pos_label()  # noqa: SLF001
    else:
        threshold, positive = classifier.threshold, classifier.pos_label
    if isinstance(threshold, str):
        threshold = 0.5 if is_probability else 0.0
    # A decision function without probabilities is served as log-odds.
    return float(threshold if is_probability else 1 / (1 + np.exp(-threshold))), positive
