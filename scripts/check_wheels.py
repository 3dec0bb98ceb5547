"""Try the very wheels of build/wheels: install them by hash into what serves, start run.sh, ask it.

The environment has what requirements.txt names and nothing else. Asked are readiness, /version (version and
artefact sha256 of each model), the golden rows, and a request for each promise of the HTTP contract.

exit status: 0 they serve, 1 they don't, 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from install_models import STAMP, uninstall_others
from live_service import Expected, ExpectedModel, Service, contract_faults, wait_until_right
from local_index import free_port
from processes import child, script
from project import Project, Say, ScriptError
from train_models import quiet_environment
from wheels import Manifest, golden, read_manifest

#: Seconds until the service must be ready: it takes 1 or 2.
LIMIT = 60.0


def expected(project: Project, manifest: Manifest, *, commit: str | None) -> Expected:
    """Return the expected state of a service of these wheels."""
    models = (
        ExpectedModel(wheel.model, wheel.version, wheel.artifact_sha256, golden(project, wheel))
        for wheel in manifest.models
    )
    return Expected(tuple(models), commit)


def install_files(project: Project, manifest: Manifest, environment: Path) -> None:
    """Install the files of the manifest, each held to its sha256, from nowhere but their folder.

    Raises:
        ScriptError: pip refuses; the text has its words.
    """
    # What `make install` wrote down is no longer true.
    (environment / STAMP).unlink(missing_ok=True)
    uninstall_others(environment, {wheel.name for wheel in manifest.wheels})
    with tempfile.TemporaryDirectory(prefix="pins-") as temporary:
        pins = Path(temporary, "requirements.txt")
        pins.write_text(manifest.pins(), "utf-8")
        command = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "--isolated", "install"]
        command += ["--no-index", "--find-links", str(project.wheels), "--no-deps", "--require-hashes"]
        command += ["--force-reinstall", "--no-cache-dir", "--requirement", str(pins)]
        done = subprocess.run(
            command,
            env=quiet_environment() | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ScriptError(f"pip could not install {project.wheels}:\n{done.stdout}{done.stderr}")


def check(project: Project, environment: Path, *, say: Say = print) -> None:
    """Install the wheels, serve them and check the service.

    Raises:
        ScriptError: something is not as it should be; the text says what.
    """
    manifest = read_manifest(project)
    if not (environment / "bin/python").exists():
        raise ScriptError(f"{environment}: no environment here; `make test-wheel` makes it")
    install_files(project, manifest, environment)
    port = free_port()
    meant = expected(project, manifest, commit=manifest.commit)
    settings = {"PORT": str(port), "HOST": "127.0.0.1", "GIT_COMMIT": manifest.commit or ""}
    with child(["sh", project.root / "run.sh"], cwd=project.root, env=quiet_environment() | settings) as process:
        service = Service(f"http://127.0.0.1:{port}/")
        wait_until_right(service, meant, LIMIT, say, running=lambda: process.poll() is None)
        broken = contract_faults(service, meant)
    if broken:
        raise ScriptError("the service breaks its contract:\n" + "\n".join(f"  - {promise}" for promise in broken))
    for wheel in manifest.models:
        say(f"{wheel.file} serves: artefact {wheel.artifact_sha256[:12]}, golden row and contract as they should be")


@script("test-wheel")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "check_wheels.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    check(project, project.serving)
    return 0


if __name__ == "__main__":
    sys.exit(main())
