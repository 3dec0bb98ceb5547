"""Holds cards to docs/reference/card.schema.json, which the reference of the documentation is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from project import ROOT

SCHEMA = ROOT / "docs/reference/card.schema.json"


def assert_described(card: Mapping[str, Any]) -> None:
    """Hold a card to its schema.

    Raises:
        AssertionError: a key is not described, or is not what is described.
    """
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    faults = [
        f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(json.loads(json.dumps(card)))
    ]
    assert not faults, f"describe it in {SCHEMA.relative_to(ROOT)}: {'; '.join(faults)}"
