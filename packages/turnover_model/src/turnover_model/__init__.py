"""Who leaves the company, from nine fields of an employee."""

from __future__ import annotations

from model_kit.scoring.about import About
from model_kit.scoring.definition import Floors, ModelDefinition

from turnover_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "turnover",
    TARGET,
    FIELDS,
    "turnover_model.estimator:ESTIMATOR",
    floors=Floors(roc_auc=0.9, log_loss=0.3),
    about=About(
        title="Who leaves the company",
        purpose="A worked example of two classes: which employees may be thinking of leaving.",
        source="A set of made-up employees that is often used in courses; its author is unknown",
        limits=("It must not decide on a person: it was never tried on real employees.",),
    ),
    sample="turnover_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
