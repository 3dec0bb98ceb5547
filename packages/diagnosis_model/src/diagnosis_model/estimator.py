"""The estimator: logistic regression of standardised measurements, which are nearly enough to tell."""

from __future__ import annotations

from typing import Final

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

#: Accuracy in cross-validation (10 folds, 2 repeats): .979 with C = 0.3 or 0.5, .977 with 1, .972 with 3.
ESTIMATOR: Final[Pipeline] = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
