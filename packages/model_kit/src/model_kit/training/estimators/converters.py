"""How the kit's own estimators are exported: their folding rules, and converters for skl2onnx where others can't fold.

Sums of float32 depend on the machine: processors with and without fused multiply-add gave predictions 1.2e-7 apart. So
the quadratic function is computed in float64 (1.9e-15 apart) and then rounded. What works element by element stays
float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType

from model_kit.training.estimators.boosting import BoostedTrees
from model_kit.training.estimators.preprocessing import MedianImputer, RangeScaler
from model_kit.training.estimators.quadratic import QuadraticSVR
from model_kit.training.folding.rules import fold_regressor, fold_transformer
from model_kit.training.folding.terms import Column, Terms

#: Version of the ONNX operators below, which is the newest for each of them that skl2onnx still writes.
_OPERATORS = 13


def register_converters() -> None:
    """Register the kit's estimators with skl2onnx; calling it again changes nothing."""
    for estimator, shape, convert in (
        (MedianImputer, _same_width, _convert_median_imputer),
        (RangeScaler, _same_width, _convert_range_scaler),
        (QuadraticSVR, _one_column, _convert_quadratic),
    ):
        alias = f"ModelKit{estimator.__name__}"
        update_registered_converter(estimator, alias, shape, convert, overwrite=True)


def register_folding() -> None:
    """Register the kit's estimators for folding; calling it again changes nothing."""
    fold_transformer.register(MedianImputer, _fold_median_imputer)
    fold_transformer.register(RangeScaler, _fold_range_scaler)
    fold_regressor.register(QuadraticSVR, _fold_quadratic)
    fold_regressor.register(BoostedTrees, _fold_boosted_trees)


def _fold_median_imputer(fitted: MedianImputer, columns: Sequence[Column]) -> list[Column]:
    return [column.impute(median) for column, median in zip(columns, fitted.medians_.tolist(), strict=True)]


def _fold_range_scaler(fitted: RangeScaler, columns: Sequence[Column]) -> list[Column]:
    ranges = zip(columns, fitted.low_.tolist(), fitted.high_.tolist(), fitted.scale_.tolist(), strict=True)
    return [column.clip(low, high).affine(scale, -low * scale) for column, low, high, scale in ranges]


def _fold_quadratic(fitted: QuadraticSVR, columns: Sequence[Column], share: float, terms: Terms) -> None:
    terms.add_quadratic(columns, share * fitted.quadratic_)
    terms.add_linear(columns, share * fitted.linear_, share * fitted.intercept_)


def _fold_boosted_trees(fitted: BoostedTrees, columns: Sequence[Column], share: float, terms: Terms) -> None:
    fold_regressor(fitted.regressor_, columns, share, terms)


def _same_width(operator: Any) -> None:
    n_columns = operator.raw_operator.n_features_in_
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), n_columns])


def _one_column(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), 1])


class _Graph:
    """One operator's part of the graph under construction."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self._scope = scope
        self._container = container
        self.input = operator.inputs[0].full_name
        self.output = operator.outputs[0].full_name

    def constant(self, name: str, values: Any) -> str:
        """A tensor, float32 or float64 as ``values`` are."""
        array = np.asarray(values)
        kind = TensorProto.FLOAT if array.dtype == np.float32 else TensorProto.DOUBLE
        unique: str = self._scope.get_unique_variable_name(name)
        self._container.add_initializer(unique, kind, array.shape, array.ravel().tolist())
        return unique

    def double(self, name: str) -> str:
        """A tensor as float64."""
        return self.node("Cast", name, to=TensorProto.DOUBLE)

    def axes(self, *axes: int) -> str:
        unique: str = self._scope.get_unique_variable_name("axes")
        self._container.add_initializer(unique, TensorProto.INT64, [len(axes)], list(axes))
        return unique

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        unique: str = output or self._scope.get_unique_variable_name(kind.lower())
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, list(inputs), unique, name=name, op_version=_OPERATORS, **attributes)
        return unique


def _convert_median_imputer(scope: Any, operator: Any, container: Any) -> None:
    graph, fitted = _Graph(scope, operator, container), operator.raw_operator
    medians = graph.constant("medians", fitted.medians_[np.newaxis].astype(np.float32))
    missing = graph.node("IsNaN", graph.input)
    graph.node("Where", missing, medians, graph.input, output=graph.output)


def _convert_range_scaler(scope: Any, operator: Any, container: Any) -> None:
    graph, fitted = _Graph(scope, operator, container), operator.raw_operator
    low = graph.constant("low", fitted.low_[np.newaxis])
    high = graph.constant("high", fitted.high_[np.newaxis])
    scale = graph.constant("scale", fitted.scale_[np.newaxis].astype(np.float32))
    clipped = graph.node("Min", graph.node("Max", graph.input, low), high)
    graph.node("Mul", graph.node("Sub", clipped, low), scale, output=graph.output)


def _convert_quadratic(scope: Any, operator: Any, container: Any) -> None:
    graph, fitted = _Graph(scope, operator, container), operator.raw_operator
    quadratic = graph.constant("quadratic", fitted.quadratic_)
    linear = graph.constant("linear", fitted.linear_)
    intercept = graph.constant("intercept", [fitted.intercept_])
    row = graph.double(graph.input)
    # x'Ax + v'x as x'(Ax + v), A being symmetric.
    products = graph.node("Mul", graph.node("Gemm", row, quadratic, linear), row)
    score = graph.node("Add", graph.node("ReduceSum", products, graph.axes(1), keepdims=1), intercept)
    # A VotingRegressor adds up what its estimators give, and the others give float32.
    graph.node("Cast", score, to=TensorProto.FLOAT, output=graph.output)
