from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ml_api import connection
from ml_api.connection import BODY_CONSUMED, MAX_DISCARDED, close_if_unread, set_close


@pytest.fixture
def closed() -> Iterator[list[bool]]:
    """Grows each time the connection is closed."""
    calls: list[bool] = []
    set_close(lambda: calls.append(True))
    yield calls
    set_close(connection._do_nothing)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": str(MAX_DISCARDED)},
        {"CONTENT_LENGTH": str(MAX_DISCARDED + 1), BODY_CONSUMED: True},
        {"HTTP_TRANSFER_ENCODING": "chunked", BODY_CONSUMED: True},
    ],
)
def test_connection_is_kept_where_little_can_be_left(closed: list[bool], environ: dict[str, Any]) -> None:
    close_if_unread(environ)
    assert closed == []


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": str(1024 * 1024 + 1)},
        {"CONTENT_LENGTH": str(1024 * 1024 + 1), BODY_CONSUMED: False},
        {"CONTENT_LENGTH": "-1"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "1"},
    ],
)
def test_connection_closes_where_much_may_be_left(closed: list[bool], environ: dict[str, Any]) -> None:
    close_if_unread(environ)
    assert closed == [True]


def test_each_thread_has_its_own_connection(closed: list[bool]) -> None:
    thread = threading.Thread(target=connection.close)
    thread.start()
    thread.join()
    assert closed == []
    connection.close()
    assert closed == [True]
