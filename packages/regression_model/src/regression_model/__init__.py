"""House prices from the 79 fields of a sale."""

from __future__ import annotations

from model_kit.scoring.definition import ModelDefinition

from regression_model.about import ABOUT
from regression_model.contradictions import CONTRADICTIONS
from regression_model.derive import derive
from regression_model.fields import FIELDS, FLOORS, IDENTIFIER, NOT_CORE, TARGET, TOGETHER
from regression_model.identities import IDENTITIES

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "regression",
    TARGET,
    FIELDS,
    "regression_model.estimator:make_estimator",
    derive=derive,
    keep_for_training="regression_model.estimator:keep_for_training",
    floors=FLOORS,
    identifier=IDENTIFIER,
    not_core=NOT_CORE,
    together=TOGETHER,
    imputes=True,
    identities=IDENTITIES,
    contradictions=CONTRADICTIONS,
    about=ABOUT,
    sample="regression_model.sample:SAMPLE",
    openml_id=42165,
)
make_prediction = DEFINITION.make_prediction
