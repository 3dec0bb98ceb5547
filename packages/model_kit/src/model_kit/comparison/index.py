"""Lists and downloads the wheels of a private package index (PEP 503)."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from model_kit.errors import DataError

URL: Final = "PACKAGE_INDEX_URL"
UPLOAD_URL: Final = "PACKAGE_INDEX_UPLOAD_URL"
USER: Final = "PACKAGE_INDEX_USER"
TOKEN: Final = "PACKAGE_INDEX_TOKEN"  # noqa: S105 - the name of the variable
#: Seconds for the index to answer.
TIMEOUT: Final = 60
#: Bytes of the largest answer that is read.
LARGEST: Final = 512 * 1024 * 1024


@dataclass(frozen=True)
class Index:
    """An index with the user's credentials; the URLs have none and end in a slash.

    Attributes:
        url: where wheels are listed.
        user, token: who asks.
        upload_url: where wheels are sent.
    """

    url: str
    user: str
    token: str = field(repr=False)
    upload_url: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A wheel on an index.

    Attributes:
        version: its own.
        url: where it is.
        sha256: stated by the index; ``None`` if it states none.
        yanked: withdrawn; only found by its exact version.
    """

    version: Version
    url: str
    sha256: str | None
    yanked: bool


def index_from_environment(environ: Mapping[str, str]) -> Index:
    """The index that ``PACKAGE_INDEX_URL``, ``..._UPLOAD_URL``, ``..._USER`` and ``..._TOKEN`` name.

    Raises:
        DataError: something is missing or malformed; the text names the variable, and no secret.
    """
    given = {name: environ.get(name, "").strip() for name in (URL, UPLOAD_URL, USER, TOKEN)}
    if not given[URL]:
        raise DataError(f"a version on the index was asked for, but {URL} is not set")
    url, user, token = _split(URL, given[URL])
    user, token = given[USER] or user, given[TOKEN] or token
    if not user or (not token and given[USER]):
        raise DataError(f"{TOKEN if user else USER} is not set and {URL} carries none")
    upload = _split(UPLOAD_URL, given[UPLOAD_URL])[0] if given[UPLOAD_URL] else url.removesuffix("simple/")
    return Index(url, user, token, upload)


def _split(name: str, value: str) -> tuple[str, str, str]:
    """A URL without its credentials, the user, the token.

    Raises:
        DataError: it is no URL of an index.
    """
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise DataError(f"{name} is no URL of the form https://host/path/")
    if parts.scheme == "http" and not is_loopback(host):
        raise DataError(f"{name} is http: the token would travel in clear; use https")
    where = f"[{host}]" if ":" in host else host
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    url = urlunsplit((parts.scheme, where if port is None else f"{where}:{port}", path, "", ""))
    return url, unquote(parts.username or ""), unquote(parts.password or "")


class IndexClient:
    """Reads an index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        # A proxy named by the environment cannot reach a server on this machine.
        proxies = ProxyHandler({} if is_loopback(urlsplit(index.url).hostname or "") else None)
        self._opener = build_opener(proxies)
        credentials = base64.b64encode(f"{index.user}:{index.token}".encode()).decode()
        self._authorization = f"Basic {credentials}"

    def wheels(self, project: str) -> list[Listed]:
        """The wheels of a project; empty if the index doesn't know it.

        Raises:
            DataError: the index does not answer, refuses the user, or is not an index.
        """
        try:
            page, base = self._get(urljoin(self.index.url, f"{project}/"))
        except FileNotFoundError:
            # A wrong address answers 404 as well, and must not pass as "no previous version".
            try:
                self._get(self.index.url)
            except FileNotFoundError as error:
                raise DataError(f"there is no package index at {self.index.url} ({URL}): it answers 404") from error
            return []
        links = _Links()
        links.feed(page.decode("utf-8", "replace"))
        found = []
        for href, yanked in links.found:
            url, fragment = urldefrag(urljoin(base, href))
            try:
                name, version, *_ = parse_wheel_filename(unquote(urlsplit(url).path.rpartition("/")[2]))
            except InvalidWheelFilename:
                continue
            if name == canonicalize_name(project):
                algorithm, _, value = fragment.partition("=")
                found.append(Listed(version, url, value if algorithm == "sha256" else None, yanked))
        return found

    def download(self, wheel: Listed, folder: Path) -> Path:
        """Download a wheel and check the sha256 that the index states.

        Raises:
            DataError: the index does not answer, or the wheel has another sha256.
        """
        name = unquote(urlsplit(wheel.url).path.rpartition("/")[2])
        try:
            content, _ = self._get(wheel.url)
        except FileNotFoundError as error:
            raise DataError(f"the package index {self.index.url} lists {name}, but answers 404 for it") from error
        if wheel.sha256 not in {None, hashlib.sha256(content).hexdigest()}:
            raise DataError(f"the package index {self.index.url} sends {name} with another sha256 than it lists")
        path = folder / name
        path.write_bytes(content)
        return path

    def _get(self, url: str) -> tuple[bytes, str]:
        """Content and final URL; a 404 is a ``FileNotFoundError``."""
        request = Request(url, headers={"Accept": "text/html, */*", "User-Agent": "model-kit"})  # noqa: S310 - http(s), by index_from_environment
        if urlsplit(url)[:2] == urlsplit(self.index.url)[:2]:
            # Sent neither to another host nor after a redirect.
            request.add_unredirected_header("Authorization", self._authorization)
        where = f"the package index {self.index.url} ({URL})"
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                content: bytes = response.read(LARGEST + 1)
                final: str = response.url
        except HTTPError as error:
            with error:
                if error.code == 404:
                    raise FileNotFoundError(url) from error
                if error.code in {401, 403}:
                    raise DataError(
                        f"{where} refuses user {self.index.user!r} ({error.code}); check {USER} and {TOKEN}"
                    ) from error
                raise DataError(f"{where} answers {error.code}") from error
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise DataError(f"{where} does not answer: {reason}") from error
        if len(content) > LARGEST:
            raise DataError(f"{where} sends more than {LARGEST:,} bytes")
        return content, final


def newest_release(wheels: list[Listed]) -> Listed | None:
    """The highest release, ``X.Y.Z`` or ``X.Y.Z.postN``: no development version, no pre-release, none withdrawn."""
    releases = [wheel for wheel in wheels if not (wheel.yanked or wheel.version.is_prerelease or wheel.version.local)]
    return max(releases, key=lambda wheel: wheel.version, default=None)


def exactly(wheels: list[Listed], version: str) -> Listed | None:
    """The wheel of a version, however that is spelled (``1.2`` is ``1.2.0``)."""
    try:
        wanted = Version(version)
    except InvalidVersion:
        return None
    return next((wheel for wheel in wheels if wheel.version == wanted), None)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "a" and attributes.get("href"):
            self.found.append((attributes["href"] or "", "data-yanked" in attributes))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
