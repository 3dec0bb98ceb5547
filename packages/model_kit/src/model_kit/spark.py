"""Predictions of a Spark DataFrame: each partition is scored where it is, in Arrow batches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from model_kit.engines import TablePredictor, iter_predicted, load_predictor
from model_kit.errors import MissingLibraryError
from model_kit.scoring.table_columns import DetailOptions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def predict(
    df: DataFrame,
    model: str,
    *,
    interval: float | None = None,
    explain: int | None = None,
    warnings: bool = False,
    probabilities: bool = False,
    prefix: str = "",
) -> DataFrame:
    """A DataFrame with its predictions; as lazy as any transformation of Spark.

    Every row stays. One that cannot be predicted has no ``prediction``, and the reason in ``error``. A task that fails
    is Spark's to repeat, and its rows come out once. The package of the model must be installed where Spark's workers
    run, with the bundle that the driver has: a worker with another one fails the job instead of mixing versions.

    Args:
        df: columns are the fields of the model; others are carried along.
        model: name of an installed model.
        interval: level of ranges, or of the prediction sets of classes.
        explain: number of contributions for each row, some ten milliseconds each row.
        warnings: whether to say what was not given, unknown or out of range.
        probabilities: whether to add the probability of each class.
        prefix: what the names of the added columns begin with.

    Raises:
        DataError: a required column is missing, or an added one is there already.
        ModelKitError: the model cannot be loaded, or has not what is asked for.
    """
    try:
        from pyspark.sql import types  # noqa: PLC0415 - imported where it is used
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"Spark needs {error.name}, which is not installed") from error
    kinds: dict[str, Any] = {
        "number": types.DoubleType(),
        "integer": types.LongType(),
        "boolean": types.BooleanType(),
        "text": types.StringType(),
    }
    options = DetailOptions(interval, explain, warnings, probabilities)
    predictor = load_predictor(model)
    table = TablePredictor(predictor, options, prefix)
    table.check_columns(df.columns)
    added = [types.StructField(name, kinds[kind]) for name, kind in table.added.items()]
    artifact: str = predictor.model.lineage["artifact_sha256"]
    # A reference to a function of an installed module: nothing of the model travels with the job.
    score = partial(iter_predicted, model=model, artifact_sha256=artifact, options=options, prefix=prefix)
    return df.mapInArrow(score, types.StructType([*df.schema.fields, *added]))
