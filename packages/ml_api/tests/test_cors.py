from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from model_kit.testing import GOLDEN_ROW, load_rides

from ml_api.app import create_app
from ml_api.keys import new_key
from ml_api.settings import Settings

URL = "/v1/predict/rides"
ORIGIN = {"Origin": "https://app.example"}
ASKS = ORIGIN | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
SECRET, KEY = new_key("app", ("predict",))


def shared(bundle: Path, *origins: str) -> FlaskClient:
    settings = Settings(cors_origins=origins, api_keys=str(KEY))
    return create_app(settings, {"rides": lambda: load_rides(bundle)}).test_client()


def allowed(headers: object) -> list[str]:
    return sorted(name for name in dict(headers) if name.startswith("Access-Control"))  # type: ignore[call-overload]


def test_no_origin_may_read_by_default(client: FlaskClient) -> None:
    for response in (client.post(URL, json=GOLDEN_ROW, headers=ORIGIN), client.options(URL, headers=ASKS)):
        assert response.status_code == 200
        assert allowed(response.headers) == []


@pytest.mark.parametrize("origins", [("https://other.example", "https://app.example"), ("*",)])
def test_page_of_a_named_origin_may_ask_with_its_key_and_read(bundle: Path, origins: tuple[str, ...]) -> None:
    client = shared(bundle, *origins)
    question = client.options(URL, headers=ASKS)
    assert question.status_code == 200
    assert question.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "POST" in question.headers["Access-Control-Allow-Methods"].split(", ")
    assert "Authorization" in question.headers["Access-Control-Allow-Headers"].split(", ")
    answer = client.post(URL, json=GOLDEN_ROW, headers=ORIGIN | {"X-API-Key": SECRET})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert answer.headers["Vary"] == "Origin"
    # Credentials that a browser keeps are not for other origins.
    assert "Access-Control-Allow-Credentials" not in answer.headers
    # The page learns why it is refused.
    refused = client.post(URL, json=GOLDEN_ROW, headers=ORIGIN)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://app.example")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null", ""]
)
def test_page_of_another_origin_may_not(bundle: Path, origin: str) -> None:
    client = shared(bundle, "https://app.example")
    assert client.options(URL, headers=ASKS | {"Origin": origin}).status_code == 401
    answer = client.post(URL, json=GOLDEN_ROW, headers={"Origin": origin, "X-API-Key": SECRET})
    assert allowed(answer.headers) == []
    assert answer.headers["Vary"] == "Origin"


def test_plain_options_and_unknown_paths_need_a_key(bundle: Path) -> None:
    client = shared(bundle, "https://app.example")
    assert client.options(URL, headers=ORIGIN).status_code == 401
    assert client.options("/nowhere", headers=ASKS).status_code == 401


@pytest.mark.parametrize("path", ["/", "/try/rides", "/card/rides", "/docs", "/redoc", "/try/broken"])
def test_every_page_has_security_headers(bundle: Path, path: str) -> None:
    models = {"rides": lambda: load_rides(bundle), "broken": lambda: load_rides(bundle / "none")}
    headers = create_app(Settings(), models).test_client().get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }.items() <= dict(headers).items()
