"""From a notebook: an estimator and its data become a model package, or a wheel of one."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from model_kit.errors import DataError, ModelKitError, first_line
from model_kit.records.text import is_null
from model_kit.scaffold import new
from model_kit.scaffold.estimator_source import estimator_source
from model_kit.scoring.about import About
from model_kit.scoring.classes import decide
from model_kit.scoring.definition import Runtime
from model_kit.spec import Field, Level, Row, class_key
from model_kit.spec.fields import ClassValue
from model_kit.spec.inference import FEW_LEVELS, describe, text_field
from model_kit.training.estimators.parts import takes_frame
from model_kit.training.estimators.preparation import begins_with_texts, of_text_column
from model_kit.training.evaluation import Fitted, adopt
from model_kit.training.threshold import with_threshold
from model_kit.training.train import train

if TYPE_CHECKING:
    import pandas as pd

#: Kinds whose values an estimator takes as they are.
NUMERIC: Final = frozenset({"integer", "number", "boolean"})
#: A text that is a whole number or a decimal one.
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
#: What errors, and the card, call the data.
SOURCE: Final = "DataFrame"
_AS_REQUESTED: Final = "numbers as floats, categories as texts, dates as days"
_GIVE_UNFITTED: Final = "Give it unfitted: it learns from those"
#: Share of the rows in which a fitted estimator may predict something else of the fields than of the frame.
MOST_DIFFERENT: Final = 0.05


def save(
    estimator: Any,
    X: pd.DataFrame,  # noqa: N803 - scikit-learn's name
    y: Any,
    *,
    name: str,
    unit: str = "",
    subject: str = "record",
    scale: Literal["log", "identity"] = "identity",
    about: About | None = None,
    into: str | Path = "packages",
    runtime: Runtime = "onnx",
    keeps_rows: bool = False,
    wheel: str | Path | None = None,
    cv: bool = True,
    report: Callable[[str], None] = print,
) -> Path:
    """Write a model package of an estimator, trained on a DataFrame.

    A fitted estimator is exported as it is; an unfitted one is fitted. Either is cross-validated by clones of it.

    Args:
        estimator: a scikit-learn regressor or classifier that takes the columns of ``X`` as numbers, or chooses them by
            name, or a pipeline that begins with a vectorizer of the only column, a text. An unfitted one that does none
            of this may also be given columns of texts, booleans and dates: the kit's preprocessing is put in front.
        X: shape (n_rows, n_fields); columns are the fields, their dtypes the kinds. A Series is its only column.
        y: target, shape (n_rows,); its name is the target's name, else "target". Classes are texts, whole numbers or
            booleans, and are predicted as it has them; those of an ordered category are in its order.
        name: of the model, the last part of its URL.
        unit: unit of the target.
        subject: what one row is, a noun in the singular.
        scale: ``"log"``: an unfitted estimator is fitted on the log of the target.
        about: what people should know of the model, in words, for its card.
        into: folder of packages; the package becomes ``<into>/<name>_model``.
        runtime: what serves the model, see :class:`~model_kit.scoring.definition.ModelDefinition`.
        keeps_rows: the bundle may hold training rows, which an estimator such as nearest neighbours predicts from.
        wheel: folder for a wheel instead; the package is not kept.
        cv: cross-validate; without it the model is marked unevaluated.
        report: called with what is being done.

    Returns:
        The package's folder, or the wheel.

    Raises:
        DataError: the data cannot be used; the text names the column.
        DefinitionError: the name is taken, or the estimator has a parameter that cannot be written as source.
        ModelKitError: the model cannot be exported.
    """
    fitted = _is_fitted(estimator)
    if fitted and scale == "log":
        raise DataError('a fitted estimator predicts the target itself: scale="identity", or give it unfitted')
    with tempfile.TemporaryDirectory(prefix="save-") as temporary:
        folder = Path(into if wheel is None else temporary)
        new.check_name(name, folder)
        kind: Literal["class", "number"] = "class" if is_classifier(estimator) else "number"
        frame = _frame(X)
        is_of_texts = begins_with_texts(estimator)
        content, target, fields = _table(frame, y, is_text=is_of_texts and len(frame.columns) == 1)
        classes = _classes(y, report) if kind == "class" else ()
        for field in fields.values():
            if field.ordered:
                report(f"{field.name}: the order of its {len(field.levels)} levels is kept")
        found = new.draft_from_bytes(
            name,
            content,
            SOURCE,
            target,
            unit=unit,
            subject=subject,
            scale=None if kind == "class" else scale,
            target_kind=kind,
            classes=classes,
            kinds=fields,
            report=report,
        )
        texts = [field.name for field in found.definition.fields if field.kind not in NUMERIC]
        asked: Any = frame
        kept_as = estimator
        if fitted and is_of_texts and [field.kind for field in found.definition.fields] == ["text"]:
            asked = frame.iloc[:, 0]
            kept_as = of_text_column(estimator, frame)
        # Fitted on a DataFrame with texts in it, an estimator takes one whatever it begins with.
        is_frame = takes_frame(kept_as) or bool(set(texts) & set(getattr(kept_as, "feature_names_in_", ())))
        if fitted and texts and not is_frame:
            columns = ", ".join(map(repr, texts))
            raise DataError(f"a fitted estimator must take numbers; {columns} are no numbers. Give it unfitted")
        definition = replace(
            found.definition, about=about or found.definition.about, runtime=runtime, keeps_rows=keeps_rows
        )
        exported = None
        if fitted:
            exported = deepcopy(kept_as) if is_frame else _without_names(kept_as)
            kept = adopt(definition, found.dataset.rows, found.dataset.target, exported)
            for change in kept.changes:  # made in the estimator that is then trained with
                report(change)
            _require_same(estimator, asked, kept, found.dataset.rows, report)
        is_plain = bool(texts) or is_frame
        code = estimator_source(estimator, plain=is_plain)
        attribute = "ESTIMATOR" if is_plain else "make_estimator"
        package = new.write(replace(found, definition=definition), folder, code, attribute)
        with new.whole_or_not_at_all(package):
            definition = new.written_definition(package, found.definition.package)
            train(definition, found.dataset, definition.bundle, cv=cv, estimator=exported, report=report)
        report(f"Wrote {package}")
        return package if wheel is None else _wheel(package, Path(wheel))


def _require_same(estimator: Any, asked: Any, kept: Fitted, rows: Sequence[Row], report: Callable[[str], None]) -> None:
    """Make sure that a fitted estimator predicts of the fields what it predicts of the frame.

    A few rows may differ, and are reported: numbers are float32, so that one beside a threshold of a tree may fall on
    its other side.

    Raises:
        DataError: it does not; the text has the first row. Or it fails.
    """
    target = kept.spec.target
    try:
        predicted = np.asarray(estimator.predict(asked)).tolist()
    except Exception as error:  # an estimator may do anything wrong
        raise DataError(f"the fitted estimator fails on X: {first_line(error)}") from error
    if target.is_class:
        unknown = {class_key(one) for one in [*estimator.classes_.tolist(), *predicted]} - set(target.keys)
        if unknown:
            raise DataError(
                f"the fitted estimator has the class {min(unknown)!r}, and y only {', '.join(target.keys)}; give the y "
                "that it was fitted on, or the estimator unfitted"
            )
    try:
        found = kept.predict(rows)
    except Exception as error:  # an estimator may do anything wrong
        raise DataError(
            f"the fitted estimator fails on the fields of X as requests have them, {_AS_REQUESTED}: "
            f"{first_line(error)}. {_GIVE_UNFITTED}"
        ) from error
    if target.is_class:
        chosen = [target.keys[position] for position in decide(found, with_threshold(kept)).tolist()]
        wanted = [class_key(one) for one in predicted]
        differs = np.array(chosen) != np.array(wanted)
    else:
        differs = ~np.isclose(found, predicted, rtol=1e-3, atol=1e-3 * float(np.std(predicted)))
        chosen, wanted = ([f"{one:.6g}" for one in values] for values in (found, predicted))
    if np.mean(differs) > MOST_DIFFERENT:
        row = int(np.argmax(differs))
        raise DataError(
            f"the estimator predicts {wanted[row]} of row {row} of X, and {chosen[row]} of its fields as requests have "
            f"them: {_AS_REQUESTED}. {_GIVE_UNFITTED}"
        )
    if differs.any():
        report(
            f"{int(differs.sum()):,} of {len(differs):,} rows of X, such as row {int(np.argmax(differs))}, have "
            f"another prediction than by the estimator: {_AS_REQUESTED}, and numbers are rounded to float32"
        )


def _without_names(estimator: Any) -> Any:
    """A copy of a fitted estimator that takes an array: without the names of the frame that it was fitted on."""
    copy = deepcopy(estimator)
    found = [copy]
    for one in found:
        if isinstance(one, list | tuple):
            found += one
        elif isinstance(one, dict):
            found += one.values()
        elif isinstance(one, BaseEstimator):
            vars(one).pop("feature_names_in_", None)
            found += vars(one).values()
    return copy


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _frame(X: Any) -> pd.DataFrame:  # noqa: N803 - scikit-learn's name
    """X with names of columns that are texts; a Series of texts is a column.

    Raises:
        DataError: it is no DataFrame, has a column twice, or a number in it is infinite.
    """
    import pandas as pd  # noqa: PLC0415 - of the caller's

    if isinstance(X, pd.Series):
        X = X.to_frame("text" if X.name is None else X.name)  # noqa: N806
    if not isinstance(X, pd.DataFrame):
        raise DataError(f"X is a {type(X).__name__}, not a DataFrame, whose columns name the fields")
    names = [str(column) for column in X.columns]
    if len(set(names)) < len(names):
        raise DataError("X has a column more than once")
    frame: pd.DataFrame = X.set_axis(names, axis=1)
    for name in names:
        if pd.api.types.is_float_dtype(frame[name]):
            infinite = np.isinf(frame[name].to_numpy(float, na_value=np.nan))
            if infinite.any():
                raise DataError(f"column {name!r} of X is infinite in row {int(infinite.argmax())}")
    return frame


def _classes(y: Any, report: Callable[[str], None]) -> tuple[ClassValue, ...]:
    """The classes as y spells them, in their order: that of an ordered category, else sorted.

    Raises:
        DataError: one has no spelling that requests and files keep; the text names it.
    """
    import pandas as pd  # noqa: PLC0415 - of the caller's

    values = set(pd.Series(y).unique().tolist())
    found = {_class(one) for one in values}
    types = sorted({type(one).__name__ for one in found})
    if len(types) > 1:
        raise DataError(f"the classes of y are of more than one type ({', '.join(types)}); make texts of all of them")
    order: list[Any] = sorted(found)
    if isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        levels = y.dtype.categories.tolist()
        if unused := [str(one) for one in levels if one not in values]:
            report(f"No row of y has the class {', '.join(unused)}: it is never predicted")
        if y.dtype.ordered:
            order = [_class(one) for one in levels if one in values]
    return tuple(order)


def _class(value: Any) -> ClassValue:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str | int):
        raise DataError(f"a class of y is {value!r}; classes are texts, whole numbers or booleans")
    if isinstance(value, str) and is_null(value):
        raise DataError(f"a class of y is {value!r}, which files and requests read as no value; call it something else")
    if isinstance(value, str) and value != value.strip():
        raise DataError(f"the class {value!r} of y has blanks around it, which are no part of a text; strip them")
    return value


def _table(frame: pd.DataFrame, y: Any, *, is_text: bool) -> tuple[bytes, str, dict[str, Field]]:
    """The data as a CSV file, the target's name, and the fields whose kind the frame's dtypes, or ``is_text``, say."""
    import pandas as pd  # noqa: PLC0415 - of the caller's

    target = str(getattr(y, "name", None) or "target")
    if target in frame:
        raise DataError(f"the target {target!r} is a column of X too; leave it out of X, or give y another name")
    values = np.asarray(y)
    if values.shape != (len(frame),):
        raise DataError(f"y has the shape {values.shape}, X has {len(frame)} rows")
    if missing := int(pd.isna(values).sum()):
        raise DataError(f"y has no value in {missing:,} of {len(frame):,} rows; leave these rows out")
    if is_text:
        (name,) = frame.columns
        fields = {name: text_field(name, max(map(len, frame[name].dropna().astype(str)), default=1))}
    else:
        fields = {str(name): field for name in frame if (field := _field(str(name), frame[name])) is not None}
    table = frame.assign(**{target: values})
    text = io.StringIO()
    table.to_csv(text, index=False, na_rep="NA", lineterminator="\n")
    return text.getvalue().encode(), target, fields


def _field(name: str, column: pd.Series[Any]) -> Field | None:
    """The field that a dtype, or texts that are numbers, say; ``None`` where what the texts are is to be inferred."""
    import pandas as pd  # noqa: PLC0415 - of the caller's

    kinds = pd.api.types
    description = describe(name)
    if kinds.is_bool_dtype(column):
        return Field(name, "boolean", description)
    if kinds.is_integer_dtype(column):
        return Field(name, "integer", description)
    if kinds.is_float_dtype(column):
        return Field(name, "number", description)
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = column.cat.categories
        levels = tuple(Level(str(one).strip(), str(one).strip()) for one in known) if column.cat.ordered else ()
        whole = bool(kinds.is_integer_dtype(known.dtype))
        return Field(name, "category", description, levels=levels, ordered=bool(levels), numeric_codes=whole)
    texts = column.dropna().unique().tolist()
    if 0 < len(texts) <= FEW_LEVELS and all(isinstance(one, str) and _NUMBER.fullmatch(one) for one in texts):
        # Numbers that are texts are codes: an encoder of texts has learned them so.
        return Field(name, "category", description, numeric_codes=all(one == str(int(float(one))) for one in texts))
    return None


def _wheel(package: Path, folder: Path) -> Path:
    """Build the wheel of a package.

    Raises:
        ModelKitError: it cannot be built; the text has the builder's last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder.resolve())]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelKitError(f"the wheel could not be built: {(done.stderr or done.stdout).strip()[-500:]}")
    return max(folder.glob(f"{package.name}-*.whl"), key=lambda path: path.stat().st_mtime)
