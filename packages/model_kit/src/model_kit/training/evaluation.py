"""Scores of a model on rows it has not seen: repeated cross-validation with everything learned inside the folds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from sklearn.model_selection import KFold, RepeatedKFold
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from model_kit.errors import DataError, FloorError, TrainingError, first_line
from model_kit.records.encoding import FeatureMaker
from model_kit.scoring import assessment
from model_kit.scoring.decoding import FrameMaker, estimator_input
from model_kit.scoring.definition import Estimator, ModelDefinition, RowFilter
from model_kit.scoring.intervals import MIN_RESIDUALS, REPORTED_LEVELS, Intervals, calibrate, coverage
from model_kit.scoring.model import to_target_unit
from model_kit.spec import InputSpec, Row, Target, fit_spec
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.parts import accept_unseen
from model_kit.training.estimators.preparation import Source, prepare

N_SPLITS = 10
N_REPEATS = 2
#: From so many rows on one repeat will do, and from so many 5 folds: chance has little part in the scores.
ONE_REPEAT = 5_000
FIVE_FOLDS = 20_000
RANDOM_STATE = 20240

#: Positions of the rows to fit on, and of those to predict.
Fold: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Fitted:
    """A model fitted on some rows.

    Attributes:
        spec: what was learned of the fields, with the target's offset.
        features: the way from rows to the estimator's features, or to its DataFrame.
        estimator: fitted on log(target) - offset (or target - offset).
        preprocessing, imputation: who encodes categories and fills missing values, see
            :class:`~model_kit.training.estimators.preparation.Prepared`.
        changes: what the kit changed in the estimator, a line each.
        spread: standard deviation of an identity-scale target, in its unit: differences of predictions that are
            smaller are relative to it. 0 on the log scale, where they are relative to the prediction.
    """

    spec: InputSpec
    features: FeatureMaker | FrameMaker
    estimator: Estimator
    preprocessing: Source = "package"
    imputation: Source = "package"
    spread: float = 0.0
    changes: tuple[str, ...] = ()

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,), by scikit-learn."""
        return to_target_unit(self.estimator.predict(_input(self.features, rows)), self.spec.target)


def _input(features: FeatureMaker | FrameMaker, rows: Sequence[Row]) -> Any:
    """What the estimator is given: a DataFrame, or the features.

    Features are float64: scikit-learn keeps the type, and sums of float32 are too coarse to be compared with.
    """
    return estimator_input(features, features.encode(rows))


@dataclass(frozen=True)
class Evaluation:
    """What cross-validation found.

    Attributes:
        out_of_fold: shape (n_repeats, n_rows), in the target's unit, in the order of the rows.
        metrics: see :func:`score`.
        seconds: wall time.
        n_splits: folds of a repeat.
    """

    out_of_fold: NDArray[np.float64]
    metrics: dict[str, float]
    seconds: float
    n_splits: int


def to_estimator_scale(values: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """Values in the target's unit, on the estimator's scale, without the offset."""
    return np.log(values) if target.scale == "log" else values


def fit(definition: ModelDefinition, rows: Sequence[Row], target: NDArray[np.float64]) -> Fitted:
    """Fit spec and estimator on ``rows``; ``target`` in its unit, shape (n_rows,).

    One thread in the linear algebra, so that the result does not depend on how many there are.

    Raises:
        DataError: no row is kept for training.
        DefinitionError: the declared estimator cannot be used.
        TrainingError: it refuses the data.
    """
    keep_for_training: RowFilter | None = definition.resolve("keep_for_training")
    if keep_for_training is not None:
        keep = keep_for_training(rows, target)
        rows = [row for row, kept in zip(rows, keep, strict=True) if kept]
        target = target[keep]
        if not rows:
            raise DataError(
                f"{definition.name}: keep_for_training keeps no row; it must return True for those to fit on"
            )
    scaled = to_estimator_scale(target, definition.target)
    offset = math.fsum(scaled) / len(scaled)
    spec = _fit_spec(definition, rows, definition.rare_below).with_offset(offset)
    prepared = prepare(definition, spec)
    if prepared.takes_frame:
        spec = _fit_spec(definition, rows, 1).with_offset(offset)
    if not prepared.is_centred:
        offset, spec = 0.0, spec.with_offset(0.0)
    features = _features(definition, spec, takes_frame=prepared.takes_frame, imputation=prepared.imputation)
    try:
        with threadpool_limits(1):
            prepared.estimator.fit(_input(features, rows), scaled - offset)
    except ValueError as error:
        text = f"{definition.name}: the estimator cannot be fitted: {first_line(error)}"
        if prepared.is_centred:
            learned = f"the logarithm of {spec.target.name}" if spec.target.scale == "log" else spec.target.name
            text += (
                f". Note that it learns {learned} less its mean, half of which is negative: use a loss that allows it, "
                "and the target's scale 'log' instead of transforming it"
            )
        raise TrainingError(text) from error
    spread = 0.0 if spec.target.scale == "log" else float(np.std(target))
    return Fitted(
        spec, features, prepared.estimator, prepared.preprocessing, prepared.imputation, spread, prepared.changes
    )


def _fit_spec(definition: ModelDefinition, rows: Sequence[Row], rare_below: int) -> InputSpec:
    return fit_spec(definition.fields, definition.target, rows, together=definition.together, rare_below=rare_below)


def _features(
    definition: ModelDefinition, spec: InputSpec, *, takes_frame: bool, imputation: Source
) -> FeatureMaker | FrameMaker:
    if takes_frame:
        return FrameMaker(spec, impute=imputation == "kit", single=definition.runtime == "onnx")
    return FeatureMaker(spec, definition.derive)


def adopt(
    definition: ModelDefinition, rows: Sequence[Row], target: NDArray[np.float64], estimator: Estimator
) -> Fitted:
    """As :func:`fit`, for an estimator that is fitted already and predicts the target in its unit."""
    is_frame = hasattr(estimator, "feature_names_in_")
    spec = _fit_spec(definition, rows, 1 if is_frame else definition.rare_below)
    features = _features(definition, spec, takes_frame=is_frame, imputation="package")
    changes = tuple(accept_unseen(estimator))
    return Fitted(spec, features, estimator, spread=float(np.std(target)), changes=changes)


def sizes(n_rows: int) -> tuple[int, int]:
    """Folds and repeats of a cross-validation of so many rows."""
    return (5 if n_rows >= FIVE_FOLDS else N_SPLITS), (1 if n_rows >= ONE_REPEAT else N_REPEATS)


def cross_validate(
    definition: ModelDefinition,
    dataset: Dataset,
    *,
    n_splits: int | None = None,
    n_repeats: int | None = None,
    n_jobs: int = 2,
    progress: bool = True,
    what: str = "Cross-validation",
) -> Evaluation:
    """Repeated k-fold cross-validation; every row is predicted once per repeat by a model that never saw it.

    Args:
        definition: the model package.
        dataset: the rows.
        n_splits: folds; by default that of :func:`sizes`.
        n_repeats: how often; likewise.
        n_jobs: processes.
        progress: show a bar, to a terminal only.
        what: the bar's label.

    Raises:
        DataError: there are fewer rows than folds.
    """
    start = time.perf_counter()
    usual = sizes(len(dataset.target))
    n_splits, n_repeats = n_splits or usual[0], n_repeats or usual[1]
    if len(dataset.target) < n_splits:
        raise DataError(
            f"{dataset.name}: {len(dataset.target)} rows cannot be cross-validated in {n_splits} folds; add rows, or "
            "train without cross-validation"
        )
    folds = _folds(np.arange(len(dataset.target)), n_splits, n_repeats)
    out_of_fold = np.full((n_repeats, len(dataset.target)), np.nan)
    predicted = _predicted(definition, dataset, folds, n_jobs, what if progress else None)
    for number, ((_, hold_out), predictions) in enumerate(zip(folds, predicted, strict=True)):
        out_of_fold[number // n_splits, hold_out] = predictions
    metrics = score(definition, dataset, out_of_fold)
    return Evaluation(out_of_fold, metrics, time.perf_counter() - start, n_splits)


def nested_coverage(
    definition: ModelDefinition,
    dataset: Dataset,
    *,
    n_splits: int = N_SPLITS,
    n_repeats: int = N_REPEATS,
    n_jobs: int = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """:func:`~model_kit.scoring.intervals.coverage` by intervals that know nothing of the rows they are judged by.

    Outer folds are held out; repeated cross-validation of the rest calibrates, and a model of the rest predicts. It
    takes ``n_splits`` times as long as :func:`cross_validate`, whose folds the inner ones are made like.

    Raises:
        DataError: the rest has too few rows to calibrate on.
    """
    rows = np.arange(len(dataset.target))
    folds: list[Fold] = []
    for rest, held_out in KFold(n_splits, shuffle=True, random_state=RANDOM_STATE).split(rows):
        if len(rest) < MIN_RESIDUALS:
            raise DataError(
                f"{dataset.name}: {len(rest)} rows are too few to calibrate intervals on; it takes {MIN_RESIDUALS}"
            )
        folds += [*_folds(rest, n_splits, n_repeats), (rest, held_out)]
    n_inner = n_splits * n_repeats
    predictions = np.empty(len(rows))
    ranges = np.empty((2, len(REPORTED_LEVELS), len(rows)))
    out_of_fold = np.empty((n_repeats, len(rows)))
    predicted = _predicted(definition, dataset, folds, n_jobs, "Nested cross-validation" if progress else None)
    for number, ((rest, hold_out), found) in enumerate(zip(folds, predicted, strict=True)):
        inner = number % (n_inner + 1)
        if inner < n_inner:
            out_of_fold[inner // n_splits, hold_out] = found
            continue
        calibration = calibrate(out_of_fold[:, rest], dataset.target[rest], definition.target)
        intervals = Intervals(calibration, definition.target)
        predictions[hold_out] = found
        ranges[..., hold_out] = intervals.at_reported_levels(found)
    return coverage(dataset.target, predictions, ranges)


def _folds(rows: NDArray[np.int64], n_splits: int, n_repeats: int) -> list[Fold]:
    """Rows to fit on and rows to hold out, repeat by repeat."""
    split = RepeatedKFold(n_splits=n_splits, n_repeats=n_repeats, random_state=RANDOM_STATE).split(rows)
    return [(rows[fit_on], rows[hold_out]) for fit_on, hold_out in split]


def _predicted(
    definition: ModelDefinition, dataset: Dataset, folds: Sequence[Fold], n_jobs: int, said: str | None
) -> Iterator[NDArray[np.float64]]:
    """Predictions of what each fold holds out, in order; ``said`` is what the progress bar says, if there is one."""
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_hold_out)(definition, dataset, fit_on, hold_out) for fit_on, hold_out in folds
    )
    try:
        yield from tqdm(results, total=len(folds), desc=said, unit="fold", disable=None if said else True)
    finally:
        if n_jobs != 1:
            # joblib would keep its processes, and their pipes, for a next time.
            get_reusable_executor().shutdown(wait=True)


def score(definition: ModelDefinition, dataset: Dataset, out_of_fold: NDArray[np.float64]) -> dict[str, float]:
    """Metrics pooled per repeat, averaged over the repeats.

    Args:
        definition: names the rows that are not core.
        dataset: the rows that were predicted.
        out_of_fold: shape (n_repeats, n_rows), in the target's unit.

    Returns:
        ``rmse``, ``r2`` on the estimator's scale over all rows; ``rmse_core`` without the rows that are not
        core, where the package names any; ``mae`` in the target's unit.
    """
    core = np.array([identifier not in definition.not_core for identifier in dataset.ids])

    def mean(name: str, kept: NDArray[np.bool_] | slice = slice(None)) -> float:
        truth, target = dataset.target[kept], definition.target
        found = [getattr(assessment.score(truth, repeat[kept], target), name) for repeat in out_of_fold]
        return float(np.mean(found))

    without = {"rmse_core": mean("rmse", core)} if definition.not_core else {}
    return {"rmse": mean("rmse"), **without, "r2": mean("r2"), "mae": mean("mae")}


def require_floors(definition: ModelDefinition, metrics: dict[str, float]) -> None:
    """Refuse a model below the absolute floors of its package.

    Raises:
        FloorError: R2 is too low or RMSE too high; the message has the figures.
    """
    floors = definition.floors
    if floors is None:
        return
    # Written so that NaN is refused too.
    if not metrics["r2"] >= floors.r2:
        raise FloorError(f"R2 is {metrics['r2']:.4f}, below the floor of {floors.r2}; the model is not exported")
    if not metrics["rmse"] <= floors.rmse:
        raise FloorError(f"RMSE is {metrics['rmse']:.4f}, above the limit of {floors.rmse}; the model is not exported")


def _hold_out(
    definition: ModelDefinition, dataset: Dataset, fit_on: NDArray[np.int64], hold_out: NDArray[np.int64]
) -> NDArray[np.float64]:
    fitted = fit(definition, [dataset.rows[index] for index in fit_on], dataset.target[fit_on])
    return fitted.predict([dataset.rows[index] for index in hold_out])
