"""Loads and checks the installed models: ``python -m ml_api.models`` prints a JSON object, name -> fault."""

from __future__ import annotations

import json
import sys

from ml_api.models.registry import Registry, installed_models

if __name__ == "__main__":
    registry = Registry(installed_models())
    sys.stdout.write(json.dumps(registry.faults() if registry.names else {"": "no model is installed"}))
