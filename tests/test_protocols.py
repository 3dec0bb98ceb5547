"""docs/protocols.md tells the truth: its requests are sent as they stand, and answered as it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from project import ROOT
from service import Service

PAGE = (ROOT / "docs/protocols.md").read_text("utf-8")
#: Training on another processor may end in other last digits.
CLOSE = 1e-3


def examples() -> dict[str, tuple[str, Any]]:
    """Heading and number -> command and answer."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        pairs = re.findall(r"```sh\n(.*?)```\s+```json\n(.*?)```", section, re.DOTALL)
        for number, (command, answer) in enumerate(pairs, start=1):
            found[f"{section.splitlines()[0]} {number}"] = (command, json.loads(answer))
    return found


EXAMPLES = examples()


def start(folder: Path, bundle: Path, protocol: str) -> Service:
    return Service(folder, bundle, WEB_CONCURRENCY="1", V2="true", INVOCATIONS=protocol)


@pytest.fixture(scope="module")
def servers(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, str]]:
    """Address in the page -> address of a server."""
    running = [start(tmp_path_factory.mktemp(name), houses, name) for name in ("mlflow", "sagemaker")]
    yield {f"http://127.0.0.1:{port}": one.url for port, one in zip((5000, 8080), running, strict=True)}
    for one in running:
        one.stop()


def almost(value: Any) -> Any:
    """The same but for what differs from training to training, and from request to request."""
    if isinstance(value, float):
        return pytest.approx(value, rel=CLOSE)
    if isinstance(value, list):
        return [almost(one) for one in value]
    if isinstance(value, dict):
        of_one = ("version", "model_version", "request_id")
        return {name: str(inner)[:0] if name in of_one else almost(inner) for name, inner in value.items()}
    return value


def test_page_has_an_example_of_every_protocol() -> None:
    assert {name.rpartition(" ")[0] for name in EXAMPLES} == {
        "Open Inference Protocol V2",
        "MLflow",
        "SageMaker",
        "At the wrong door",
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_request_is_answered_as_the_page_says(servers: dict[str, str], name: str) -> None:
    command, expected = EXAMPLES[name]
    (address,) = [one for one in servers if one in command]
    words = shlex.split(command.replace(address, servers[address]))
    done = subprocess.run([*words, "--silent"], capture_output=True, check=True, env=os.environ | {"no_proxy": "*"})
    found = json.loads(done.stdout)
    strip = almost(expected)
    assert list(found) == list(expected)
    assert {name: "" if strip[name] == "" else value for name, value in found.items()} == strip
