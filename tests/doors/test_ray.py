"""Predictions by Ray Data: a plain function for map_batches."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from model_kit.engines import predict

# Workers cannot import this file.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
N_BLOCKS = 4


@pytest.fixture(scope="module")
def cluster(houses: Any) -> Generator[None]:
    """Ray on this machine, with the model installed in its workers."""
    runtime = {"env_vars": {"MODEL_DIR": str(houses.bundle.parent)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=runtime, object_store_memory=200_000_000)
    yield
    ray.shutdown()


def flaky(table: pa.Table, mark: str, **options: Any) -> pa.Table:
    """Predict, but fail the first time."""
    found = predict(table, **options)
    path = Path(mark)
    if not path.exists():
        path.touch()
        raise OSError("a task that fails once")
    return found


@pytest.mark.parametrize("fails", [False, True])
def test_every_row_has_its_prediction_range_or_error(cluster: None, houses: Any, tmp_path: Path, fails: bool) -> None:
    rows = [row | {"Id": number} for number, row in enumerate(houses.rows)]
    data = ray.data.from_arrow(pa.Table.from_pylist(rows)).repartition(N_BLOCKS)
    options: dict[str, Any] = {"model": "regression", "interval": 0.9}
    if fails:
        # A task whose worker dies is repeated by itself; one that raises where it is asked for.
        retried = {"max_retries": 3, "retry_exceptions": True}
        options["mark"] = str(tmp_path / "done")
        found = data.map_batches(flaky, batch_format="pyarrow", fn_kwargs=options, **retried)
    else:
        found = data.map_batches(predict, batch_format="pyarrow", fn_kwargs=options)
    predicted = {row["Id"]: row for row in found.take_all()}
    assert sorted(predicted) == list(range(len(rows)))
    assert not fails or (tmp_path / "done").exists()
    for number, expected in enumerate(houses.predicted):
        assert predicted[number]["error"] == expected["error"]
        for name in ("prediction", "prediction_low", "prediction_high"):
            value = expected[name]
            assert predicted[number][name] == (None if value is None else pytest.approx(value, rel=1e-9))
