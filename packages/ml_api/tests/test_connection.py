from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from ml_api import connection
from ml_api.connection import MAX_DISCARDED, finish, serving


@pytest.fixture
def closed() -> Iterator[list[bool]]:
    """Grows when the connection is asked to close."""
    asked: list[bool] = []
    serving(lambda: asked.append(True))
    yield asked
    serving(connection._nothing)


def environ(body: BytesIO, **others: Any) -> dict[str, Any]:
    length = str(len(body.getvalue()))
    return {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": length, **others}


class Broken(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise RuntimeError("no chunk")


def test_short_body_is_read_and_the_connection_kept(closed: list[bool]) -> None:
    body = BytesIO(b"x" * (MAX_DISCARDED - 1))
    finish(environ(body))
    assert body.tell() == MAX_DISCARDED - 1
    assert closed == []


def test_of_a_long_body_one_mebibyte_is_read_and_the_connection_closes(closed: list[bool]) -> None:
    body = BytesIO(b"x" * (3 * MAX_DISCARDED))
    finish(environ(body))
    assert body.tell() == MAX_DISCARDED == 1024 * 1024
    assert closed == [True]


def test_body_in_chunks_is_read(closed: list[bool]) -> None:
    body = BytesIO(b"x" * 10)
    finish({"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"})
    assert body.tell() == 10
    assert closed == []


def test_broken_body_closes_the_connection(closed: list[bool]) -> None:
    finish(environ(Broken(b"x")))
    assert closed == [True]


@pytest.mark.parametrize("length", ["", "0"])
def test_without_a_body_nothing_is_read(closed: list[bool], length: str) -> None:
    finish(environ(Broken(b""), CONTENT_LENGTH=length))
    assert closed == []


def test_stream_without_an_end_is_left_alone(closed: list[bool]) -> None:
    finish({"wsgi.input": Broken(b"x"), "CONTENT_LENGTH": "1"})
    assert closed == []


def test_each_thread_has_its_own_connection(closed: list[bool]) -> None:
    thread = threading.Thread(target=lambda: finish(environ(Broken(b"x"))))
    thread.start()
    thread.join()
    assert closed == []
