from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.testing import load_rides

from ml_api.app import create_app
from ml_api.controllers import docs
from ml_api.settings import Settings
from ml_api.views import assets
from ml_api.views.openapi import document

SCRIPT = "text/javascript; charset=utf-8"
STYLE = "text/css; charset=utf-8"


def policy(response: Any) -> dict[str, str]:
    directives = (part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    return dict(directives)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_lets_nothing_else_in(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    found = policy(response)
    styles = found.pop("style-src")
    fonts = found.pop("font-src")
    assert found == {
        "default-src": "'none'",
        "script-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert re.fullmatch(r"'self'( 'nonce-[A-Za-z0-9_-]{22}')?", styles)
    assert fonts == ("'self'" if path == "/docs" else "'self' data:")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == ("no-cache" if path == "/docs" else "no-store")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_is_made_of_assets_that_are_there(client: FlaskClient, path: str) -> None:
    page = client.get(path).get_data(as_text=True)
    assert "//" not in re.sub(r"<!doctype html>", "", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)
    found = re.findall(r'(?:href|src|data-script)="(docs/[^"]+)"', page)
    assert len(found) >= 3
    for address in found:
        assert client.get(f"/{address}").status_code == 200


def test_nonce_is_another_each_time(client: FlaskClient) -> None:
    nonces = set()
    for _ in range(3):
        response = client.get("/redoc")
        (nonce,) = re.findall(r'<meta property="csp-nonce" content="([^"]+)">', response.get_data(as_text=True))
        assert policy(response)["style-src"] == f"'self' 'nonce-{nonce}'"
        nonces.add(nonce)
    assert len(nonces) == 3


@pytest.mark.parametrize(
    ("name", "content_type", "begins"),
    [
        ("docs.js", SCRIPT, b'"use strict"'),
        ("docs.css", STYLE, b"/* The document has no links"),
        ("redoc.js", SCRIPT, b"const element"),
        ("redoc.css", STYLE, b"/* Otherwise the title"),
        ("ways.css", STYLE, b"body"),
        ("swagger-ui.js", SCRIPT, b"/*! For license"),
        ("swagger-ui.css", STYLE, b".swagger-ui"),
        ("redoc.standalone.js", SCRIPT, b"/**"),
    ],
)
def test_assets_have_their_types_and_may_be_kept(
    client: FlaskClient, name: str, content_type: str, begins: bytes
) -> None:
    response = client.get(f"/{assets.url(name)}")
    assert (response.status_code, response.content_type) == (200, content_type)
    assert response.data.startswith(begins)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    again = client.get(f"/docs/assets/{name}?v=older", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["x.js", "swagger_bundle.js", "..%2fdocs.js", "%2e%2e/docs.html", "scalar.js", "docs.js%00", ""]
)
def test_nothing_but_the_assets_can_be_asked_for(client: FlaskClient, name: str) -> None:
    response = client.get(f"/docs/assets/{name}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_nothing_is_fetched_from_the_makers_of_redoc() -> None:
    for old in assets.REPLACEMENTS:
        assert old not in assets.asset("redoc.standalone.js").body
    # What is replaced must be there to be replaced: a new release may spell it otherwise.
    assert assets.asset("redoc.standalone.js").body.count(b"`data:,logo-mini") == 2
    assert assets.asset("redoc.standalone.js").body.count(b"children:`API docs by Redocly`") == 1


def test_versions_of_what_the_pages_run() -> None:
    assert re.search(rb'PACKAGE_VERSION:"5\.', assets.asset("swagger-ui.js").body)
    assert re.search(rb"\* Version: 3\.", assets.asset("redoc.standalone.js").body[:500])


def test_document_is_built_once_and_not_before_it_is_asked_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    build = document.build

    def counted(*arguments: Any, **named: Any) -> Any:
        built.append(arguments)
        return build(*arguments, **named)

    monkeypatch.setattr(docs, "build", counted)
    client = create_app(Settings(), {"rides": lambda: load_rides(bundle)}).test_client()
    assert built == []
    first = client.get("/openapi.json")
    second = client.get("/openapi.json")
    assert (first.status_code, first.content_type) == (200, "application/json")
    assert first.data == second.data
    assert len(built) == 1


def test_document_is_not_sent_again_to_who_has_it(client: FlaskClient) -> None:
    first = client.get("/openapi.json")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get("/openapi.json", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


def test_document_is_the_same_in_every_process(bundle: Path) -> None:
    first, second = (
        create_app(Settings(), {"rides": lambda: load_rides(bundle)}).test_client().get("/openapi.json")
        for _ in range(2)
    )
    assert first.headers["ETag"] == second.headers["ETag"]
