from __future__ import annotations

import re

import pytest

from ml_api.request_id import request_id


@pytest.mark.parametrize("sent", ["a", "A-1_b.c", "0" * 128])
def test_sane_id_is_kept(sent: str) -> None:
    assert request_id(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "0" * 129, "a b", "a\n", "é", "a,b", '{"a":1}'])
def test_other_ids_are_replaced(sent: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", request_id(sent))


def test_new_ids_differ() -> None:
    assert request_id(None) != request_id(None)
