"""From a fitted estimator to what serves it, which is proven to give the same predictions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from model_kit.errors import CannotFoldError, DisagreementError, ExportError, first_line
from model_kit.records.encoding import FeatureMaker
from model_kit.records.generation import generate_rows
from model_kit.records.vectorizer import TextProjection
from model_kit.scoring.bundle import ESTIMATOR, MODEL
from model_kit.scoring.classes import Output, scores_of
from model_kit.scoring.decoding import MISSING_CODE, MISSING_TEXT, UNSEEN_TEXT, FrameMaker
from model_kit.scoring.model import CHUNK, Finish
from model_kit.scoring.runtimes import make_runtime
from model_kit.spec import Row
from model_kit.training.estimators.converters import register_converters, register_folding
from model_kit.training.estimators.parts import parts
from model_kit.training.evaluation import Fitted
from model_kit.training.folding.fold import fold
from model_kit.training.folding.graph import to_graph
from model_kit.training.folding.terms import Texts, Words
from model_kit.training.folding.text import take_texts
from model_kit.training.skops_file import dump_estimator

#: Largest difference between scikit-learn's and the graph's prediction, both finished in float64, relative to
#: the prediction or, on the identity scale, to the spread of the target where that is more.
TOLERANCE = 5e-6
#: Rows generated from the spec that the two must agree on, beside every training row.
N_GENERATED = 5000
GENERATED_SEED = 20240
#: Attributes in which fitted estimators keep training rows: of support vector machines, neighbours (an imputer's too),
#: Gaussian processes, kernel ridge regression and kernel PCA, and Nystroem's approximation of a kernel.
ROWS_KEPT_IN = ("support_vectors_", "_fit_X", "X_train_", "X_fit_", "component_indices_", "X_")
#: What to do about an estimator that cannot be exported.
ADVICE = (
    'Declare runtime="scikit-learn", which serves the estimator itself, or use one that docs/own-model.md lists as '
    "folded or ONNX"
)
ADVICE_ON_ROWS = (
    'If whoever has the bundle may read training rows, declare runtime="scikit-learn" and keeps_rows=True; else use '
    "an estimator that docs/own-model.md lists as folded or ONNX"
)
#: No other runtime serves texts.
ADVICE_ON_TEXTS = "Use an estimator that docs/own-model.md lists as folded"
#: Why an estimator of texts that does not fold is refused.
ONLY_FOLDED = (
    "a text is served by a folded graph alone: between its vectorizer and the prediction all must be linear, such as "
    "TruncatedSVD, scaling, and a linear or logistic regression"
)
#: Newest operator set that skl2onnx 1.20 has converters for.
TARGET_OPSET = 21


@dataclass(frozen=True)
class Export:
    """A model's file that agrees with its estimator.

    Attributes:
        fitted: the model, with what is made of its texts.
        content: the bytes of the file.
        agreement: largest relative difference, see :func:`agreement`, on the training rows (``train``) and on rows
            generated from the spec with nulls, unseen levels and extremes (``generated``).
        runtime: the card's: ``kind``, ``input``, ``output``, ``folded`` and, of classes, ``classes``, the positions of
            those that the outputs are about; see :class:`~model_kit.scoring.model.Finish`. ``keeps_rows``, the class
            that keeps training rows, where one does.
        graph: ``folded``; ``nodes``, their number; ``reason``, why it is not folded, else ``None``. Empty
            where the estimator itself is served.
    """

    fitted: Fitted
    content: bytes
    runtime: dict[str, Any]
    agreement: dict[str, float]
    graph: dict[str, Any]

    @property
    def texts(self) -> dict[str, TextProjection]:
        """Field -> what makes numbers of its texts."""
        return {name: text for name, text in self.fitted.spec.texts.items() if isinstance(text, TextProjection)}

    @property
    def file(self) -> str:
        """Name of the file."""
        return MODEL if self.runtime["kind"] == "onnx" else ESTIMATOR


def export(fitted: Fitted, rows: Sequence[Row], runtime: str = "onnx", *, keeps_rows: bool = False) -> Export:
    """What serves a fitted model by the runtime that its package declares; see :func:`to_onnx`.

    Args:
        fitted: the model.
        rows: every training row.
        runtime: what serves it, as the package declares.
        keeps_rows: the bundle may hold training rows.

    Raises:
        ExportError: there is nothing that could be served; the message says why not, and what to do.
    """
    return to_scikit_learn(fitted, rows, keeps_rows=keeps_rows) if runtime == "scikit-learn" else to_onnx(fitted, rows)


def to_scikit_learn(fitted: Fitted, rows: Sequence[Row], *, keeps_rows: bool = False) -> Export:
    """Write the estimator itself, in skops' format, and check what is read from it against it.

    Raises:
        ExportError: it keeps training rows where it may not, has a part of a type that is not trusted, or differs when
            it is read.
    """
    if _words(fitted):
        raise ExportError(f"nothing was exported: {ONLY_FOLDED}")
    kept = _keeps_rows(fitted.estimator)
    if kept and not keeps_rows:
        raise ExportError(f"nothing was exported: {kept} keeps training rows. {ADVICE_ON_ROWS}")
    output: Output = "value"
    if fitted.spec.target.is_class:
        _, output = scores_of(fitted.estimator)
    runtime = {"kind": "scikit-learn", "output": output, **({"keeps_rows": kept} if kept else {})}
    return _checked(fitted, rows, dump_estimator(fitted.estimator), {}, runtime)


def _checked(
    fitted: Fitted, rows: Sequence[Row], content: bytes, graph: dict[str, Any], runtime: dict[str, Any]
) -> Export:
    """The export, if what is loaded from it predicts what the estimator does.

    Raises:
        ExportError: it does not, or cannot be loaded.
    """
    runtime |= {"input": "frame" if isinstance(fitted.features, FrameMaker) else "matrix"}
    runtime |= {"folded": bool(graph.get("folded"))}
    if fitted.learned_classes:
        runtime["classes"] = fitted.learned_classes
    generated = generate_rows(fitted.spec, N_GENERATED, seed=GENERATED_SEED, nulls=0.1, unseen=0.1, extremes=0.1)
    compared = (("train", rows), ("generated", generated))
    found = {name: agreement(fitted, content, some, runtime) for name, some in compared}
    return Export(fitted, content, runtime, found, graph)


def to_onnx(fitted: Fitted, rows: Sequence[Row]) -> Export:
    """Write the estimator as a graph, folded if that can be, and check the graph against it.

    Args:
        fitted: the model.
        rows: every training row.

    Raises:
        ExportError: neither form of the graph could be written and agrees; the message says why not, and what to do.
    """
    register_folding()
    register_converters()
    n_features = fitted.features(rows[:1]).shape[1]

    def check(served: Fitted, model: onnx.ModelProto, reason: str | None, output: Output) -> Export:
        content = model.SerializeToString(deterministic=True)
        graph = {"folded": reason is None, "nodes": len(model.graph.node), "reason": reason}
        return _checked(served, rows, content, graph, {"kind": "onnx", "output": output})

    try:
        # One thread in the linear algebra, so that the bytes do not depend on how many there are.
        with threadpool_limits(1):
            words = _words(fitted)
            folded = fold(fitted.estimator, n_features, {**_texts(fitted), **words})
            folded, found = take_texts(folded, list(words.values()), n_features)
            served = fitted.with_texts({fitted.spec.names[position]: text for position, text in found.items()})
            graph = to_graph(folded.outputs, served.features(rows[:1]).shape[1], folded.link)
        return check(served, graph, None, folded.output)
    except Exception as error:  # noqa: BLE001 - a rule may meet a form of an estimator that it does not know
        known = isinstance(error, CannotFoldError | ExportError)
        reason = str(error) if known else f"a rule failed: {first_line(error)}"
    try:
        output: Output = "probability" if fitted.spec.target.is_class else "value"
        return check(fitted, _plain(fitted, n_features), reason, output)
    except ExportError as error:
        advice = ADVICE_ON_ROWS if _keeps_rows(fitted.estimator) else ADVICE
        if _words(fitted):
            advice = ADVICE_ON_TEXTS
        # The same kind of error, whose text has both reasons.
        raise type(error)(
            f"nothing was exported.\nFolded graph: {reason}\nGraph of skl2onnx: {error}\n{advice}"
        ) from error


def _words(fitted: Fitted) -> dict[int, Words]:
    """The columns of texts of many words, by position."""
    return {place: Words(place) for place, field in enumerate(fitted.spec.fields) if field.kind == "text"}


def _texts(fitted: Fitted) -> dict[int, Texts]:
    """The columns that an estimator of a DataFrame sees as texts, by position."""
    if isinstance(fitted.features, FeatureMaker):
        return {}
    levels = [fitted.spec.learned[name].codes or {} for name in fitted.spec.names]
    return {
        position: Texts(
            position, {code: level for level, code in levels[position].items()} | {MISSING_CODE: None}, UNSEEN_TEXT
        )
        for position in np.flatnonzero(fitted.features.texts).tolist()
    }


def _plain(fitted: Fitted, n_features: int) -> onnx.ModelProto:
    """The graph as skl2onnx writes it.

    Raises:
        ExportError: it cannot, or the graph would hold training rows.
    """
    if _words(fitted):
        raise ExportError(ONLY_FOLDED)
    if kept := _keeps_rows(fitted.estimator):
        raise ExportError(f"it would hold training rows, which {kept} keeps")
    writable = _writable(fitted.estimator)
    try:
        # Without a name the graph gets a random one, and each export another sha256.
        model: onnx.ModelProto = convert_sklearn(
            writable,
            name="m",
            initial_types=_graph_inputs(fitted.features, n_features),
            target_opset=TARGET_OPSET,
            options={id(writable): {"zipmap": False}} if fitted.spec.target.is_class else None,
        )
    except (MissingConverter, MissingShapeCalculator) as error:
        named = re.search(r"(\w+)'>'", str(error))
        raise ExportError(f"it has no converter for {named[1] if named else 'a part of it'}") from error
    except Exception as error:  # converters raise whatever they like
        raise ExportError(first_line(error)) from error
    # skl2onnx lists the operator sets in the order of a set of strings, which is another in each process.
    model.opset_import.sort(key=lambda opset: opset.domain)
    return model


def _graph_inputs(features: FeatureMaker | FrameMaker, n_features: int) -> list[tuple[str, Any]]:
    """The inputs of a graph of skl2onnx: the matrix, or one for each column of a DataFrame."""
    if isinstance(features, FeatureMaker):
        return [("X", FloatTensorType([None, n_features]))]
    return [
        (name, StringTensorType([None, 1]) if is_text else FloatTensorType([None, 1]))
        for name, is_text in zip(features.spec.names, features.texts.tolist(), strict=True)
    ]


def _keeps_rows(estimator: Any) -> str | None:
    """The class that keeps training rows, of an estimator or any that is fitted inside it."""
    for part in parts(estimator):
        if any(hasattr(part, name) for name in ROWS_KEPT_IN):
            return type(part).__name__.lstrip("_")
    return None


def _writable(estimator: Any) -> Any:
    """A fitted estimator that skl2onnx can write.

    It cannot take a ColumnTransformer behind another transformer, and a missing level is a text of its own in a graph.
    """
    estimator = deepcopy(estimator)
    for part in parts(estimator):
        categories = getattr(part, "categories_", None)
        for known in categories if isinstance(categories, list) else ():
            if known.dtype == object:
                known[[not isinstance(value, str) for value in known]] = MISSING_TEXT
    if not isinstance(estimator, Pipeline):
        return estimator
    for number, (_, step) in enumerate(estimator.steps):
        if number and isinstance(step, ColumnTransformer):
            blend = VotingClassifier if is_classifier(estimator) else VotingRegressor
            rest = blend(
                [("rest", estimator[number:])],
                **({"voting": "soft", "flatten_transform": False} if is_classifier(estimator) else {}),
            )
            rest.estimators_ = [estimator[number:]]
            if is_classifier(estimator):
                rest.classes_ = estimator.classes_
            return Pipeline([*estimator.steps[:number], ("rest", rest)])
    return estimator


def agreement(fitted: Fitted, content: bytes, rows: Sequence[Row], runtime: Mapping[str, Any]) -> float:
    """Largest difference between the estimator's and the runtime's predictions, relative to the prediction.

    Where the prediction is smaller than the spread of the target (on the identity scale), it is relative to that. Of
    probabilities it is the absolute difference.

    Raises:
        DisagreementError: it is above 5e-6; the message names the row.
        ExportError: the estimator fails, a prediction is not finite, or the file cannot be loaded or run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of levels that are not known: some rows have them on purpose
            expected = fitted.predict(rows)
    except Exception as error:  # an estimator may do anything wrong
        raise ExportError(
            f"the estimator itself fails on rows as requests may have them: {first_line(error)}"
        ) from error
    if not np.isfinite(expected).all():
        worst = int(np.argmin(np.isfinite(expected.reshape(len(rows), -1)).all(axis=1)))
        raise ExportError(
            f"the estimator's prediction of row {worst} is not finite; "
            "limit how far it extrapolates, with MinMaxScaler(clip=True) in front for instance"
        )
    try:
        served, encoded = make_runtime(runtime, content, fitted.features), fitted.features.encode(rows)
        scores = [served.raw(encoded[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
    except Exception as error:  # ONNX Runtime's own exceptions share no narrower public base
        raise ExportError(first_line(error)) from error
    found = Finish(fitted.spec.target, runtime)(np.concatenate(scores))
    if fitted.spec.target.is_class:
        scale = np.ones(len(rows))
        difference = np.abs(found - expected).max(axis=1)
    else:
        # Where all that is compared is 0, any difference is infinite.
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.maximum(np.abs(expected), fitted.spread)
            difference = np.where(found == expected, 0.0, np.abs(found - expected) / scale)
    worst = int(np.argmax(difference))
    # Written so that NaN is refused too.
    if not difference[worst] <= TOLERANCE:
        raise DisagreementError(
            f"row {worst}: the graph predicts {found[worst]}, scikit-learn {expected[worst]}, "
            f"and they may differ by {TOLERANCE * scale[worst]:.3g}"
        )
    return float(difference[worst])
