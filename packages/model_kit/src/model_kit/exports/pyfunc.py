"""The loader of an exported MLflow model: its predictions are a table, a row for each row that was sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_kit.engines import TablePredictor
from model_kit.scoring.bundle import CARD, read_bundle
from model_kit.scoring.definition import find_definition
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import ERROR, DetailOptions

if TYPE_CHECKING:
    import pandas as pd


class PyFunc:
    """What ``mlflow.pyfunc.load_model`` wraps.

    Args:
        predictor: the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Add nothing to the rows but what is predicted: ``prediction``, ``error`` and what ``params`` ask for.

        Args:
            model_input: a column for each field; optional ones may be absent, and what is no field is ignored.
            params: ``interval``, the level of ranges or prediction sets, 0 for none; ``probabilities`` and
                ``warnings``, whether these are added.

        Raises:
            DataError: a required column is missing.
            IntervalError: the model has no ranges, or none of that level.
        """
        asked = params or {}
        options = DetailOptions(
            interval=asked.get("interval") or None,
            warnings=bool(asked.get("warnings")),
            probabilities=bool(asked.get("probabilities")),
        )
        found = TablePredictor(self._predictor, options).predicted_frame(model_input)
        # MLflow's server would write NaN, which JSON does not have.
        return found.astype({name: object for name in found if name == ERROR or found[name].isna().any()}).where(
            found.notna(), None
        )


def _load_pyfunc(data_path: str) -> PyFunc:
    """Load the bundle in a folder; called by MLflow, which finds this function by its name."""
    folder = Path(data_path)
    name = read_bundle(folder).json(CARD)["model"]
    return PyFunc(Predictor(find_definition(name).load_bundle(folder)))
