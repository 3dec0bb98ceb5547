"""Every page behind a path prefix: a proxy that strips it without a header, in Chromium; and SCRIPT_NAME."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient
from model_kit.testing import GOLDEN_PREDICTION
from playwright.sync_api import Browser, Response, expect

if TYPE_CHECKING:
    from tests.conftest import Server

PREFIX = "/houses"


def stripping_proxy(port: int) -> ThreadingHTTPServer:
    """A proxy to ``port``: ``/houses/x`` becomes ``/x``, ``/houses`` becomes ``/``, anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            path, mark, query = self.path.partition("?")
            if path != PREFIX and not path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection.request(
                self.command, (path[len(PREFIX) :] or "/") + mark + query, body or None, dict(self.headers)
            )
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "date", "server", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = forward  # noqa: N815  names of http.server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in http.server
            """Log nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def origin(server: Server) -> Iterator[str]:
    """URL of the host of a proxy in front of the server."""
    proxy = stripping_proxy(server.port)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["", "/", "/?x=1", "/try/rides", "/card/rides", "/docs", "/redoc"])
def test_page_stays_below_the_prefix(browser: Browser, origin: str, path: str) -> None:
    page = browser.new_page()
    asked: dict[str, int] = {}

    def answered(response: Response) -> None:
        asked[response.url] = response.status

    page.on("response", answered)
    page.goto(origin + PREFIX + path, wait_until="networkidle")
    links = page.locator("a[href]").evaluate_all("all => all.map(each => each.href)")
    if "/docs" in path:
        operation = page.locator("#operations-rides-predict_rides")
        operation.locator(".opblock-summary-control").click()
        operation.locator("button.execute").click()
        expect(operation.locator(".live-responses-table .response")).to_contain_text(str(GOLDEN_PREDICTION)[:12])
    elif path == "/try/rides":
        expect(page.locator("#prediction")).not_to_have_text("–")
        expect(page.locator("#code")).to_contain_text(f"{origin}{PREFIX}/v1/predict/")
    page.close()
    if not path:
        # What the browser preloads before the page's script adds the slash.
        asked = {url: status for url, status in asked.items() if not url.startswith(f"{origin}/assets/")}
    assert [url for url in asked if not url.startswith((f"{origin}{PREFIX}", "data:", "blob:"))] == []
    assert {url: status for url, status in asked.items() if status >= 400} == {}
    inner = [url for url in links if url.startswith(origin)]
    assert [url for url in inner if not url.startswith(f"{origin}{PREFIX}/")] == []
    assert len(inner) >= (0 if path in ("/docs", "/redoc") else 6)


def test_server_url_of_the_document_has_the_prefix(server: Server) -> None:
    (found,) = server.request("GET", "/openapi.json")[1]["servers"]
    assert urljoin(f"https://host{PREFIX}/openapi.json", found["url"]) == f"https://host{PREFIX}/"
    assert urljoin("https://host/openapi.json", found["url"]) == "https://host/"


@pytest.mark.parametrize("path", ["", "/", "/try/rides", "/card/rides", "/docs", "/openapi.json"])
def test_script_name_changes_no_page(client: FlaskClient, path: str) -> None:
    found = client.get(path or "/", environ_overrides={"SCRIPT_NAME": PREFIX, "PATH_INFO": path})
    expected = client.get(path or "/")
    assert (found.status_code, found.data) == (200, expected.data)
    assert "Location" not in found.headers
