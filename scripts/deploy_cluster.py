"""Deploy the tested image on a Kubernetes cluster, verify what then runs, and go back if it is not what was meant.

scripts/kubernetes.py applies the overlay and waits until all pods are ready. Then the service is verified: readiness,
/version (version and artefact sha256 of each model, git commit) and the golden rows, several times in a row. If either
does not come within --limit seconds, the Deployment goes back to the revision before, which must then serve what it
served before, and the status is 1.

Asked is SERVICE_URL; without it the Service of the cluster, by `kubectl port-forward`. SERVICE_KEY is an API key, where
callers need one.

exit status: 0 what was meant is live, 1 it is not (the text says what was seen), 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
from check_wheels import expected
from live_service import Expected, Service, wait_until_back, wait_until_right
from processes import cannot_start, script
from project import Project, Say, ScriptError, find_version, say
from wheels import read_manifest

#: Seconds for the migration, for the rollout, for the verification, and for the way back, each.
LIMIT = 300.0


@contextmanager
def reached(namespace: str, environ: Mapping[str, str]) -> Generator[Service]:
    """Yield the service of a namespace: at ``SERVICE_URL``, or by a port of this machine while the block lasts.

    Raises:
        ScriptError: it cannot be reached.
    """
    url, key = environ.get("SERVICE_URL"), environ.get("SERVICE_KEY") or ""
    if url:
        yield Service(url, key)
        return
    command = ["kubectl", "-n", namespace, "port-forward", f"service/{kubernetes.NAME}", ":80"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise cannot_start("kubectl", error) from error
    with process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            told = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", told)
            if found is None:
                raise ScriptError(f"{' '.join(command)}: {told.strip()}")
            yield Service(f"http://127.0.0.1:{found[1]}/", key)
        finally:
            process.terminate()


def deploy(
    overlay: Path, image: str, release: str, meant: Expected, limit: float, environ: Mapping[str, str], say: Say = say
) -> None:
    """Deploy an image, verify it, and go back if that fails.

    Args:
        overlay: a folder with a kustomization.
        image: with its digest.
        release: its name.
        meant: what must then run.
        limit: see ``LIMIT``.
        environ: has ``SERVICE_URL`` and ``SERVICE_KEY``.
        say: told what happens.

    Raises:
        ScriptError: what was meant is not live; the text says what was seen, and what is live instead.
    """
    with kubernetes.kustomization(overlay, image, release) as folder:
        namespace = kubernetes.namespace_of(kubernetes.render(folder, image))
    known = _version(namespace, environ)

    def verify() -> None:
        with reached(namespace, environ) as service:
            say(f"{namespace}: verifying {service.url}")
            wait_until_right(service, meant, limit, say)

    try:
        kubernetes.deploy(overlay, image, release, limit, say, verify)
    except ScriptError as error:
        raise ScriptError(f"{error}\n{_still_serves(namespace, known, limit, environ)}") from error
    say(f"{namespace} serves {meant}")


def _version(namespace: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        with reached(namespace, environ) as service:
            return service.version()
    except ScriptError:
        return None


def _still_serves(namespace: str, known: Mapping[str, Any] | None, limit: float, environ: Mapping[str, str]) -> str:
    """Return a sentence about what is live after a release that failed."""
    if known is None:
        return f"{namespace} served nothing before"
    try:
        with reached(namespace, environ) as service:
            wait_until_back(service, known, limit)
    except ScriptError as error:
        return f"{namespace} DOES NOT SERVE what it served before: {error}"
    served = ", ".join(f"{name} {found.get('artifact_sha256')}" for name, found in known["models"].items())
    return f"{namespace} serves what it served before: {served}"


@script("deploy-kubernetes")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    environ = os.environ
    parser = argparse.ArgumentParser(
        "deploy_cluster.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--overlay", default=environ.get("OVERLAY"), help="in deploy/kubernetes/overlays (OVERLAY)")
    parser.add_argument("--image", default=environ.get("IMAGE"), help="NAME@sha256:DIGEST (IMAGE; build/image.txt)")
    parser.add_argument("--release", default=environ.get("RELEASE"), help="its name (RELEASE; v and ml_api's version)")
    parser.add_argument("--limit", default=environ.get("LIMIT") or LIMIT, type=float, help="seconds (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.overlay:
        parser.error("OVERLAY is not set: make deploy-kubernetes OVERLAY=staging")
    image = options.image or (project.image.read_text("utf-8").strip() if project.image.is_file() else "")
    api = project.root / "packages/ml_api/ml_api/__init__.py"
    release = options.release or f"v{find_version(api).group(1)}"
    manifest = read_manifest(project)
    meant = expected(project, manifest, commit=manifest.commit)
    overlay = project.root / "deploy/kubernetes/overlays" / options.overlay
    deploy(overlay, image, release, meant, options.limit, environ)
    return 0


if __name__ == "__main__":
    sys.exit(main())
