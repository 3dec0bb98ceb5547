"""Keys, limits, the prediction log: one server that has them all."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ml_client import (
    AuthenticationError,
    Client,
    PermissionDeniedError,
    RateLimitError,
    TooLargeError,
)
from ml_client.cli.main import main

from rides_server import Serve, Server

KEY, READER = "mlapi_all", "mlapi_reader"
RIDE = {"distance": 2.0, "zone": "A"}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    log = tmp_path_factory.mktemp("log") / "log.db"
    entries = [("all", "predict,read,outcomes", KEY), ("predictor", "predict", READER)]
    keys = " ".join(f"{name}:{scopes}:{sha256(key.encode()).hexdigest()}" for name, scopes, key in entries)
    return serve(
        PREDICTION_LOG=str(log),
        API_KEYS=keys,
        MAX_ROWS="10",
        MAX_BODY_BYTES="20000",
        before=("-m", "ml_api.cli", "migrate"),
    )


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, api_key=KEY, retry_for=20) as client:
        yield client


def test_without_a_valid_key_or_scope_it_is_told(server: Server) -> None:
    for key in (None, "wrong"):
        with Client(server.url, api_key=key) as client, pytest.raises(AuthenticationError) as caught:
            client.predict("rides", [RIDE])
        assert caught.value.status == 401
    with Client(server.url, api_key=READER) as client:
        assert READER not in repr(client)
        assert client.predict("rides", [RIDE]).n_errors == 0
        with pytest.raises(PermissionDeniedError, match="read"):
            client.models()


def test_a_key_for_predictions_alone_sends_dates_too(server: Server) -> None:
    with Client(server.url, api_key=READER, arrow=False) as client:
        result = client.predict("lengths", pd.DataFrame({"distance": [9.0], "day": [pd.Timestamp("2024-01-01")]}))
    assert result.predictions.tolist() == ["long"]


@pytest.mark.parametrize("arrow", [True, False])
def test_what_is_too_much_is_sent_in_halves_and_later_in_less(server: Server, arrow: bool) -> None:
    frame = pd.DataFrame({"distance": np.arange(100.0), "zone": "A"})
    with Client(server.url, api_key=KEY, arrow=arrow, concurrency=1) as client:
        result = client.predict("rides", frame)
        assert result.n_errors == 0
        assert result.predictions.is_monotonic_increasing
        halves = {request_id.partition(".")[2] for request_id in result.request_ids}
        assert {"a.a.a.a", "b.b.b.b"} <= halves
        again = client.predict("rides", frame)
    assert again.predictions.tolist() == result.predictions.tolist()
    assert len(again.request_ids) < 20
    assert all(name.count(".") == 1 for name in again.request_ids), "none was refused"


def test_one_row_that_is_too_large_is_told(client: Client) -> None:
    with pytest.raises(TooLargeError):
        client.predict("rides", [RIDE, {**RIDE, "note": "x" * 30_000}])
    with pytest.raises(TooLargeError):
        client.predict("rides", [{**RIDE, "note": "x" * 3_000_000}])


def test_outcomes_find_their_predictions(client: Client) -> None:
    frame = pd.DataFrame({"distance": np.arange(25.0), "zone": "A"}, index=range(100, 125))
    result = client.predict("rides", frame)
    ids = result.ids
    assert ids.index.tolist() == frame.index.tolist()
    assert ids.is_unique
    outcomes = pd.DataFrame({"id": ids, "value": result.predictions, "inference_id": None})
    found = client.outcomes(outcomes)
    assert found.counts == {"recorded": 25, "unchanged": 0, "conflict": 0, "unknown": 0, "invalid": 0}
    assert client.outcomes(outcomes).counts["unchanged"] == 25
    changed = [{"id": ids.iloc[0], "value": 1.0}, {"id": f"{'0' * 32}/0", "value": np.float64(1)}, {"id": ids.iloc[1]}]
    assert [one.status for one in client.outcomes(changed).results] == ["conflict", "unknown", "invalid"]
    assert client.outcomes(changed[:1], replace=True).counts["recorded"] == 1


def test_outcomes_of_a_file_are_sent(
    client: Client, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = client.predict("rides", [RIDE] * 2).ids
    path = tmp_path / "outcomes.csv"
    path.write_text(f"id,value\n{ids[0]},12.5\n{ids[1]},NA\n")
    monkeypatch.setenv("ML_API_KEY", KEY)
    assert main(["outcomes", str(path), "--url", server.url]) == 1
    told = capsys.readouterr()
    assert told.out == "1 recorded, 1 invalid\n"
    assert told.err == "invalid: value: Missing data for required field.\n"
    path.write_text(f"id,value\n{ids[0]},12.5\n")
    assert main(["outcomes", str(path), "--url", server.url, "--json"]) == 0
    assert '"unchanged": 1' in capsys.readouterr().out


def test_own_ids_name_predictions(client: Client) -> None:
    frame = pd.DataFrame({"distance": [1.0, 2.0], "zone": "A", "Id": [17, 18]})
    client.predict("rides", frame, id_field="Id")
    client.predict("rides", RIDE, inference_id="order-4711")
    items = [{"model": "rides", "inference_id": name, "value": 3} for name in ("17", "18", "order-4711")]
    assert client.outcomes(items).counts["recorded"] == 3


def test_a_rate_limit_is_waited_for(serve: Serve) -> None:
    server = serve(RATE_LIMIT="20/second")
    with Client(server.url, retry_for=30, concurrency=2) as client:
        client._core.max_rows[10_000] = 10
        assert client.predict("rides", [RIDE] * 40).n_errors == 0
    with Client(server.url, retry_for=0) as client, pytest.raises(RateLimitError) as caught:
        list(map(client.predict, ["rides"] * 20, [[RIDE] * 10] * 20))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
