"""Who leaves the company, from nine fields of an employee."""

from __future__ import annotations

from model_kit.scoring.definition import Floors, ModelDefinition

from turnover_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "turnover",
    TARGET,
    FIELDS,
    "turnover_model.estimator:ESTIMATOR",
    floors=Floors(roc_auc=0.9, log_loss=0.3),
    sample="turnover_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
