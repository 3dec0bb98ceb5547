"""Heroku's Platform API, as far as a deployment needs it.

https://devcenter.heroku.com/articles/platform-api-reference: releases, formation, config vars, pipeline promotions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from package_index import is_loopback
from project import ScriptError

KEY = "HEROKU_API_KEY"
API_URL, GIT_URL, REGISTRY = "HEROKU_API_URL", "HEROKU_GIT_URL", "HEROKU_REGISTRY"
DEFAULTS = {
    API_URL: "https://api.heroku.com",
    GIT_URL: "https://git.heroku.com",
    REGISTRY: "registry.heroku.com",
}
HELP = f"""\
environment variables:
  {KEY}   authorises API, git and registry; never shown and never an argument
  {API_URL}   another API than {DEFAULTS[API_URL]}
  {GIT_URL}   another place of repositories than {DEFAULTS[GIT_URL]}
  {REGISTRY}  another registry than {DEFAULTS[REGISTRY]}
"""
_ACCEPT = "application/vnd.heroku+json; version=3"
#: Releasing an image is a variant of the API: devcenter.heroku.com/articles/container-registry-and-runtime.
_ACCEPT_IMAGES = "application/vnd.heroku+json; version=3.docker-releases"
_TIMEOUT = 60
#: Seconds until a promotion must have ended; it copies a slug.
_PROMOTION_LIMIT = 300


@dataclass(frozen=True)
class Platform:
    """Where the platform is and who asks."""

    api: str
    git: str
    registry: str
    key: str = field(repr=False)

    def scrub(self, text: str) -> str:
        """Return the text without the key."""
        return text.replace(self.key, "****").replace(quote(self.key, safe=""), "****")


@dataclass(frozen=True)
class Release:
    """A release of an app: code and config vars, under a number."""

    id: str
    version: int
    slug: str | None
    description: str = ""


def platform_from_environment(environ: Mapping[str, str] = os.environ, **needed: str | None) -> Platform:
    """Return the platform that the environment names.

    Args:
        environ: the environment.
        needed: further settings without which nothing is begun, by the name under which a user gives them.

    Raises:
        ScriptError: something is missing or malformed; the text names everything at fault.
    """
    missing = [name for name, value in {KEY: environ.get(KEY), **needed}.items() if not (value or "").strip()]
    faults = [f"not set: {', '.join(missing)}"] if missing else []
    urls = {name: environ.get(name) or default for name, default in DEFAULTS.items()}
    for name in (API_URL, GIT_URL):
        parts = urlsplit(urls[name])
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            faults.append(f"{name} must be an https URL: the key travels there")
        if parts.username or parts.password:
            faults.append(f"{name} must carry no user or password; {KEY} is what authorises")
    if faults:
        raise ScriptError("nothing was begun; " + "; ".join(faults), 2)
    return Platform(urls[API_URL].rstrip("/"), urls[GIT_URL].rstrip("/"), urls[REGISTRY], environ[KEY].strip())


class Heroku:
    """The API."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(urlsplit(platform.api).hostname or "")
        self._session.headers["Authorization"] = f"Bearer {platform.key}"

    def app(self, name: str) -> dict[str, Any]:
        """Return an app: ``id``, ``web_url`` and more."""
        found: dict[str, Any] = self._call("GET", f"/apps/{quote(name, safe='')}")
        return found

    def releases(self, app: str) -> list[Release]:
        """Return the app's releases that came to be or still may (the release process runs), the newest first."""
        newest = {"Range": "version ..; order=desc,max=50"}
        found = self._call("GET", f"/apps/{app}/releases", headers=newest)
        return [_release(release) for release in found if release.get("status") not in ("failed", "expired")]

    def slug_commit(self, app: str, slug: str) -> str | None:
        """Return the commit that a slug was built from."""
        found: str | None = self._call("GET", f"/apps/{app}/slugs/{slug}").get("commit")
        return found

    def roll_back(self, app: str, release: Release) -> Release:
        """Make a new release of what an earlier one was."""
        return _release(self._call("POST", f"/apps/{app}/releases", {"release": release.id}))

    def release_image(self, app: str, image: str) -> None:
        """Release an image in the app's part of the registry, by the digest of its configuration."""
        body = {"updates": [{"type": "web", "docker_image": image}]}
        self._call("PATCH", f"/apps/{app}/formation", body, headers={"Accept": _ACCEPT_IMAGES})

    def set_config(self, app: str, variables: Mapping[str, str]) -> None:
        """Set config vars; that is a release of its own."""
        self._call("PATCH", f"/apps/{app}/config-vars", dict(variables))

    def config(self, app: str) -> dict[str, str]:
        """Return the app's config vars."""
        found: dict[str, str] = self._call("GET", f"/apps/{app}/config-vars")
        return found

    def promote(self, source: str, target: str) -> None:
        """Release what ``source`` runs, the very slug, on ``target``; both are in one pipeline.

        Raises:
            ScriptError: they are not, or the promotion failed.
        """
        ids = {name: self.app(name)["id"] for name in (source, target)}
        coupling = self._call("GET", f"/apps/{source}/pipeline-couplings")
        body = {
            "pipeline": {"id": coupling["pipeline"]["id"]},
            "source": {"app": {"id": ids[source]}},
            "targets": [{"app": {"id": ids[target]}}],
        }
        promotion = self._call("POST", "/pipeline-promotions", body)
        deadline = time.monotonic() + _PROMOTION_LIMIT
        while promotion["status"] != "completed":
            if time.monotonic() > deadline:
                raise ScriptError(f"the promotion from {source} to {target} has not ended in {_PROMOTION_LIMIT} s")
            time.sleep(1)
            promotion = self._call("GET", f"/pipeline-promotions/{promotion['id']}")
        for found in self._call("GET", f"/pipeline-promotions/{promotion['id']}/promotion-targets"):
            if found["status"] != "succeeded":
                raise ScriptError(f"{target} was not promoted: {found.get('error_message')}")

    def _call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        try:
            answer = self._session.request(
                method,
                self.platform.api + path,
                json=body,
                headers={"Accept": _ACCEPT} | dict(headers or {}),
                timeout=_TIMEOUT,
            )
        except requests.RequestException as error:
            reason = self.platform.scrub(str(error))
            raise ScriptError(f"{self.platform.api} ({API_URL}) does not answer: {reason}") from error
        if answer.status_code == requests.codes.unauthorized:
            raise ScriptError(f"{self.platform.api} refuses the key (401); check {KEY}")
        if not answer.ok:
            try:
                reason = answer.json()["message"]
            except (ValueError, KeyError, TypeError):
                reason = answer.text[:300]
            words = self.platform.scrub(str(reason))
            raise ScriptError(f"{method} {self.platform.api}{path} is answered with {answer.status_code}: {words}")
        return answer.json()


def _release(found: Mapping[str, Any]) -> Release:
    return Release(found["id"], found["version"], (found.get("slug") or {}).get("id"), found.get("description") or "")
