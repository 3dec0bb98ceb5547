from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from model_kit.errors import BundleError, ExportError
from model_kit.records.encoding import Encoded, Encoder, FeatureMaker
from model_kit.records.generation import NEVER_SEEN
from model_kit.scoring.runtimes import Graph
from model_kit.spec import InputSpec, Row
from model_kit.testing import derive, ride_definition
from model_kit.training import export as module
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import Fitted, fit
from model_kit.training.export import TARGET_OPSET, agreement, to_onnx
from model_kit.training.folding.rules import Folded
from model_kit.training.folding.terms import Number, Terms
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, GradientBoostingRegressor, StackingRegressor, VotingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import KNNImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR


@pytest.fixture
def fitted(rides: Dataset) -> Fitted:
    return fit(ride_definition(), rides.rows, rides.target)


def test_export_twice_gives_the_same_bytes(fitted: Fitted, rides: Dataset) -> None:
    assert to_onnx(fitted, rides.rows).content == to_onnx(fitted, rides.rows).content


def test_graph_is_as_the_contract_has_it(fitted: Fitted, rides: Dataset) -> None:
    model = onnx.load_from_string(to_onnx(fitted, rides.rows).content)
    assert model.graph.name == "m"
    (given,) = model.graph.input
    assert given.name == "X"
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [0, 4]
    assert max(opset.version for opset in model.opset_import if opset.domain == "") <= TARGET_OPSET


def test_trees_agree_too(rides: Dataset) -> None:
    definition = ride_definition(estimator=lambda _: GradientBoostingRegressor(n_estimators=20, random_state=0))
    export = to_onnx(fit(definition, rides.rows, rides.target), rides.rows)
    assert export.graph["folded"]
    assert export.agreement["train"] <= 5e-6
    assert export.agreement["generated"] <= 5e-6


def test_what_cannot_be_folded_is_exported_node_by_node_and_the_reason_kept(rides: Dataset) -> None:
    definition = ride_definition(estimator=make_pipeline(Normalizer(), Ridge()))
    export = to_onnx(fit(definition, rides.rows, rides.target), rides.rows)
    assert export.graph["folded"] is False
    assert export.graph["reason"] == "no rule for Normalizer"
    assert export.graph["nodes"] == len(onnx.load_from_string(export.content).graph.node)
    assert export.agreement["generated"] <= 5e-6


@pytest.mark.parametrize(
    ("estimator", "keeps"),
    [
        (SVR(C=0.1), "SVR"),
        (make_pipeline(KNNImputer(), BaggingRegressor()), "KNNImputer"),
        (VotingRegressor([("a", Ridge()), ("b", make_pipeline(StandardScaler(), KNeighborsRegressor()))]), "KNeigh"),
        (StackingRegressor([("a", GaussianProcessRegressor(optimizer=None))], Ridge()), "GaussianProcessRegressor"),
        (TransformedTargetRegressor(KernelRidge()), "KernelRidge"),
        (make_pipeline(Nystroem(n_components=20), Ridge()), "Nystroem"),
    ],
)
def test_estimator_that_keeps_training_rows_is_not_exported(rides: Dataset, estimator: Any, keeps: str) -> None:
    fitted = fit(ride_definition(estimator=estimator), rides.rows, rides.target)
    with pytest.raises(ExportError) as raised:
        to_onnx(fitted, rides.rows)
    reason = f"Graph of skl2onnx: it would hold training rows, which {keeps}"
    assert str(raised.value).splitlines()[2].startswith(reason)


def test_folded_graph_that_disagrees_gives_way_to_the_plain_one(
    fitted: Fitted, rides: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rule that forgets the intercept, as one of a model package may.
    wrong = Terms()
    wrong.add_linear([Number(source) for source in range(4)], fitted.estimator[-1].coef_, 0.0)  # type: ignore[index]
    monkeypatch.setattr(module, "fold", lambda *_: Folded((wrong,), "value"))
    export = to_onnx(fitted, rides.rows)
    assert export.graph["folded"] is False
    assert "the graph predicts" in export.graph["reason"]
    assert export.agreement["train"] <= 5e-6


def test_graph_is_compared_on_five_thousand_odd_rows_too_the_same_each_time(fitted: Fitted, rides: Dataset) -> None:
    first, second = _Listening(fitted.spec), _Listening(fitted.spec)
    for encoder in (first, second):
        features = FeatureMaker(fitted.spec, derive)
        features.encode = encoder
        to_onnx(Fitted(fitted.spec, features, fitted.estimator), rides.rows)
    assert first.rows[-5000:] == second.rows[-5000:]
    shares = {
        "null": [row["comfort"] is None for row in first.rows[-5000:]],
        "unseen": [row["zone"] == NEVER_SEEN for row in first.rows[-5000:]],
        # Half of what is extreme lies above the range of training.
        "extreme": [float(row["distance"] or 0) > 12 for row in first.rows[-5000:]],
    }
    found = {name: sum(column) / 5000 for name, column in shares.items()}
    assert found == {
        "null": pytest.approx(0.1, abs=0.02),
        "unseen": pytest.approx(0.1, abs=0.02),
        "extreme": pytest.approx(0.033, abs=0.01),
    }


def test_graph_of_another_model_is_refused_and_the_row_named(fitted: Fitted, rides: Dataset) -> None:
    other = fit(ride_definition(), rides.rows[:50], rides.target[:50])
    content = to_onnx(other, rides.rows).content
    with pytest.raises(ExportError, match=r"row \d+: the graph predicts"):
        agreement(fitted, content, rides.rows, {})


def test_difference_of_more_than_five_millionths_is_refused(fitted: Fitted, rides: Dataset) -> None:
    content = to_onnx(fitted, rides.rows).content
    nudged = Fitted(fitted.spec.with_offset(fitted.spec.target.offset), fitted.features, _Nudged(fitted, 6e-6))
    with pytest.raises(ExportError):
        agreement(nudged, content, rides.rows, {})
    within = Fitted(fitted.spec, fitted.features, _Nudged(fitted, 3e-6))
    assert 2e-6 < agreement(within, content, rides.rows, {}) < 5e-6


def test_prediction_that_is_not_finite_is_refused(fitted: Fitted, rides: Dataset) -> None:
    content = to_onnx(fitted, rides.rows).content
    with pytest.raises(ExportError, match="row 0 is not finite"):
        agreement(Fitted(fitted.spec, fitted.features, _Nudged(fitted, np.nan)), content, rides.rows, {})


def test_the_worst_row_is_named(fitted: Fitted, rides: Dataset) -> None:
    content = to_onnx(fitted, rides.rows).content
    for by, said in ((1.0, "row 7: the graph predicts"), (np.nan, "row 7 is not finite")):
        wrong = np.zeros(len(rides.rows))
        wrong[3], wrong[7] = 1e-7, by
        nudged = Fitted(fitted.spec, fitted.features, _Nudged(fitted, wrong))  # type: ignore[arg-type]
        with pytest.raises(ExportError, match=said):
            agreement(nudged, content, rides.rows, {})


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        Graph(b"no graph")


class _Listening(Encoder):
    """Encodes rows, and keeps them in the order in which they came."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__(spec)
        self.rows: list[Row] = []

    def __call__(self, rows: Sequence[Row]) -> Encoded:
        self.rows += rows
        return super().__call__(rows)


class _Nudged:
    """An estimator that predicts a little more than the fitted one."""

    def __init__(self, fitted: Fitted, by: float) -> None:
        self._estimator, self._by = fitted.estimator, by

    def fit(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:  # noqa: N803 - scikit-learn's name
        raise AssertionError("it is fitted already")

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        return self._estimator.predict(X) + self._by
