"""Candidates as a worker sees them; their processes are in tests/faults."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from model_kit.spec import InputSpec
from model_kit.testing import GOLDEN_ROW, SPEC_OF_RIDES, TARGET, load_rides

from ml_api import shared_folder
from ml_api.app import create_app
from ml_api.candidates.canary import Canary
from ml_api.candidates.packets import MAX_BODY, MAX_PACKET, Packet
from ml_api.candidates.runner import _judge
from ml_api.candidates.shadow import Shadow
from ml_api.candidates.status import Status, path, write
from ml_api.settings import Candidate, Settings

ID = "0123456789abcdef" * 2


def changed(name: str, **changes: Any) -> InputSpec:
    """The spec of rides with one field declared otherwise."""
    fields = tuple(replace(field, **changes) if field.name == name else field for field in SPEC_OF_RIDES.fields)
    return replace(SPEC_OF_RIDES, fields=fields)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (SPEC_OF_RIDES, None),
        (changed("passengers", kind="number"), None),
        (changed("passengers", minimum=0, maximum=9), None),
        (changed("distance", required=False), None),
        (replace(SPEC_OF_RIDES, target=replace(TARGET, name="price")), "the prediction's name was fare, is price"),
        (replace(SPEC_OF_RIDES, target=replace(TARGET, unit="USD")), "the prediction's unit was EUR, is USD"),
        (changed("comfort", required=True), "comfort was optional, is required"),
        (changed("distance", unit="m"), "distance was in km, is in m"),
        (changed("passengers", minimum=2), "passengers had the bound 1, is at least 2"),
        (changed("comfort", numeric_codes=False), "comfort: numbers are no longer taken for its levels"),
    ],
)
def test_canary_must_take_what_the_installed_version_takes(
    candidate: InputSpec, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_api.candidates.runner.installed_spec", lambda _: SPEC_OF_RIDES.to_json())
    assert _judge("rides")(candidate.to_json()) == reason


def test_share_of_the_callers_is_stable_and_grows() -> None:
    callers = [f"key {number}" for number in range(10_000)]
    small, large = (
        {caller for caller in callers if Canary("rides", Path("/"), share, 1).is_for(caller)} for share in (0.05, 0.2)
    )
    assert len(small) == pytest.approx(500, abs=80)
    assert len(large) == pytest.approx(2000, abs=150)
    assert small < large
    assert not any(Canary("rides", Path("/"), 0, 1).is_for(caller) for caller in callers)
    assert all(Canary("rides", Path("/"), 1, 1).is_for(caller) for caller in callers)
    # Another model has other callers.
    other = {caller for caller in callers if Canary("boats", Path("/"), 0.05, 1).is_for(caller)}
    assert len(small & other) < 100


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a runner."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        listener.settimeout(20)
        yield listener


def received(listener: socket.socket, n_rows: int) -> list[Packet]:
    """Packets of the next connection that have so many rows."""
    connection, _ = listener.accept()
    connection.settimeout(20)
    packets: list[Packet] = []
    with connection:
        while sum(packet.n_rows for packet in packets) < n_rows:
            packets.append(Packet.decode(connection.recv(MAX_PACKET)))
    return packets


def test_body_is_sent_as_it_came(runner: socket.socket) -> None:
    body = b'[{"distance": 1}, 2]'
    with closing(Shadow(Path(runner.getsockname()))) as shadow:
        shadow.send(ID, body, [{"distance": 1}, 2])
    assert received(runner, 2) == [Packet(ID, 0, 2, 0, body)]


@pytest.mark.parametrize("is_text", [True, False])
def test_large_body_is_sent_in_parts_and_what_fits_into_none_is_dropped(runner: socket.socket, is_text: bool) -> None:
    rows: list[Any] = [{"distance": number, "note": "é" * 100} for number in range(2000)]
    rows[1000] = {"note": "x" * MAX_BODY}
    body = json.dumps(rows).encode()
    records = [msgspec.Raw(json.dumps(row).encode()) for row in rows] if is_text else rows
    shadow = Shadow(Path(runner.getsockname()))
    shadow.send(ID, body, records)
    packets = received(runner, 1999)
    assert len(packets) > 3
    found: dict[int, Any] = {}
    for packet in packets:
        assert packet.prediction_id == ID
        assert len(packet.body) <= MAX_BODY
        found |= dict(enumerate(json.loads(packet.body), start=packet.first))
    assert found == {number: row for number, row in enumerate(rows) if number != 1000}
    # The next packet says what was dropped.
    with closing(shadow):
        shadow.send(ID, b"[{}]", [{}])
    (packet,) = received(runner, 1)
    assert packet.dropped == 1


def test_rows_that_no_runner_takes_are_told_when_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_api.candidates.shadow.RETRY_INTERVAL", 0)
    shadow = Shadow(tmp_path / "socket")
    shadow.send(ID, b"[1, 2]", [1, 2])
    shadow.send(ID, b"[3]", [3])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with closing(shadow):
            shadow.send(ID, b"[4]", [4])
        assert received(listener, 1) == [Packet(ID, 0, 1, 3, b"[4]")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the processes of the server share."""
    monkeypatch.setattr(shared_folder, "place", shared_folder.Place(tmp_path, 0))
    return tmp_path


def test_version_and_models_tell_of_candidates(bundle: Path, folder: Path) -> None:
    canary = Candidate("canary", "rides", "/")
    app = create_app(Settings(canary_models=(canary,), canary_share=0.1), {"rides": lambda: load_rides(bundle)})
    write(path(folder, canary, 0, "status"), Status("canary", "rides", "cut off", "2.0.0", None, "it fails"))
    client = app.test_client()
    found = {"version": "2.0.0", "state": "cut off", "reason": "it fails", "share": 0.1}
    assert client.get("/version").get_json()["candidates"] == {"rides": {"canary": found}}
    (model,) = client.get("/v1/models").get_json()["models"]
    assert model["canary"] == found
    assert "shadow" not in model


def test_without_a_runner_the_installed_version_answers(bundle: Path, folder: Path, log: list[dict[str, Any]]) -> None:
    assert folder.is_dir()
    settings = Settings(canary_models=(Candidate("canary", "rides", "/"),), canary_share=1.0)
    client = create_app(settings, {"rides": lambda: load_rides(bundle)}).test_client()
    response = client.post("/v1/predict/rides?explain=1", json=[GOLDEN_ROW])
    assert (response.status_code, response.get_json()["version"]) == (200, "1.2.3")
    (line,) = [line for line in log if line["message"] == "request"]
    assert (line["canary"], line["version"]) == ("not_ready", "1.2.3")


def test_nothing_of_candidates_is_told_without_any(bundle: Path) -> None:
    client = create_app(Settings(), {"rides": lambda: load_rides(bundle)}).test_client()
    assert "candidates" not in client.get("/version").get_json()


def test_rows_that_were_dropped_are_told_without_another_request(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "runner"))
        listener.listen()
        listener.settimeout(10)
        shadow = Shadow(tmp_path / "runner")
        with shadow._large:  # as while another large body is sent
            shadow.send("a" * 32, b"[" + b"1," * MAX_BODY + b"1]", [1] * (MAX_BODY + 1))
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            packet = Packet.decode(connection.recv(MAX_PACKET))
        assert (packet.n_rows, packet.dropped) == (0, MAX_BODY + 1)
        shadow.close()
