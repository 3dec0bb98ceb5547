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
from model_kit.scaffold import new
from model_kit.scaffold.estimator_source import estimator_source
from model_kit.scoring.definition import Runtime
from model_kit.spec import Field, Row, class_key
from model_kit.spec.inference import FEW_LEVELS, describe
from model_kit.training.estimators.parts import takes_frame
from model_kit.training.evaluation import Fitted, adopt
from model_kit.training.train import train

if TYPE_CHECKING:
    import pandas as pd

#: Kinds whose values an estimator takes as they are.
NUMERIC: Final = frozenset({"integer", "number", "boolean"})
#: A text that is a whole number or a decimal one.
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
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
            name. An unfitted one that does neither may also be given columns of texts, booleans and dates: the kit's
            preprocessing is put in front of it.
        X: shape (n_rows, n_fields); columns are the fields, their dtypes the kinds.
        y: target, shape (n_rows,); its name is the target's name, else "target".
        name: of the model, the last part of its URL.
        unit: unit of the target.
        subject: what one row is, a noun in the singular.
        scale: ``"log"``: an unfitted estimator is fitted on the log of the target.
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
        content, target, fields = _table(X, y)
        kind: Literal["class", "number"] = "class" if is_classifier(estimator) else "number"
        found = new.draft_from_bytes(
            name,
            content,
            f"{name}.csv",
            target,
            unit=unit,
            subject=subject,
            scale=None if kind == "class" else scale,
            target_kind=kind,
            kinds=fields,
            report=report,
        )
        texts = [field.name for field in found.definition.fields if field.kind not in NUMERIC]
        # Fitted on a DataFrame with texts in it, an estimator takes one whatever it begins with.
        is_frame = takes_frame(estimator) or bool(set(texts) & set(getattr(estimator, "feature_names_in_", ())))
        if fitted and texts and not is_frame:
            columns = ", ".join(map(repr, texts))
            raise DataError(f"a fitted estimator must take numbers; {columns} are no numbers. Give it unfitted")
        definition = replace(found.definition, runtime=runtime, keeps_rows=keeps_rows)
        exported = None
        if fitted:
            exported = deepcopy(estimator) if is_frame else _without_names(estimator)
            kept = adopt(definition, found.dataset.rows, found.dataset.target, exported)
            _require_same(estimator, X, kept, found.dataset.rows)
        is_plain = bool(texts) or is_frame
        code = estimator_source(estimator, plain=is_plain)
        attribute = "ESTIMATOR" if is_plain else "make_estimator"
        package = new.write(replace(found, definition=definition), folder, code, attribute)
        with new.whole_or_not_at_all(package):
            definition = new.written_definition(package, found.definition.package)
            train(definition, found.dataset, definition.bundle, cv=cv, estimator=exported, report=report)
        report(f"Wrote {package}")
        return package if wheel is None else _wheel(package, Path(wheel))


def _require_same(estimator: Any, frame: pd.DataFrame, kept: Fitted, rows: Sequence[Row]) -> None:
    """Make sure that a fitted estimator predicts of the fields what it predicts of the frame.

    A few rows may differ: numbers are float32, so that one beside a threshold may fall on its other side.

    Raises:
        DataError: it does not; the text has the first row. Or it fails.
    """
    target = kept.spec.target
    try:
        if target.is_class:
            predicted = [class_key(one) for one in np.asarray(estimator.predict(frame)).tolist()]
            expected = np.array([target.keys.index(one) for one in predicted], float)
            found = kept.predict(rows).argmax(axis=1).astype(float)
        else:
            expected, found = np.asarray(estimator.predict(frame), float), kept.predict(rows)
    except Exception as error:  # an estimator may do anything wrong
        raise DataError(f"the fitted estimator fails on X: {first_line(error)}") from error
    differs = ~np.isclose(found, expected, rtol=1e-3, atol=1e-3 * float(np.std(expected)))
    if np.mean(differs) > MOST_DIFFERENT:
        row = int(np.argmax(differs))
        raise DataError(
            f"the estimator predicts {expected[row]:.6g} of row {row} of X, and {found[row]:.6g} of its fields as "
            "requests have them: numbers as floats, categories as texts, dates as days. Give it unfitted: it learns "
            "from those"
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


def _table(frame: pd.DataFrame, y: Any) -> tuple[bytes, str, dict[str, Field]]:
    """The data as a CSV file, the target's name, and the fields whose kind the frame's dtypes say."""
    import pandas as pd  # noqa: PLC0415 - of the caller's

    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"X is a {type(frame).__name__}, not a DataFrame, whose columns name the fields")
    names = [str(column) for column in frame.columns]
    target = str(getattr(y, "name", None) or "target")
    if target in names:
        raise DataError(f"the target {target!r} is a column of X too; leave it out of X, or give y another name")
    if len(set(names)) < len(names):
        raise DataError("X has a column more than once")
    values = np.asarray(y)
    if values.shape != (len(frame),):
        raise DataError(f"y has the shape {values.shape}, X has {len(frame)} rows")
    table = frame.set_axis(names, axis=1)
    fields = {column: field for column in names if (field := _field(column, table[column])) is not None}
    table = table.assign(**{target: values})
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
        whole = kinds.is_integer_dtype(column.cat.categories.dtype)
        return Field(name, "category", description, numeric_codes=bool(whole))
    levels = column.dropna().unique().tolist()
    if 0 < len(levels) <= FEW_LEVELS and all(isinstance(one, str) and _NUMBER.fullmatch(one) for one in levels):
        # Numbers that are texts are codes: an encoder of texts has learned them so.
        return Field(name, "category", description, numeric_codes=all(one == str(int(float(one))) for one in levels))
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
