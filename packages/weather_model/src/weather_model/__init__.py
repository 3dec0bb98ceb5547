"""Precipitation in some hours' time, from an hour's measurements."""

from __future__ import annotations

from model_kit.scoring.about import About
from model_kit.scoring.definition import Floors, ModelDefinition

from weather_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "weather",
    TARGET,
    FIELDS,
    "weather_model.estimator:make_estimator",
    floors=Floors(roc_auc=0.9, log_loss=0.3),
    time_order="Timestamp",
    about=About(
        title="Rain in the hours ahead",
        purpose="A worked example of classes that follow time: rain or none, from an hour's measurements of a station.",
        limits=("It knows one station: elsewhere its predictions mean nothing.",),
    ),
    sample="weather_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
