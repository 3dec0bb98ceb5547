"""Asks a package index what it has, and fetches it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import requests
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from package_index import TOKEN, URL, USER, PackageIndex
from project import ScriptError

#: Seconds for the index to answer.
TIMEOUT = 60


@dataclass(frozen=True)
class Listed:
    """A file as an index lists it."""

    url: str
    sha256: str | None


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


class IndexClient:
    """Asks an index what it has."""

    def __init__(self, index: PackageIndex) -> None:
        self.index = index
        self._session = requests.Session()
        self._session.auth = (index.user, index.token)
        # A proxy of the surroundings can't reach a server on this machine.
        self._session.trust_env = not index.local

    def files(self, project: str) -> dict[str, Listed]:
        """File name -> file, for a project; empty if the index doesn't know it.

        Raises:
            ScriptError: the index doesn't answer, or not to this user.
        """
        response = self._get(urljoin(self.index.url, f"{project}/"))
        if response.status_code == requests.codes.not_found:
            return {}
        self._require(response)
        links = _Links()
        links.feed(response.text)
        files = {}
        for link in links.found:
            url, fragment = urldefrag(urljoin(response.url, link))
            algorithm, _, value = fragment.partition("=")
            files[unquote(urlsplit(url).path.rpartition("/")[2])] = Listed(
                url, value if algorithm == "sha256" else None
            )
        return files

    def released(self, project: str, base: str) -> tuple[str, Listed] | None:
        """Name and file of the highest release of ``base``: X.Y.Z, or X.Y.Z.postN, its Nth training on newer data."""
        listed = self.files(project)
        found = [(version, name) for version, name in _releases(listed) if version.base_version == base]
        return (max(found)[1], listed[max(found)[1]]) if found else None

    def newest(self, project: str) -> str | None:
        """Return the highest version that is released, X.Y.Z or X.Y.Z.postN; ``None`` if none is."""
        found = _releases(self.files(project))
        return str(max(found)[0]) if found else None

    def download(self, file: Listed, folder: Path) -> Path:
        """Fetch a file and hold it to the sha256 that the index states.

        Raises:
            ScriptError: the index doesn't answer, or what it sends has another sha256.
        """
        response = self._get(file.url)
        self._require(response)
        name = unquote(urlsplit(file.url).path.rpartition("/")[2])
        if file.sha256 not in {None, hashlib.sha256(response.content).hexdigest()}:
            raise ScriptError(f"{self.index.host} sends {name} with another sha256 than it lists")
        path = folder / name
        path.write_bytes(response.content)
        return path

    def _get(self, url: str) -> requests.Response:
        try:
            return self._session.get(url, headers={"Accept": "text/html, */*"}, timeout=TIMEOUT)
        except requests.RequestException as error:
            reason = self.index.scrub(str(error))
            raise ScriptError(f"the package index {self.index.url} ({URL}) does not answer: {reason}") from error

    def _require(self, response: requests.Response) -> None:
        if response.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise ScriptError(
                f"the package index {self.index.url} refuses user {self.index.user!r} ({response.status_code}); "
                f"check {USER} and {TOKEN}"
            )
        if not response.ok:
            raise ScriptError(f"the package index answered {response.status_code} for {response.url}; check {URL}")


def _releases(names: Iterable[str]) -> list[tuple[Version, str]]:
    """Return version and name of the files that are wheels of releases."""
    found = []
    for name in names:
        try:
            version = parse_wheel_filename(name)[1]
        except InvalidWheelFilename:
            continue
        if version.local is None and not version.is_prerelease:
            found.append((version, name))
    return found


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
