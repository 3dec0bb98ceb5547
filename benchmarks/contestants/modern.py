"""The modern tutorial's server: FastAPI, pydantic, a pandas DataFrame, the same pipeline as ``naive.py``."""

from __future__ import annotations

import os
from typing import Any

import joblib
import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

model: dict[str, Any] = joblib.load(os.environ["MODEL"])
pipeline = model["pipeline"]

TYPES = {"integer": int, "number": float, "boolean": bool, "text": str}
#: From the estimator's scale to the target's unit.
UNIT = np.exp if model["scale"] == "log" else np.asarray

Record = create_model(
    "Record",
    **{
        name: (TYPES[kind], ...) if required else (TYPES[kind] | None, None)
        for name, (kind, required) in model["fields"].items()
    },
)


class Prices(BaseModel):
    """The answer."""

    predictions: list[float]
    errors: None = None
    version: str = "1.0.0"


app = FastAPI()


@app.post("/v1/predict/{name}")
def predict(name: str, records: list[Record]) -> Prices:  # type: ignore[valid-type]  # noqa: ARG001
    """One prediction for each record."""
    frame = pd.DataFrame([record.model_dump() for record in records], columns=list(model["fields"]))
    prices = UNIT(pipeline.predict(frame) + model["offset"])
    return Prices(predictions=prices.tolist())


@app.get("/health")
def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}
