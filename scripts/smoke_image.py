"""Try the image that `make image` built: start it as production should, ask it everything, stop it.

It must be what build/published.txt names, as the wheels on the package index have it: version, artefact sha256 and
golden row of each model; and of the commit that is here. Asked are readiness, /version, the golden rows, and a request
for each promise of the HTTP contract. Where the engine has no network of its own: DOCKER_OPTIONS="--network host".

exit status: 0 it serves what was meant, 1 it does not, 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from model_kit.scoring.bundle import GOLDEN, read_bundle
from model_kit.training.provenance import git_commit

from image import IMAGE, STOP_TIMEOUT, VARIABLES, docker, published_wheels, run_command
from live_service import Expected, ExpectedModel, Service, contract_faults, wait_until_right
from local_index import free_port, open_index
from package_index import HELP, PackageIndex
from plan import extract_bundle
from processes import child, script
from project import Project, Say, ScriptError

#: Seconds until the service must be ready: it takes 2, and an engine that unpacks the image first some more.
LIMIT = 60.0
#: A larger image contains something unneeded: it takes 260 without its models.
LARGEST_MB = 300


def published(project: Project, index: PackageIndex, git_commit: str | None) -> tuple[Expected, int]:
    """Return what a service of the published wheels is, and how many bytes its model packages take.

    Raises:
        ScriptError: nothing was published, or the index does not have that very wheel.
    """
    models, size = [], 0
    with tempfile.TemporaryDirectory(prefix="smoke-") as temporary:
        for model, version, wheel in published_wheels(project, index, Path(temporary)):
            bundle = read_bundle(extract_bundle(wheel, model, Path(temporary, model.model)))
            models.append(ExpectedModel(model.model, version, bundle.artifact_sha256, bundle.json(GOLDEN)))
            with zipfile.ZipFile(wheel) as archive:
                size += sum(member.file_size for member in archive.infolist())
    return Expected(tuple(models), git_commit), size


def smoke(meant: Expected, size: int, environ: Mapping[str, str], say: Say = print) -> None:
    """Start the image, compare it with what was meant, stop it.

    Args:
        meant: what it must serve.
        size: bytes of the model packages inside.
        environ: the variables of this process.
        say: told of each round and of the result.

    Raises:
        ScriptError: it is something else, breaks its contract, or is too large; the text says what was seen.
    """
    image, name, port = environ.get("IMAGE") or IMAGE, f"smoke-{uuid4().hex[:12]}", free_port()
    megabytes = _size(image, environ) / 1_000_000
    # The models inside, not what is mounted.
    settings = {key: value for key, value in environ.items() if key != "MODEL_DIR"} | {"PORT": str(port)}
    settings["DOCKER_OPTIONS"] = f"{environ.get('DOCKER_OPTIONS', '')} --name {name}"
    command = run_command(settings)
    with tempfile.TemporaryFile() as log:
        try:
            with child(command, env=settings, output=log.fileno(), patience=STOP_TIMEOUT + 5) as process:
                service = Service(f"http://127.0.0.1:{port}/")
                wait_until_right(service, meant, LIMIT, say, running=lambda: process.poll() is None)
                broken = contract_faults(service, meant)
        except ScriptError as error:
            log.seek(0)
            words = log.read().decode("utf-8", "replace")[-2000:]
            raise ScriptError(f"{error}\nthe last words of {image}:\n{words}") from error
        finally:
            # Its client may have been killed before it.
            with suppress(OSError):
                subprocess.run([*docker(environ), "rm", "--force", name], capture_output=True, check=False)
    if broken:
        raise ScriptError(f"{image} breaks its contract:\n" + "\n".join(f"  - {promise}" for promise in broken))
    largest = LARGEST_MB + size / 1_000_000
    if megabytes >= largest:
        raise ScriptError(f"{image} has {megabytes:.0f} MB; with these models it must stay below {largest:.0f}")
    say(f"{image} serves {meant}; golden row and contract are as they should be; {megabytes:.0f} MB")


def _size(image: str, environ: Mapping[str, str]) -> int:
    command = [*docker(environ), "image", "inspect", "--format", "{{.Size}}", image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ScriptError(f"{command[0]}: not found; install Docker, or name its client by DOCKER") from error
    if done.returncode:
        raise ScriptError(f"{image} cannot be looked at; `make image` builds it:\n{done.stderr.strip()}")
    return int(done.stdout)


@script("smoke-image")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "smoke_image.py",
        description=__doc__,
        epilog=HELP + VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    project = project or Project()
    with open_index(project, os.environ) as index:
        meant, size = published(project, index, os.environ.get("GIT_COMMIT") or git_commit(project.root))
    smoke(meant, size, os.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main())
