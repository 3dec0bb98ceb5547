"""Build the wheels of model-kit and regression-model and publish them on the private package index.

Development (default): versions are X.Y.Z+<digest of what is inside>; what the index has already is not sent again.
Release (--release):   versions are X.Y.Z; the model must be evaluated, trained on real data and by the code that is
                       there; a version that the index has already is refused.

Writes the exact versions with their sha256 to build/published.txt, which scripts/install_models.py installs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import requests

from build_wheels import build_wheel, development_version, identity, release_version
from local_index import open_index
from package_index import HELP, TOKEN, UPLOAD_URL, URL, USER, PackageIndex
from processes import stop_on_signals
from project import Project, Say, ScriptError, write_atomically

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


def publish(project: Project, index: PackageIndex, *, release: bool = False, say: Say = print) -> Path:
    """Publish what the index doesn't have yet, and write down what to install.

    Returns:
        The requirements file: one exact version with its sha256 a line.

    Raises:
        ScriptError: the index refuses, a release may not be, or the index has the version with other content.
    """
    versions = {p.name: (release_version if release else development_version)(p) for p in project.packages}
    client = IndexClient(index)
    project.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.build, prefix=".publish-") as temporary:
        hashes: dict[str, str] = {}
        new: list[Path] = []
        for package in project.packages:
            wheel = build_wheel(package, versions[package.name], Path(temporary, "new"))
            listed = client.files(package.name).get(wheel.name)
            if listed is None:
                new.append(wheel)
                hashes[package.name] = sha256(wheel)
            else:
                hashes[package.name] = _same_as_listed(client, listed, wheel, Path(temporary), release=release)
                what = "is released already" if release else "is there already, nothing to publish"
                say(f"{package.name} {versions[package.name]} {what}")
        if release and not new:
            raise ScriptError(
                "these versions are released already, and a release is never replaced: "
                + ", ".join(f"{name} {version}" for name, version in versions.items())
                + "\nraise __version__ in the package's __init__.py to release again"
            )
        for wheel in new:
            _upload(index, wheel)
            listed = client.files(wheel.name.split("-")[0].replace("_", "-")).get(wheel.name)
            if listed is None or listed.sha256 not in {None, sha256(wheel)}:
                raise ScriptError(f"{wheel.name} was sent, but {index.url} ({URL}) doesn't list it")
            say(f"Published {wheel.name} on {index.host}")
    lines = [f"{name}=={version} --hash=sha256:{hashes[name]}\n" for name, version in versions.items()]
    write_atomically(project.published, "# What scripts/publish.py published last.\n" + "".join(lines))
    return project.published


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _same_as_listed(client: IndexClient, listed: Listed, wheel: Path, folder: Path, *, release: bool) -> str:
    """The sha256 of the wheel that the index has, if its content is what was built."""
    if listed.sha256 == sha256(wheel):
        return listed.sha256
    theirs = client.download(listed, folder)
    have, built = identity(theirs), identity(wheel)
    if have != built:
        differ = sorted(name for name in have.keys() | built.keys() if have.get(name) != built.get(name))
        word = "is released already" if release else "is on the index already"
        raise ScriptError(
            f"{wheel.name} {word}, with other content ({', '.join(differ)}); "
            "raise __version__ in the package's __init__.py"
        )
    return sha256(theirs)


def _upload(index: PackageIndex, wheel: Path) -> None:
    command = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    command += ["--config-file", os.devnull, "--repository-url", index.upload_url, str(wheel)]
    # Secrets by environment, never by argument: arguments are for everybody to read.
    environ = child_environment(os.environ, index) | {"TWINE_USERNAME": index.user, "TWINE_PASSWORD": index.token}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = index.scrub(done.stdout + done.stderr).strip()
        raise ScriptError(f"{index.upload_url} ({UPLOAD_URL}) did not take {wheel.name}:\n{words}")


def child_environment(environ: Mapping[str, str], index: PackageIndex) -> dict[str, str]:
    """The environment for a tool that talks to the index: none of its own settings, no proxy to this machine."""
    clean = {name: value for name, value in environ.items() if not name.startswith(("TWINE_", "PACKAGE_INDEX_"))}
    if index.local:
        clean |= {"NO_PROXY": index.host, "no_proxy": index.host}
    return clean


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "publish.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", action="store_true", help="publish X.Y.Z instead of a development version")
    options = parser.parse_args(arguments)
    project = project or Project()
    try:
        with stop_on_signals(), open_index(project, os.environ) as index:
            publish(project, index, release=options.release)
    except ScriptError as error:
        print(f"publish: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("publish: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
