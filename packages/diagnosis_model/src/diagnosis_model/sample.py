"""The data that the model is trained on without a file: scikit-learn's breast cancer data, 569 real cell samples.

W. H. Wolberg, W. N. Street and O. L. Mangasarian, Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning
Repository, 1993.
"""

from __future__ import annotations

from typing import Final

from model_kit.scoring.definition import Sample
from model_kit.training.samples import to_csv
from sklearn.datasets import load_breast_cancer

from diagnosis_model.fields import TARGET


def make_csv() -> bytes:
    """Return the library's data as a training file."""
    found = load_breast_cancer()
    columns = dict(zip(found.feature_names.tolist(), found.data.T.tolist(), strict=True))
    return to_csv(columns | {TARGET.name: found.target_names[found.target].tolist()})


SAMPLE: Final = Sample(make_csv, notice="", name="scikit-learn's breast cancer", synthetic=False)
