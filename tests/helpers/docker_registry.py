"""A real container registry (Debian's docker-registry) on this machine, for whoever knows the key; its user is `_`."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from local_index import free_port
from processes import child
from project import ROOT

#: Seconds until it must answer; it takes 0.2.
PATIENCE = 30.0
CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "{host}"}}
auth: {{htpasswd: {{realm: registry, path: {folder}/htpasswd}}}}
"""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


class Registry:
    """The registry, as far as tests ask it.

    Attributes:
        host: as it stands in an image's name.
    """

    def __init__(self, host: str, key: str) -> None:
        self.host, self._key = host, key

    def image(self, app: str) -> str | None:
        """The digest of the configuration of what an app's web process is; ``None`` if nothing was pushed."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"http://{self.host}/v2/{app}/web/manifests/latest",
                auth=("_", self._key),
                headers={"Accept": _MANIFEST},
                timeout=30,
            )
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        digest: str = answer.json()["config"]["digest"]
        return digest

    def run_command(self, app: str, image: str, port: int) -> list[str]:
        """What runs a released image on a port; port 0 only asks whether there is such an image.

        Raises:
            LookupError: the registry has no such image.
        """
        if port == 0 and self.image(app) != image:
            raise LookupError(f"image {image} in {self.host}/{app}/web")
        # An app's config vars are this process's own, and of those these are the image's business.
        variables = [word for name in ("PORT", "HOST", "WEB_CONCURRENCY") for word in ("--env", name)]
        hardened = ["--read-only", "--cap-drop", "ALL", "--memory", "512m"]
        return [os.environ["DOCKER"], "run", "--rm", "--network", "host", *hardened, *variables, image]


@contextmanager
def docker_registry(folder: Path, key: str, environ: Mapping[str, str] | None = None) -> Generator[Registry]:
    """A registry that keeps what it has in ``folder``, while the block lasts.

    Args:
        folder: where it keeps images, password and log.
        key: the password.
        environ: with which apt-get reaches Debian's packages (default: this process's own).

    Raises:
        RuntimeError: there is none and none can be had, or it does not start.
    """
    folder.mkdir(parents=True)
    host = f"127.0.0.1:{free_port()}"
    (folder / "htpasswd").write_text(f"_:{_bcrypt(key)}\n")
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, host=host))
    log = folder / "log"
    command: list[str | Path] = [program(environ), "serve", folder / "config.yml"]
    with log.open("wb") as stream, child(command, output=stream.fileno(), patience=5) as process:
        deadline = time.monotonic() + PATIENCE
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the registry did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Registry(host, key)


def program(environ: Mapping[str, str] | None = None) -> Path:
    """The registry's program: what is installed, or what is in Debian's package, unpacked in build/.

    Unpacked and not installed, because the package starts a registry for everybody.

    Raises:
        RuntimeError: there is no such package here.
    """
    found = shutil.which("docker-registry")
    kept = ROOT / "build/docker-registry"
    if found or kept.exists():
        return Path(found or kept)
    with tempfile.TemporaryDirectory(prefix="registry-") as temporary:
        for command in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", "docker-registry"]):
            done = subprocess.run(command, cwd=temporary, env=environ, capture_output=True, text=True, check=False)
        packages = list(Path(temporary).glob("*.deb"))
        if not packages:
            raise RuntimeError(f"no docker-registry here, and none to be had: {done.stderr}")
        subprocess.run(["dpkg-deb", "--extract", packages[0], temporary], check=True)
        kept.parent.mkdir(exist_ok=True)
        shutil.move(Path(temporary, "usr/bin/docker-registry"), kept)
    return kept


def _bcrypt(password: str) -> str:
    """As the registry's htpasswd file needs it, by the system's crypt(3); Python's own is gone in 3.13."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    salt = "".join(secrets.choice(alphabet) for _ in range(21)) + "."
    hashed = crypt(password.encode(), f"$2b$04${salt}".encode())
    if not hashed or not hashed.startswith(b"$2b$"):
        raise RuntimeError(f"{sys.platform}'s crypt(3) knows no bcrypt")
    found: str = hashed.decode()
    return found


def _answers(host: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"http://{host}/v2/", timeout=5).status_code == requests.codes.unauthorized
        except requests.RequestException:
            return False
