"""Malignant or benign, from 30 measurements of a cell sample."""

from __future__ import annotations

from model_kit.scoring.definition import Floors, ModelDefinition

from diagnosis_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "diagnosis",
    TARGET,
    FIELDS,
    "diagnosis_model.estimator:ESTIMATOR",
    floors=Floors(accuracy=0.95),
    sample="diagnosis_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
