"""The OpenAPI document is compared with a stored copy, so that it changes only on purpose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from model_kit.errors import NotReadyError
from model_kit.scoring.protocol import Model
from model_kit.testing import load_rides

from ml_api.app import create_app
from ml_api.settings import Settings

#: Written anew with AGREE=1; the difference is what is to be agreed on.
AGREED = Path(__file__).with_name("openapi.json")


def sunk() -> Model:
    raise NotReadyError("the boats have sunk")


def rounded(value: Any) -> Any:
    """Round numbers, whose last digits depend on the machine's exp."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def test_document_is_the_one_agreed(bundle: Path) -> None:
    """With a model, one whose name needs quoting, and one that could not be loaded."""
    models = {"rides": lambda: load_rides(bundle), "night rides/2": lambda: load_rides(bundle), "boats": sunk}
    document = rounded(create_app(Settings(), models).test_client().get("/openapi.json").get_json())
    if os.environ.get("AGREE"):
        AGREED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    assert document == json.loads(AGREED.read_text())
