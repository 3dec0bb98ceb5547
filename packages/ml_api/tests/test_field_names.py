"""A field may have any name that JSON can spell: the API, its document and its page have it as it is."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.records.encoding import Encoded
from model_kit.spec import Field, InputSpec, Learned, Target
from numpy.typing import NDArray

from ml_api.app import create_app
from ml_api.settings import Settings

#: Names that libraries have read as something else.
TRAPS = [
    "is.promo",
    "Meta",
    "two\nlines",
    'q"uote',
    "back\\slash",
    "<b>&amp;",
    " ",
    "a,b",
    "field_0",
    "fields",
    "__class__",
]
NAMES = st.lists(
    st.sampled_from(TRAPS) | st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
    unique=True,
)


class Sums:
    """A model without a bundle: the sum of its fields."""

    version = "1.0.0"
    card: dict[str, Any] = {"data": {"name": "sums", "synthetic": True}, "evaluated": True}
    lineage: dict[str, Any] = {"version": version, "data": card["data"]}

    def __init__(self, names: list[str]) -> None:
        learned = {name: Learned(0.0, 1.0, 0.0, 100.0) for name in names}
        self.spec = InputSpec(tuple(Field(name, "number", "x") for name in names), learned, Target("y"))
        self.golden = {"row": dict.fromkeys(names, 1.0), "prediction": float(len(names))}

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Sums, shape (n_rows,)."""
        sums: NDArray[np.float64] = encoded.sum(axis=1)
        return sums

    def check(self) -> None:
        """There is nothing to check."""


class Controls(HTMLParser):
    """Collects the names of a form's controls."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "data-kind" in found:
            self.names.append(found["name"])


@settings(deadline=None, max_examples=20)
@given(NAMES)
def test_any_name_is_that_of_api_document_and_page(names: list[str]) -> None:
    client = create_app(Settings(), {"sums": lambda: Sums(names)}).test_client()
    record = {name: 2.0**position for position, name in enumerate(names)}
    post = {"content_type": "application/json"}
    sent = json.dumps([record, record | {names[-1]: 1000}, record | {names[0]: "x"}])
    response = client.post("/v1/predict/sums", data=sent, **post)
    total = sum(record.values())
    assert response.get_json()["predictions"] == [total, total - record[names[-1]] + 1000, None]
    assert response.get_json()["errors"] == {"2": {names[0]: ["Not a valid number."]}}
    assert unquote(response.headers["X-Prediction-Warnings"]) == names[-1]
    warned = client.post("/v1/predict/sums?warnings=true", data=sent, **post).get_json()["warnings"]
    assert [each["field"] for each in warned[1]] == [names[-1]]
    document = client.get("/openapi.json").get_json()
    assert list(document["components"]["schemas"]["sums.Record"]["properties"]) == names
    assert sorted(map(str, Controls(client.get("/").text).names)) == sorted(names)
