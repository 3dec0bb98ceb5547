"""The table of estimators in docs/own-model.md is what training does.

``python test_estimator_table.py`` writes it anew, with measured times.
"""

from __future__ import annotations

import inspect
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from model_kit.errors import ExportError, TrainingError
from model_kit.records.encoding import Encoded
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.runtimes import Runtime, make_runtime
from model_kit.spec import Field, Row, Target
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import fit
from model_kit.training.export import Export, export
from model_kit.training.verdict import judge, sentence
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVR, LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators
from xgboost import XGBRegressor

DOCS: Final = Path(__file__).parents[3] / "docs" / "own-model.md"
BLOCK: Final = re.compile(r"(<!-- exported -->\n).*?(<!-- /exported -->)", re.DOTALL)
HEADER: Final = (
    "| Estimator | Served as | µs for one row | rows/s | MB | Remark |\n| --- | --- | --: | --: | --: | --- |\n"
)
N_ROWS: Final = 150
NUMBERS, TEXTS = ["area", "rooms", "age"], ["town", "heating"]
FIELDS: Final = (
    *(Field(name, "number", "", minimum=0) for name in NUMBERS),
    *(Field(name, "category", "") for name in TEXTS),
    Field("garden", "boolean", ""),
)


def _table() -> tuple[list[Row], Any]:
    random = np.random.default_rng(5)
    numbers = np.column_stack(
        [random.normal(80, 20, N_ROWS).round(1), random.integers(1, 6, N_ROWS), random.integers(0, 100, N_ROWS)]
    )
    towns, heating = random.choice(["Bonn", "Köln", "Ulm"], N_ROWS), random.choice(["gas", "oil"], N_ROWS)
    rents = 300 + 10 * numbers[:, 0] + 50 * numbers[:, 1] - numbers[:, 2] + 100 * (towns == "Köln")
    words = {"Bonn": "quiet street near the river", "Köln": "bright rooms near the cathedral", "Ulm": "near the tower"}
    rows: list[Row] = [
        {"area": area, "rooms": rooms, "age": age, "town": str(town), "heating": str(fuel), "garden": bool(garden)}
        | {"notes": f"{words[str(town)]}, {fuel}"}
        for (area, rooms, age), town, fuel, garden in zip(
            numbers.tolist(), towns, heating, random.random(N_ROWS) < 0.4, strict=True
        )
    ]
    return rows, rents + random.normal(0, 20, N_ROWS)


ROWS, RENTS = _table()
#: Position of the class of each flat, about a third each of three.
CLASSES: Final = np.digitize(RENTS, np.quantile(RENTS, [1 / 3, 2 / 3]))


def data(kind: str) -> Dataset:
    """The table, with the rent as target, with its class, of three, or with one of two."""
    ids = tuple(map(str, range(N_ROWS)))
    targets = {"regressor": RENTS, "binary": CLASSES.clip(0, 1)}
    return Dataset("flats", "0" * 64, True, ids, tuple(ROWS), targets.get(kind, CLASSES))


def definition(estimator: Any, kind: str, runtime: Any = "onnx") -> ModelDefinition:
    """A model of that table."""
    target = Target("rent")
    if kind != "regressor":
        classes = ("low", "other") if kind == "binary" else ("low", "middle", "high")
        target = Target("level", kind="class", classes=classes)
    notes = Field("notes", "text", "")
    fields = {"text": (notes,), "text and others": (*FIELDS, notes)}.get(kind, FIELDS)
    return ModelDefinition("flats", target, fields, estimator, package="model_kit.testing", runtime=runtime)


def scikit_learns_own() -> dict[str, tuple[str, Any]]:
    """Name -> kind and an estimator of each class of regressors and classifiers, with its defaults."""
    found = {}
    for kind, inner in (("regressor", Ridge()), ("classifier", LogisticRegression())):
        for name, make in all_estimators(type_filter=kind):
            given = {
                "estimator": inner,
                "estimators": [("linear", inner), ("again", inner)],
            }
            needed = {
                key: given[key]
                for key, one in inspect.signature(make).parameters.items()
                if one.default is inspect.Parameter.empty or (key == "estimator" and name == "SelfTrainingClassifier")
            }
            random = {"random_state": 0} if "random_state" in inspect.signature(make).parameters else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some are on their way out
                found[name] = (kind, make(**needed, **random))
    return found


def columns(numbers: Any = None, texts: Any = None) -> ColumnTransformer:
    """Numbers imputed and scaled, texts as indicators, chosen by name."""
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("numbers", numbers or scaled, NUMBERS), ("texts", texts or OneHotEncoder(handle_unknown="ignore"), TEXTS)]
    return ColumnTransformer(parts)


def _imputed(transformer: Any) -> Pipeline:
    return make_pipeline(SimpleImputer(), transformer)


_BY_DTYPE: Final = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=np.number)),
        ("texts", OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
    ]
)
_CODES: Final = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
_FREQUENT: Final = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
_FOREST: Final = RandomForestRegressor(30, random_state=0)
_RIDGE_AND_TREE: Final = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]

#: Name -> kind and pipeline; "columns" are :func:`columns`.
PIPELINES: Final[dict[str, tuple[str, Any]]] = {
    name: ("classifier" if "lassifi" in name or "LogisticRegression" in name else "regressor", estimator)
    for name, estimator in {
        "columns, Ridge": make_pipeline(columns(), Ridge()),
        "columns by dtype, Lasso": make_pipeline(_BY_DTYPE, Lasso()),
        "columns with the most frequent text imputed, Ridge": make_pipeline(columns(texts=_FREQUENT), Ridge()),
        "OrdinalEncoder in columns, RandomForestRegressor": make_pipeline(columns("passthrough", _CODES), _FOREST),
        "OrdinalEncoder in columns, HistGradientBoostingRegressor": make_pipeline(
            columns("passthrough", _CODES), HistGradientBoostingRegressor(random_state=0)
        ),
        "HistGradientBoostingRegressor, categories by name": HistGradientBoostingRegressor(
            categorical_features=TEXTS, random_state=0
        ),
        "columns, GradientBoostingRegressor": make_pipeline(columns(), GradientBoostingRegressor(random_state=0)),
        "columns, LGBMRegressor": make_pipeline(columns(), LGBMRegressor(verbose=-1, random_state=0)),
        "columns, XGBRegressor": make_pipeline(columns(), XGBRegressor(n_estimators=50, random_state=0)),
        "TransformedTargetRegressor(log1p) of columns, Ridge": TransformedTargetRegressor(
            make_pipeline(columns(), Ridge()), func=np.log1p, inverse_func=np.expm1
        ),
        "TransformedTargetRegressor(log) of columns, RandomForestRegressor": TransformedTargetRegressor(
            make_pipeline(columns("passthrough"), _FOREST), func=np.log, inverse_func=np.exp
        ),
        "TransformedTargetRegressor(QuantileTransformer) of columns, Ridge": TransformedTargetRegressor(
            make_pipeline(columns(), Ridge()), transformer=QuantileTransformer(n_quantiles=50)
        ),
        "columns, StackingRegressor": make_pipeline(columns(), StackingRegressor(_RIDGE_AND_TREE, RidgeCV(), cv=3)),
        "columns, VotingRegressor": make_pipeline(columns(), VotingRegressor(_RIDGE_AND_TREE)),
        "columns, BaggingRegressor": make_pipeline(columns(), BaggingRegressor(Ridge(), 5, random_state=0)),
        "columns, PCA, LinearRegression": make_pipeline(
            columns(texts=OneHotEncoder(handle_unknown="ignore", sparse_output=False)), PCA(4), LinearRegression()
        ),
        "columns, SelectKBest, Ridge": make_pipeline(columns(), SelectKBest(f_regression, k=4), Ridge()),
        "columns, SelectFromModel, Ridge": make_pipeline(columns(), SelectFromModel(Lasso()), Ridge()),
        "SplineTransformer in columns, Ridge": make_pipeline(
            columns(_imputed(SplineTransformer(extrapolation="linear"))), Ridge()
        ),
        "PolynomialFeatures in columns, Ridge": make_pipeline(
            columns(make_pipeline(SimpleImputer(), PolynomialFeatures(2), StandardScaler())), Ridge()
        ),
        "KBinsDiscretizer in columns, Ridge": make_pipeline(
            columns(_imputed(KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"))), Ridge()
        ),
        "TargetEncoder in columns, Ridge": make_pipeline(
            columns(texts=TargetEncoder(cv=KFold(5, shuffle=True, random_state=0))), Ridge()
        ),
        "PowerTransformer in columns, ElasticNet": make_pipeline(columns(_imputed(PowerTransformer())), ElasticNet()),
        "FunctionTransformer(log1p) in columns, Ridge": make_pipeline(
            columns(_imputed(FunctionTransformer(np.log1p))), Ridge()
        ),
        "GridSearchCV of columns, Ridge": GridSearchCV(
            make_pipeline(columns(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=3
        ),
        "columns, MLPRegressor": make_pipeline(
            columns(), MLPRegressor(hidden_layer_sizes=(20,), max_iter=200, random_state=0)
        ),
        "columns, PoissonRegressor": make_pipeline(columns(), PoissonRegressor()),
        "columns, KNeighborsRegressor": make_pipeline(columns(), KNeighborsRegressor()),
        "columns, SVR": make_pipeline(columns(), SVR()),
        "columns, LogisticRegression": make_pipeline(columns(), LogisticRegression(max_iter=1000)),
        "columns, RandomForestClassifier": make_pipeline(columns(), RandomForestClassifier(30, random_state=0)),
        "OrdinalEncoder in columns, HistGradientBoostingClassifier": make_pipeline(
            columns("passthrough", _CODES), HistGradientBoostingClassifier(random_state=0)
        ),
        "columns, LGBMClassifier": make_pipeline(columns(), LGBMClassifier(verbose=-1, random_state=0)),
        "CalibratedClassifierCV of columns, LinearSVC": CalibratedClassifierCV(
            make_pipeline(columns(), LinearSVC(random_state=0)), cv=3
        ),
    }.items()
} | {
    "TfidfVectorizer, LogisticRegression": ("text", make_pipeline(TfidfVectorizer(), LogisticRegression())),
    "CountVectorizer, MultinomialNB": ("text", make_pipeline(CountVectorizer(), MultinomialNB())),
    "TfidfVectorizer beside columns, LogisticRegression": (
        "text and others",
        make_pipeline(
            ColumnTransformer([*columns().transformers, ("notes", TfidfVectorizer(), "notes")]),
            LogisticRegression(max_iter=1000),
        ),
    ),
}


ALL: Final = {**scikit_learns_own(), **PIPELINES}
#: Remark on an estimator whose bundle holds training rows.
KEEPS_ROWS: Final = "It keeps training rows: the definition must say `keeps_rows=True`."
#: Least share of those that can be fitted that are served, and that ONNX Runtime serves.
SERVED, BY_ONNX = 0.95, 0.6


@dataclass(frozen=True)
class Found:
    """What became of an estimator."""

    served: str
    remark: str = ""
    exported: Export | None = None


def find(name: str) -> Found:
    """Fit an estimator and export it: to ONNX, or else, as its package would declare, for scikit-learn."""
    kind, estimator = ALL[name]
    if kind == "classifier" and (found := _find(estimator, kind)).served != "not fitted":
        return found
    return _find(estimator, "binary" if kind == "classifier" else kind)


def _find(estimator: Any, kind: str) -> Found:
    dataset = data(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = fit(definition(estimator, kind), dataset.rows, dataset.target)
        except TrainingError as error:
            return Found("not fitted", _shown(str(error).partition("fitted: ")[2]))
        try:
            exported = export(fitted, dataset.rows)
            return Found(judge(exported).served, "", exported)
        except ExportError as error:
            reason = _reason(sentence(error))
        try:
            fitted = fit(definition(estimator, kind, "scikit-learn"), dataset.rows, dataset.target)
            exported = export(fitted, dataset.rows, "scikit-learn", keeps_rows=True)
            return Found("scikit-learn", KEEPS_ROWS if exported.runtime.get("keeps_rows") else reason, exported)
        except ExportError as error:
            return Found("refused", _shown(str(error).removeprefix("nothing was exported: ")))


def _reason(text: str) -> str:
    """Why there is no graph, in the words of the table."""
    if text.startswith("row "):
        return "The graph of skl2onnx does not predict what scikit-learn does."
    if "not finite" in text or "itself fails" in text:
        return _shown(text)
    return "It has neither a rule for folding nor a converter in skl2onnx that works."


def _shown(text: str) -> str:
    """One sentence, in one cell."""
    text = text.partition(". Note that")[0].replace("|", "/").strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


@pytest.fixture(scope="module")
def documented() -> Mapping[str, tuple[str, str]]:
    """Name -> how it is served and the remark, as the docs have it."""
    block = BLOCK.search(DOCS.read_text("utf-8"))
    assert block, "docs/own-model.md has no table of estimators"
    return _rows(block[0])


def _rows(text: str) -> dict[str, tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: (served, remark) for name, served, _, _, _, remark in rows}


def summary(rows: Mapping[str, tuple[str, str]]) -> str:
    """The sentence above the table."""
    fitted = [one for one in rows.values() if one[0] != "not fitted"]
    counts = {
        kind: sum(served == kind for served, _ in fitted) for kind in ("folded", "ONNX", "scikit-learn", "refused")
    }
    keep = sum(remark == KEEPS_ROWS for _, remark in fitted)
    return (
        f"Of {len(fitted)} that can be fitted on it {counts['folded']} are folded, {counts['ONNX']} are ONNX, "
        f"{counts['scikit-learn']} need scikit-learn, {keep} of them because they keep training rows, and "
        f"{counts['refused']} are refused.\n\n"
    )


@pytest.mark.parametrize("name", ALL)
def test_documented_verdict_is_what_training_gives(name: str, documented: Mapping[str, tuple[str, str]]) -> None:
    found = find(name)
    assert documented[name] == (found.served, found.remark)


def test_table_has_every_estimator_and_nothing_else(documented: Mapping[str, tuple[str, str]]) -> None:
    assert list(documented) == list(ALL)


def test_sentence_above_the_table_counts_it(documented: Mapping[str, tuple[str, str]]) -> None:
    assert summary(documented) in DOCS.read_text("utf-8")


def test_nearly_all_are_served_and_most_by_onnx(documented: Mapping[str, tuple[str, str]]) -> None:
    fitted = [one for one in documented.values() if one[0] != "not fitted"]
    by_onnx = [served for served, _ in fitted if served in {"folded", "ONNX"}]
    refused = [served for served, _ in fitted if served == "refused"]
    assert len(by_onnx) >= BY_ONNX * len(fitted)
    assert len(refused) <= (1 - SERVED) * len(fitted)


def table() -> str:
    """The table as markdown."""
    lines = [HEADER]
    for name in ALL:
        found = find(name)
        lines.append(f"| {name} | {found.served} | {_cost(found)} | {found.remark} |\n".replace("|  |", "| |"))
        print(lines[-1], end="", flush=True)  # noqa: T201 - it takes minutes
    return "".join(lines)


def _cost(found: Found) -> str:
    if found.exported is None:
        return "| |"
    features = found.exported.fitted.features
    runtime = make_runtime(found.exported.runtime, found.exported.content, features)
    encoded = np.repeat(features.encode(ROWS), 10, axis=0)[:1000]
    one, many = _seconds(runtime, encoded[:1]), _seconds(runtime, encoded)
    per_second = float(f"{len(encoded) / many:.2g}")
    return f"{one * 1e6:,.0f} | {per_second:,.0f} | {len(found.exported.content) / 1e6:.2f}"


def _seconds(runtime: Runtime, encoded: Encoded, n_tries: int = 5) -> float:
    """Seconds of a call, the quickest of some tries of a tenth of a second."""
    best, calls = np.inf, 1
    for _ in range(n_tries):
        start = time.perf_counter()
        for _ in range(calls):
            runtime.raw(encoded)
        seconds = (time.perf_counter() - start) / calls
        best, calls = min(best, seconds), max(1, min(int(0.1 / seconds), 5000))
    return best


if __name__ == "__main__":
    lines = table()
    written: Any = summary(_rows(lines)) + lines
    DOCS.write_text(BLOCK.sub(lambda block: block[1] + written + block[2], DOCS.read_text("utf-8")), "utf-8")
