"""Scores of a model on rows it has not seen: repeated cross-validation with everything learned inside the folds."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import KFold, RepeatedKFold, RepeatedStratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from model_kit.errors import DataError, DefinitionError, FloorError, TrainingError, first_line
from model_kit.records.encoding import FeatureMaker
from model_kit.records.vectorizer import TextProjection
from model_kit.scoring import assessment, calibration, class_assessment
from model_kit.scoring.classes import scores_of, to_probabilities
from model_kit.scoring.decoding import FrameMaker, estimator_input
from model_kit.scoring.definition import Estimator, ModelDefinition, RowFilter
from model_kit.scoring.intervals import MIN_RESIDUALS, REPORTED_LEVELS, Intervals, calibrate, coverage
from model_kit.scoring.model import to_target_unit
from model_kit.spec import InputSpec, Row, Target, Value, class_key, fit_spec
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.parts import accept_unseen, name_columns
from model_kit.training.estimators.preparation import Source, accepts_nan, imputed_by_kit, prepare, told
from model_kit.training.estimators.preprocessing import MedianImputer

N_SPLITS = 10
N_REPEATS = 2
#: From so many rows on one repeat will do, and from so many 5 folds: chance has little part in the scores.
ONE_REPEAT = 5_000
FIVE_FOLDS = 20_000
RANDOM_STATE = 20240
#: Most threads of OpenMP in a process, whatever a library asks for; it is read when the process starts.
_THREAD_LIMIT: Final = "OMP_THREAD_LIMIT"

#: Metrics as messages name them.
METRIC_NAMES: Final = {
    "r2": "R2",
    "rmse": "RMSE",
    "log_loss": "log loss",
    "brier": "Brier score",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
}
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
        spread: standard deviation of an identity-scale target, in its unit: differences of predictions that are
            smaller are relative to it. 0 on the log scale, where they are relative to the prediction.
        changes: what the kit changed in the estimator, a line each.
    """

    spec: InputSpec
    features: FeatureMaker | FrameMaker
    estimator: Estimator
    preprocessing: Source = "package"
    imputation: Source = "package"
    spread: float = 0.0
    changes: tuple[str, ...] = ()

    def inputs(self, rows: Sequence[Row]) -> Any:
        """What the estimator takes: a DataFrame, or the features.

        Features are float64: scikit-learn keeps the type, and sums of float32 are too coarse to be compared with.
        """
        found = estimator_input(self.features, self.features.encode(rows))
        for field in self.spec.fields:
            if field.kind == "text":
                found[field.name] = [str(row.get(field.name) or "") for row in rows]
        return found

    def with_texts(self, texts: Mapping[str, TextProjection]) -> Fitted:
        """The same with what export made of the words."""
        if not texts or not isinstance(self.features, FrameMaker):
            return self
        spec = self.spec.with_texts(texts)
        return replace(self, spec=spec, features=self.features.of(spec))

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Predictions by scikit-learn, shape (n_rows,), in the target's unit; of classes :meth:`probabilities`."""
        if self.spec.target.is_class:
            return self.probabilities(rows)
        return to_target_unit(self.estimator.predict(self.inputs(rows)), self.spec.target)

    def probabilities(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Probabilities of the target's classes, shape (n_rows, n_classes), before calibration.

        Those of an estimator that has none are made of its decision function, as if that were log-odds, or of its
        choices; calibration corrects them.
        """
        scores, output = scores_of(self.estimator)
        raw = np.asarray(scores(self.inputs(rows))).reshape(len(rows), -1)
        return to_probabilities(raw, output, len(self.spec.target.classes), self.learned_classes)

    @property
    def learned_classes(self) -> list[int] | None:
        """Positions in the target's classes of those that a classifier learned, in its order; ``None`` of a number.

        It learned either the classes or their positions.
        """
        target, estimator = self.spec.target, self.estimator
        if not target.is_class:
            return None
        classes: list[Any] = estimator.classes_.tolist()  # type: ignore[attr-defined]
        keys = [class_key(one) for one in classes]
        return [target.keys.index(key) for key in keys] if set(keys) <= set(target.keys) else classes


@dataclass(frozen=True)
class Evaluation:
    """What cross-validation found.

    Attributes:
        rows: positions of the rows that were predicted, ascending: all, but for the earliest where folds follow time.
        out_of_fold: shape (n_repeats, n_predicted), in the target's unit, in the order of these rows; of classes
            probabilities, shape (n_repeats, n_predicted, n_classes).
        metrics: see :func:`score`; of classes by probabilities that are calibrated on other rows.
        seconds: wall time.
        n_splits: folds of a repeat.
    """

    rows: NDArray[np.int64]
    out_of_fold: NDArray[np.float64]
    metrics: dict[str, float]
    seconds: float
    n_splits: int


def to_estimator_scale(values: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """Values in the target's unit, on the estimator's scale, without the offset."""
    return np.log(values) if target.scale == "log" else values


def fit(definition: ModelDefinition, rows: Sequence[Row], target: NDArray[Any]) -> Fitted:
    """Fit spec and estimator on ``rows``.

    A classifier learns the classes as the data spells them, and if it refuses these, their positions.

    Args:
        definition: the model package.
        rows: the rows to learn from.
        target: shape (n_rows,), in its unit, or positions of classes.

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
    is_class = definition.target.is_class
    scaled = target if is_class else to_estimator_scale(target, definition.target)
    offset = 0.0 if is_class else math.fsum(scaled) / len(scaled)
    spec = _fit_spec(definition, rows, definition.rare_below).with_offset(offset)
    prepared = prepare(definition, spec)
    if prepared.takes_frame:
        spec = _fit_spec(definition, rows, 1).with_offset(offset)
    if not prepared.is_centred:
        offset, spec = 0.0, spec.with_offset(0.0)
    spread = 0.0 if is_class or spec.target.scale == "log" else float(np.std(target))
    features = _features(definition, spec, takes_frame=prepared.takes_frame, imputed=prepared.imputed)
    fitted = Fitted(
        spec, features, prepared.estimator, prepared.preprocessing, prepared.imputation, spread, prepared.changes
    )
    if is_class:
        _fit_classifier(definition, fitted, rows, target)
        return fitted
    try:
        with threadpool_limits(1):
            fitted.estimator.fit(fitted.inputs(rows), scaled - offset)
    except Exception as error:  # an estimator may do anything wrong
        text = f"{definition.name}: the estimator cannot be fitted: {first_line(error)}"
        if prepared.is_centred:
            learned = f"the logarithm of {spec.target.name}" if spec.target.scale == "log" else spec.target.name
            text += (
                f". Note that it learns {learned} less its mean, half of which is negative: use a loss that allows it, "
                "and the target's scale 'log' instead of transforming it"
            )
        raise TrainingError(text) from error
    return fitted


def _fit_spec(definition: ModelDefinition, rows: Sequence[Row], rare_below: int) -> InputSpec:
    return fit_spec(definition.fields, definition.target, rows, together=definition.together, rare_below=rare_below)


def _features(
    definition: ModelDefinition, spec: InputSpec, *, takes_frame: bool, imputed: Sequence[str]
) -> FeatureMaker | FrameMaker:
    if takes_frame:
        return FrameMaker(spec, impute=imputed, single=definition.runtime == "onnx")
    return FeatureMaker(spec, definition.derive)


def _fit_classifier(
    definition: ModelDefinition, fitted: Fitted, rows: Sequence[Row], target: NDArray[np.int64]
) -> None:
    """Fit on the classes; on their positions if the estimator refuses them, as some libraries do with texts."""
    inputs = fitted.inputs(rows)
    with threadpool_limits(1):
        try:
            fitted.estimator.fit(inputs, np.array(definition.target.classes)[target])
        except Exception as error:  # noqa: BLE001 - an estimator may do anything wrong
            try:
                fitted.estimator.fit(inputs, target)
            except Exception:  # noqa: BLE001 - the first one is told
                raise TrainingError(
                    f"{definition.name}: the estimator cannot be fitted: {first_line(error)}"
                ) from error


def adopt(
    definition: ModelDefinition, rows: Sequence[Row], target: NDArray[np.float64], estimator: Estimator
) -> Fitted:
    """As :func:`fit`, for an estimator that is fitted already and predicts the target in its unit."""
    is_frame = hasattr(estimator, "feature_names_in_")
    spec = _fit_spec(definition, rows, 1 if is_frame else definition.rare_below)
    name_columns(estimator)
    spread = 0.0 if definition.target.is_class else float(np.std(target))
    changes = told(accept_unseen(estimator))
    imputed = imputed_by_kit(estimator, spec, is_fitted=True) if is_frame else ()
    imputation: Source = "kit" if imputed or not (is_frame or accepts_nan(estimator)) else "package"
    features = _features(definition, spec, takes_frame=is_frame, imputed=imputed)
    if imputation == "kit" and isinstance(features, FeatureMaker):
        imputer = MedianImputer(dtype="float64").fit(features(rows).astype(np.float64))
        estimator = Pipeline([("imputer", imputer), ("estimator", estimator)])
    return Fitted(spec, features, estimator, imputation=imputation, spread=spread, changes=changes)


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
    if definition.time_order:
        n_repeats = 1
    folds = make_folds(definition, dataset, n_splits, n_repeats)
    shape = (len(definition.target.classes),) if definition.target.is_class else ()
    out_of_fold = np.full((n_repeats, len(dataset.target), *shape), np.nan)
    predicted = _predicted(definition, dataset, folds, n_jobs, what if progress else None)
    for number, ((_, hold_out), predictions) in enumerate(zip(folds, predicted, strict=True)):
        out_of_fold[number // n_splits, hold_out] = predictions
    rows = np.unique(np.concatenate([hold_out for _, hold_out in folds]))
    metrics = score(definition, dataset, out_of_fold[:, rows], rows)
    return Evaluation(rows, out_of_fold[:, rows], metrics, time.perf_counter() - start, n_splits)


def make_folds(definition: ModelDefinition, dataset: Dataset, n_splits: int, n_repeats: int) -> list[Fold]:
    """Rows to fit on and rows to hold out, repeat by repeat.

    In the order of time where the definition says so: the later half of the rows is held out, part by part, each by a
    model of all rows before it. Otherwise at random, of classes with about the same share of each in every fold.
    Rows whose fields are all the same, or whose keys are, are in one fold, so that no row is predicted by a model that
    saw its copy; in the order of time, earlier rows with the key of one that is held out are left out.
    """
    if definition.time_order:
        order = np.argsort([str(row.get(definition.time_order) or "") for row in dataset.rows], kind="stable")
        splitter: Any = TimeSeriesSplit(n_splits, test_size=len(order) // (2 * n_splits))
        keys = np.array(dataset.keys or range(len(order)))
        folds = [(order[fit_on], order[hold_out]) for fit_on, hold_out in splitter.split(order)]
        return [(fit_on[~np.isin(keys[fit_on], keys[hold_out])], hold_out) for fit_on, hold_out in folds]
    copies = _records(definition, dataset)
    first = np.unique(copies, return_index=True)[1]
    if len(first) < n_splits:
        first = copies = np.arange(len(copies))
    # A class must have a row for each fold, or they cannot be shared out.
    if definition.target.is_class and np.bincount(dataset.target[first]).max() >= n_splits:
        splitter = RepeatedStratifiedKFold(n_splits=n_splits, n_repeats=n_repeats, random_state=RANDOM_STATE)
    else:
        splitter = RepeatedKFold(n_splits=n_splits, n_repeats=n_repeats, random_state=RANDOM_STATE)
    chosen = np.zeros(len(first), np.bool_)
    folds = []
    # A class of fewer rows than folds is said by training; scikit-learn would repeat it for each fold.
    with warnings.catch_warnings(action="ignore"):
        for _, hold_out in splitter.split(first, dataset.target[first]):
            chosen[:] = False
            chosen[hold_out] = True
            folds.append((np.flatnonzero(~chosen[copies]), np.flatnonzero(chosen[copies])))
    return folds


def _records(definition: ModelDefinition, dataset: Dataset) -> NDArray[np.int64]:
    """The number of each row's record, from 0; rows with the same fields or the same key are one record."""
    number_of: dict[tuple[Value, ...], int] = {}
    names = [field.name for field in definition.fields]
    contents = (tuple(map(row.get, names)) for row in dataset.rows)
    copies = np.array([number_of.setdefault(content, len(number_of)) for content in contents])
    if not dataset.keys:
        return copies
    # A graph of contents and keys, joined by rows: what hangs together is one record.
    keys = np.unique(dataset.keys, return_inverse=True)[1] + len(number_of)
    size = int(keys.max()) + 1
    edges = coo_array((np.ones(len(copies)), (copies, keys)), shape=(size, size))
    found: NDArray[np.int64] = connected_components(edges, directed=False)[1][copies]
    return found


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
    with _one_thread_each():
        results = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_hold_out)(definition, dataset, fit_on, hold_out) for fit_on, hold_out in folds
        )
        try:
            yield from tqdm(results, total=len(folds), desc=said, unit="fold", disable=None if said else True)
        finally:
            if n_jobs != 1:
                # joblib would keep its processes, and their pipes, for a next time.
                get_reusable_executor().shutdown(wait=True)


@contextmanager
def _one_thread_each() -> Generator[None]:
    """Limit OpenMP to one thread in the processes that are started in the block.

    LightGBM sets its number of threads at each call, which joblib's and threadpoolctl's limits do not reach. Two
    processes with a thread for each core wait for each other in loops, and take thirty times as long.
    """
    before = os.environ.get(_THREAD_LIMIT)
    os.environ[_THREAD_LIMIT] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREAD_LIMIT]
        else:
            os.environ[_THREAD_LIMIT] = before


def score(
    definition: ModelDefinition,
    dataset: Dataset,
    out_of_fold: NDArray[np.float64],
    rows: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Metrics pooled per repeat, averaged over the repeats.

    Args:
        definition: names the rows that are not core.
        dataset: the rows.
        out_of_fold: shape (n_repeats, n_predicted), in the target's unit; of classes probabilities, before calibration,
            shape (n_repeats, n_predicted, n_classes).
        rows: positions of the rows that were predicted; by default all.

    Returns:
        ``rmse``, ``r2`` on the estimator's scale over all rows; ``rmse_core`` without the rows that are not
        core, where the package names any; ``mae`` in the target's unit. Of classes those of
        :class:`~model_kit.scoring.class_assessment.ClassScores` and ``calibration_error``, of probabilities that were
        calibrated on other rows.
    """
    ids, truth = dataset.ids, dataset.target
    if rows is not None:
        ids, truth = tuple(ids[row] for row in rows.tolist()), truth[rows]
    target = definition.target
    if target.is_class:
        found = [class_assessment.score(truth, repeat, target) for repeat in calibrated(out_of_fold, truth)]
        names = [field.name for field in fields(class_assessment.ClassScores) if field.name != "n"]
        scores = {name: [getattr(one, name) for one in found] for name in names}
        error = reliability_of(out_of_fold, truth, target)["error"]
        kept = {name: float(np.mean(values)) for name, values in scores.items() if None not in values}
        return kept | {"calibration_error": error}
    core = np.array([identifier not in definition.not_core for identifier in ids])

    def mean(name: str, kept: NDArray[np.bool_] | slice = slice(None)) -> float:
        found = [getattr(assessment.score(truth[kept], repeat[kept], target), name) for repeat in out_of_fold]
        return float(np.mean(found))

    without = {"rmse_core": mean("rmse", core)} if definition.not_core else {}
    return {"rmse": mean("rmse"), **without, "r2": mean("r2"), "mae": mean("mae")}


def calibrated(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Out-of-fold probabilities, calibrated as the model's will be, each row by tables fitted on other rows."""
    kind = calibration.calibrate(out_of_fold, truth)["kind"]
    return calibration.cross_fitted(out_of_fold, truth, calibration.FITS[kind]).reshape(out_of_fold.shape)


def reliability_of(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64], target: Target) -> dict[str, Any]:
    """The reliability curve of calibrated out-of-fold probabilities.

    Of two classes that of the positive one; of more, that of the predicted class.
    """
    found = calibrated(out_of_fold, truth).reshape(-1, out_of_fold.shape[2])
    truth = np.tile(truth, len(out_of_fold))
    if len(target.classes) == 2:
        return calibration.reliability(found[:, target.positive_position], truth == target.positive_position)
    return calibration.reliability(found.max(axis=1), truth == found.argmax(axis=1))


def require_floors(definition: ModelDefinition, metrics: dict[str, float]) -> None:
    """Refuse a model below the absolute floors of its package.

    Raises:
        FloorError: a metric is worse than its floor; the message has the figures.
        DefinitionError: a floor is of a metric that the target's kind does not have.
    """
    for name, floor in asdict(definition.floors).items() if definition.floors else ():
        if floor is None:
            continue
        label = METRIC_NAMES.get(name, name)
        if name not in metrics:
            raise DefinitionError(f"{definition.name}: there is a floor of {label}, and only {', '.join(metrics)}")
        higher_is_better = class_assessment.higher_is_better(name)
        # Written so that NaN is refused too.
        if not (metrics[name] >= floor if higher_is_better else metrics[name] <= floor):
            limit = "below the floor" if higher_is_better else "above the limit"
            raise FloorError(f"{label} is {metrics[name]:.4f}, {limit} of {floor}; the model is not exported")


def _hold_out(
    definition: ModelDefinition, dataset: Dataset, fit_on: NDArray[np.int64], hold_out: NDArray[np.int64]
) -> NDArray[np.float64]:
    fitted = fit(definition, [dataset.rows[index] for index in fit_on], dataset.target[fit_on])
    return fitted.predict([dataset.rows[index] for index in hold_out])
