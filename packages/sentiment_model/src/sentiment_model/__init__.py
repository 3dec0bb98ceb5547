"""Positive or negative, from the text of a review."""

from __future__ import annotations

from model_kit.scoring.about import About
from model_kit.scoring.definition import Floors, ModelDefinition

from sentiment_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "sentiment",
    TARGET,
    FIELDS,
    "sentiment_model.estimator:ESTIMATOR",
    floors=Floors(accuracy=0.7, roc_auc=0.8),
    about=About(
        title="Positive or negative reviews",
        purpose="A worked example of texts: whether a sentence of a review praises or blames.",
        limits=(
            "It knows English sentences of reviews alone.",
            "It does not understand irony, nor whom a sentence is about.",
        ),
    ),
    sample="sentiment_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
