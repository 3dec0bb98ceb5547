"""What a worker knows of the candidates: how to reach them, and what they are doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_api.candidates.canary import Canary
from ml_api.candidates.shadow import Shadow
from ml_api.candidates.status import path, read_all
from ml_api.client_address import TrustedProxies
from ml_api.settings import Settings


class Candidates:
    """The candidates of a worker.

    Args:
        settings: of the server.
        folder: that its processes share.

    Attributes:
        shadows: name of a model -> its shadow.
        canaries: name of a model -> its canary.
        proxies: tell the address of a caller without a key.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder, self._share = folder, settings.canary_share
        self.shadows = {
            one.name: Shadow(path(folder, one, number, "socket")) for number, one in enumerate(settings.shadow_models)
        }
        self.canaries = {
            one.name: Canary(
                one.name, path(folder, one, number, "socket"), settings.canary_share, settings.candidate_timeout
            )
            for number, one in enumerate(settings.canary_models)
        }
        self.proxies = TrustedProxies(settings.forwarded_allow_ips)

    def has(self, name: str) -> bool:
        """Return whether a model has a candidate."""
        return name in self.shadows or name in self.canaries

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return model -> ``shadow`` or ``canary`` -> its version, its state, and why it is in that."""
        found: dict[str, dict[str, Any]] = {}
        for one in read_all(self._folder):
            about: dict[str, Any] = {"version": one.version, "state": one.state, "reason": one.reason}
            if one.kind == "canary":
                about["share"] = self._share
            found.setdefault(one.name, {})[one.kind] = about
        return found
