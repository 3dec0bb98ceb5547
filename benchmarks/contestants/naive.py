"""The naive server: a model behind Flask as tutorials put it there.

JSON, a marshmallow schema, a pandas DataFrame, a fitted scikit-learn pipeline, JSON. The pipeline is the very estimator
whose export ml_api serves, behind the same fields; ``prepare.py`` fits and pickles it.
"""

from __future__ import annotations

import os
from typing import Any

import joblib
import numpy as np
import pandas as pd
from flask import Flask, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields

model: dict[str, Any] = joblib.load(os.environ["MODEL"])
pipeline = model["pipeline"]

TYPES = {"integer": fields.Integer, "number": fields.Float, "boolean": fields.Boolean, "text": fields.String}
#: From the estimator's scale to the target's unit.
UNIT = np.exp if model["scale"] == "log" else np.asarray

RecordSchema = Schema.from_dict(
    {
        name: TYPES[kind](required=required, allow_none=not required)
        for name, (kind, required) in model["fields"].items()
    },
    name="RecordSchema",
)
schema = RecordSchema(many=True, unknown=EXCLUDE)

app = Flask("naive")


@app.post("/v1/predict/<name>")
def predict(name: str) -> Response | tuple[Response, int]:  # noqa: ARG001
    """One prediction for each record."""
    try:
        records = schema.load(request.get_json())
    except ValidationError as error:
        return jsonify({"predictions": None, "errors": error.messages}), 400
    frame = pd.DataFrame(records, columns=list(model["fields"]))
    prices = UNIT(pipeline.predict(frame) + model["offset"])
    return jsonify({"predictions": prices.tolist(), "errors": None, "version": "1.0.0"})


@app.get("/health")
def health() -> Response:
    """Alive."""
    return jsonify({"status": "ok"})
