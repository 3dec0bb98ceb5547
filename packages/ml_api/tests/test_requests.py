from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import msgspec
import pytest
from flask import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.records import json_text
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.test import EnvironBuilder

from ml_api.connection import BODY
from ml_api.views import requests
from ml_api.views.requests import VALUES_PER_ROW, body, parse, read_body, records


def make(body: bytes = b"[]", content_type: str | None = "application/json", **headers: str) -> Request:
    names = [(name.replace("_", "-"), value) for name, value in headers.items()]
    builder = EnvironBuilder(method="POST", input_stream=BytesIO(body), content_type=content_type, headers=names)
    return Request(builder.get_environ() | {"CONTENT_LENGTH": str(len(body))})


def chunked(body: BytesIO) -> Request:
    environ = EnvironBuilder(method="POST", input_stream=body, content_type="application/json").get_environ()
    environ.pop("CONTENT_LENGTH", None)
    return Request(environ | {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True})


def read(request: Request, max_rows: int = 3, max_bytes: int = 100) -> list[object]:
    return values(records(body(request, max_bytes=max_bytes), max_rows=max_rows))


def values(found: Sequence[object]) -> list[object]:
    return [json_text.loads(bytes(record)) if isinstance(record, msgspec.Raw) else record for record in found]


class Drops(BytesIO):
    """Gives one byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1))


class Broken(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise RuntimeError("invalid chunk")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b"{}", [{}]),
        (b"[{}]", [{}]),
        (b' [1, "a", null]\n', [1, "a", None]),
        (b'{"a": 1, "a": 2}', [{"a": 2}]),
        ('{"é": "€"}'.encode(), [{"é": "€"}]),
    ],
)
def test_records_are_the_elements_or_the_one_object(body: bytes, expected: list[object]) -> None:
    assert read(make(body)) == expected


@pytest.mark.parametrize("body", [b"1", b'"a"', b"null", b"true", b"1.5"])
def test_other_documents_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="must be a JSON array of records or one record"):
        read(make(body))


MANY = VALUES_PER_ROW * 10_000


@pytest.mark.parametrize(
    "content",
    [
        b"[[" + b"1," * MANY + b"1]]",
        b"[[" + b"[]," * (MANY // 2) + b"1]]",
        b"[[" + b"{}," * (MANY // 2) + b"1]]",
        b'["a",' + b'"",' * MANY + b'"x"]',
        b'["\\\\",' + b'",",' * MANY + b'"x"]',
    ],
    ids=["numbers", "arrays", "objects", "strings", "commas"],
)
def test_too_many_values(content: bytes) -> None:
    with pytest.raises(RequestEntityTooLarge, match=f"The body has more than {MANY} values"):
        records(content, max_rows=3)


@pytest.mark.parametrize(
    "content",
    [
        b"[[" + b"1," * (MANY - 3) + b"1]]",
        b'["' + b"," * (2 * MANY) + b'"]',
        b'["\\"' + b"[" * (2 * MANY) + b'"]',
        b'["' + b"\\\\" * 70_001 + b'\\"' + b"{" * (2 * MANY) + b'"]',
    ],
    ids=["numbers", "one string", "quotation mark", "backslashes"],
)
def test_values_within_the_limit(content: bytes) -> None:
    assert values(records(content, max_rows=1)) == json.loads(content)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b"", 0),
        (b"[]", 1),
        (b",", 1),
        (b"[{},{}]", 4),
        (b'["",",[{"]', 2),
        (b'["\\\\",[[[,"x"]', 6),
        (b'["\\\\",","]', 2),
        (b'["\\\\\\",","]', 2),
        (b'["\\"",[",[]', 3),
        (b'["a\\"b\\\\","c,"]', 2),
        (b'{"a":[1,2],"b,":"\\"["}', 4),
    ],
)
def test_separators_outside_of_strings(monkeypatch: pytest.MonkeyPatch, content: bytes, count: int, piece: int) -> None:
    monkeypatch.setattr(requests, "_PIECE", piece)
    assert requests._count_separators(content) == count


def test_limit_of_values_grows_with_that_of_rows() -> None:
    assert len(records(b"[[" + b"1," * (2 * MANY - 3) + b"1]]", max_rows=20_000)) == 1


def test_too_many_records() -> None:
    assert len(read(make(b"[1,1,1]"))) == 3
    with pytest.raises(RequestEntityTooLarge, match="The body has 4 records; at most 3 are taken at a time"):
        read(make(b"[1,1,1,1]"))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF8",
        'application/json; charset="utf-8"',
    ],
)
def test_json_is_taken(content_type: str) -> None:
    assert read(make(content_type=content_type)) == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
        "application/jsonx",
    ],
)
def test_other_content_types_are_refused(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json"):
        read(make(content_type=content_type))


def test_other_charsets_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="UTF-8 only"):
        read(make(content_type="application/json; charset=latin-1"))


def test_compressed_bodies_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="must not be compressed"):
        read(make(gzip.compress(b"[]"), Content_Encoding="gzip"))
    assert read(make(Content_Encoding="Identity")) == []


def test_limit_of_bytes_is_inclusive() -> None:
    body = b"[1]" + b" " * 97
    assert read(make(body)) == [1]
    with pytest.raises(RequestEntityTooLarge, match="longer than the 100 bytes that are taken"):
        read(make(body + b" "))


def test_limit_of_bytes_holds_for_chunks() -> None:
    body = b"[1]" + b" " * 97
    assert read(chunked(BytesIO(body))) == [1]
    long = BytesIO(body * 1000)
    with pytest.raises(RequestEntityTooLarge, match="longer than the 100 bytes that are taken"):
        read(chunked(long))
    assert long.tell() == 101


def test_announced_length_beyond_the_limit_is_not_read() -> None:
    body = BytesIO(b"x")
    environ = EnvironBuilder(method="POST", input_stream=body).get_environ() | {"CONTENT_LENGTH": "101"}
    with pytest.raises(RequestEntityTooLarge):
        read_body(Request(environ), 100)
    assert body.tell() == 0


def test_body_that_the_server_received_is_returned_as_it_is() -> None:
    received = bytearray(b"[1]")
    request = make(b"")
    request.environ[BODY] = received
    assert body(request, max_bytes=100) is received


def test_body_may_come_in_drops() -> None:
    assert read(chunked(Drops(b"[1, 2]"))) == [1, 2]


def test_body_without_a_length_is_empty() -> None:
    environ = EnvironBuilder(method="POST", input_stream=BytesIO(b"[1]")).get_environ()
    environ.pop("CONTENT_LENGTH", None)
    assert read_body(Request(environ), 100) == b""


def test_body_that_ends_early() -> None:
    environ = EnvironBuilder(method="POST", input_stream=BytesIO(b"[1")).get_environ() | {"CONTENT_LENGTH": "3"}
    with pytest.raises(BadRequest, match="shorter than its Content-Length"):
        read_body(Request(environ), 100)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked"])
def test_compressed_transfer_is_refused(coding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="chunked is the only Transfer-Encoding taken"):
        read(make(Transfer_Encoding=coding))


def test_body_that_cannot_be_read() -> None:
    with pytest.raises(BadRequest, match="could not be read to its end"):
        read(chunked(Broken()))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is not JSON: Expecting value at line 1, column 1."),
        (b"[1,]", "The body is not JSON: "),
        (b"[1\n2]", "The body is not JSON: Expecting ',' delimiter at line 2, column 1."),
        (b"[] []", "The body is not JSON: Extra data at line 1, column 4."),
        (b"{'a': 1}", "The body is not JSON: Expecting property name enclosed in double quotes at line 1, column 2."),
        (b'["\t"]', "The body is not JSON: Invalid control character at at line 1, column 3."),
        (b"[01]", "The body is not JSON: Expecting ',' delimiter at line 1, column 3."),
        (b"[NaN]", "The body is not JSON: there is no NaN in JSON."),
        (b"[Infinity]", "The body is not JSON: there is no Infinity in JSON."),
        (b"[-Infinity]", "The body is not JSON: there is no -Infinity in JSON."),
        (b"[" + b"9" * 5000 + b", NaN]", "The body is not JSON: there is no NaN in JSON."),
        (b"[" + b"9" * 5000 + b", ]", "The body is not JSON: "),
        (b'["\xff"]', "The body is not UTF-8: invalid byte at offset 2."),
        (b'["\xed\xa0\x80"]', "The body is not UTF-8: invalid byte at offset 2."),
        (b"\xff\xfe[\x00]\x00", "The body is not UTF-8: invalid byte at offset 0."),
        (b"\xef\xbb\xbf[]", "The body begins with a byte order mark, which JSON does not have."),
        (b"[" * 100_000, "The body is nested too deeply."),
        (b'{"a":' * 100_000, "The body is nested too deeply."),
        (b"[" + b"9" * 5000 + b"," + b"[" * 100_000, "The body is nested too deeply."),
    ],
    ids=range(19),
)
def test_what_is_not_json_is_refused_with_a_reason(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert str(caught.value.description).startswith(said)


def test_huge_numbers_are_left_for_the_validation() -> None:
    assert parse(b"[" + b"9" * 5000 + b", -" + b"9" * 5000 + b", 7, 1e400]") == [
        json_text.TOO_LARGE,
        json_text.TOO_LARGE,
        7,
        float("inf"),
    ]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(JSON)
def test_whatever_is_json_is_read_as_it_is(document: Any) -> None:
    assert parse(json.dumps(document).encode()) == document


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_whatever_is_sent_is_a_document_or_a_bad_request(body: bytes) -> None:
    try:
        document = parse(body)
    except HTTPException as error:
        assert error.code == 400
    else:
        assert document == json.loads(body)


@pytest.mark.parametrize(("content", "count"), [(b"[1,1]", 2), (b'["a",",,"]', 2)])
def test_limit_of_values_is_inclusive(content: bytes, count: int) -> None:
    requests._check_size(content, count)
    with pytest.raises(RequestEntityTooLarge):
        requests._check_size(content, count - 1)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (make(content_type="application/json; charset=x"), "JSON is taken in UTF-8 only."),
        (
            make(Transfer_Encoding="gzip"),
            "The body must not be compressed: chunked is the only Transfer-Encoding taken.",
        ),
        (chunked(Broken()), "The body could not be read to its end."),
    ],
)
def test_refusals_word_for_word(request_: Request, said: str) -> None:
    with pytest.raises(HTTPException) as caught:
        read(request_)
    assert caught.value.description == said


def test_parameters_and_encodings_that_say_nothing_are_taken() -> None:
    assert read(make(content_type="application/json; version=1")) == []
    assert read(make(Content_Encoding=" ")) == []
    assert read(make(Transfer_Encoding="")) == []
