"""From what is there to served models: train on the sample if there is no bundle, publish, install, serve.

What `make run` does after set-up: it serves every model under packages/ that has a bundle. They are published on the
private package index and installed from it into build/serving, which is what serves: the way to production, on one
machine. Ctrl-C or SIGTERM ends everything.

exit status: 0 stopped by its user, 1 something failed (the text says what to do), 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from model_kit.scoring.bundle import CARD, GOLDEN, SPEC, Bundle
from model_kit.scoring.installed import source_digest

from build_wheels import read_trained
from environment import locked
from install_models import install
from local_index import open_index
from package_index import HELP
from processes import child, script
from project import MODEL_HELP, ROOT, Package, Project, Say, ScriptError, say
from publish import publish
from train_models import quiet_environment, train_samples

# The API is not installed: it runs in its folder.
sys.path.append(str(ROOT / "packages/ml_api"))
from ml_api.settings import PortInUseError, Settings, SettingsError

#: Seconds until the server must be ready: it takes 1 or 2, and gunicorn itself gives a worker 30.
PATIENCE = 60.0
_OK = 200
#: Fields that are shown where none is required.
SHOWN = 10


def parse_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of the server.

    Raises:
        ScriptError: a value is invalid; the text names the variable.
    """
    try:
        return Settings.from_environ(environ)
    except SettingsError as error:
        raise ScriptError(str(error), 2) from error


def require_free(settings: Settings) -> None:
    """Check that the server can listen where its settings say.

    Raises:
        ScriptError: it cannot; the text names the variable and what to do.
    """
    try:
        settings.check_address()
    except PortInUseError as error:
        raise ScriptError(f"{error}; stop it or choose another: make run PORT={settings.port + 1}") from error
    except SettingsError as error:
        raise ScriptError(str(error), 2) from error


def train_if_missing(project: Project, say: Say, model: str | None = None) -> None:
    """Train on a synthetic sample where no model has a bundle.

    Raises:
        ScriptError: no package has a sample, or training failed; the text says what to do.
    """
    models = project.models(model)
    if any(package.bundle.is_dir() for package in models):
        return
    if models:
        say("There is no trained model yet: training on the synthetic sample that comes with the project.")
    train_samples(models, say)


def provenance(package: Package, bundle: Bundle) -> str:
    """Return sentences about the data that the model was trained on."""
    data: Mapping[str, Any] = bundle.json(CARD)["data"]
    artifact = bundle.artifact_sha256[:12]
    text = f"Model {package.model}: trained on {data['name']} ({data['rows']} rows), artefact {artifact}."
    if data["synthetic"]:
        text += (
            "\n*** SYNTHETIC DATA: the sample is made up, and so is every prediction. ***"
            f"\n    `{package.how_to_train}` trains on a real file; then run this again."
        )
    if bundle.json(CARD).get("code_sha256") != source_digest(package.source):
        text += f"\n    The code in {package.source.name} has changed since; `{package.how_to_train}` trains it anew."
    return text


def curl_line(base: str, name: str, bundle: Bundle) -> str:
    """Return a curl command with the required fields of the golden row, or with some fields where none is required."""
    row = bundle.json(GOLDEN)["row"]
    record = {field["name"]: row[field["name"]] for field in bundle.json(SPEC)["fields"] if field.get("required")}
    record = record or dict(islice(row.items(), SHOWN))
    body, url = json.dumps([record], ensure_ascii=False), f"{base}/v1/predict/{name}"
    # A proxy that the environment names cannot reach this machine.
    direct = "--noproxy '*' " if "http" in getproxies() and not proxy_bypass(urlsplit(base).hostname or "") else ""
    return f"curl -sS {direct}{shlex.quote(url)} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def wait_until_ready(process: subprocess.Popen[bytes], address: str, path: str = "/health/ready") -> None:
    """Wait until ``path`` answers 200 at ``address``, ``host:port``.

    Raises:
        ScriptError: the server ended, or is not ready in time; the text has its reason.
    """
    deadline, reason = time.monotonic() + PATIENCE, "it does not answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ScriptError(f"the server ended with status {process.returncode}; the reason is above")
        try:
            status, reason = ask(address, path)
        except (OSError, HTTPException):
            status = 0
        if status == _OK:
            return
        time.sleep(0.1)
    raise ScriptError(f"the server is not ready after {PATIENCE:.0f} s: {reason}")


def ask(address: str, path: str) -> tuple[int, str]:
    """Status and body of a GET on this machine, no proxy between."""
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def serve(project: Project, settings: Settings, *, development: bool, say: Say, model: str | None = None) -> None:
    """Serve until the process is told to stop.

    Raises:
        ScriptError: the server does not start, or ends by itself.
    """
    models = [(package, read_trained(package)) for package in project.trained_models(model)]
    environ = quiet_environment() | {"HOST": settings.host, "PORT": str(settings.port)}
    # By its interpreter: a checkout may have lost the run bit.
    command: list[str | Path] = ["sh", project.root / "run.sh"]
    folder = project.root
    if development:
        folder = project.root / "packages/ml_api"
        command = [sys.executable, "-m", "flask", "--app", "ml_api.wsgi:app", "run", "--debug"]
        command += ["--host", settings.host, "--port", str(settings.port)]
    # A server on all addresses is reached at the loopback address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    address = replace(settings, host=host).bind[0]
    with child(command, cwd=folder, env=environ) as process:
        # The sources of every package are served, and those without a bundle are never ready.
        wait_until_ready(process, address, "/health" if development else "/health/ready")
        about = "\n".join(provenance(package, bundle) for package, bundle in models)
        lines = "".join(f"  {curl_line(f'http://{address}', p.model, bundle)}\n\n" for p, bundle in models)
        say(f"\n{about}\n\nServing on http://{address} - try it in another terminal:\n\n{lines.rstrip()}\n")
        say("Ctrl-C stops it.")
        process.wait()
        raise ScriptError(f"the server ended with status {process.returncode}; the reason is above")


def run(
    project: Project, settings: Settings, *, development: bool = False, say: Say = print, model: str | None = None
) -> None:
    """Train if there is no model, publish, install and serve.

    Raises:
        ScriptError: something failed; the text says what to do.
    """
    require_free(settings)
    with locked(project.build):
        train_if_missing(project, say, model)
        if not development:
            with open_index(project, os.environ) as index:
                install(publish(project, index, model=model, say=say), index, project.serving, say=say)
    serve(project, settings, development=development, say=say, model=model)


@script("run")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--port", help=f"where to listen (default: the variable PORT, else {Settings.port})")
    parser.add_argument(
        "--development", action="store_true", help="serve the sources with reload instead of what is installed"
    )
    options = parser.parse_args(arguments)
    settings = parse_settings(os.environ | ({"PORT": options.port} if options.port is not None else {}))
    try:
        run(project or Project(), settings, development=options.development, say=say, model=options.model)
    except KeyboardInterrupt:
        say("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
