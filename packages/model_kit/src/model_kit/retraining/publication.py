"""Publishes a candidate as ``X.Y.Z.postN``: the wheel of the newest release with another bundle, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from packaging.version import Version

from model_kit.comparison.index import (
    UPLOAD_URL,
    IndexClient,
    exactly,
    index_from_environment,
    is_loopback,
    newest_release,
)
from model_kit.errors import DataError, ModelKitError
from model_kit.scoring.bundle import CARD, MANIFEST, read_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.installed import source_digest

#: The time that every file in a wheel bears, so that the same content makes the same wheel.
_TIME: Final = (2020, 2, 2, 0, 0, 0)
_MODE: Final = 0o100644 << 16
_VERSION: Final = re.compile(r'^__version__ = "[^"]+"$', re.MULTILINE)


def next_training(version: str) -> str:
    """Return ``X.Y.Z`` -> ``X.Y.Z.post1`` -> ``X.Y.Z.post2``."""
    found = Version(version)
    return f"{found.base_version}.post{(found.post or 0) + 1}"


class Publisher:
    """Publishes on the index that the environment names.

    Args:
        definition: the model package.
        environ: ``PACKAGE_INDEX_URL`` and its like.

    Raises:
        DataError: it names none, or what sends wheels is not installed.
    """

    def __init__(self, definition: ModelDefinition, environ: Mapping[str, str]) -> None:
        self._definition = definition
        self._client = IndexClient(index_from_environment(environ))
        if find_spec("twine") is None:
            raise DataError("--publish needs twine, which is not installed: pip install twine")

    def require_newest(self, version: str) -> None:
        """Make sure that a release is the newest one: what a candidate was compared with must be what it replaces.

        Raises:
            DataError: it is not.
        """
        newest = newest_release(self._client.wheels(self._definition.distribution))
        if newest is None or newest.version != Version(version):
            found = newest and newest.version
            raise DataError(
                f"{self._definition.distribution} {version} is not the newest release on the index, but {found}: only "
                "that can be retrained and published; compare the candidate with it by another run"
            )

    def publish(self, code: Path, bundle: Path, folder: Path) -> dict[str, Any]:
        """Build and send the wheel.

        Args:
            code: the newest release, unpacked.
            bundle: the candidate.
            folder: where the wheel is made.

        Returns:
            ``version``, ``file``, ``sha256``, ``index`` and ``pin``, the line of a requirements file.

        Raises:
            DataError: the candidate was trained by other code, or with other libraries, than the release.
            ModelKitError: the index does not take it.
        """
        if changed := changes(code / self._definition.package, bundle):
            raise DataError(
                f"the candidate was trained with other things than the release that it would replace "
                f"({'; '.join(changed)}): that needs a new version, see docs/release.md"
            )
        wheel, version = build_wheel(code, bundle, folder)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        index = self._client.index
        upload(wheel, index.upload_url, index.user, index.token)
        name = self._definition.distribution
        listed = exactly(self._client.wheels(name), version)
        if listed is None or listed.sha256 not in {None, digest}:
            raise ModelKitError(f"{wheel.name} was sent, but {index.url} does not list it")
        pin = f"{name}=={version} --hash=sha256:{digest}"
        return {"version": version, "file": wheel.name, "sha256": digest, "index": index.url, "pin": pin}


def changes(package: Path, bundle: Path) -> list[str]:
    """Return in what a candidate's training differs from the release: code, model kit, libraries.

    Args:
        package: the release's code, with its bundle in it.
        bundle: the candidate.
    """
    old, new = (read_bundle(folder).json(CARD) for folder in (package / "bundle", bundle))
    found = []
    if source_digest(package, is_built=True) != new["code_sha256"]:
        found.append(f"code of {package.name}")
    if old.get("kit_sha256") != new["kit_sha256"]:
        found.append("code of model-kit")
    before: Mapping[str, str] = old["libraries"]
    after: Mapping[str, str] = new["libraries"]
    names = sorted((before.keys() | after.keys()) - {"python"})
    changed = [f"{one} {before.get(one)} -> {after.get(one)}" for one in names if before.get(one) != after.get(one)]
    return found + changed


def build_wheel(code: Path, bundle: Path, folder: Path) -> tuple[Path, str]:
    """Build the wheel of a release with another bundle, as its next training.

    Args:
        code: the release's wheel, unpacked.
        bundle: in place of its own.
        folder: where the wheel goes.

    Returns:
        The wheel and its version.

    Raises:
        DataError: the package does not state its version as ours do.
    """
    (metadata,) = code.glob("*.dist-info")
    (own,) = (manifest.parent for manifest in code.rglob(MANIFEST))
    text = (metadata / "METADATA").read_text("utf-8")
    found = re.search(r"^Version: (\S+)$", text, re.MULTILINE)
    source = own.parent / "__init__.py"
    if found is None or len(_VERSION.findall(source.read_text("utf-8"))) != 1:
        raise DataError(f'{source.name} of the release needs exactly one line of the form __version__ = "X.Y.Z"')
    version = next_training(found[1])
    name = metadata.name.removesuffix(".dist-info").rpartition("-")[0]
    info = f"{name}-{version}.dist-info"
    files: dict[str, bytes] = {}
    for path in sorted(code.rglob("*")):
        place = path.relative_to(code).as_posix()
        if path.is_file() and not path.is_relative_to(own) and path != metadata / "RECORD":
            files[place.replace(f"{metadata.name}/", f"{info}/", 1)] = path.read_bytes()
    for path in sorted(bundle.iterdir()):
        files[f"{own.relative_to(code).as_posix()}/{path.name}"] = path.read_bytes()
    stated = _VERSION.sub(f'__version__ = "{version}"', source.read_text("utf-8"))
    files[source.relative_to(code).as_posix()] = stated.encode()
    files[f"{info}/METADATA"] = text.replace(found[0], f"Version: {version}", 1).encode()
    record = [f"{place},sha256={_record_digest(content)},{len(content)}" for place, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in files.items():
            entry = zipfile.ZipInfo(place, _TIME)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, _MODE
            archive.writestr(entry, content)
    return wheel, version


def _record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def upload(wheel: Path, url: str, user: str, token: str) -> None:
    """Send a wheel to an index, without anything of the user's own settings.

    Raises:
        ModelKitError: the index does not take it; the text has no token.
    """
    command = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    command += ["--config-file", os.devnull, "--repository-url", url, str(wheel)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TWINE_", "PACKAGE_INDEX_"))}
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        clean |= {"NO_PROXY": host, "no_proxy": host}
    # Secrets by environment, never by argument: arguments are for everybody to read.
    environ = clean | {"TWINE_USERNAME": user, "TWINE_PASSWORD": token}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).strip()
        for secret in {token, quote(token, safe=""), quote(token)} - {""}:
            words = words.replace(secret, "****")
        raise ModelKitError(f"{url} ({UPLOAD_URL}) did not take {wheel.name}:\n{words}")
