"""A model as ONNX alone: its graph, what has to be done before and after it, and a script that does just that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_kit.errors import ExportError
from model_kit.exports.numpy_source import numpy_source
from model_kit.records.encoding import Encoder
from model_kit.records.features import default_derive
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, SPEC, Bundle, dump_json
from model_kit.scoring.calibration import Calibration
from model_kit.scoring.classes import MOST_LOG_ODDS, lowest_positive
from model_kit.scoring.decoding import FrameMaker
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.runtimes import make_features
from model_kit.spec import Field, Row

#: Rows beside the golden one on which the script must agree with the predictor, their seed, and by how much it may not.
N_CHECKED: Final = 300
SEED: Final = 20240
_SHARES: Final = {"nulls": 0.1, "unseen": 0.1, "extremes": 0.1}
#: Beyond the tolerance of the export, which the graph has been held to: threads add up float32 in another order.
TOLERANCE: Final = 1e-6

_SCORE: Final = '''\
"""Scores records with NumPy and ONNX Runtime: python score.py records.json, an array of objects. See README.md."""
import json, sys
{datetime}from pathlib import Path
import numpy as np, onnxruntime
from derive import derive
from finish import finish

FIELDS = json.loads(Path(__file__).with_name("spec.json").read_text("utf-8"))["fields"]
SESSION = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"), providers=["CPUExecutionProvider"])

def encode(field, value):
    if value is None or str(value).strip() in ("", "NA"):
        return np.nan
{encode}    return min(max(float(value), -1e12), 1e12)

def predict(records):
    encoded = np.array([[encode(field, record.get(field["name"])) for field in FIELDS] for record in records])
    return finish(SESSION.run(None, {{SESSION.get_inputs()[0].name: derive(encoded).astype(np.float32)}})[-1])

if __name__ == "__main__":
    print(json.dumps(predict(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
'''
_ENCODE_CATEGORY: Final = """\
    if field["kind"] == "category":
        return field["learned"]["codes"].get({level}, -1)
"""
_LEVEL: Final = "str(value).strip()"
_CODE_LEVEL: Final = 'str(value).strip().removesuffix(".0" if field.get("numeric_codes") else "")'
_ENCODE_DATE: Final = """\
    if field["kind"] in ("date", "datetime"):
        moment = datetime.fromisoformat(value)
        since = (moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment) - datetime(1970, 1, 1)
        return since.days + (since.seconds * 1000 + since.microseconds // 1000) / 86_400_000
"""

_FINISH_NUMBER: Final = '''\
"""From what the graph gives to predictions, in float64."""
import numpy as np

OFFSET = {offset!r}


def finish(scores):
    """Predictions in the target's unit from the graph's last output, shape (n_rows, 1)."""
    values = scores.reshape(len(scores), -1)[:, 0].astype(np.float64) + OFFSET
    return {values}.tolist()
'''
_FINISH_CLASS: Final = '''\
"""From what the graph gives to calibrated probabilities and classes, in float64."""
import numpy as np

CLASSES = {classes!r}
# Of which classes the graph's columns are, by position; of two classes one column is about the second.
COLUMNS = {columns!r}
# Log-odds before and after calibration, between which lines are drawn: of the second of two classes, or of each.
CALIBRATION = {calibration!r}
# Of two classes, the position of the positive one, and the probability from which on it is predicted.
POSITIVE, LOWEST_POSITIVE = {positive!r}


def sigmoid(odds):
    return 1 / (1 + np.exp(-np.clip(odds, -{most}, {most})))


def log_odds(probabilities):
    with np.errstate(divide="ignore"):
        return np.clip(np.log(probabilities) - np.log1p(-probabilities), -{most}, {most})


def finish(scores):
    """Class and probabilities of each row from the graph's last output, shape (n_rows, n_columns)."""
    scores = scores.reshape(len(scores), -1).astype(np.float64)
    if scores.shape[1] == 1:
        second = {one_column}
        found = np.column_stack([1 - second, second])
    else:
        scores = {columns_of_classes}
        found = np.zeros((len(scores), len(CLASSES)))
        found[:, COLUMNS] = scores / scores.sum(axis=1, keepdims=True)
    if len(CALIBRATION) == 1:
        second = sigmoid(np.interp(log_odds(found[:, 1]), *CALIBRATION[0]))
        found = np.column_stack([1 - second, second])
    elif CALIBRATION:
        each = zip(log_odds(found).T, CALIBRATION)
        found = np.column_stack([sigmoid(np.interp(odds, *table)) for odds, table in each])
        found = found / found.sum(axis=1, keepdims=True)
    chosen = found.argmax(axis=1)
    if len(CLASSES) == 2:
        chosen = np.where(found[:, POSITIVE] >= LOWEST_POSITIVE, POSITIVE, 1 - POSITIVE)
    return [
        {{"prediction": CLASSES[place], "probabilities": dict(zip({keys!r}, row))}}
        for place, row in zip(chosen.tolist(), found.tolist())
    ]
'''
_ENCODINGS: Final = {
    "integer": "the number; bounded by ±1e12",
    "number": "the number; bounded by ±1e12",
    "category": "its code in `learned.codes`; -1 for a level that is not there. Blanks around it are no part of it. "
    'With `numeric_codes` the level is a whole number: 20, 20.0 and "20" are the level "20"',
    "boolean": "0 or 1",
    "date": "days since 1970-01-01",
    "datetime": "days since 1970-01-01, cut to milliseconds; in UTC where the field has `time_zone`",
}
_README: Final = """\
# {name} {version} as ONNX

{notice}Made by `model-kit export onnx`. `score.py` needs NumPy and ONNX Runtime, and nothing of model-kit:

    pip install numpy onnxruntime
    python score.py records.json

`records.json` is an array of objects, a key for each field of `spec.json`; a missing key and null are no value. It
prints {predicted} for each. `golden.json` has a row with the prediction that it must have.

## Before the graph

1. **What is valid** is not judged here: required fields ({required}) must have a value, numbers keep to `minimum` and
   `maximum`, dates are ISO 8601. Whoever calls the script sees to that; the graph itself gives a number for anything.
2. **Encode** a record as a row of float64, a column for each field in the order of `fields` in `spec.json`. No value, a
   blank text and "NA" are NaN; else

| kind | encoded as |
| --- | --- |
{encodings}

3. **Derive** the features with `derive.py`: NumPy's operations one by one, as they were recorded from the model's own
   code, and compared with it. It takes the encoded matrix, (n_rows, n_fields), and returns (n_rows, n_features), where
   NaN stays what is not known. A row's features depend on that row alone.
4. **Cast** the features to float32: the graph's one input. It has any number of rows.

## The graph

`model.onnx`; its last output is what counts. It replaces what is missing, scales, encodes and scores.

## After the graph

{after}

`card.json` has the model's scores, `intervals` or `sets` for ranges (docs/contracts.md of model-kit says how they are
applied), and what it was trained on.
"""


def write_onnx(definition: ModelDefinition, bundle: Bundle, folder: Path) -> None:
    """Write the model to ``folder``, which must not be there yet.

    Before anything is kept, the script that is written is run, and its predictions are held to the predictor's.

    Args:
        definition: the model's.
        bundle: its bundle.
        folder: is made.

    Raises:
        ExportError: the model cannot be scored by a graph and NumPy alone; the text says why.
    """
    card = bundle.json(CARD)
    model = BundleModel(bundle, definition.derive, definition.version)
    _refuse(definition, card, model)
    derive = _derive_source(definition, card, model)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary, "new")
        new.mkdir()
        for name in (MODEL, SPEC, CARD, GOLDEN):
            (new / name).write_bytes(bundle.files[name])
        (new / "derive.py").write_text(derive, "utf-8")
        (new / "finish.py").write_text(_finish_source(card, model), "utf-8")
        (new / "score.py").write_text(_score_source(model.spec.fields), "utf-8")
        (new / "README.md").write_text(_readme(definition, model, card), "utf-8")
        _check(new, model)
        shutil.rmtree(new / "__pycache__", ignore_errors=True)
        new.rename(folder)


def _refuse(definition: ModelDefinition, card: dict[str, Any], model: BundleModel) -> None:
    served = card.get("runtime") or {}
    why = None
    if served.get("kind") == "scikit-learn":
        why = "scikit-learn serves it; it has no graph"
    elif texts := [field.name for field in model.spec.fields if field.kind == "text"]:
        why = f"{', '.join(texts)}: texts become numbers by code of model-kit, outside of the graph"
    elif served.get("input") == "frame" and not served.get("folded"):
        why = "its graph is not folded, and takes the columns of a DataFrame, imputed by code of model-kit"
    if why:
        raise ExportError(f"the model {definition.name} cannot be scored by ONNX and NumPy alone: {why}")


def _derive_source(definition: ModelDefinition, card: dict[str, Any], model: BundleModel) -> str:
    features = make_features(card, model.spec, definition.derive)
    function = features.derive if isinstance(features, FrameMaker) else definition.derive or default_derive(model.spec)
    example = Encoder(model.spec)(_rows(model)[:7])
    try:
        source = numpy_source(function, example)
    except ExportError as error:
        raise ExportError(
            f"the model {definition.name} cannot be scored by ONNX and NumPy alone: its derived features are made by "
            f"code that cannot be written as NumPy source: {error}"
        ) from error
    named = "".join(f"\n    {position:3}  {name}" for position, name in enumerate(model.spec.names))
    return (
        f'"""From encoded values to what the graph takes.\n\nColumns of the encoded matrix:\n{named}\n"""\n'
        f"import numpy as np\n\n\n{source}"
    )


def _score_source(fields: tuple[Field, ...]) -> str:
    encode = ""
    if any(field.kind == "category" for field in fields):
        has_codes = any(field.numeric_codes for field in fields)
        encode += _ENCODE_CATEGORY.format(level=_CODE_LEVEL if has_codes else _LEVEL)
    has_dates = any(field.is_temporal for field in fields)
    encode += _ENCODE_DATE * has_dates
    return _SCORE.format(encode=encode, datetime="from datetime import UTC, datetime\n" * has_dates)


def _finish_source(card: dict[str, Any], model: BundleModel) -> str:
    target, served = model.spec.target, card.get("runtime") or {}
    if not target.is_class:
        values = "np.exp(values)" if target.scale == "log" else "values"
        return _FINISH_NUMBER.format(offset=target.offset, values=values)
    is_odds = served.get("output") == "log_odds"
    two = len(target.classes) == 2
    tables = Calibration.from_card(card).tables
    return _FINISH_CLASS.format(
        classes=list(target.classes),
        keys=list(target.keys),
        columns=served.get("classes") or list(range(len(target.classes))),
        calibration=[[before.tolist(), after.tolist()] for before, after in tables],
        positive=(target.positive_position, lowest_positive(target)) if two else (None, None),
        most=MOST_LOG_ODDS,
        one_column="sigmoid(scores[:, 0])" if is_odds else "np.clip(scores[:, 0], 0, 1)",
        columns_of_classes="np.exp(scores - scores.max(axis=1, keepdims=True))" if is_odds else "np.maximum(scores, 0)",
    )


def _rows(model: BundleModel) -> list[Row]:
    """The golden row and made-up ones: with missing values, levels never seen and values beyond training."""
    return [model.golden["row"], *generate_rows(model.spec, N_CHECKED, seed=SEED, **_SHARES)]


def _check(folder: Path, model: BundleModel) -> None:
    """Hold the script's predictions to the predictor's.

    Raises:
        ExportError: it fails, or differs.
    """
    rows = _rows(model)
    given = folder / "rows.json"
    given.write_bytes(dump_json([dict(row) for row in rows]))
    command = [sys.executable, str(folder / "score.py"), str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    given.unlink()
    if done.returncode:
        raise ExportError(f"nothing was exported: the script that scores without model-kit fails:\n{done.stderr}")
    found, target = json.loads(done.stdout), model.spec.target
    if target.is_class:
        answer = Predictor(model)(rows)
        same = answer.predictions == [one["prediction"] for one in found]
        numbers = np.array([[one["probabilities"][key] for key in target.keys] for one in found])
        expected = answer.scores
    else:
        same, numbers, expected = True, np.array(found), model.predict(rows)
    # Written so that NaN is refused, too.
    if not (same and np.allclose(numbers, expected, rtol=TOLERANCE, atol=TOLERANCE)):
        worst = int(np.argmax(np.abs(numbers - expected).reshape(len(rows), -1).max(axis=1)))
        raise ExportError(
            f"nothing was exported: the script that scores without model-kit predicts {found[worst]} for row {worst} "
            f"of {len(rows)} made-up rows, and the model {expected[worst]}; its derive decides by values or by the "
            "number of rows, which cannot be written as NumPy source"
        )


def _readme(definition: ModelDefinition, model: BundleModel, card: dict[str, Any]) -> str:
    target = model.spec.target
    kinds = {field.kind for field in model.spec.fields}
    encodings = "\n".join(f"| {kind} | {text} |" for kind, text in _ENCODINGS.items() if kind in kinds)
    after = (
        "`finish.py`: the last output, probabilities or log-odds of classes, becomes probabilities in float64; these "
        "are calibrated by the tables in it, between whose log-odds lines are drawn, and made to sum to 1. "
        + (
            f"{target.classes[target.positive_position]!r} is predicted from its threshold on."
            if len(target.classes) == 2
            else "The most probable class is predicted."
        )
        if target.is_class
        else f"`finish.py`: to the last output, in float64, the offset {target.offset!r} is added"
        + (", and the exponential taken" if target.scale == "log" else "")
        + f". That is the prediction{f' in {target.unit}' if target.unit else ''}."
    )
    notice = "**Trained on synthetic data: its predictions mean nothing.**\n\n" if card["data"]["synthetic"] else ""
    return _README.format(
        name=definition.name,
        version=definition.version,
        notice=notice,
        required=", ".join(model.spec.required) or "none",
        encodings=encodings,
        after=after,
        predicted="a class with its probabilities" if target.is_class else "a number",
    )
