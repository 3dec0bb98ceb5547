"""What is parsed quickly is what gunicorn's parser makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import message  # type: ignore[import-untyped]
from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from ml_api.http1 import CachedConfig, Request

HOST = b"Host: a.example\r\n"
PLAIN = b"POST /v1/predict/rides HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 12\r\n\r\n"


def parsed(kind: type[message.Request], head: bytes, peer: str = "127.0.0.1", **settings: Any) -> dict[str, Any]:
    """What a parser makes of a head, or its error."""
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    try:
        request = kind(CachedConfig(cfg), IterUnreader([head]), (peer, 50_000))
    except Exception as error:  # noqa: BLE001  it is compared
        return {"error": repr(error)}
    names = ("method", "uri", "path", "query", "fragment", "version", "headers", "scheme", "_expected_100_continue")
    found = {name: getattr(request, name) for name in names}
    reader = request.body.reader
    return found | {"body": type(reader).__name__, "length": getattr(reader, "length", None)}


def parsed_by_both(head: bytes, **settings: Any) -> dict[str, Any]:
    found = parsed(Request, head, **settings)
    assert found == parsed(message.Request, head, **settings)
    return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Heads that gunicorn's own parser is given."""
    given: list[bytes] = []
    parse = message.Request._parse_python

    def spy(self: Any, unreader: Any, buf: bytearray) -> Any:
        given.append(bytes(buf))
        return parse(self, unreader, buf)

    monkeypatch.setattr(message.Request, "_parse_python", spy)
    return given


def test_plain_head_needs_no_parser_of_gunicorn(slow: list[bytes]) -> None:
    found = parsed(Request, PLAIN)
    assert slow == []
    assert found["path"] == "/v1/predict/rides"
    assert found["headers"] == [("HOST", "a.example"), ("CONTENT-TYPE", "application/json"), ("CONTENT-LENGTH", "12")]
    assert (found["body"], found["length"]) == ("LengthReader", 12)
    assert parsed(message.Request, PLAIN) == found


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models?limit=3&name=a%20b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /?a=1?b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"X-Empty:\r\nX-Blanks:   a  b \r\nCookie: a=1; b=2\r\n\r\n",
    ],
)
def test_plain_heads_have_the_same_values(head: bytes, slow: list[bytes]) -> None:
    found = parsed(Request, head)
    assert slow == []
    assert "error" not in found
    assert parsed(message.Request, head) == found


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: tea\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Cookie: a\r\nCookie: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X_Key: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X Key: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Key : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Folded: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Tab:\ta\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Latin: \xe9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Nul: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Bare: a\nb\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
        b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET //evil/path HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://a.example/b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a;b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /%2e%2e/a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"DELETE /a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"get /a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /" + 5_000 * b"a" + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX-Long: " + 9_000 * b"a" + b"\r\n\r\n",
    ],
)
def test_other_heads_and_errors_are_those_of_gunicorn(head: bytes) -> None:
    parsed_by_both(head)


@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
@pytest.mark.parametrize(
    "headers",
    [
        b"X-Forwarded-Proto: https\r\n",
        b"X-Forwarded-Proto: http\r\n",
        b"X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: https\r\n",
        b"X-Forwarded-Ssl: off\r\nX-Forwarded-Proto: https\r\n",
    ],
)
def test_scheme_is_that_of_proxies_which_are_trusted(peer: str, headers: bytes) -> None:
    found = parsed_by_both(b"GET / HTTP/1.1\r\n" + HOST + headers + b"\r\n", peer=peer)
    if peer != "127.0.0.1":
        assert found["scheme"] == "http"


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_request_line": 20},
        {"limit_request_field_size": 10},
        {"limit_request_fields": 2},
        {"proxy_protocol": "v1"},
        {"header_map": "refuse"},
    ],
)
def test_settings_of_gunicorn_hold(settings: dict[str, Any]) -> None:
    parsed_by_both(PLAIN, **settings)


NAMES = st.sampled_from([b"Host", b"content-length", b"X-A", b"Connection", b"Transfer-Encoding", b"expect", b"X_A"])
VALUES = st.sampled_from([b"", b"1", b"a", b" close", b"\tkeep-alive ", b"chunked", b"100-continue", b"\x7f", b"a\x0b"])
LINES = st.tuples(NAMES, st.sampled_from([b":", b": ", b" :", b""]), VALUES, st.sampled_from([b"\r\n", b"\n", b"\r"]))
TARGETS = st.text("/?%a1=&#;:@ .\x7f\xe9", max_size=8).map(lambda text: text.encode("latin-1"))


@given(
    st.sampled_from([b"GET", b"POST", b"PUT", b"GE T"]),
    TARGETS,
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 "]),
    st.lists(LINES, max_size=4),
)
def test_any_head_is_what_gunicorn_makes_of_it(
    method: bytes, target: bytes, version: bytes, lines: list[tuple[bytes, ...]]
) -> None:
    head = method + b" /" + target + b" " + version + b"\r\n" + b"".join(map(b"".join, lines)) + b"\r\n\r\n"
    # The server passes on what ends with the first empty line.
    parsed_by_both(head[: head.index(b"\r\n\r\n") + 4])
