"""The client against real servers: of the code here, and of the release before."""

# ruff: noqa: DTZ001 - fields without time zones
from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ml_client import (
    BadRequestError,
    Client,
    DataError,
    InvalidResponseError,
    NotFoundError,
)
from ml_client.core import Core

from rides_server import Server

RIDES = pd.DataFrame(
    {
        "distance": [3.5, 8.0, np.nan, -1.0, np.inf],
        "passengers": pd.array([1, None, 2, 3, 4], dtype="Int64"),
        "zone": ["A", "B", "A", "A", "B"],
        "comfort": pd.Categorical([2.0, None, 1.0, 1.0, 2.0]),
    },
    index=["a", "b", "b", "c", "d"],
)
MISSING = "distance: Field may not be null."
FARES = [math.exp(2.5 + 3.5 / 8 + 1 / 16 + 2 / 32), math.exp(2.5 + 8 / 8 + 1 / 16 - 1 / 4)]


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"distance": float(number % 50), "zone": "AB"[number % 2], "passengers": 1}


def fare(row: dict[str, Any]) -> float:
    return math.exp(2.5 + row["distance"] / 8 + row["passengers"] / 16 - (row["zone"] == "B") / 4)


def assert_close(found: Any, given: Iterable[dict[str, Any]]) -> None:
    np.testing.assert_allclose(found, list(map(fare, given)), rtol=1e-6)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, retry_for=10) as client:
        yield client


@pytest.mark.parametrize("arrow", [True, False])
def test_a_frame_of_pandas_comes_back_with_its_index(server: Server, arrow: bool) -> None:
    with Client(server.url, arrow=arrow) as client:
        result = client.predict("rides", RIDES, interval=0.9)
    assert result.predictions.index.tolist() == ["a", "b", "b", "c", "d"]
    assert result.predictions.dtype == "float64"
    assert result.predictions.tolist()[:2] == pytest.approx(FARES, rel=1e-6)
    assert result.predictions.isna().tolist() == [False, False, True, True, True]
    assert result.errors.tolist()[:3] == [None, None, MISSING]
    assert result.errors.iloc[3] == "distance: Must be greater than or equal to 0."
    assert "Special numeric values" in result.errors.iloc[4]
    intervals = result.intervals
    assert intervals is not None
    assert intervals.columns.tolist() == ["low", "high"]
    assert (intervals["low"] < result.predictions).tolist() == [True, True, False, False, False]
    assert result.table.columns.tolist() == ["prediction", "error", "prediction_low", "prediction_high"]
    assert (len(result), result.n_errors, result.version) == (5, 3, "1.2.3")
    assert pd.concat([RIDES, result.table], axis=1).shape == (5, 8)


def test_a_frame_of_polars_comes_back_in_its_order(client: Client) -> None:
    pl = pytest.importorskip("polars")
    result = client.predict("rides", pl.from_pandas(RIDES), interval=0.9)
    assert isinstance(result.predictions, pl.Series)
    assert result.predictions.to_list()[:3] == [*(pytest.approx(fare, rel=1e-6) for fare in FARES), None]
    assert result.errors.to_list()[:3] == [None, None, MISSING]
    assert result.table.columns == ["prediction", "error", "prediction_low", "prediction_high"]
    assert client.predict("rides", pl.from_pandas(RIDES).lazy()).predictions.to_list()[2] is None


def test_a_table_of_arrow_comes_back_as_one(client: Client) -> None:
    table = pa.table({"distance": [3.5, None], "zone": ["B", "B"]})
    result = client.predict("rides", table)
    assert result.table.schema.names == ["prediction", "error"]
    assert [str(field.type) for field in result.table.schema] == ["double", "string"]
    assert result.errors.to_pylist() == [None, MISSING]
    assert client.predict("rides", table.to_batches()[0]).predictions[1].as_py() is None


def test_records_come_back_as_lists_with_what_was_asked_for(client: Client) -> None:
    result = client.predict("rides", [{"distance": 30, "zone": "C"}, {}], explain=1, warnings=True)
    assert result.predictions == [pytest.approx(math.exp(2.5 + 30 / 8 + 1 / 16), rel=1e-6), None]
    assert result.errors == [None, "distance: Missing data for required field.; zone: Missing data for required field."]
    assert result.explanations is not None
    assert result.explanations[0]["contributions"][0]["field"] == "distance"
    assert result.warnings is not None
    assert "unseen_level" in {warning["code"] for warning in result.warnings[0]}
    assert (result.explanations[1], result.warnings[1]) == (None, None)
    assert (result.intervals, result.sets, result.probabilities) == (None, None, None)
    one = client.predict("rides", {"distance": 3.5, "zone": "B"}, request_id="mine")
    assert (len(one), one.request_ids) == (1, ("mine",))


@pytest.mark.parametrize("arrow", [True, False])
def test_classes_have_probabilities_and_sets(server: Server, arrow: bool) -> None:
    days = [datetime(2024, 1, 1), None, datetime(2024, 1, 2)]
    frame = pd.DataFrame({"distance": [9.0, 1.0, np.nan], "day": days, "start": days})
    with Client(server.url, arrow=arrow) as client:
        result = client.predict("lengths", frame, probabilities=True)
    assert result.predictions.tolist() == ["long", "short", None]
    assert result.errors.tolist() == [None, None, MISSING]
    probabilities = result.probabilities
    assert probabilities is not None
    assert probabilities.to_dict("list") == {
        "short": [0.0, 1.0, pytest.approx(np.nan, nan_ok=True)],
        "long": [1.0, 0.0, pytest.approx(np.nan, nan_ok=True)],
    }


def test_many_rows_are_split_and_come_back_in_order(client: Client) -> None:
    given = list(rows(20_100))
    done: list[int] = []
    result = client.predict("rides", iter(given), progress=done.append)
    assert_close(result.predictions, given)
    assert done == [10_000, 20_000, 20_100]
    base = result.request_ids[0].removesuffix(".0")
    assert result.request_ids == tuple(f"{base}.{number}" for number in range(3))
    frame = pd.DataFrame(given)
    assert client.predict("rides", frame).predictions.tolist() == result.predictions


def test_a_stream_is_answered_as_it_comes_and_what_it_raises_comes_last(client: Client) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield from rows(10_500)
        raise RuntimeError("the source failed")

    found: list[float] = []
    with pytest.raises(RuntimeError, match="the source failed"):
        found.extend(row.prediction for row in client.stream("rides", failing()))
    assert_close(found, rows(10_500))
    taken: list[int] = []
    with closing(client.stream("rides", taken_from(taken))) as stream:
        row = next(stream)
    assert row.prediction == pytest.approx(fare(next(rows(1))))
    assert len(taken) <= 10_000 * 12, "an endless source is not read on"
    with pytest.raises(RuntimeError, match="the source failed"):
        client.predict("rides", failing())


def taken_from(taken: list[int]) -> Iterator[dict[str, Any]]:
    while True:
        for row in rows(100):
            taken.append(1)
            yield row


def test_frames_come_back_one_by_one(client: Client) -> None:
    frames = [pd.DataFrame(list(rows(count)), columns=["distance", "zone", "passengers"]) for count in (3, 0, 10_001)]
    results = list(client.batches("rides", iter(frames)))
    assert [len(result) for result in results] == [3, 0, 10_001]
    for frame, result in zip(frames, results, strict=True):
        assert result.predictions.index.equals(frame.index)
    assert_close(results[2].predictions, rows(10_001))


def test_no_rows_are_no_predictions_and_a_model_that_is_not_there_is_told_all_the_same(client: Client) -> None:
    empty: Any
    for empty in ([], iter([]), pd.DataFrame(), RIDES.iloc[:0], pa.table({"distance": pa.array([], pa.float64())})):
        result = client.predict("rides", empty, interval=0.9)
        assert (len(result), len(result.predictions), len(result.table)) == (0, 0, 0)
        assert result.version == "1.2.3"
    with pytest.raises(NotFoundError, match="There is no model of that name"):
        client.predict("boats", [])


def test_columns_that_are_not_text_are_sent_as_text(client: Client) -> None:
    nothing = client.predict("rides", pd.DataFrame(index=["a", "b"]))
    assert nothing.errors.loc["b"].startswith("distance: Missing data for required field.")
    frame = RIDES.iloc[:2].assign(x=1).rename(columns={"x": 7})
    assert client.predict("rides", frame).n_errors == 0


def test_any_number_of_threads_share_a_client(client: Client) -> None:
    found: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        found[number] = client.predict(
            "rides", [{"distance": float(number), "zone": "A", "passengers": 1}] * 30
        ).predictions

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        number: pytest.approx([fare({"distance": number, "zone": "A", "passengers": 1})] * 30, rel=1e-6)
        for number in range(20)
    }


def test_what_the_server_tells_of_itself(client: Client) -> None:
    assert [model["name"] for model in client.models()] == ["lengths", "rides"]
    assert client.model("rides")["spec"]["target"]["name"] == "fare"
    assert client.version()["model_version"] == "1.2.3"


def test_a_refusal_is_an_exception_with_the_members_of_the_problem(client: Client) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.predict("rides", [{}], interval=0.99, request_id="mine")
    error = caught.value
    assert (error.status, error.title, error.request_id, error.retry_after) == (400, "Bad Request", "mine", None)
    assert error.detail.startswith("The query parameter interval must be")
    assert error.members == {"type": "about:blank"}
    assert str(error) == f"400 Bad Request: {error.detail} (request mine)"
    with pytest.raises(DataError, match="request_id must be"):
        client.predict("rides", [{}], request_id="bad id\n")
    with pytest.raises(DataError, match="the request cannot be sent"):
        client.predict("rides", [{}], inference_id="bad\n")
    with pytest.raises(DataError, match="number: a value of the type builtins.bytes"):
        client.predict("rides", [{"number": b"7"}])


def test_another_server_is_no_ml_api(current: Server) -> None:
    with Client(f"{current.url}/docs") as client, pytest.raises(NotFoundError, match="did not answer|not found"):
        client.predict("rides", [{}])
    with Client(current.url) as client:
        core: Core = client._core
        with pytest.raises(InvalidResponseError, match="with text/html: is it another server"):
            client._run(core.get("/docs"), threading.Event())
