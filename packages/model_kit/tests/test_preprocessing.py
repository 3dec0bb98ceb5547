"""The two transformers, and their arithmetic in the graph."""

from __future__ import annotations

import numpy as np
import onnxruntime as rt
import pytest
from model_kit.training.estimators.converters import register_converters
from model_kit.training.estimators.preprocessing import MedianImputer, RangeScaler
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import make_pipeline

NAN = np.float32(np.nan)


def test_missing_values_become_the_lower_median() -> None:
    data = np.array([[1, 4, NAN], [2, NAN, NAN], [3, 7, NAN], [4, 9, NAN]], dtype=np.float32)
    imputer = MedianImputer().fit(data)
    assert imputer.medians_.tolist() == [2, 7, 0]
    assert imputer.transform(data)[1].tolist() == [2, 7, 0]
    assert imputer.transform(data).dtype == np.float32


def test_a_column_is_clipped_to_its_range_and_scaled_to_one() -> None:
    scaler = RangeScaler().fit(np.array([[10.0], [20.0], [30.0]], dtype=np.float32))
    values = np.array([[-1e12], [10], [25], [30], [1e12]], dtype=np.float32)
    assert scaler.transform(values).ravel().tolist() == pytest.approx([0, 0, 0.75, 1, 1])


def test_the_range_ends_at_the_quantile_but_a_nearly_constant_column_keeps_its_maximum() -> None:
    data = np.zeros((101, 3), dtype=np.float32)
    data[:, 0] = np.arange(101)
    data[-1, 1] = 8
    scaler = RangeScaler(quantile=0.9).fit(data)
    assert scaler.high_.tolist() == [90, 8, 0]
    assert scaler.transform(np.array([[95, 4, 5]], dtype=np.float32)).tolist() == [[1, 0.5, 0]]


def test_the_graph_computes_the_same_floats() -> None:
    random = np.random.default_rng(1)
    data: NDArray[np.float32] = (random.lognormal(size=(300, 7)) * 1000).astype(np.float32)
    data[random.random(data.shape) < 0.1] = NAN
    pipeline = make_pipeline(MedianImputer(), RangeScaler(0.95)).fit(data)
    register_converters()
    graph = convert_sklearn(pipeline, name="m", initial_types=[("X", FloatTensorType([None, 7]))], target_opset=21)
    session = rt.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    data[0], data[1] = 1e12, -1e12
    np.testing.assert_array_equal(session.run(None, {"X": data})[0], pipeline.transform(data))
