from __future__ import annotations

from pathlib import Path

from flask.testing import FlaskClient
from model_kit.testing import load_rides

from ml_api.app import create_app
from ml_api.settings import Settings


def broken(bundle: Path) -> FlaskClient:
    models = {"gone": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)}
    return create_app(Settings(), models).test_client()


def test_alive(client: FlaskClient) -> None:
    response = client.get("/health")
    assert (response.status_code, response.data) == (200, b'{"status":"ok"}')
    assert response.content_type == "application/json"


def test_ready(client: FlaskClient) -> None:
    response = client.get("/health/ready")
    assert (response.status_code, response.json) == (200, {"status": "ready"})


def test_alive_but_not_ready_with_a_broken_model(bundle: Path) -> None:
    client = broken(bundle)
    assert client.get("/health").status_code == 200
    response = client.get("/health/ready", headers={"X-Request-ID": "r1"})
    reason = f"manifest.json: cannot be read from {bundle / 'nowhere'}: No such file or directory"
    assert response.status_code == 503
    assert response.content_type == "application/problem+json"
    assert response.headers["Retry-After"] == "30"
    assert response.json == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"gone: {reason}",
        "request_id": "r1",
        "models": {"gone": reason},
    }


def test_alive_but_not_ready_without_a_model() -> None:
    client = create_app(Settings(), {}).test_client()
    assert client.get("/health").status_code == 200
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.get_json()["detail"] == "No model is installed."
    assert response.get_json()["models"] == {}


def test_head_is_get_without_a_body(client: FlaskClient) -> None:
    response = client.head("/health")
    assert (response.status_code, response.data, response.content_length) == (200, b"", 15)


def test_options_says_what_is_allowed(client: FlaskClient) -> None:
    response = client.options("/health")
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
