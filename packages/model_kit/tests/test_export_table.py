"""The table of what can be exported, in docs/own-model.md, is what the export does.

``python test_export_table.py`` writes it anew.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from model_kit.errors import ExportError
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Row, Target
from model_kit.training.evaluation import fit
from model_kit.training.export import to_onnx
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler
from sklearn.svm import SVR, LinearSVR
from sklearn.tree import DecisionTreeRegressor

DOCS: Final = Path(__file__).parents[3] / "docs" / "own-model.md"
BLOCK: Final = re.compile(r"(<!-- exported -->\n).*?(<!-- /exported -->)", re.DOTALL)
HEADER: Final = "| Estimator | Export | Remark |\n| --- | --- | --- |\n"

STACK: Final = [("linear", Ridge()), ("trees", DecisionTreeRegressor(max_depth=3, random_state=0))]
ESTIMATORS: Final[dict[str, Any]] = {
    "LinearRegression": LinearRegression(),
    "Ridge, RidgeCV": make_pipeline(StandardScaler(), RidgeCV()),
    "Lasso, LassoCV": make_pipeline(StandardScaler(), LassoCV(cv=3)),
    "ElasticNet": ElasticNet(0.01),
    "BayesianRidge": BayesianRidge(),
    "HuberRegressor": make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000)),
    "DecisionTreeRegressor": DecisionTreeRegressor(max_depth=5, random_state=0),
    "RandomForestRegressor": RandomForestRegressor(10, random_state=0),
    "ExtraTreesRegressor": ExtraTreesRegressor(10, random_state=0),
    "GradientBoostingRegressor": GradientBoostingRegressor(n_estimators=20, random_state=0),
    "HistGradientBoostingRegressor": HistGradientBoostingRegressor(max_iter=20, random_state=0),
    "VotingRegressor of these": VotingRegressor(STACK),
    "DummyRegressor": DummyRegressor(),
    "StackingRegressor": StackingRegressor(STACK, Lasso(0.01), cv=3),
    "BaggingRegressor": BaggingRegressor(Ridge(), 5, random_state=0),
    "AdaBoostRegressor": AdaBoostRegressor(n_estimators=5, random_state=0),
    "GridSearchCV": GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3),
    "PolynomialFeatures before a linear model": make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge()),
    "SplineTransformer before a linear model": make_pipeline(SplineTransformer(), Ridge()),
    "MLPRegressor": make_pipeline(StandardScaler(), MLPRegressor(max_iter=2000, tol=1e-3, random_state=0)),
    "LinearSVR": make_pipeline(StandardScaler(), LinearSVR(random_state=0, max_iter=10_000)),
    "SVR": make_pipeline(StandardScaler(), SVR()),
    "KNeighborsRegressor": make_pipeline(StandardScaler(), KNeighborsRegressor()),
    "GaussianProcessRegressor": GaussianProcessRegressor(alpha=0.1),
    "KernelRidge": KernelRidge(),
}


def export_table() -> str:
    """The table as markdown: what becomes of common regressors behind the kit's preprocessing."""
    return HEADER + "".join(f"| {name} | {' | '.join(_verdict(name))} |\n" for name in ESTIMATORS)


def _verdict(name: str) -> tuple[str, str]:
    random = np.random.default_rng(5)
    fields = (
        *(Field(f"x{number}", "number", "") for number in range(4)),
        Field("colour", "category", ""),
    )
    numbers = random.normal(size=(300, 4)).round(4)
    colours = random.choice(["red", "green", "blue"], 300)
    rows: list[Row] = [
        {**{f"x{place}": float(value) for place, value in enumerate(row)}, "colour": str(colour)}
        for row, colour in zip(numbers, colours, strict=True)
    ]
    target = numbers @ [1, 2, 0, -1] + (colours == "red") + random.normal(0, 0.1, 300)
    definition = ModelDefinition("table", Target("y"), fields, ESTIMATORS[name])
    fitted = fit(definition, rows, target)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export = to_onnx(fitted, rows)
    except ExportError as error:
        failure = str(error).splitlines()[2].removeprefix("Graph of skl2onnx: ")
        return "refused", _failed(failure)
    if export.graph["folded"]:
        return "folded", "Predictions agree to 5 millionths; a single row takes some tens of microseconds."
    return "ONNX", "Written node by node, which is slower for single rows."


def _failed(failure: str) -> str:
    if failure.startswith("row "):
        return "The graph of skl2onnx does not predict what scikit-learn does."
    if failure.startswith("it would hold training rows"):
        return "Its graph would hold training rows, and no bundle may."
    return "It has neither a rule for folding nor a converter in skl2onnx."


@pytest.mark.parametrize("name", ESTIMATORS)
def test_documented_verdict_is_what_the_export_does(name: str) -> None:
    block = BLOCK.search(DOCS.read_text())
    assert block, "docs/own-model.md has no block of what is exported"
    assert f"| {name} | {' | '.join(_verdict(name))} |" in block[0].splitlines()


def test_table_lists_what_is_tried_and_nothing_else() -> None:
    block = BLOCK.search(DOCS.read_text())
    assert block
    documented = [line.split(" | ")[0].removeprefix("| ") for line in block[0].splitlines()[3:-1]]
    assert documented == list(ESTIMATORS)


if __name__ == "__main__":
    DOCS.write_text(BLOCK.sub(lambda block: block[1] + export_table() + block[2], DOCS.read_text()))
