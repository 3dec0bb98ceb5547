"""The house-price model as the training harness sees it."""

from __future__ import annotations

from model_kit.definition import ModelDefinition

from regression_model import __version__
from regression_model.contradictions import CONTRADICTIONS
from regression_model.derive import derive
from regression_model.estimator import keep_for_training, make_estimator, register_converters, register_folding
from regression_model.fields import FIELDS, NOT_CORE, TARGET, TOGETHER
from regression_model.floors import FLOORS
from regression_model.identities import repair

DEFINITION = ModelDefinition(
    name="regression",
    version=__version__,
    fields=FIELDS,
    target=TARGET,
    derive=derive,
    make_estimator=make_estimator,
    keep_for_training=keep_for_training,
    repair=repair,
    register_converters=register_converters,
    register_folding=register_folding,
    floors=FLOORS,
    not_core=NOT_CORE,
    together=TOGETHER,
    contradictions=CONTRADICTIONS,
)
