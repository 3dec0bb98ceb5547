"""What the kit puts in front of a declared estimator: imputation and the encoding of categories."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from sklearn.utils import get_tags
from sklearn.utils._indexing import _get_column_indices

from model_kit.errors import DefinitionError, first_line
from model_kit.records.features import default_layout
from model_kit.scoring.classes import scores_of
from model_kit.scoring.decoding import FrameMaker
from model_kit.scoring.definition import Estimator, ModelDefinition
from model_kit.spec import InputSpec
from model_kit.training.estimators.encoding import encode_categories
from model_kit.training.estimators.parts import (
    accept_unseen,
    chooses_by_name,
    first_step,
    name_columns,
    needs_the_target_itself,
    parts,
    takes_frame,
)
from model_kit.training.estimators.preprocessing import MedianImputer

Source = Literal["kit", "package"]
#: Transformers whose output has no NaN, whatever their input has.
_FILLING: Final = (
    SimpleImputer,
    KNNImputer,
    MedianImputer,
    OneHotEncoder,
    TargetEncoder,
    CountVectorizer,
    HashingVectorizer,
)

#: Estimators that leave their input to :attr:`estimator`.
_WRAPPERS: Final = (
    BaseSearchCV,
    CalibratedClassifierCV,
    FixedThresholdClassifier,
    FrozenEstimator,
    OneVsRestClassifier,
    TunedThresholdClassifierCV,
)


@dataclass(frozen=True)
class Prepared:
    """An unfitted estimator of the features.

    Attributes:
        estimator: with what the kit puts in front of it.
        preprocessing: who encodes categories.
        imputation: who decides what missing values become.
        takes_frame: its input is a DataFrame, see :class:`~model_kit.scoring.decoding.FrameMaker`.
        imputed: of a DataFrame, the fields that the kit imputes.
        is_centred: it learns the target less its mean; that of a notebook, or one that needs a positive target, does
            not.
        changes: what the kit changed in it, a line each.
    """

    estimator: Estimator
    preprocessing: Source
    imputation: Source
    takes_frame: bool = False
    imputed: tuple[str, ...] = ()
    is_centred: bool = True
    changes: tuple[str, ...] = ()


def prepare(definition: ModelDefinition, spec: InputSpec) -> Prepared:
    """The unfitted estimator of a model.

    A function's result gets the features as they are. An estimator is cloned and gets indicators or mean targets for
    the codes of nominal categories, unless it begins with a ColumnTransformer or the package derives features of its
    own. Where either does not accept NaN, medians are imputed in front.

    Raises:
        DefinitionError: what is declared is neither; the message says what to declare.
    """
    declared: Any = definition.resolve("estimator")
    name = definition.name
    if inspect.isclass(declared):
        raise DefinitionError(f"{name}: estimator is the class {declared.__name__}; declare {declared.__name__}(...)")
    if isinstance(declared, BaseEstimator):
        estimator, is_own = clone(declared), _begins_with_columns(declared)
    elif callable(declared):
        estimator, is_own = _call(declared, spec, name), True
    else:
        raise DefinitionError(
            f"{name}: estimator is a {type(declared).__name__}; declare a scikit-learn regressor, or a function of the "
            "fitted spec that returns one"
        )
    try:
        # Stacking has no predict before it is fitted, where its final estimator is the default.
        predicts = hasattr(estimator, "predict") or is_regressor(estimator) or is_classifier(estimator)
    except AttributeError as error:  # one that wraps another that it does not have
        raise DefinitionError(f"{name}: {type(estimator).__name__} cannot be used: {first_line(error)}") from error
    if not (hasattr(estimator, "fit") and predicts):
        raise DefinitionError(f"{name}: the estimator, a {type(estimator).__name__}, has no fit and predict")
    if isinstance(estimator, BaseEstimator) and is_classifier(estimator) != spec.target.is_class:
        found, wanted = ("a number", "classifier") if spec.target.is_class else ("classes", "regressor")
        raise DefinitionError(
            f"{name}: {type(estimator).__name__} predicts {found}, and the target is "
            f"{'a class' if spec.target.is_class else 'a number'}; declare a {wanted}"
        )
    if texts := [field.name for field in spec.fields if field.kind == "text"]:
        estimator = with_text_column(estimator, texts, definition)
    if takes_frame(estimator):
        return _of_frame(estimator, definition, spec)
    imputes = not accepts_nan(estimator)
    is_centred = spec.target.scale == "log" or not needs_the_target_itself(estimator)
    imputation: Source = "kit" if imputes or _begins_with_medians(estimator) else "package"
    if is_own or definition.derive is not None:
        if imputes:
            estimator = make_pipeline(MedianImputer(dtype="float64"), estimator)
        return Prepared(estimator, "package", imputation, is_centred=is_centred)
    nominal = default_layout(spec).nominal
    steps: list[Any] = [MedianImputer(nominal, numbers=imputes, dtype="float64")] if imputes or nominal else []
    if nominal:
        steps.append(encode_categories(spec))
    return Prepared(make_pipeline(*steps, estimator), "kit", imputation, is_centred=is_centred)


def with_text_column(estimator: Any, texts: Sequence[str], definition: ModelDefinition) -> Any:
    """An estimator of a DataFrame with texts; one that begins with a vectorizer takes the only text.

    Raises:
        DefinitionError: it does not say what becomes of texts.
    """
    if any(chooses_by_name(part) for part in parts(estimator)):
        return estimator
    if len(texts) == 1 and begins_with_texts(estimator):
        (name, first), *rest = estimator.steps
        return Pipeline([(name, ColumnTransformer([(name, first, texts[0])])), *rest])
    raise DefinitionError(
        f"{definition.name}: the estimator does not say what becomes of the text {texts[0]}; put ColumnTransformer("
        f'[("words", TfidfVectorizer(), {texts[0]!r}), ...]) in front, with a part for the other fields'
    )


def begins_with_texts(estimator: Any) -> bool:
    """Whether an estimator is a pipeline that begins with a vectorizer, whose input is a column of texts."""
    return isinstance(estimator, Pipeline) and _is_of_texts(estimator.steps[0][1])


def of_text_column(estimator: Pipeline, frame: Any) -> Pipeline:
    """A fitted pipeline that begins with a vectorizer, of a DataFrame with the texts as its only column."""
    (name, first), *rest = estimator.steps
    columns = ColumnTransformer([(name, FrozenEstimator(first), frame.columns[0])]).fit(frame.fillna(""))
    columns.transformers = columns.transformers_ = [(name, first, frame.columns[0])]
    return Pipeline([(name, columns), *rest])


def _is_of_texts(step: Any) -> bool:
    if isinstance(step, Pipeline):
        return _is_of_texts(step.steps[0][1])
    if isinstance(step, FeatureUnion):
        return all(_is_of_texts(part) for _, part in step.transformer_list)
    return isinstance(step, CountVectorizer | HashingVectorizer)


def _of_frame(estimator: Any, definition: ModelDefinition, spec: InputSpec) -> Prepared:
    if definition.derive is not None:
        raise DefinitionError(
            f"{definition.name}: the estimator chooses columns by name, and derive makes features that have none; "
            "declare one of the two"
        )
    name_columns(estimator)
    imputed = imputed_by_kit(estimator, spec, is_fitted=False)
    imputation: Source = "kit" if imputed else "package"
    is_centred = definition.target.scale == "log"
    return Prepared(estimator, "package", imputation, True, imputed, is_centred, told(accept_unseen(estimator)))


def imputed_by_kit(estimator: Any, spec: InputSpec, *, is_fitted: bool) -> tuple[str, ...]:
    """The fields of a DataFrame whose missing values an estimator cannot take, so that the kit fills them.

    A fitted estimator is tried on the row of typical values without one of them; of another, its parts tell.
    """
    frames = FrameMaker(spec, impute=spec.names, single=False)
    row = frames.frame(frames.encode([{name: learned.typical for name, learned in spec.learned.items()}]))
    for field in spec.fields:
        if field.kind == "text":
            row[field.name] = ""
    numbers = [field.name for field in spec.fields if field.kind not in {"category", "text"}]
    if not is_fitted:
        return tuple(name for name in numbers if _after(estimator, name, row) == "refused")
    if _predicts(estimator, row, numbers):
        return ()
    return tuple(name for name in numbers if not _predicts(estimator, row, [name]))


def _predicts(estimator: Any, row: Any, missing: Sequence[str]) -> bool:
    """Whether a fitted estimator gives finite scores of a DataFrame without the values of some columns."""
    scores = scores_of(estimator)[0] if is_classifier(estimator) else estimator.predict
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = scores(row.assign(**dict.fromkeys(missing, np.nan)))
        return bool(np.isfinite(np.asarray(found, float)).all())
    except Exception:  # noqa: BLE001 - whatever it says of NaN
        return False


def told(encoders: Iterable[str]) -> tuple[str, ...]:
    """What the kit changed in encoders of these classes, a line each class."""
    return tuple(f"{name} scores levels that it never saw, instead of failing" for name in dict.fromkeys(encoders))


def accepts_nan(estimator: Any) -> bool:
    """Whether a regressor takes features with NaN, by its tags and those of its parts; ``True`` where it has none."""
    return _after(estimator) != "refused"


def _after(part: Any, column: str = "", frame: Any = None) -> Literal["refused", "kept", "filled"]:
    """What becomes of NaN in a transformer or regressor: anywhere, or in one column of its DataFrame."""
    if part is None or isinstance(part, str):
        return "kept" if part != "drop" else "filled"
    if isinstance(part, _FILLING):
        return "filled"
    if isinstance(part, Pipeline):
        for _, step in part.steps:
            if (found := _after(step, column, frame)) != "kept":
                return found
            if step is not None and step != "passthrough":  # columns behind it have other names
                frame = None
        return "kept"
    if isinstance(part, TransformedTargetRegressor):
        return "refused" if part.regressor is None else _after(part.regressor, column, frame)
    if isinstance(part, _WRAPPERS):
        return "refused" if part.estimator is None else _after(part.estimator, column, frame)
    fates: set[str] = set()
    if isinstance(part, FeatureUnion):
        fates = {_after(step, column, frame) for _, step in part.transformer_list}
    elif isinstance(part, ColumnTransformer):
        given = [(step, _given(columns, frame)) for _, step, columns in part.transformers]
        fates = {_after(step, column, one) for step, one in given if one is None or column in one}
        if frame is None or not fates:
            fates.add(_after(part.remainder, column))
    elif isinstance(part, VotingRegressor | StackingRegressor | VotingClassifier | StackingClassifier):
        fates = {_after(one, column, frame) for _, one in part.estimators}
    if fates:
        return "refused" if "refused" in fates else "kept" if "kept" in fates else "filled"
    if not isinstance(part, BaseEstimator):
        return "kept"
    try:
        return "kept" if get_tags(part).input_tags.allow_nan else "refused"
    except (AttributeError, TypeError):  # one that wraps another that it does not have
        return "refused"


def _given(columns: Any, frame: Any) -> Any:
    """What a part of a ColumnTransformer is given of a DataFrame; ``None`` if it is not known."""
    if frame is None:
        return None
    try:
        return frame.iloc[:, _get_column_indices(frame, columns(frame) if callable(columns) else columns)]
    except Exception:  # noqa: BLE001 - fitting tells what is wrong with them
        return None


def _begins_with_columns(estimator: Any) -> bool:
    return isinstance(first_step(estimator), ColumnTransformer)


def _begins_with_medians(estimator: Any) -> bool:
    first = first_step(estimator)
    return isinstance(first, MedianImputer) and first.numbers


def _call(factory: Any, spec: InputSpec, name: str) -> Any:
    try:
        inspect.signature(factory).bind(spec)
    except TypeError as error:
        called = getattr(factory, "__name__", "the estimator's function")
        raise DefinitionError(f"{name}: {called} must take one argument, the fitted spec: {error}") from error
    return factory(spec)
