"""How the estimators that this package adds to scikit-learn's are written as ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType

from regression_model.preprocessing import MedianImputer, RangeScaler
from regression_model.quadratic import QuadraticSVR

#: Version of the ONNX operators below, which is the newest for each of them that skl2onnx still writes.
_OPERATORS = 13


def register_converters() -> None:
    """Tell skl2onnx about this package's estimators; calling it again changes nothing."""
    for estimator, shape, convert in (
        (MedianImputer, _same_width, _convert_median_imputer),
        (RangeScaler, _same_width, _convert_range_scaler),
        (QuadraticSVR, _one_column, _convert_quadratic),
    ):
        alias = f"RegressionModel{estimator.__name__}"
        update_registered_converter(estimator, alias, shape, convert, overwrite=True)


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
        """A float32 tensor."""
        array = np.asarray(values, dtype=np.float32)
        unique: str = self._scope.get_unique_variable_name(name)
        self._container.add_initializer(unique, TensorProto.FLOAT, array.shape, array.ravel().tolist())
        return unique

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
    medians = graph.constant("medians", fitted.medians_[np.newaxis])
    missing = graph.node("IsNaN", graph.input)
    graph.node("Where", missing, medians, graph.input, output=graph.output)


def _convert_range_scaler(scope: Any, operator: Any, container: Any) -> None:
    graph, fitted = _Graph(scope, operator, container), operator.raw_operator
    low = graph.constant("low", fitted.low_[np.newaxis])
    high = graph.constant("high", fitted.high_[np.newaxis])
    scale = graph.constant("scale", fitted.scale_[np.newaxis])
    clipped = graph.node("Min", graph.node("Max", graph.input, low), high)
    graph.node("Mul", graph.node("Sub", clipped, low), scale, output=graph.output)


def _convert_quadratic(scope: Any, operator: Any, container: Any) -> None:
    graph, fitted = _Graph(scope, operator, container), operator.raw_operator
    quadratic = graph.constant("quadratic", fitted.quadratic_)
    linear = graph.constant("linear", fitted.linear_)
    intercept = graph.constant("intercept", [fitted.intercept_])
    # x'Ax + v'x as x'(Ax + v), A being symmetric.
    products = graph.node("Mul", graph.node("Gemm", graph.input, quadratic, linear), graph.input)
    graph.node("Add", graph.node("ReduceSum", products, graph.axes(1), keepdims=1), intercept, output=graph.output)
