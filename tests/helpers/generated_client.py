"""Generates a Python client from an OpenAPI document with openapi-python-client, and imports it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ml_api.views.media_types import ARROW, CSV


def generate(document: dict[str, Any], folder: Path, package: str) -> None:
    """Generate ``package`` in ``folder``.

    A warning of the generator, such as an operation left out, is an error, unless it is that it knows no tables.
    """
    (folder / "openapi.json").write_text(json.dumps(document))
    # The code is not formatted, only run.
    (folder / "config.yml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
    command += ["--output-path", package, "--config", "config.yml"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert output.count("WARNING") == len(re.findall(f"Unsupported content type ({CSV}|{ARROW})\n", output)), output


def import_client(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> ModuleType:
    """Import a module of a package in ``folder``."""
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)
