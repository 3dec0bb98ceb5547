"""Predictions by Dask: a plain function for map_partitions."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from model_kit.engines import predict

N_PARTITIONS = 4


@pytest.fixture(scope="module")
def client(houses: Any) -> Generator[Client]:
    """Two workers, each a process, that are started again when they die."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(houses.bundle.parent))
        # Workers import this file, and have the sys.path of this process.
        patch.syspath_prepend(str(Path(__file__).parent))
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as found:
            yield found


def killed_once(frame: pd.DataFrame, mark: str, **options: Any) -> pd.DataFrame:
    """Predict, but kill the process that does so first."""
    found = predict(frame, **options)
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return found
    os.kill(os.getpid(), signal.SIGKILL)
    return found


def check(found: pd.DataFrame, houses: Any) -> None:
    assert found.index.tolist() == list(range(len(houses.rows)))
    for row, expected in zip(found.to_dict("records"), houses.predicted, strict=True):
        assert row["error"] == expected["error"] or pd.isna(row["error"])
        for name in ("prediction", "prediction_low", "prediction_high"):
            value = expected[name]
            assert pd.isna(row[name]) if value is None else row[name] == pytest.approx(value, rel=1e-9)


def test_every_row_has_its_prediction_range_or_error(installed: Any) -> None:
    rows = dd.from_pandas(pd.DataFrame(installed.rows), npartitions=N_PARTITIONS)
    found = rows.map_partitions(predict, model="regression", interval=0.9)
    assert found["prediction_low"].dtype == "float64"
    check(found.compute(scheduler="threads"), installed)


def test_a_worker_that_is_killed_loses_no_row(client: Client, installed: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame(installed.rows)
    rows = dd.from_pandas(frame, npartitions=N_PARTITIONS)
    options: dict[str, Any] = {"model": "regression", "interval": 0.9}
    mark = tmp_path / "done"
    found = rows.map_partitions(killed_once, mark=str(mark), meta=predict(frame.head(0), **options), **options)
    check(client.compute(found).result(timeout=120), installed)
    assert mark.exists()
