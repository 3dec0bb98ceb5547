"""Predictions on Spark, in processes of its own: every row once, whatever is killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_kit import spark
from model_kit.engines import load_predictor
from model_kit.errors import DataError
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession

# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
ADDED = ("prediction", "error", "prediction_low", "prediction_high")
#: More rows than the two batches that each partition is cut into here.
N_COPIES = 40


@pytest.fixture(scope="module", params=["local[2,4]", "local-cluster[2,1,1024]"])
def session(request: pytest.FixtureRequest, houses: Any) -> Generator[SparkSession]:
    """Spark with threads for executors, then with processes for them; a task is tried four times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(houses.bundle.parent))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.master(request.param).appName("doors")
        builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "4")
        builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "300")
        builder = builder.config("spark.executorEnv.MODEL_DIR", str(houses.bundle.parent))
        found = builder.getOrCreate()
        yield found
        found.stop()


@pytest.fixture
def numbered(session: SparkSession, houses: Any, tmp_path: Path) -> DataFrame:
    """Copies of the houses, numbered, in four partitions."""
    rows = [row | {"Id": number} for number, row in enumerate(houses.rows * N_COPIES)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return session.read.parquet(str(path)).repartition(4)


def check(found: DataFrame, houses: Any) -> None:
    """Every row is there once, with the prediction that it has alone."""
    rows = {row["Id"]: row for row in found.select("Id", *ADDED).collect()}
    assert found.count() == len(rows) == len(houses.rows) * N_COPIES
    for number, row in rows.items():
        expected = houses.predicted[number % len(houses.rows)]
        assert row["error"] == expected["error"]
        for name in ("prediction", "prediction_low", "prediction_high"):
            assert row[name] == (None if expected[name] is None else pytest.approx(expected[name], rel=1e-9))


def once(folder: Path, action: Callable[[], Any]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """A step that does something in the first task that has scored a batch, and in no other."""
    mark = str(folder / "done")

    def step(batches: Iterator[Any]) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number:
                try:
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    action()
            yield batch

    return step


def kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise RuntimeError("a task that fails once")


def test_every_row_has_its_prediction_range_or_error(numbered: DataFrame, houses: Any) -> None:
    found = spark.predict(numbered, "regression", interval=0.9)
    assert found.columns == [*numbered.columns, *ADDED]
    check(found, houses)


@pytest.mark.parametrize("action", [fail, kill_worker])
def test_a_task_that_fails_is_repeated_without_rows_lost_or_twice(
    numbered: DataFrame, houses: Any, tmp_path: Path, action: Callable[[], None]
) -> None:
    found = spark.predict(numbered, "regression", interval=0.9).mapInArrow(
        once(tmp_path, action), spark.predict(numbered, "regression", interval=0.9).schema
    )
    out = tmp_path / "out"
    found.write.parquet(str(out))
    assert (tmp_path / "done").exists()
    check(numbered.sparkSession.read.parquet(str(out)), houses)


def test_an_executor_that_is_killed_loses_no_row(
    session: SparkSession, numbered: DataFrame, houses: Any, tmp_path: Path
) -> None:
    if not session.sparkContext.master.startswith("local-cluster"):
        pytest.skip("its executors are threads of this process")

    def kill_executor() -> None:
        # The parent of the process that workers are forked from.
        status = Path(f"/proc/{os.getppid()}/status").read_text()
        parent = int(status.split("PPid:")[1].split()[0])
        assert b"CoarseGrainedExecutorBackend" in Path(f"/proc/{parent}/cmdline").read_bytes()
        os.kill(parent, signal.SIGKILL)

    predicted = spark.predict(numbered, "regression", interval=0.9)
    out = tmp_path / "out"
    predicted.mapInArrow(once(tmp_path, kill_executor), predicted.schema).write.parquet(str(out))
    assert (tmp_path / "done").exists()
    check(session.read.parquet(str(out)), houses)


def test_a_column_that_is_required_is_missed_before_anything_runs(numbered: DataFrame) -> None:
    with pytest.raises(DataError, match="lacks the required columns GrLivArea"):
        spark.predict(numbered.drop("GrLivArea"), "regression")


def test_another_bundle_on_a_worker_fails_the_job(numbered: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    meant = load_predictor("regression").model.lineage
    monkeypatch.setitem(meant, "artifact_sha256", "0" * 64)
    with pytest.raises(Exception, match="install the same version of its package everywhere"):
        spark.predict(numbered, "regression").count()


def test_command_predicts_csv_files(houses: Any, tmp_path: Path) -> None:
    names = ["Id", *houses.rows[0]]
    folder = tmp_path / "in"
    folder.mkdir()
    for part in range(2):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for number, row in enumerate(houses.rows):
                if number % 2 == part:
                    cells = ["NA" if row[name] is None else row[name] for name in names[1:]]
                    writer.writerow([f' "{number}",', *cells])
            writer.writerow([f"ragged {part}", "too", "few"])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "model_kit.cli.main", "spark", str(folder), "-o", str(out), "--format", "csv"]
    command += ["--interval", "0.9", "--model", "regression", "--master", "local[2]"]
    environ = os.environ | {"MODEL_DIR": str(houses.bundle.parent), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("58 rows scored, 4 failed")
    found: dict[str, dict[str, str]] = {}
    for path in out.glob("*.csv"):
        with path.open(newline="") as file:
            found |= {row["Id"]: row for row in csv.DictReader(file)}
    assert len(found) == len(houses.rows) + 2
    assert found["ragged 0"]["error"] == found["ragged 1"]["error"] == "The row has a cell too many or too few."
    for number, expected in enumerate(houses.predicted):
        row = found[f' "{number}",']
        assert row["error"] == (expected["error"] or "")
        for name in ("prediction", "prediction_low", "prediction_high"):
            assert row[name] == ("" if expected[name] is None else row[name])
            assert expected[name] is None or float(row[name]) == pytest.approx(expected[name], rel=1e-9)
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "already exists" in again.stderr


def test_command_says_why_spark_gave_up(houses: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(houses.rows), folder / "a.parquet")
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-10])
    command = [sys.executable, "-m", "model_kit.cli.main", "spark", str(folder), "-o", str(tmp_path / "out")]
    command += ["--model", "regression", "--master", "local[2]"]
    environ = os.environ | {"MODEL_DIR": str(houses.bundle.parent), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback (most recent" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("model-kit: ")]
    assert said.startswith(f"model-kit: Spark gave up, and {tmp_path}/out is incomplete; --overwrite begins again: ")
    assert "b.parquet" in said
