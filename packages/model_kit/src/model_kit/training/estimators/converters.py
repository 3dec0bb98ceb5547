"""How the kit's own estimators are exported: their folding rules, and converters for skl2onnx where others can't fold.

Sums of float32 depend on the machine: processors with and without fused multiply-add gave predictions 1.2e-7 apart. So
the quadratic function is computed in float64 (1.9e-15 apart) and then rounded. What works element by element stays
float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.algebra import onnx_ops as ops
from skl2onnx.common.data_types import FloatTensorType

from model_kit.training.estimators.boosting import BoostedTrees
from model_kit.training.estimators.preprocessing import MedianImputer, RangeScaler
from model_kit.training.estimators.quadratic import QuadraticSVR
from model_kit.training.folding.rules import fold_regressor, fold_transformer
from model_kit.training.folding.terms import Column, Terms

#: Version of the ONNX operators below, which is the newest for each of them that skl2onnx still writes.
_VERSION: Final = {"op_version": 13}


def register_converters() -> None:
    """Register the kit's estimators with skl2onnx; calling it again changes nothing."""
    for estimator, convert in (
        (MedianImputer, _convert_median_imputer),
        (RangeScaler, _convert_range_scaler),
        (QuadraticSVR, _convert_quadratic),
    ):
        alias = f"ModelKit{estimator.__name__}"
        update_registered_converter(estimator, alias, _set_shape, convert, overwrite=True)


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
    fold_regressor(fitted.regressor_, columns, share * fitted.scale_, terms)


def _set_shape(operator: Any) -> None:
    fitted = operator.raw_operator
    n_columns = 1 if isinstance(fitted, QuadraticSVR) else fitted.n_features_in_
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), n_columns])


def _convert_median_imputer(scope: Any, operator: Any, container: Any) -> None:
    (column,), medians = operator.inputs, operator.raw_operator.medians_[np.newaxis].astype(np.float32)
    missing = ops.OnnxIsNaN(column, **_VERSION)
    filled = ops.OnnxWhere(missing, medians, column, **_VERSION, output_names=operator.outputs)
    filled.add_to(scope, container)


def _convert_range_scaler(scope: Any, operator: Any, container: Any) -> None:
    low, high, scale = (
        getattr(operator.raw_operator, name)[np.newaxis].astype(np.float32) for name in ("low_", "high_", "scale_")
    )
    clipped = ops.OnnxMin(ops.OnnxMax(operator.inputs[0], low, **_VERSION), high, **_VERSION)
    above = ops.OnnxSub(clipped, low, **_VERSION)
    ops.OnnxMul(above, scale, **_VERSION, output_names=operator.outputs).add_to(scope, container)


def _convert_quadratic(scope: Any, operator: Any, container: Any) -> None:
    fitted = operator.raw_operator
    row = ops.OnnxCast(operator.inputs[0], to=TensorProto.DOUBLE, **_VERSION)
    # x'Ax + v'x as x'(Ax + v), A being symmetric.
    inner = ops.OnnxGemm(row, fitted.quadratic_, fitted.linear_, **_VERSION)
    product = ops.OnnxMul(inner, row, **_VERSION)
    score = ops.OnnxReduceSum(product, np.array([1], np.int64), keepdims=1, **_VERSION)
    score = ops.OnnxAdd(score, np.array([fitted.intercept_]), **_VERSION)
    # A VotingRegressor adds up what its estimators give, and the others give float32.
    single = ops.OnnxCast(score, to=TensorProto.FLOAT, **_VERSION, output_names=operator.outputs)
    single.add_to(scope, container)
