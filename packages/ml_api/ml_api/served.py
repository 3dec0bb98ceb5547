"""Which models the workers serve, in memory that the master shares with them."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from typing import Any

_SIZE = 256 * 1024
_HEAD = 8


class Served:
    """What the worker that has loaded its models last serves; all have loaded the same."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        #: What was checked before a reload, and a worker that is forked afterwards must have loaded.
        self.expected: Mapping[str, Mapping[str, str]] | None = None

    def publish(self, models: Mapping[str, Mapping[str, str]]) -> bool:
        """Write the models of this worker, as :meth:`ml_api.models.registry.Registry.identities` has them.

        Returns:
            Whether they are those that were expected, or none were.
        """
        content = json.dumps(models).encode()
        if len(content) <= _SIZE - _HEAD:
            self._memory[_HEAD : _HEAD + len(content)] = content
            self._memory[:_HEAD] = len(content).to_bytes(_HEAD, "big")
        return self.expected in (None, models)

    def read(self) -> dict[str, Any]:
        """Return what was written last; nothing before the first worker has loaded its models."""
        length = int.from_bytes(self._memory[:_HEAD], "big")
        models: dict[str, Any] = json.loads(self._memory[_HEAD : _HEAD + length] or b"{}")
        return models
