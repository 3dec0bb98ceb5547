"""The OpenAPI document held against the running service by a stranger: Schemathesis, with all of its checks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from service import Service

#: Cases for each operation; `make schemathesis` sets thousands.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "10"))
#: A request that breaks the document may be refused as these too: 404 for a path's part, 413 for too many records,
#: 414 for parameters of 9,000 characters.
CONFIGURATION = """
hooks = "hooks"

[checks.negative_data_rejection]
expected-statuses = [400, 404, 413, 414, 415, 422]
"""
#: The document describes a body without errors, which clients are generated from. An array is scored in part if one of
#: its records is valid, and only otherwise refused: what Schemathesis breaks is held to that.
#: A table is no JSON, which is what it makes of schemas: it is given that of the examples; other tests send Arrow.
HOOKS = """
import schemathesis
from hypothesis import strategies


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for operations in raw_schema["paths"].values():
        body = operations.get("post", {}).get("requestBody")
        if body and "text/csv" in body["content"]:
            texts = [shown["value"].encode() for shown in body["content"]["text/csv"].pop("examples").values()]
            schemathesis.openapi.media_type("text/csv", strategies.sampled_from(texts))
            body["content"].pop("application/vnd.apache.arrow.stream", None)
        if body:
            for part in body["content"]["application/json"]["schema"]["anyOf"]:
                if part.get("type") == "array":
                    record = part["items"]
                    part.update(items={}, anyOf=[{"contains": record}, {"maxItems": 0}])
"""


@pytest.fixture(scope="module")
def service(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    # Few rows, so that one too many are quickly made.
    running = Service(tmp_path_factory.mktemp("service"), houses, MAX_ROWS="10")
    yield running
    running.stop()


def test_service_is_what_its_document_says(service: Service, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run"]
    options = ["--checks", "all", "--max-examples", str(EXAMPLES), "--no-color", "--continue-on-failure"]
    # The same cases each time, so that a change is judged and not chance; the long run explores.
    seed = ["--seed", "1"] if EXAMPLES <= 10 else []
    with service.well():
        result = subprocess.run(
            [*command, f"{service.url}/openapi.json", *options, *seed],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    print(result.stdout[-3000:])  # noqa: T201
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No issues found" in result.stdout
