"""The estimator: boosted trees of LightGBM, small ones, as employees of a kind are alike."""

from __future__ import annotations

from typing import Final

from lightgbm import LGBMClassifier

#: In cross-validation with copies of rows kept together: ROC AUC .986, log loss .070; 31 leaves .985 and .072.
ESTIMATOR: Final = LGBMClassifier(
    n_estimators=400,
    learning_rate=0.02,
    num_leaves=15,
    min_child_samples=10,
    subsample=0.8,
    subsample_freq=1,
    colsample_bytree=0.7,
    random_state=20240,
    deterministic=True,
    force_row_wise=True,
    verbose=-1,
)
